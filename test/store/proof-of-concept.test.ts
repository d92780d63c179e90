import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import { carryOver, type CarriedOver } from '../../src/store/proof-of-concept.js';
import { createRoom, request } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { createDatabase, query, type TestDatabase } from '../harness/database.js';
import { migrateFresh } from '../harness/migrate-fresh.js';
import { startNode, type TestNode } from '../harness/node.js';
import { OLD_TABLES } from '../harness/old-tables.js';
import { runProgram } from '../harness/process.js';
import { postgresUrl } from '../harness/services.js';
import { QUIET } from '../harness/store-hosts.js';
import { person, type Person } from '../harness/tokens.js';

/** More than are stored at once. */
const MANY = 12_000;

const ana = person({ levelOnEntity: 999 });
const ben = person();
const cleo = person();

let database: TestDatabase;
let nodes: TestNode[];

beforeEach(async () => {
  nodes = [];
  database = await createDatabase(postgresUrl());
});
afterEach(async () => {
  for (const node of nodes) await node.close();
  await database.drop();
});

describe('rooms of the proof of concept', () => {
  beforeEach(async () => {
    await query(database.url, OLD_TABLES);
  });

  it('are there for their members, with all messages in order, and go on', async () => {
    const room = await addRoom({ id: 7 });
    await addRule(room, ana.userUUID, 'rwa', 0);
    await addMessage(room, ben.userUUID, 'second', 2);
    await addMessage(room, ana.userUUID, 'first', 1);
    await addMessage(room, ana.userUUID, 'also second', 2);
    await addRule(room, ben.userUUID, 'rwrw', 3);
    await addMessage(room, ben.userUUID, 'third', 3);
    await migrate();

    expect(await carry()).toEqual({ rooms: 1, messages: 4 });

    expect(await log(room)).toEqual([
      [1, 'member', ana.userUUID],
      [2, 'message', 'first'],
      [3, 'message', 'second'],
      [4, 'message', 'also second'],
      [5, 'member', ben.userUUID],
      [6, 'message', 'third'],
    ]);
    const node = await start();
    const client = await ChatClient.enter(node, ben, room);
    client.say('fourth');
    // Behind the entry that says that he has accepted the rule.
    expect(await client.next()).toMatchObject({ data: { seq: 8, content: 'fourth' } });
    await client.close();
    const { content } = await request(
      node,
      'GET',
      `/rooms/${room}/messages?dateFrom=2021-06-01&dateTo=2021-06-02`,
      { as: ben },
    );
    expect(content).toMatchObject([
      { content: 'first' },
      { content: 'second' },
      { content: 'also second' },
      { content: 'third' },
    ]);
    const list = await request(node, 'GET', '/me/rooms', {
      as: ana,
    });
    expect(list.content).toMatchObject([{ id: room, unread: 1 }]);
    const invited = await request(node, 'PUT', `/rooms/${room}/members`, {
      as: ana,
      body: { userUUID: cleo.userUUID, permissions: 'r', level: 0 },
    });
    expect(invited.status).toBe(201);
  });

  it('are numbered without a gap over several batches, beside others', async () => {
    const [empty, large, small] = [await addRoom({}), await addRoom({}), await addRoom({})];
    await query(
      database.url,
      `INSERT INTO "Messages" (room_id, emitter, content, "createdAt", "updatedAt")
       SELECT CASE WHEN n % 4 = 0 THEN $1::int ELSE $2 END, $3, n, moment, moment
       FROM generate_series(1, $4) AS n,
         LATERAL (SELECT timestamptz '2021-06-01' + n / 3 * interval '1 s' AS moment) AS dated`,
      [small, large, ana.userUUID, MANY],
    );
    for (const room of [empty, large, small]) await addRule(room, ana.userUUID, 'rw', MANY);
    await migrate();
    const progress: number[][] = [];

    const carried = await carry((...done) => progress.push(done));

    expect(carried).toEqual({ rooms: 3, messages: MANY });
    expect(progress.at(-1)).toEqual([MANY, MANY]);
    expect(progress.length).toBeGreaterThan(2);
    const numbers = Array.from({ length: MANY }, (_, n) => n + 1);
    for (const [room, isIn] of [
      [large, (n: number) => n % 4 !== 0],
      [small, (n: number) => n % 4 === 0],
    ] as const) {
      const wanted = numbers.filter((n) => isIn(n));
      const rows = await log(room);
      expect(rows.map(([seq]) => seq)).toEqual(numbers.slice(0, wanted.length + 1));
      expect(rows.slice(0, -1).map(([, , content]) => Number(content))).toEqual(wanted);
      expect(rows.at(-1)).toEqual([wanted.length + 1, 'member', ana.userUUID]);
    }
    expect(await log(empty)).toEqual([[1, 'member', ana.userUUID]]);
  });

  it('are whole after a run that broke off, and come once', async () => {
    const [small, large] = [await addRoom({}), await addRoom({})];
    await addMessage(small, ana.userUUID, 'hi', 1);
    for (const room of [small, large]) await addRule(room, ana.userUUID, 'rw', 0);
    await query(
      database.url,
      `INSERT INTO "Messages" (room_id, emitter, content, "createdAt", "updatedAt")
       SELECT $1, $2, n, timestamptz '2021-06-02' + n * interval '1 s', now() FROM generate_series(1, $3) AS n`,
      [large, ana.userUUID, MANY],
    );
    await migrate();

    const broken = carry((stored) => {
      if (stored > 1) throw new Error('enough');
    });
    await expect(broken).rejects.toThrow('enough');
    expect(await roomIds()).toEqual([small]);
    expect(await carry()).toEqual({ rooms: 1, messages: MANY });
    expect((await log(large)).length).toBe(MANY + 1);

    const node = await start();
    const deleted = await request(node, 'DELETE', `/rooms/${large}`, { as: ana });
    expect(deleted.status).toBe(403);
    await query(database.url, 'DELETE FROM rooms WHERE id = $1', [large]);
    expect(await carry()).toEqual({ rooms: 0, messages: 0 });
    expect(await roomIds()).toEqual([small]);
  });

  it('keep what the new tables are too narrow for as far as they can', async () => {
    const owner = ana.entityUUID;
    const pair = await addRoom({ type: 'user2user', owner });
    const crowd = await addRoom({ type: 'user2user', owner });
    for (const room of [pair, crowd]) {
      await addRule(room, ana.userUUID, 'rwa', 0);
      await addRule(room, owner, 'rw', 0);
      await addRule(room, ben.userUUID, 'xrw', 1);
    }
    await addRule(crowd, cleo.userUUID, 'r', 2);
    const odd = await addRoom({ type: null, owner: null, name: '🎉'.repeat(120) });
    await addRule(odd, ana.userUUID, '', 0);
    await query(
      database.url,
      `INSERT INTO "Messages" (room_id, "createdAt", "updatedAt") VALUES ($1, now(), now())`,
      [odd],
    );
    await migrate();
    await carry();

    const rooms = await query(
      database.url,
      `SELECT type, name, entity_owner, max_entity_rules, head::int, rule_count,
         (SELECT json_object_agg("entity_UUID", permissions) FROM room_permissions WHERE room_id = id) AS rules
       FROM rooms ORDER BY id`,
    );
    expect(rooms).toMatchObject([
      { type: 'user2user', rules: { [ana.userUUID]: 'rwa', [ben.userUUID]: 'rw' } },
      { type: 'group', rules: { [owner]: 'rw', [cleo.userUUID]: 'r' }, rule_count: 4 },
      {
        type: 'group',
        name: '🎉'.repeat(100),
        entity_owner: '00000000-0000-0000-0000-000000000000',
        head: 1,
        rule_count: 0,
        rules: null,
      },
    ]);
    expect(await log(odd)).toEqual([[1, 'message', '']]);
  });

  it('keep their ids free from the migration on', async () => {
    await addRoom({ id: 41 });
    await migrate();
    const node = await start();
    expect(await createRoom(node, ana)).toBe(42);
    await addRoom({ id: 60 });
    await carry();
    expect(await createRoom(node, ana)).toBe(61);
    await addRoom({ id: 61 });
    await expect(carry()).rejects.toThrow('the id or the uuid of the old room 61');
    expect(await roomIds()).toEqual([41, 42, 60, 61]);
  });

  it('have nothing of users who were erased before they came, or while they came', async () => {
    const [first, second] = [await addRoom({}), await addRoom({})];
    for (const room of [first, second]) {
      for (const { userUUID } of [ana, ben, cleo]) await addMessage(room, userUUID, 'sesame', 1);
    }
    await migrate();
    const node = await start();
    async function erase(user: Person): Promise<void> {
      const path = `/users/${user.userUUID}/messages`;
      const { status } = await request(node, 'DELETE', path, { as: person({}, { server: true }) });
      expect([200, 202]).toContain(status);
    }
    await erase(ana);

    let asked: Promise<void> | undefined;
    await carry(() => {
      asked ??= erase(ben);
    });
    await asked;
    // A node that is asked for one looks for all.
    await erase(person());

    await vi.waitFor(
      async () => {
        const rows = await query<{ emitter: string }>(
          database.url,
          `SELECT emitter FROM messages WHERE content = 'sesame'`,
        );
        expect(rows.map(({ emitter }) => emitter)).toEqual([cleo.userUUID, cleo.userUUID]);
      },
      { timeout: 30_000, interval: 200 },
    );
  });

  // Tables that were restored in parts may lack their keys.
  const NO_KEYS = `ALTER TABLE "Messages" DROP CONSTRAINT "Messages_room_id_fkey";
    ALTER TABLE "Room_permissions" DROP CONSTRAINT "Room_permissions_room_id_fkey",
      DROP CONSTRAINT "Room_permissions_pkey";
    ALTER TABLE "Rooms" DROP CONSTRAINT "Rooms_pkey";`;

  it.each([
    [
      'two have the same uuid',
      'UPDATE "Rooms" SET uuid = (SELECT uuid FROM "Rooms" WHERE id = 1)',
      'the old rooms 1 and 2 have the same uuid',
    ],
    [
      'two have the same id',
      `${NO_KEYS} UPDATE "Rooms" SET id = 1`,
      'several old rooms have the id 1',
    ],
    [
      'one has a rule twice',
      `${NO_KEYS} INSERT INTO "Room_permissions" SELECT * FROM "Room_permissions"`,
      `the old room 1 has several rules of ${ana.userUUID}`,
    ],
    [
      'a message is of the future',
      `UPDATE "Messages" SET "createdAt" = '2999-01-01 UTC'`,
      'the old message 1 has the date 2999-01-01',
    ],
    [
      'a message is endless',
      `UPDATE "Messages" SET "createdAt" = 'infinity'`,
      'the old message 1 has the date infinity',
    ],
    [
      'a room is from before the year 1',
      `UPDATE "Rooms" SET "updatedAt" = '0044-03-15 UTC BC' WHERE id = 2`,
      'the old room 2 has the date 0044-03-15',
    ],
    [
      'a rule is of the future',
      `UPDATE "Room_permissions" SET "createdAt" = '2999-01-01 UTC'`,
      `the old rule of ${ana.userUUID} in the room 1 has the date 2999-01-01`,
    ],
  ])('are refused before one is stored, if %s', async (_, statement, problem) => {
    const room = await addRoom({});
    await addRoom({});
    await addRule(room, ana.userUUID, 'rw', 0);
    await addMessage(room, ana.userUUID, 'hi', 1);
    await query(database.url, statement);
    await migrate();

    await expect(carry()).rejects.toThrow(problem);
    expect(await roomIds()).toEqual([]);
    expect(await log(room)).toEqual([]);
  });

  it('keep dates before 1970, and leave out what has no room', async () => {
    const room = await addRoom({});
    const old = '1969-12-31T23:59:59.999Z';
    await query(database.url, NO_KEYS);
    for (const id of [room, room + 1]) {
      await addRule(id, ana.userUUID, 'rw', 0);
      await query(
        database.url,
        `INSERT INTO "Messages" (room_id, content, "createdAt", "updatedAt") VALUES ($1, 'old', $2, now())`,
        [id, old],
      );
    }
    await migrate();

    expect(await carry()).toEqual({ rooms: 1, messages: 1 });

    expect(await roomIds()).toEqual([room]);
    const [row] = await query<{ createdAt: Date }>(
      database.url,
      `SELECT "createdAt" FROM messages WHERE kind = 'message'`,
    );
    expect(row?.createdAt.toISOString()).toBe(old);
  });

  it('never take the place of a room that got the id of one meanwhile', async () => {
    const first = await addRoom({});
    await migrate();
    // The proof of concept goes on.
    const second = await addRoom({});
    for (const room of [first, second]) await addMessage(room, ana.userUUID, 'hi', 1);
    const node = await start();
    let created: Promise<number> | undefined;

    await carry(() => {
      created ??= createRoom(node, ana);
    });

    expect(await created).toBe(second + 1);
    expect(await roomIds()).toEqual([first, second, second + 1]);
  });

  it('are carried over by the command, which knows their migrations', async () => {
    await addMessage(await addRoom({}), ana.userUUID, 'hi', 1);
    await migrate();
    const program = runProgram('src/cli/main.js', {
      args: ['carry-over'],
      env: { DATABASE_URL: database.url },
    });
    const code = await program.exited();
    expect({ code, stdout: program.stdout(), stderr: program.stderr() }).toEqual({
      code: 0,
      stdout: 'carried over: 1 rooms, 1 messages\n',
      stderr: '',
    });
  });
});

