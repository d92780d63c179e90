import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import type { Sequelize, Transaction } from 'sequelize';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { lockPair } from '../../src/store/lock-pair.js';
import { createRoom, putRule, request, type Answer } from '../harness/api.js';
import { ChatClient, type ServerFrame } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { query } from '../harness/database.js';
import type { TestNode } from '../harness/node.js';
import { person, type Person } from '../harness/tokens.js';

/** Each is a race; so many take some seconds. */
const ROUNDS = 8;
const FORBIDDEN = { status: 403, meta: { reason: 'FORBIDDEN' } };
const NO_ROOM = 'these users can have no direct room';

let world: ChatWorld;
/** Two nodes that do not hear each other, as if Redis were dead. */
let east: TestNode;
let west: TestNode;

beforeAll(async () => {
  world = await createChatWorld();
  [east, west] = await Promise.all([
    world.start({ REDIS_PREFIX: 'apart-east' }),
    world.start({ REDIS_PREFIX: 'apart-west' }),
  ]);
});
afterAll(() => world.close());

function block(node: TestNode, as: Person, whom: Person): Promise<Answer> {
  return request(node, 'PUT', `/blocks/${whom.userUUID}`, { as });
}

function unblock(node: TestNode, as: Person, whom: Person): Promise<Answer> {
  return request(node, 'DELETE', `/blocks/${whom.userUUID}`, { as });
}

function openDirect(node: TestNode, as: Person, whom: Person): Promise<Answer> {
  return request(node, 'POST', '/rooms', {
    as,
    body: { type: 'user2user', userUUID: whom.userUUID },
  });
}

async function directRoom(as: Person, whom: Person): Promise<number> {
  const { content } = await openDirect(east, as, whom);
  return (content as { room: { id: number } }).room.id;
}

function post(node: TestNode, as: Person, room: number, content: string): Promise<Answer> {
  return request(node, 'POST', `/rooms/${room}/messages`, { as, body: { content } });
}

async function permissionsOf(as: Person, room: number): Promise<string> {
  const { content } = await request(west, 'GET', `/rooms/${room}`, { as });
  return (content as { permissions: string }).permissions;
}

async function entriesOf(as: Person, room: number): Promise<ServerFrame[]> {
  const { content } = await request(east, 'GET', `/rooms/${room}/entries?limit=1000`, { as });
  return content as ServerFrame[];
}

describe('a block that is being made', () => {
  it('holds in a room into which the other is let meanwhile', async () => {
    const [ana, ben] = [person(), person({ levelOnEntity: 999 })];
    const [old, fresh] = [
      await createRoom(east, ben, { type: 'user2user' }),
      await createRoom(east, ben, { type: 'user2user' }),
    ];
    const rule = { userUUID: ana.userUUID, permissions: 'rw' };
    await putRule(east, ben, old, rule);
    const holder = new Client({ connectionString: world.databaseUrl });
    await holder.connect();
    await holder.query('BEGIN');
    await holder.query('SELECT FROM rooms WHERE id = $1 FOR UPDATE', [old]);
    const blocking = block(east, ana, ben);
    const waiting = `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`;
    while ((await query(world.databaseUrl, waiting)).length === 0);

    const letIn = request(west, 'PUT', `/rooms/${fresh}/members`, {
      as: ben,
      body: { ...rule, level: 0 },
    });
    while ((await query(world.databaseUrl, waiting)).length === 1);
    await holder.query('COMMIT');
    await holder.end();

    expect((await blocking).status).toBe(201);
    expect(await letIn).toMatchObject(FORBIDDEN);
    expect(await post(west, ben, old, 'to the old room')).toMatchObject(FORBIDDEN);
  });
});

/** A user2user room of ben into which ana may be let, and a connection in a transaction. */
async function roomAndHolder(): Promise<{
  ana: Person;
  ben: Person;
  room: number;
  holder: Client;
}> {
  const [ana, ben] = [person(), person({ levelOnEntity: 999 })];
  const room = await createRoom(east, ben, { type: 'user2user' });
  const holder = new Client({ connectionString: world.databaseUrl });
  await holder.connect();
  await holder.query('BEGIN');
  return { ana, ben, room, holder };
}

/** Takes the lock of a pair over a connection of the test. */
async function lockPairBy(holder: Client, one: Person, other: Person): Promise<void> {
  const sequelize = {
    query: (text: string, { bind }: { bind: unknown[] }) => holder.query(text, bind),
  } as unknown as Sequelize;
  await lockPair(sequelize, one.userUUID, other.userUUID, undefined as unknown as Transaction);
}

async function untilWaiting(): Promise<void> {
  const waiting = `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`;
  while ((await query(world.databaseUrl, waiting)).length === 0);
}

