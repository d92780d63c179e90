import { connect } from 'node:net';
import { Client } from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createRoom, request } from '../harness/api.js';
import { fillRoom } from '../harness/backlog.js';
import { ChatClient } from '../harness/chat-client.js';
import { query, type TestDatabase } from '../harness/database.js';
import { HttpWire } from '../harness/http-wire.js';
import { startNodeProcess, type NodeProcess } from '../harness/node-process.js';
import { openOutlet, type Outlet } from '../harness/outlet.js';
import { RawClient } from '../harness/raw-client.js';
import { createMigratedDatabase, redisUrl } from '../harness/services.js';
import { person } from '../harness/tokens.js';

/** A process that ends later exits with 1. */
const SHUTDOWN_TIMEOUT_MS = 4_000;
/** The messages that one socket may have in flight; with this number of sockets, 20,000. */
const IN_FLIGHT = 128;
const SOCKETS = 160;

const ana = person({ levelOnEntity: 999 });

describe('after SIGTERM a node exits with 0 in time', () => {
  let database: TestDatabase;
  let postgres: Outlet;
  let redis: Outlet;
  let node: NodeProcess;
  let room: number;

  beforeEach(async () => {
    database = await createMigratedDatabase();
    postgres = await openOutlet(database.url);
    redis = await openOutlet(redisUrl());
    node = await startNodeProcess({
      DATABASE_URL: postgres.url,
      REDIS_URL: redis.url,
      REDIS_PREFIX: new URL(database.url).pathname.slice(1),
      SHUTDOWN_TIMEOUT_MS: String(SHUTDOWN_TIMEOUT_MS),
    });
    room = await createRoom(node, ana);
  });
  afterEach(async () => {
    await node.end('SIGKILL');
    await postgres.close();
    await redis.close();
    await database.drop();
  });

  it('while Postgres is silent and messages and requests are in flight', async () => {
    const client = await ChatClient.enter(node, ana, room);
    postgres.stall();
    for (let n = 0; n < IN_FLIGHT; n += 1) client.say(`message ${n}`, { ref: `${n}` });
    const history = request(node, 'GET', `/rooms/${room}/messages`, { as: ana }).catch(() => 'cut');
    await request(node, 'GET', '/healthz');

    expect(await node.end('SIGTERM')).toBe(0);
    expect(await client.closed()).toMatchObject({ code: 1012 });
    expect(await history).toBe('cut');
    expect(node.program.stdout()).toContain('shutdown of a part timed out');
  });

  it('while Redis is silent', async () => {
    const client = await ChatClient.enter(node, ana, room);
    redis.stall();
    client.say('the last word', { ref: 'a' });

    expect(await node.end('SIGTERM')).toBe(0);
    expect(await client.closed()).toMatchObject({ code: 1012 });
  });

  it('while Postgres and Redis are both cut off', async () => {
    await ChatClient.enter(node, ana, room);
    await postgres.cut();
    await redis.cut();

    expect(await node.end('SIGTERM')).toBe(0);
  });

  it('while 20,000 messages wait for a silent Postgres', async () => {
    const clients = await Promise.all(
      Array.from({ length: SOCKETS }, () => RawClient.enter(node, ana, room)),
    );
    postgres.stall();
    for (const client of clients) {
      for (let n = 0; n < IN_FLIGHT; n += 1) client.say(`message ${n}`);
    }
    await request(node, 'GET', '/healthz');

    expect(await node.end('SIGTERM')).toBe(0);
    await Promise.all(clients.map((client) => client.closed));
  });

  it('while 20,000 messages are in flight, and those that were stored have no gap', async () => {
    const clients = await Promise.all(
      Array.from({ length: SOCKETS }, () => RawClient.enter(node, ana, room)),
    );
    for (const client of clients) {
      for (let n = 0; n < IN_FLIGHT; n += 1) client.say(`message ${n}`);
    }

    expect(await node.end('SIGTERM')).toBe(0);
    // RawClient throws if a number did not follow the one before.
    await Promise.all(clients.map((client) => client.closed));
    const [stored] = await query<{ head: number; count: number; last: number }>(
      database.url,
      `SELECT head::int, (SELECT count(*)::int FROM messages WHERE room_id = id) AS count,
         (SELECT max(seq)::int FROM messages WHERE room_id = id) AS last
       FROM rooms WHERE id = $1`,
      [room],
    );
    expect(stored?.count).toBe(stored?.head);
    expect(stored?.last).toBe(stored?.head);
  });

  it('while another transaction holds the lock of a busy room', async () => {
    const holder = new Client({ connectionString: database.url });
    await holder.connect();
    await holder.query('BEGIN');
    await holder.query('SELECT FROM rooms WHERE id = $1 FOR UPDATE', [room]);
    const client = await ChatClient.enter(node, ana, room);
    client.say('in vain', { ref: 'a' });
    const put = request(node, 'DELETE', `/rooms/${room}`, { as: ana }).catch(() => 'cut');
    await request(node, 'GET', '/healthz');

    expect(await node.end('SIGTERM')).toBe(0);
    await put;
    await holder.end();
  });

  it('while clients never read their socket or history, or never finish a request', async () => {
    const { last } = await fillRoom(database.url, room, 50_000);
    const behind = await RawClient.enter(node, ana, room, last - 50_000);
    behind.pause();
    const sockets = [
      `GET /rooms/${room}/messages?limit=1000 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${ana.token}\r\n\r\n`.repeat(
        50,
      ),
      'POST /rooms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n' +
        `Authorization: Bearer ${ana.token}\r\nContent-Length: 100\r\n\r\n{`,
      'GET /healthz HTT',
    ].map((head) => {
      const socket = connect(Number(new URL(node.url).port), '127.0.0.1');
      socket.on('error', () => undefined);
      socket.pause();
      socket.write(head);
      return socket;
    });
    await request(node, 'GET', '/healthz');

    expect(await node.end('SIGTERM')).toBe(0);
    for (const socket of sockets) socket.destroy();
    await behind.terminate();
  });

  it('after answering complete requests, without waiting for incomplete ones', async () => {
    const authorized = `Host: x\r\nAuthorization: Bearer ${ana.token}\r\nContent-Type: application/json\r\n`;
    const whole = `GET /rooms HTTP/1.1\r\n${authorized}\r\n`;
    const half = `POST /rooms HTTP/1.1\r\n${authorized}Content-Length: 100\r\n\r\n{`;
    const chunked = `POST /rooms HTTP/1.1\r\n${authorized}Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n`;
    const refused = `POST /rooms HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{`;
    const wires = await Promise.all(
      [
        { before: '', bytes: '' },
        { before: '', bytes: 'GET /healthz HTT' },
        { before: whole, bytes: 'GET /healthz HTT' },
        { before: '', bytes: half },
        { before: whole, bytes: half },
        { before: '', bytes: chunked },
        { before: refused, bytes: '{' },
      ].map(async ({ before, bytes }) => {
        const wire = await HttpWire.dial(node);
        wire.write(before, bytes);
        if (before !== '') await wire.answer();
        return wire;
      }),
    );
    const holder = new Client({ connectionString: database.url });
    await holder.connect();
    await holder.query('BEGIN');
    await holder.query('SELECT FROM rooms WHERE id = $1 FOR UPDATE', [room]);
    const locked = request(node, 'DELETE', `/rooms/${room}`, { as: ana });
    await request(node, 'GET', '/healthz');

    const ended = node.end('SIGTERM');
    await node.program.seen(/shutting down/);
    await holder.query('ROLLBACK');
    await holder.end();
    expect((await locked).status).toBe(200);
    expect(await ended).toBe(0);
    expect(node.program.stdout()).not.toContain('shutdown of a part timed out');
    const answers = await Promise.all(wires.map((wire) => wire.rest()));
    const refusals = answers.map((text) => text.includes('503'));
    expect(refusals).toEqual([false, false, false, true, true, true, false]);
    expect(answers[3]).toContain('the server is going down');
  });

  it('after serving on until load balancers have noticed, if there are DRAIN_SECONDS', async () => {
    await node.end('SIGTERM');
    node = await startNodeProcess({ DATABASE_URL: postgres.url, DRAIN_SECONDS: '30' });
    const dial = (): Promise<HttpWire> => HttpWire.dial(node);
    const kept = await dial();
    const client = await ChatClient.enter(node, ana, room);

    const ended = node.end('SIGTERM');
    await node.program.seen(/shutting down/);

    expect(await request(node, 'GET', '/readyz')).toMatchObject({
      status: 503,
      meta: { detail: 'not ready: server' },
    });
    const posted = await request(node, 'POST', `/rooms/${room}/messages`, {
      as: ana,
      body: { content: 'by a new connection' },
    });
    expect(posted.status).toBe(201);
    expect(posted.headers.get('connection')).toBe('close');
    kept.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
    expect(await kept.answer()).toMatchObject({ status: 200, headers: { connection: 'close' } });
    const late = await ChatClient.enter(node, ana, room);
    const knock = (): Promise<string> =>
      dial().then(
        (wire) => {
          wire.destroy();
          return 'accepted';
        },
        () => 'refused',
      );
    await expect.poll(knock).toBe('refused');
    // Sockets are served until their turn.
    late.say('by an old one');
    expect(await client.messages(2)).toEqual(['by a new connection', 'by an old one']);

    await Promise.all([client.close(), late.close()]);
    expect(await ended).toBe(0);
    expect(node.program.stdout()).not.toContain('shutdown of a part timed out');
  });

  it('but exits with 1 at once after a second SIGTERM', async () => {
    const client = await ChatClient.enter(node, ana, room);
    postgres.stall();
    client.say('a message', { ref: 'a' });
    await request(node, 'GET', '/healthz');
    node.program.child.kill('SIGTERM');
    await node.program.seen(/shutting down/);

    expect(await node.end('SIGINT')).toBe(1);
  });
});
