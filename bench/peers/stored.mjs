// The least work of a Node server that stores each message before it delivers it: one INSERT through a pool, one frame
// for all members, one write each. No token, rules, order, broker or slow readers; an INSERT that fails ends it.
import { Pool } from 'pg';
import { WebSocketServer } from 'ws';

const { PORT, DATABASE_URL } = process.env;
const EMITTER = '7d9f1c2e-58a4-4b0e-9c3d-0a1b2c3d4e5f';
const FIN_TEXT = 0x81;

const pool = new Pool({ connectionString: DATABASE_URL, max: 10 });
await pool.query(`
  CREATE TABLE IF NOT EXISTS messages (
    id bigserial PRIMARY KEY, room_id integer NOT NULL, emitter uuid NOT NULL, content text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
  );
  CREATE INDEX IF NOT EXISTS messages_room ON messages (room_id, id);
`);

const INSERT = {
  name: 'insert', // Parsed once a connection.
  text: `INSERT INTO messages (room_id, emitter, content) VALUES ($1, $2, $3)
    RETURNING id, created_at::text AS "createdAt"`,
};

/** @type {Map<number, Set<import('node:stream').Duplex>>} */
const rooms = new Map();
const server = new WebSocketServer({
  port: Number(PORT),
  host: '127.0.0.1',
  perMessageDeflate: false,
});

server.on('connection', (socket, { socket: stream }) => {
  /** @type {Set<import('node:stream').Duplex> | undefined} */
  let members;
  let roomId = 0;
  socket.on('error', () => undefined);
  socket.on('close', () => members?.delete(stream));
  socket.on('message', (data) => {
    const command = JSON.parse(/** @type {Buffer} */ (data).toString());
    if (command.type === 'select_room') {
      roomId = command.room_id;
      members = rooms.get(roomId);
      if (members === undefined) rooms.set(roomId, (members = new Set()));
      members.add(stream);
      socket.send(JSON.stringify({ type: 'status', data: 'CONNECTED', room_id: roomId }));
      return;
    }
    if (members !== undefined) void store(members, roomId, command.content);
  });
});

/**
 * @param {Set<import('node:stream').Duplex>} members
 * @param {number} roomId
 * @param {string} content
 */
async function store(members, roomId, content) {
  const { rows } = await pool.query({ ...INSERT, values: [roomId, EMITTER, content] });
  const [{ id, createdAt }] = rows;
  const data = { room_id: roomId, seq: Number(id), emitter: EMITTER, content, createdAt };
  const frame = frameOf(JSON.stringify({ type: 'message', data }));
  for (const member of members) member.write(frame);
}

/** A text of 126 to 65,535 bytes as one frame. @param {string} text */
function frameOf(text) {
  const length = Buffer.byteLength(text);
  const frame = Buffer.allocUnsafe(4 + length);
  frame[0] = FIN_TEXT;
  frame[1] = 126;
  frame.writeUInt16BE(length, 2);
  frame.write(text, 4);
  return frame;
}
