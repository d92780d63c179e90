import { Client } from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createRoom, putRule, request, requestPatiently } from '../harness/api.js';
import { eventually } from '../harness/eventually.js';
import { fillRoom } from '../harness/backlog.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { query } from '../harness/database.js';
import type { NodeProcess } from '../harness/node-process.js';
import { runProgram, type Program } from '../harness/process.js';
import { RawClient } from '../harness/raw-client.js';
import { startRoomLoad } from '../harness/room-load.js';
import { Talker } from '../harness/talker.js';
import { person } from '../harness/tokens.js';

const PARTITIONS = 4;
/** Of each of the rooms that are there before. */
const ENTRIES = 5_000;
const ROOMS = 3;
const TALKERS = 4;
/** Messages before, between and after. */
const SOME = 20;
/** pino's level of it. */
const INFO = 30;

const ana = person({ levelOnEntity: 999 });
let world: ChatWorld;
let east: NodeProcess;
let west: NodeProcess;

beforeAll(async () => {
  world = await createChatWorld();
  const env = { NODE_ENV: 'production' };
  [east, west] = await Promise.all([world.startProcess(env), world.startProcess(env)]);
});
afterAll(() => world.close());

function partition(): Program {
  return runProgram('src/cli/main.js', {
    args: ['partition', '--partitions', `${PARTITIONS}`],
    env: { DATABASE_URL: world.databaseUrl },
  });
}

/** How many entries are copied; 0 before the copy is begun. */
async function copied(): Promise<number> {
  const [row] = await query<{ entries: string }>(
    world.databaseUrl,
    'SELECT entries FROM messages_copied',
  ).catch(() => []);
  return Number(row?.entries ?? 0);
}

/** A user who sends, edits, reads and deletes until it is over; each answer must be a success. */
async function change(room: number, over: AbortSignal): Promise<number> {
  let rounds = 0;
  for (; !over.aborted; rounds += 1) {
    const path = `/rooms/${room}/messages`;
    const body = { content: `sesame ${rounds}`, ref: `${rounds}` };
    // Each is made once, by its ref or its nature.
    const sent = await requestPatiently(east, 'POST', path, { as: ana, body });
    const { seq } = sent.content as { seq: number };
    const one = `${path}/${seq}`;
    const edited = { content: `sesame, too ${rounds}` };
    const answers = [
      await requestPatiently(west, 'PATCH', one, { as: ana, body: edited }),
      await requestPatiently(east, 'GET', `${path}?limit=10`, { as: ana }),
      await requestPatiently(west, 'DELETE', one, { as: ana }),
    ];
    // 200: it was stored, and not said so.
    expect([200, 201]).toContain(sent.status);
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
  }
  return rounds;
}

it('the log is partitioned while people chat, though the command is killed: nothing is refused, lost, doubled or reordered', async () => {
  // One after the other, in the order of the copy.
  const rooms: number[] = [];
  for (let n = 0; n < ROOMS; n += 1) {
    const room = await createRoom(east, ana);
    await fillRoom(world.databaseUrl, room, ENTRIES);
    rooms.push(room);
  }
  const doomed = await createRoom(east, ana);
  await fillRoom(world.databaseUrl, doomed, ENTRIES);
  const load = await startRoomLoad({
    url: east.url,
    databaseUrl: world.databaseUrl,
    owner: ana,
    readers: 2,
  });
  const talkers = await Promise.all(
    Array.from({ length: TALKERS }, async (_, n) => {
      const node = n % 2 === 0 ? east : west;
      const room = await createRoom(node, ana);
      const client = await RawClient.enter(node, ana, room);
      return { room, client, talker: new Talker(client) };
    }),
  );
  const holder = new Client({ connectionString: world.databaseUrl });
  await holder.connect();
  const over = new AbortController();
  const changing = change(rooms[0] ?? 0, over.signal);

  async function partitionThroughAKill(): Promise<string> {
    await load.more(SOME);
    // A room in the middle is locked: the copy is killed before it.
    await holder.query('BEGIN');
    await holder.query('SELECT FROM rooms WHERE id = $1 FOR UPDATE', [rooms[1]]);
    const killed = partition();
    const ended = killed.exited().then((code) => {
      throw new Error(`ended with ${code}: ${killed.stderr()}`);
    });
    const begun = eventually(async () => {
      expect(await copied()).toBeGreaterThanOrEqual(ENTRIES);
    });
    await Promise.race([ended, begun]);
    killed.child.kill('SIGKILL');
    expect(await killed.exited()).toBe('SIGKILL');
    await holder.query('COMMIT');
    await load.more(SOME);
    await request(west, 'DELETE', `/rooms/${doomed}`, { as: ana });
    const { userUUID } = person();
    expect((await putRule(west, ana, rooms[2] ?? 0, { userUUID, permissions: 'r' })).status).toBe(
      201,
    );

    const again = partition();
    expect([await again.exited(), again.stderr()]).toEqual([0, '']);
    await load.more(SOME);
    return again.stdout();
  }

  try {
    const partitioning = partitionThroughAKill();
    await Promise.all(talkers.map(({ talker }) => talker.during(partitioning)));
    expect(await partitioning).toMatch(/^partitioned: \d+ entries, in 4 partitions\n$/);
    over.abort();
    expect(await changing).toBeGreaterThan(0);
    await load.expectWhole();
    for (const { room, client, talker } of talkers) {
      const rows = await query<{ content: string }>(
        world.databaseUrl,
        `SELECT content FROM messages WHERE room_id = $1 AND kind = 'message' ORDER BY seq`,
        [room],
      );
      expect(rows.map(({ content }) => content)).toEqual(
        Array.from({ length: talker.echoes }, (_, n) => `live ${n + 1}`),
      );
      expect(client.answers).toEqual([]);
    }
    // No number is missing, and no text that was deleted is left.
    expect(
      await query(
        world.databaseUrl,
        `SELECT id FROM rooms WHERE head - horizon <> (
             SELECT count(*) FROM messages WHERE room_id = id AND seq > horizon AND seq <= head)
           UNION ALL SELECT room_id FROM messages WHERE content LIKE '%sesame%'
           UNION ALL SELECT room_id FROM messages WHERE room_id NOT IN (SELECT id FROM rooms)`,
      ),
    ).toEqual([]);
    expect(
      await query(
        world.databaseUrl,
        `SELECT relname AS name, relkind AS kind FROM pg_class
           WHERE relname LIKE 'messages%' AND relkind IN ('r', 'p') AND NOT relispartition`,
      ),
    ).toEqual([{ name: 'messages', kind: 'p' }]);
    for (const node of [east, west]) {
      const lines = node.program.stdout().trim().split('\n');
      const alarms = lines.filter((line) => (JSON.parse(line) as { level: number }).level > INFO);
      expect(alarms).toEqual([]);
    }
  } finally {
    over.abort();
    await holder.end();
    await Promise.allSettled([changing]);
    await load.close();
    await Promise.all(talkers.map(({ client }) => client.terminate()));
  }
});