const LOCK_ROOM = 'SELECT FROM rooms WHERE id = $1 FOR NO KEY UPDATE';

describe('a block and a change of rules that wait for each other', () => {
  it('are both made if Postgres undoes the block', async () => {
    for (let isForced = false; !isForced;) {
      const { ana, ben, room, holder } = await roomAndHolder();
      await putRule(east, ben, room, { userUUID: ana.userUUID, permissions: 'rw' });
      await holder.query(LOCK_ROOM, [room]);
      const blocking = block(east, ana, ben);
      await untilWaiting();
      // Who began to wait first is undone; on a very busy machine that may be this one.
      isForced = await lockPairBy(holder, ana, ben).then(
        () => true,
        () => false,
      );
      await holder.query('COMMIT');
      await holder.end();

      expect((await blocking).status).toBe(201);
      expect(await post(west, ben, room, 'to whom blocks me')).toMatchObject(FORBIDDEN);
    }
  });

  it('are both made if Postgres undoes the change of rules', async () => {
    const { ana, ben, room, holder } = await roomAndHolder();
    await lockPairBy(holder, ana, ben);
    const letIn = putRule(east, ben, room, { userUUID: ana.userUUID, permissions: 'r' });
    await untilWaiting();
    await holder.query(LOCK_ROOM, [room]);
    await holder.query('COMMIT');
    await holder.end();

    expect((await letIn).status).toBe(201);
    expect(await permissionsOf(ana, room)).toBe('r');
  });
});

describe('a blocked user', () => {
  it('writes nothing in the direct room, by REST or socket, on a node that has not heard of it', async () => {
    const [ana, ben] = [person(), person()];
    const room = await directRoom(ana, ben);
    const { content } = await post(east, ana, room, 'of ana');
    const { seq: ofAna } = content as { seq: number };
    const { seq: ofBen } = (await post(west, ben, room, 'of ben')).content as { seq: number };
    const v2 = await ChatClient.enterV2(west, ben, room);
    const v1 = await ChatClient.enter(west, ben, room);

    expect(await block(east, ana, ben)).toMatchObject({
      status: 201,
      content: { userUUID: ben.userUUID },
    });

    v1.say('of v1');
    expect(await v1.next()).toMatchObject({ data: 'NOTAUTHORIZED', room_id: room });
    for (const command of [
      { type: 'message', content: 'of v2' },
      { type: 'edit', target: ofBen, content: 'edited' },
      { type: 'reaction', target: ofAna, emoji: '👍', on: true },
      { type: 'typing' },
    ]) {
      v2.send({ ...command, room_id: room, ref: command.type });
    }
    const answers: ServerFrame[] = [];
    while (answers.length < 4) {
      const frame = await v2.next();
      if (frame.type === 'status') answers.push(frame);
    }
    expect(answers.map(({ data, reason }) => [data, reason])).toEqual(
      Array.from({ length: 4 }, () => ['NOTAUTHORIZED', 'FORBIDDEN']),
    );
    expect(await post(west, ben, room, 'of REST')).toMatchObject(FORBIDDEN);
    const path = `/rooms/${room}/messages/${ofBen}`;
    const edit = await request(west, 'PATCH', path, { as: ben, body: { content: 'edited' } });
    expect(edit).toMatchObject(FORBIDDEN);
    // Their own messages are theirs to delete, and the other may still write.
    expect((await request(west, 'DELETE', path, { as: ben })).status).toBe(200);
    expect((await post(east, ana, room, 'of ana')).status).toBe(201);
    await Promise.all([v1.close(), v2.close()]);
  });

  it('is told so at once in a session of version 2', async () => {
    const [ana, ben] = [person(), person()];
    const room = await directRoom(ana, ben);
    const client = await ChatClient.enterV2(east, ben, room);

    await block(east, ana, ben);
    await unblock(east, ana, ben);

    const frames: ServerFrame[] = [];
    while (frames.filter(({ type }) => type === 'access').length < 2)
      frames.push(await client.next());
    expect(frames.filter(({ type }) => type === 'access').map(({ data }) => data)).toMatchObject([
      { room_id: room, permissions: 'r' },
      { room_id: room, permissions: 'rw' },
    ]);
    await client.close();
  });

  it('gets no number after the block while they send as fast as they can', async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const [ana, ben] = [person(), person()];
      const room = await directRoom(ana, ben);
      const client = await ChatClient.enter(west, ben, room);
      const rest = Array.from({ length: 5 }, (_, n) => post(west, ben, room, `rest ${n}`));
      for (let n = 0; n < 50; n += 1) client.say(`before ${n}`);
      const blocked = block(east, ana, ben);
      for (let n = 0; n < 50; n += 1) client.say(`during ${n}`);
      await Promise.all([blocked, ...rest]);
      client.say('after');
      for (;;) if ((await client.next()).data === 'NOTAUTHORIZED') break;
      await client.close();

      const entries = await entriesOf(ana, room);
      const change = entries.findIndex(
        ({ type, data }) =>
          type === 'member' && (data as { permissions: string }).permissions === 'r',
      );
      expect(change).toBeGreaterThan(0);
      expect(
        entries.slice(change).filter(({ type, data }) => {
          return type === 'message' && (data as { emitter: string }).emitter === ben.userUUID;
        }),
      ).toEqual([]);
    }
  });

  it('is written for by the application, whose server has every right', async () => {
    const [ana, ben] = [person(), person()];
    const room = await directRoom(ana, ben);
    await block(east, ana, ben);

    const sent = await request(west, 'POST', `/rooms/${room}/messages`, {
      as: person({}, { server: true }),
      body: { content: 'of the application', emitter: ben.userUUID },
    });

    expect(sent).toMatchObject({ status: 201, content: { emitter: ben.userUUID } });
  });

  it('writes in groups as before', async () => {
    const [ana, ben] = [person({ levelOnEntity: 999 }), person()];
    const room = await createRoom(east, ana);
    await putRule(east, ana, room, { userUUID: ben.userUUID, permissions: 'rw' });

    await block(east, ana, ben);

    expect((await post(west, ben, room, 'hello')).status).toBe(201);
  });
});

