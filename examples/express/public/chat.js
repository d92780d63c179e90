import { ChatClient } from 'http://localhost:7777/client.js';

const [login, section, list, compose, status] = ['#login', 'section', 'ol', '#compose', 'p'].map(
  (selector) => document.querySelector(selector),
);

/** The room and a fresh token of the user who is logged in; undefined if nobody is. */
async function whoAmI() {
  const answer = await fetch('/chat');
  return answer.ok ? answer.json() : undefined;
}

async function start() {
  const me = await whoAmI();
  login.hidden = me !== undefined;
  section.hidden = me === undefined;
  if (me !== undefined) showRoom(me.room);
}

/** The client asks for it before it connects. Who is not logged in any more may log in again. */
async function freshToken() {
  const me = await whoAmI();
  if (me === undefined) location.reload();
  return me?.token;
}

function showRoom(id) {
  const chat = new ChatClient('http://localhost:7777', { token: freshToken });
  const room = chat.room(id);

  const show = () => {
    list.replaceChildren(
      ...room.messages.map(({ emitter, content, seq }) => {
        const item = document.createElement('li');
        item.textContent = `${chat.users.get(emitter)?.name ?? '…'}: ${content}`;
        // It has no number until it is stored.
        item.ariaBusy = String(seq === undefined);
        return item;
      }),
    );
  };
  room.on('change', show);
  chat.on('users', show);
  chat.on('state', (state) => {
    status.textContent = state;
  });
  compose.addEventListener('submit', (event) => {
    event.preventDefault();
    room.send(compose.elements.text.value).catch((error) => {
      status.textContent = error.message;
    });
    compose.reset();
  });
}

async function logIn() {
  const body = new URLSearchParams(new FormData(login));
  const answer = await fetch('/login', { method: 'POST', body });
  status.textContent = answer.ok ? '' : 'Wrong name or password.';
  if (answer.ok) await start();
}

login.addEventListener('submit', (event) => {
  event.preventDefault();
  void logIn();
});
await start();
