// The floor in C++: a uWebSockets.js broadcast, without token, store or broker. A room is a topic.
import uws from '@trufflesuite/uws-js-unofficial';

const emitter = '7d9f1c2e-58a4-4b0e-9c3d-0a1b2c3d4e5f';
let seq = 0;

const app = uws.App({});
app.ws('/*', {
  compression: uws.DISABLED,
  maxPayloadLength: 65_536,
  maxBackpressure: 64 * 1024 * 1024, // No client is dropped, as with the others.
  idleTimeout: 120,
  message(socket, data) {
    const command = JSON.parse(Buffer.from(data).toString());
    if (command.type === 'select_room') {
      socket.roomId = command.room_id;
      socket.subscribe(`${command.room_id}`);
      socket.send(JSON.stringify({ type: 'status', data: 'CONNECTED', room_id: socket.roomId }));
      return;
    }
    seq += 1;
    const createdAt = new Date().toISOString();
    const { roomId } = socket;
    const message = { room_id: roomId, seq, emitter, content: command.content, createdAt };
    // The app's publish reaches the sender, too.
    app.publish(`${roomId}`, JSON.stringify({ type: 'message', data: message }));
  },
});
app.listen('127.0.0.1', Number(process.env['PORT']), (listening) => {
  if (!listening) process.exit(1);
});