it('a database without the old tables is refused', async () => {
  await migrate();
  await expect(carry()).rejects.toThrow('has no tables of the proof of concept');
});

async function migrate(): Promise<void> {
  await migrateFresh({ DATABASE_URL: database.url });
}

function carry(onProgress?: (stored: number, total: number) => void): Promise<CarriedOver> {
  const { database: directAddress } = loadConfig({ DATABASE_URL: database.url });
  if (directAddress === undefined) throw new Error('no address');
  return carryOver({ directAddress }, QUIET, { ...(onProgress && { onProgress }) });
}

async function start(): Promise<TestNode> {
  const node = await startNode({ DATABASE_URL: database.url });
  nodes.push(node);
  return node;
}

async function addRoom({
  id,
  type = 'group',
  owner = ben.entityUUID,
  name = 'old',
}: {
  id?: number;
  type?: string | null;
  owner?: string | null;
  name?: string;
}): Promise<number> {
  const [row] = await query<{ id: number }>(
    database.url,
    `INSERT INTO "Rooms" (id, name, level_admin, type, entity_owner, "createdAt", "updatedAt")
     VALUES (coalesce($1, nextval('"Rooms_id_seq"')), $2, 999, $3, $4, now(), now()) RETURNING id`,
    [id ?? null, name, type, owner],
  );
  return row?.id ?? 0;
}