describe('unblocking', () => {
  it('gives back what the block took, and nothing else', async () => {
    const [ana, ben] = [person(), person()];
    const room = await directRoom(ana, ben);
    await block(east, ana, ben);
    // Entering is consent, which changes the rule.
    const client = await ChatClient.enterV2(west, ben, room);
    await client.close();
    expect(await permissionsOf(ben, room)).toBe('r');

    expect((await unblock(west, ana, ben)).status).toBe(200);

    expect(await permissionsOf(ben, room)).toBe('rw');
    expect((await post(west, ben, room, 'again')).status).toBe(201);
  });

  it('of one user leaves the block of the other', async () => {
    const [ana, ben] = [person(), person()];
    const room = await directRoom(ana, ben);
    await Promise.all([block(east, ana, ben), block(west, ben, ana)]);
    expect(await permissionsOf(ana, room)).toBe('r');

    await unblock(east, ana, ben);

    expect(await permissionsOf(ben, room)).toBe('rw');
    expect(await permissionsOf(ana, room)).toBe('r');
    expect(await openDirect(east, ana, ben)).toMatchObject(FORBIDDEN);
  });

  it('restores no rule that was given up, but opening the room does', async () => {
    const [ana, ben] = [person(), person()];
    const room = await directRoom(ana, ben);
    await block(east, ana, ben);
    const left = await request(west, 'DELETE', `/rooms/${room}/members/${ben.userUUID}`, {
      as: ben,
    });
    expect(left.status).toBe(200);

    await unblock(east, ana, ben);

    expect(await request(west, 'GET', `/rooms/${room}`, { as: ben })).toMatchObject(FORBIDDEN);
    expect(await openDirect(west, ben, ana)).toMatchObject({
      status: 200,
      content: { room: { id: room } },
    });
    expect(await permissionsOf(ben, room)).toBe('rw');
  });
});

