// The usual choice: Socket.IO 4 with the Redis adapter, the token verified in a middleware, and one
// INSERT a message through a pool before it is emitted to the room.
import { createAdapter } from '@socket.io/redis-adapter';
import { Redis } from 'ioredis';
import jwt from 'jsonwebtoken';
import { Pool } from 'pg';
import { Server } from 'socket.io';

const { PORT, DATABASE_URL, REDIS_URL, JWT_MASTER_SECRET: secret = '' } = process.env;

const pool = new Pool({ connectionString: DATABASE_URL, max: 10 });
// Two nodes may start at once: one statement that waits for the other's lock.
await pool.query(`
  SELECT pg_advisory_lock(1);
  CREATE TABLE IF NOT EXISTS messages (
    id bigserial PRIMARY KEY, room_id integer NOT NULL, emitter uuid NOT NULL, content text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
  );
  CREATE INDEX IF NOT EXISTS messages_room ON messages (room_id, id);
  SELECT pg_advisory_unlock(1);
`);

const INSERT = {
  name: 'insert', // Parsed once a connection.
  text: 'INSERT INTO messages (room_id, emitter, content) VALUES ($1, $2, $3) RETURNING id, created_at',
};

const publisher = new Redis(String(REDIS_URL));
const io = new Server(Number(PORT), {
  adapter: createAdapter(publisher, publisher.duplicate()),
  transports: ['websocket'],
  perMessageDeflate: false,
  httpCompression: false,
  serveClient: false,
});

io.use((socket, next) => {
  try {
    socket.data.identity = jwt.verify(socket.handshake.auth['token'], secret, {
      algorithms: ['HS256'],
    });
    next();
  } catch (error) {
    next(error instanceof Error ? error : new Error('BADAUTH'));
  }
});

io.on('connection', (socket) => {
  let roomId = 0;
  socket.on('select_room', async (id) => {
    roomId = id;
    await socket.join(`${roomId}`);
    socket.emit('status', { data: 'CONNECTED', room_id: roomId });
  });
  socket.on('message', async (content) => {
    const emitter = socket.data.identity.userUUID;
    try {
      const { rows } = await pool.query({ ...INSERT, values: [roomId, emitter, content] });
      const [{ id, created_at: createdAt }] = rows;
      io.to(`${roomId}`).emit('message', {
        room_id: roomId,
        seq: Number(id),
        emitter,
        content,
        createdAt,
      });
    } catch (error) {
      console.error(error);
      socket.emit('status', { data: 'UNAVAILABLE' });
    }
  });
});
