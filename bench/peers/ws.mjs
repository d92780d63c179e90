// Node's floor: a bare `ws` broadcast, without token, store or broker. One JSON.stringify a message, one
// send a member.
import { WebSocketServer } from 'ws';

/** @type {Map<number, Set<import('ws').WebSocket>>} */
const rooms = new Map();
const server = new WebSocketServer({
  port: Number(process.env['PORT']),
  host: '127.0.0.1',
  perMessageDeflate: false,
});
const emitter = '7d9f1c2e-58a4-4b0e-9c3d-0a1b2c3d4e5f';

server.on('connection', (socket) => {
  /** @type {Set<import('ws').WebSocket> | undefined} */
  let members;
  let roomId = 0;
  let seq = 0;
  socket.on('error', () => undefined);
  socket.on('close', () => members?.delete(socket));
  socket.on('message', (data) => {
    const command = JSON.parse(/** @type {Buffer} */ (data).toString());
    if (command.type === 'select_room') {
      roomId = command.room_id;
      members = rooms.get(roomId);
      if (members === undefined) rooms.set(roomId, (members = new Set()));
      members.add(socket);
      socket.send(JSON.stringify({ type: 'status', data: 'CONNECTED', room_id: roomId }));
      return;
    }
    if (members === undefined) return;
    seq += 1;
    const createdAt = new Date().toISOString();
    const message = { room_id: roomId, seq, emitter, content: command.content, createdAt };
    const text = JSON.stringify({ type: 'message', data: message });
    for (const member of members) member.send(text);
  });
});
