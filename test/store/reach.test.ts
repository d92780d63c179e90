import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi, onTestFinished } from 'vitest';
import { loadConfig, type DatabaseAddress } from '../../src/config/load.js';
import { StartError } from '../../src/errors.js';
import { createLogger, type Logger } from '../../src/logger.js';
import { reachDatabase } from '../../src/store/reach.js';
import { createDatabase, type TestDatabase } from '../harness/database.js';
import { openOutlet, type Outlet } from '../harness/outlet.js';
import { eventually } from '../harness/eventually.js';
import { findFreePort } from '../harness/server-process.js';
import { postgresUrl } from '../harness/services.js';

const PATIENCE_MS = 20_000;

/** The answer of a Postgres that recovers from a crash: ErrorResponse, with severity, code and message. */
const STARTING_UP = errorResponse('57P03', 'the database system is starting up');
const TOO_MANY = errorResponse('53300', 'sorry, too many clients already');

function errorResponse(code: string, message: string): Buffer {
  const fields = Buffer.from(`SFATAL\0VFATAL\0C${code}\0M${message}\0\0`);
  const length = Buffer.alloc(4);
  length.writeInt32BE(fields.length + 4);
  return Buffer.concat([Buffer.from('E'), length, fields]);
}

describe('a database', () => {
  let database: TestDatabase;
  let outlet: Outlet;
  let logger: Logger;

  beforeEach(async () => {
    database = await createDatabase(postgresUrl());
    outlet = await openOutlet(database.url);
    logger = createLogger({ level: 'silent', production: true });
    vi.spyOn(logger, 'warn');
  });
  afterEach(async () => {
    await outlet.close();
    await database.drop();
  });

  function reach(url: string, patienceMs = PATIENCE_MS): Promise<unknown> {
    return reachDatabase(addressOf(url), { patienceMs, logger }, async (client) => {
      const { rows } = await client.query<{ answer: number }>('SELECT 42 AS answer');
      return rows[0]?.answer;
    });
  }

  /** Resolves at the log line that the node waits for the database. */
  function waiting(): Promise<void> {
    return eventually(() => {
      expect(logger.warn).toHaveBeenCalled();
    });
  }

  it('that does not listen yet is tried again, which is logged once', async () => {
    await outlet.cut();
    const answer = reach(outlet.url);
    await waiting();
    await outlet.restore();

    expect(await answer).toBe(42);
    expect(logger.warn).toHaveBeenCalledExactlyOnceWith(
      expect.objectContaining({ reason: expect.stringContaining('ECONNREFUSED') as string }),
      'waiting for the database',
    );
  });

  it.each([
    ['hangs up', (socket: Socket) => socket.end()],
    ['resets', (socket: Socket) => socket.resetAndDestroy()],
    ['starts up', (socket: Socket) => socket.end(STARTING_UP)],
    ['has no connection to spare', (socket: Socket) => socket.end(TOO_MANY)],
  ])('that %s is tried again', async (_, answer) => {
    const server = await serve((socket) => {
      socket.once('data', () => answer(socket));
    });
    const front = await openOutlet(urlOf(server));
    const reached = reach(
      Object.assign(new URL(database.url), { host: new URL(front.url).host }).href,
    );
    await waiting();
    await front.cut();
    await front.restore(database.url);

    expect(await reached).toBe(42);
    await front.close();
    await close(server);
  });

  it('that accepts connections and never answers is tried again on a new one', async () => {
    outlet.stall();
    const now = performance.now.bind(performance);
    let reads = 0;
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => {
      reads += 1;
      // It loses some ms behind the moment at which the attempt begins: so its time limit ends early.
      return now() - (reads > 2 ? 8 : 0);
    });
    onTestFinished(() => {
      clock.mockRestore();
    });
    const answer = reach(outlet.url);
    await waiting();
    outlet.resume();

    expect(await answer).toBe(42);
  });

  it('that never answers is given up after a time, with the reason', async () => {
    const port = await findFreePort();
    for (const host of ['127.0.0.1', 'localhost']) {
      const reached = reach(`postgres://somebody:secret@${host}:${port}/chat`, 300);

      await expect(reached).rejects.toBeInstanceOf(StartError);
      await expect(reached).rejects.toThrow(
        /^the database could not be used for 0 s: .*ECONNREFUSED/,
      );
      await expect(reached).rejects.not.toThrow('secret');
    }
  });

  it.each([
    [
      'another password',
      { password: 'wrong' },
      'password authentication failed for user "postgres"',
    ],
    ['no password', { password: '' }, 'password must be a string'],
    ['a missing role', { username: 'nobody' }, 'authentication failed for user "nobody"'],
    ['the name of no database', { pathname: '/nothing' }, 'database "nothing" does not exist'],
    ['TLS, and has none', { search: '?sslmode=require' }, 'The server does not support SSL'],
  ])('that is given %s is given up at once', async (_, difference, complaint) => {
    const reached = reach(Object.assign(new URL(database.url), difference).href);

    await expect(reached).rejects.toBeInstanceOf(StartError);
    await expect(reached).rejects.toThrow(`the database cannot be used: `);
    await expect(reached).rejects.toThrow(complaint);
    expect(logger.warn).not.toHaveBeenCalled();
  });
});

function addressOf(url: string): DatabaseAddress {
  const { database } = loadConfig({ DATABASE_URL: url });
  if (database === undefined) throw new Error('no address');
  return database;
}

async function serve(onSocket: (socket: Socket) => void): Promise<Server> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    onSocket(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

function urlOf(server: Server): string {
  return `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function close(server: Server): Promise<void> {
  server.close();
  await once(server, 'close');
}
