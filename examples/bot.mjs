import { WebSocket } from 'ws';

const [room, token] = process.argv.slice(2);
/** Number of the last message that the bot has seen; the next connection continues after it. */
let after;
/** Commands by their ref, until the server says SENT. One that is sent twice is stored once. */
const unsent = new Map();

function connect() {
  const socket = new WebSocket('ws://localhost:7777/chat');
  const send = (command) => socket.send(JSON.stringify(command));

  socket.on('open', () => {
    send({ type: 'token', content: token });
    send({ type: 'select_room', room_id: room, after });
    unsent.forEach(send);
  });
  socket.on('message', (data) => {
    const event = JSON.parse(data);
    console.log(event);
    if (event.data === 'SENT') unsent.delete(event.ref);
    if (event.type !== 'message') return;
    after = event.data.seq;
    if (event.data.content !== 'ping') return;
    const answer = { type: 'message', content: 'pong', ref: `pong ${after}` };
    unsent.set(answer.ref, answer);
    send(answer);
  });
  socket.on('error', console.error);
  socket.on('close', (code) => {
    // 4401: the token was refused, or has expired.
    if (code !== 4401) setTimeout(connect, 1_000);
  });
}

connect();
