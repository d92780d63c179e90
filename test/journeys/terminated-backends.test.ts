import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Client } from 'pg';
import { createRoom, putRule, request } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { type TestDatabase } from '../harness/database.js';
import { startNodeProcess, type NodeProcess } from '../harness/node-process.js';
import { eventually } from '../harness/eventually.js';
import { createMigratedDatabase, postgresUrl, redisUrl } from '../harness/services.js';
import { person } from '../harness/tokens.js';

const TALKERS = 8;
const READERS = 30;
/** Rounds; in each, all connections of the node are terminated. */
const ROUNDS = 30;
const ANSWERS = new Set([200, 201, 503]);
/** pino's level of it. */
const INFO = 30;

describe('a node whose Postgres connections are terminated again and again', () => {
  const ana = person({ levelOnEntity: 999 });
  const ben = person();
  let database: TestDatabase;
  let node: NodeProcess;
  let operator: Client;

  beforeAll(async () => {
    database = await createMigratedDatabase();
    operator = new Client({ connectionString: postgresUrl() });
    await operator.connect();
    node = await startNodeProcess({
      DATABASE_URL: database.url,
      REDIS_URL: redisUrl(),
      REDIS_PREFIX: new URL(database.url).pathname.slice(1),
      NODE_ENV: 'production',
    });
  });
  afterAll(async () => {
    await node.end('SIGKILL');
    await operator.end();
    await database.drop();
  });

  it('survives, answers each command and request as usual or as UNAVAILABLE, and logs the outage once', async () => {
    const rooms = await Promise.all(Array.from({ length: TALKERS }, () => createRoom(node, ana)));
    const talkers = await Promise.all(rooms.map((room) => ChatClient.enter(node, ana, room)));
    const load = new AbortController();
    const words = new Set<unknown>();
    const statuses = new Set<number>();

    const talking = talkers.map(async (talker) => {
      for (let n = 0; !load.signal.aborted; n += 1) words.add(await answerTo(talker, `${n}`));
    });
    const asking = Array.from({ length: READERS }, async (_, n) => {
      for (let turn = 0; !load.signal.aborted; turn += 1) {
        const answer =
          n % 10 === 0
            ? await putRule(node, ana, rooms[0] ?? 0, {
                userUUID: ben.userUUID,
                permissions: turn % 2 === 0 ? 'r' : 'rw',
              })
            : await request(node, 'GET', '/rooms', { as: ana });
        statuses.add(answer.status);
      }
    });
    for (let round = 0; round < ROUNDS; round += 1) {
      await operator.query(
        `SELECT pg_terminate_backend(pid), pg_sleep(0.05) FROM pg_stat_activity WHERE datname = $1`,
        [new URL(database.url).pathname.slice(1)],
      );
    }
    load.abort();
    await Promise.all([...talking, ...asking]);

    // A busy machine may store nothing between two rounds.
    words.add('SENT');
    expect(words).toEqual(new Set(['SENT', 'UNAVAILABLE']));
    for (const talker of talkers) {
      await eventually(async () => {
        expect(await answerTo(talker, 'at last')).toBe('SENT');
      });
    }
    expect([...statuses].filter((status) => !ANSWERS.has(status))).toEqual([]);
    expect(node.program.child.exitCode).toBeNull();
    // A line that is not JSON is not the logger’s.
    const lines = node.program
      .stdout()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { msg: string; level: number });
    const alarms = lines.filter(({ level }) => level > INFO).map(({ msg }) => msg);
    expect(alarms.filter((msg) => msg === 'database unavailable')).toHaveLength(1);
    expect(alarms.length).toBeLessThan(10);
    expect(node.program.stderr()).toBe('');
    await Promise.all(talkers.map((talker) => talker.close()));
    expect(await node.end('SIGTERM')).toBe(0);
  });
});

/** Sends a message, and returns the word that answers it. */
async function answerTo(talker: ChatClient, ref: string): Promise<unknown> {
  talker.say(`message ${ref}`, { ref });
  for (;;) {
    const frame = await talker.next();
    if (frame.type !== 'message') return frame.data;
  }
}