describe('the direct room of two users, of whom one blocks the other,', () => {
  it('is opened by neither, who are told the same', async () => {
    const [ana, ben] = [person(), person()];
    await block(east, ana, ben);

    for (const answer of [await openDirect(east, ana, ben), await openDirect(west, ben, ana)]) {
      expect(answer).toMatchObject({ ...FORBIDDEN, meta: { detail: NO_ROOM } });
    }
    await unblock(east, ana, ben);
    expect((await openDirect(west, ben, ana)).status).toBe(201);
  });

  it('is opened again by neither, which would restore a rule that was given up', async () => {
    const [ana, ben] = [person(), person()];
    const room = await directRoom(ana, ben);
    await request(east, 'DELETE', `/rooms/${room}/members/${ben.userUUID}`, { as: ben });
    await block(east, ana, ben);

    expect(await openDirect(west, ben, ana)).toMatchObject(FORBIDDEN);
    expect(await openDirect(west, ana, ben)).toMatchObject(FORBIDDEN);

    expect(await request(west, 'GET', `/rooms/${room}`, { as: ben })).toMatchObject(FORBIDDEN);
  });

  it('gives the blocked user nothing to write by, if it is opened at the same time', async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const [ana, ben] = [person(), person()];
      const isNew = round % 2 === 0;
      if (!isNew) {
        const room = await directRoom(ana, ben);
        await request(east, 'DELETE', `/rooms/${room}/members/${ben.userUUID}`, { as: ben });
      }

      const [opened] = await Promise.all([openDirect(west, ben, ana), block(east, ana, ben)]);

      if (isNew && opened.status === 403) continue;
      const rules = await query<{ permissions: string }>(
        world.databaseUrl,
        `SELECT permissions FROM room_permissions JOIN rooms ON id = room_id
         WHERE "entity_UUID" = $1 AND type = 'user2user'`,
        [ben.userUUID],
      );
      for (const { permissions } of rules) expect(permissions).toBe('r');
    }
  });

  it('may be one with an admin, who can put no rule that undoes the block', async () => {
    const [ana, ben, eva] = [person(), person({ levelOnEntity: 999 }), person()];
    const room = await createRoom(east, ben, { type: 'user2user' });
    await putRule(east, ben, room, { userUUID: ana.userUUID, permissions: 'rw' });
    await block(west, ana, ben);
    const rule = { userUUID: ben.userUUID, permissions: 'rwa', level: 999 };

    const put = await putRule(west, ben, room, rule);

    expect(put).toMatchObject({ status: 200, content: { permissions: 'ra' } });
    expect(await post(west, ben, room, 'no')).toMatchObject(FORBIDDEN);
    const { head } = (await request(west, 'GET', `/rooms/${room}`, { as: ben })).content as {
      head: number;
    };
    await putRule(west, ben, room, rule);
    expect(await request(west, 'GET', `/rooms/${room}`, { as: ben })).toMatchObject({
      content: { head },
    });
    await unblock(east, ana, ben);
    expect(await permissionsOf(ben, room)).toBe('rwa');

    await block(east, eva, ben);
    const second = await createRoom(east, ben, { type: 'user2user' });
    const invited = await putRule(east, ben, second, { userUUID: eva.userUUID, permissions: 'rw' });
    expect(invited).toMatchObject({ ...FORBIDDEN, meta: { detail: NO_ROOM } });
    const made = await request(east, 'PUT', `/rooms/${randomUUID()}`, {
      as: ben,
      body: {
        name: 'ours',
        type: 'user2user',
        rules: [{ userUUID: eva.userUUID, permissions: 'rw', level: 0 }],
      },
    });
    expect(made).toMatchObject({ ...FORBIDDEN, meta: { detail: NO_ROOM } });
  });

  it('keeps its rule if that gave nothing but writing', async () => {
    const [ana, ben] = [person({ levelOnEntity: 999 }), person()];
    const room = await createRoom(east, ana, { type: 'user2user' });
    await putRule(east, ana, room, { userUUID: ben.userUUID, permissions: 'w' });

    await block(east, ana, ben);
    expect(await post(west, ben, room, 'no')).toMatchObject(FORBIDDEN);
    await unblock(east, ana, ben);

    expect((await post(west, ben, room, 'yes')).status).toBe(201);
  });
});

describe('/blocks', () => {
  it('lists those whom the caller blocks, page by page', async () => {
    const ana = person();
    const others = Array.from({ length: 3 }, () => person());
    for (const other of others) await block(east, ana, other);
    await block(east, others[0] ?? ana, ana);
    const uuids = others.map(({ userUUID }) => userUUID).toSorted();

    const first = await request(east, 'GET', '/blocks?limit=2', { as: ana });
    const second = await request(east, 'GET', `/blocks${first.meta.next}`, { as: ana });

    const listed = [first, second].map(({ content }) =>
      (content as { userUUID: string }[]).map(({ userUUID }) => userUUID),
    );
    expect(listed).toEqual([uuids.slice(0, 2), uuids.slice(2)]);
    expect(second.meta.next).toBeUndefined();
  });

  it('blocks once, and finds and removes what there is', async () => {
    const [ana, ben] = [person(), person()];
    const path = `/blocks/${ben.userUUID.toUpperCase()}`;
    const none = { status: 404, meta: { reason: 'NOT_FOUND' } };
    expect(await request(east, 'GET', path, { as: ana })).toMatchObject(none);
    expect(await request(east, 'DELETE', path, { as: ana })).toMatchObject(none);

    const first = await request(east, 'PUT', path, { as: ana });
    const again = await request(west, 'PUT', path, { as: ana });

    expect([first.status, again.status]).toEqual([201, 200]);
    expect(again.content).toEqual(first.content);
    expect((await request(east, 'GET', path, { as: ana })).content).toEqual(first.content);
    // The other is told nothing.
    const other = await request(east, 'GET', `/blocks/${ana.userUUID}`, { as: ben });
    expect(other).toMatchObject(none);
    const self = await request(east, 'PUT', `/blocks/${ana.userUUID}`, { as: ana });
    expect(self).toMatchObject({ status: 400, meta: { errors: [{ field: 'uuid' }] } });
  });
});
