import { ChatClient } from 'nano-messaging/client';

const [roomId, token] = process.argv.slice(2);
const chat = new ChatClient('http://localhost:7777', { token: () => token });
chat.on('state', (state, reason) => console.log(state, reason ?? ''));

const room = chat.room(Number(roomId));
room.on('access', (permissions) => console.log(`has the permissions "${permissions}"`));
room.on('message', ({ content, seq }) => {
  if (content !== 'ping') return;
  room.send({ content: 'pong', replyTo: seq }).then(
    (number) => console.log(`pong is stored as ${number}`),
    (error) => console.error(error.reason),
  );
});