async function addRule(
  room: number,
  uuid: string,
  permissions: string,
  second: number,
): Promise<void> {
  await query(
    database.url,
    `INSERT INTO "Room_permissions" (room_id, "entity_UUID", level, permissions, "createdAt", "updatedAt")
     VALUES ($1, $2, 0, $3, $4, now())`,
    [room, uuid, permissions, at(second)],
  );
}

async function addMessage(
  room: number,
  emitter: string,
  content: string,
  second: number,
): Promise<void> {
  await query(
    database.url,
    `INSERT INTO "Messages" (room_id, emitter, content, "createdAt", "updatedAt") VALUES ($1, $2, $3, $4, now())`,
    [room, emitter, content, at(second)],
  );
}

function at(second: number): Date {
  return new Date(Date.UTC(2021, 5, 1) + second * 1_000);
}

/** Number, kind, and the text or the rule's UUID of each entry. */
async function log(room: number): Promise<[number, string, string][]> {
  const rows = await query<{ seq: string; kind: string; content: string; emitter: string }>(
    database.url,
    'SELECT seq, kind, content, emitter FROM messages WHERE room_id = $1 ORDER BY seq',
    [room],
  );
  return rows.map(({ seq, kind, content, emitter }) => [
    Number(seq),
    kind,
    kind === 'member' ? emitter : content,
  ]);
}

async function roomIds(): Promise<number[]> {
  const rows = await query<{ id: number }>(database.url, 'SELECT id FROM rooms ORDER BY id');
  return rows.map(({ id }) => id);
}
