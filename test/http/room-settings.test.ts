import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRoom, putRule, request, type Answer } from '../harness/api.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { query } from '../harness/database.js';
import type { TestNode } from '../harness/node.js';
import { person, type Person } from '../harness/tokens.js';

interface RoomContent {
  readonly id: number;
  readonly updatedAt: string;
}

let world: ChatWorld;
let node: TestNode;
/** A second node. */
let elsewhere: TestNode;

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start();
  elsewhere = await world.start();
});
afterAll(() => world.close());

function roomOf({ content }: Answer): RoomContent {
  return (content as { room: RoomContent }).room;
}

/** The entries of a room's log, without their dates. */
function entriesOf(room: number): Promise<{ kind: string; content: string }[]> {
  const sql = 'SELECT kind, content FROM messages WHERE room_id = $1 ORDER BY seq';
  return query(world.databaseUrl, sql, [room]);
}

const TOO_DEEP = { 1: { 2: { 3: { 4: { 5: { 6: { 7: { 8: {} } } } } } } } };
const DEEP = TOO_DEEP[1];

describe('PATCH /rooms/:id', () => {
  function patch(as: Person, room: number | string, body: object): Promise<Answer> {
    return request(node, 'PATCH', `/rooms/${room}`, { as, body });
  }

  it('changes what is given, and is an entry of the log', async () => {
    const ana = person({ levelOnEntity: 100 });
    const room = await createRoom(node, ana);
    const data = { topic: 'a “ñ” 🎈', list: [1, { b: null }], deep: DEEP[2] };

    const changed = await patch(ana, room, { name: 'new', data, level_admin: '7' });

    expect(changed).toMatchObject({
      status: 200,
      content: { room: { id: room, name: 'new', data, level_admin: 7, max_entity_rules: 10 } },
    });
    const again = await patch(ana, room, { max_entity_rules: 3, name: null });
    expect(again.content).toMatchObject({
      room: { name: 'new', data, level_admin: 7, max_entity_rules: 3 },
    });
    const entries = await entriesOf(room);
    expect(entries.map(({ kind }) => kind)).toEqual(['member', 'member', 'room', 'room']);
    expect(JSON.parse(entries[2]?.content ?? '')).toEqual({
      name: 'new',
      data,
      level_admin: 7,
      max_entity_rules: 10,
    });
    expect(JSON.parse(entries[3]?.content ?? '')).toMatchObject({ data, max_entity_rules: 3 });
  });

  it('changes nothing if everything stays', async () => {
    const ana = person({ levelOnEntity: 100 });
    const room = await createRoom(node, ana);
    const first = await patch(ana, room, { data: { a: 1 } });

    const again = await patch(ana, room, { data: { a: 1 }, name: 'a room', level_admin: 999 });

    expect(again.content).toEqual(first.content);
    expect(await patch(ana, room, {})).toMatchObject({ content: first.content as object });
    expect(await entriesOf(room)).toHaveLength(3);
  });

  it('gives and takes the rights of an admin by level_admin, on every node', async () => {
    const ana = person({ levelOnEntity: 100 });
    const chief = person({ entityUUID: ana.entityUUID, levelOnEntity: 500 });
    const room = await createRoom(node, ana, { level_admin: 999 });
    const rule = { userUUID: randomUUID(), permissions: 'r' };
    expect((await putRule(elsewhere, chief, room, rule)).status).toBe(403);

    await patch(ana, room, { level_admin: 500 });
    expect((await putRule(elsewhere, chief, room, rule)).status).toBe(201);

    await patch(ana, room, { level_admin: 501 });
    expect((await putRule(elsewhere, chief, room, { ...rule, level: 1 })).status).toBe(403);
  });

  it('is for admins', async () => {
    const ana = person({ levelOnEntity: 100 });
    const room = await createRoom(node, ana);
    const ben = person();
    await putRule(node, ana, room, { userUUID: ben.userUUID, permissions: 'rw' });

    expect(await patch(ben, room, { name: 'mine' })).toMatchObject({
      status: 403,
      meta: { reason: 'FORBIDDEN' },
    });
    expect((await patch(ana, 2_147_483_647, { name: 'a' })).status).toBe(404);
    expect((await patch(ana, randomUUID(), { name: 'a' })).status).toBe(404);
  });

  it.each([
    [{ name: '' }, 'name'],
    [{ name: 'x'.repeat(101) }, 'name'],
    [{ level_admin: 1001 }, 'level_admin'],
    [{ max_entity_rules: 0 }, 'max_entity_rules'],
    [{ data: [] }, 'data'],
    [{ data: 'a' }, 'data'],
    [{ data: { a: 'x'.repeat(4089) } }, 'data'],
    [{ data: { a: '\u0000' } }, 'data'],
    [{ data: { 'a\u0000': [1] } }, 'data'],
    [{ data: { a: ['\u0000'] } }, 'data'],
    [{ data: TOO_DEEP }, 'data'],
    [{ type: 'group' }, 'type'],
  ])('answers 400 to %j and names the field', async (body, field) => {
    const ana = person({ levelOnEntity: 100 });
    const room = await createRoom(node, ana);
    const answer = await patch(ana, room, body);
    expect(answer).toMatchObject({ status: 400, meta: { reason: 'INVALID' } });
    expect(answer.meta.errors?.map((error) => error.field)).toEqual([field]);
    expect(await entriesOf(room)).toHaveLength(2);
  });

  it('takes data of exactly 4096 bytes, and 8 levels', async () => {
    const ana = person({ levelOnEntity: 100 });
    const room = await createRoom(node, ana);
    for (const data of [{ a: 'x'.repeat(4088) }, { a: 'ñ'.repeat(2044) }, DEEP, {}]) {
      expect(await patch(ana, room, { data })).toMatchObject({ content: { room: { data } } });
    }
  });
});

describe('PUT /rooms/:uuid', () => {
  function put(as: Person, uuid: string, body: object, on = node): Promise<Answer> {
    const room = { name: 'order 4711', type: 'group', ...body };
    return request(on, 'PUT', `/rooms/${uuid}`, { as, body: room });
  }

  it('makes the room anew if it is deleted at the same time', async () => {
    const ana = person({ levelOnEntity: 200 });
    for (let race = 0; race < 20; race += 1) {
      const uuid = randomUUID();
      await put(ana, uuid, {});
      const [changed] = await Promise.all([
        put(ana, uuid, { name: 'new' }, elsewhere),
        request(node, 'DELETE', `/rooms/${uuid}`, { as: ana }),
      ]);
      expect([200, 201]).toContain(changed.status);
    }
  });

  it('makes a room, and the same again changes nothing', async () => {
    const ana = person({ levelOnEntity: 200 });
    const ben = person();
    const uuid = randomUUID();
    const body = {
      data: { order: 4711 },
      rules: [{ userUUID: ben.userUUID, permissions: 'rw', level: 0 }],
    };

    const made = await put(ana, uuid.toUpperCase(), body);

    expect(made).toMatchObject({ status: 201, meta: { code: 201 } });
    expect(made.content).toEqual({
      room: {
        id: expect.any(Number),
        uuid,
        name: 'order 4711',
        type: 'group',
        level_admin: 100,
        entity_owner: ana.entityUUID,
        max_entity_rules: 10,
        createdAt: expect.any(String),
        updatedAt: expect.any(String),
        data: { order: 4711 },
      },
    });
    const entries = await entriesOf(roomOf(made).id);
    expect(entries.map(({ content }) => JSON.parse(content) as unknown)).toMatchObject([
      { entity_UUID: ana.userUUID, permissions: 'rwa', level: 200, accepted: true },
      { entity_UUID: ana.entityUUID, permissions: 'rw', level: 100, accepted: true },
      { entity_UUID: ben.userUUID, permissions: 'rw', level: 0, accepted: false },
    ]);
    const again = await put(ana, uuid, body, elsewhere);
    expect(again).toMatchObject({ status: 200, content: made.content as object });
    expect(await entriesOf(roomOf(made).id)).toEqual(entries);
  });

  it('changes a room, and puts rules; others and what is left out stay', async () => {
    const ana = person({ levelOnEntity: 100 });
    const [ben, cai] = [person(), person()];
    const uuid = randomUUID();
    const rule = { permissions: 'rw', level: 0 };
    const made = await put(ana, uuid, {
      data: { a: 1 },
      level_admin: 50,
      rules: [{ userUUID: ben.userUUID, ...rule }],
    });
    await request(node, 'PUT', `/rooms/${uuid}/invitation`, { as: ben, body: { accepted: true } });
    const before = await entriesOf(roomOf(made).id);

    const changed = await put(ana, uuid, {
      name: 'renamed',
      rules: [
        { userUUID: cai.userUUID, ...rule },
        { userUUID: ben.userUUID, ...rule, permissions: 'r' },
      ],
    });

    expect(changed).toMatchObject({
      status: 200,
      content: { room: { name: 'renamed', data: { a: 1 }, level_admin: 50 } },
    });
    const entries = await entriesOf(roomOf(made).id);
    expect(
      entries.slice(before.length).map(({ content }) => JSON.parse(content) as unknown),
    ).toEqual([
      { name: 'renamed', data: { a: 1 }, level_admin: 50, max_entity_rules: 10 },
      { entity_UUID: cai.userUUID, ...rule, accepted: false },
      { entity_UUID: ben.userUUID, ...rule, permissions: 'r', accepted: true },
    ]);
  });

  it('makes one room if many ask for it at once, on two nodes', async () => {
    const ana = person({ levelOnEntity: 100 });
    const uuid = randomUUID();

    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, n) => put(ana, uuid, {}, n % 2 === 0 ? node : elsewhere)),
    );

    expect(answers.filter(({ status }) => status === 201)).toHaveLength(1);
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(7);
    expect(new Set(answers.map((answer) => roomOf(answer).id)).size).toBe(1);
  });

  it('makes another room under the uuid of a deleted one, which every node finds', async () => {
    const ana = person({ levelOnEntity: 100 });
    const uuid = randomUUID();
    const first = await put(ana, uuid, {});
    await request(elsewhere, 'GET', `/rooms/${uuid}/messages?limit=1`, { as: ana });
    await request(node, 'DELETE', `/rooms/${uuid}`, { as: ana });

    const second = await put(ana, uuid, {});

    expect(second.status).toBe(201);
    expect(roomOf(second).id).not.toBe(roomOf(first).id);
    const read = await request(elsewhere, 'GET', `/rooms/${uuid}/messages?limit=1`, { as: ana });
    expect(read.status).toBe(200);
  });

  it('never takes over a room of another entity', async () => {
    const ana = person({ levelOnEntity: 999 });
    const thief = person({ levelOnEntity: 999 });
    const uuid = randomUUID();
    const made = await put(ana, uuid, {});
    // Not even as an admin of it.
    await putRule(node, ana, roomOf(made).id, { userUUID: thief.userUUID, permissions: 'rwa' });

    const answer = await put(thief, uuid, { name: 'mine' });

    expect(answer).toMatchObject({ status: 403, meta: { reason: 'FORBIDDEN' } });
    expect(await put(ana, uuid, {})).toMatchObject({ content: made.content as object });
  });

  it('needs a level of 100, and an admin of a room that exists', async () => {
    const ana = person({ levelOnEntity: 500 });
    const uuid = randomUUID();
    const below = person({ entityUUID: ana.entityUUID, levelOnEntity: 99 });
    expect((await put(below, uuid, {})).status).toBe(403);
    await put(ana, uuid, { level_admin: 500 });

    const colleague = person({ entityUUID: ana.entityUUID, levelOnEntity: 499 });
    const answer = await put(colleague, uuid, { name: 'mine' });

    expect(answer).toMatchObject({ status: 403, meta: { reason: 'FORBIDDEN' } });
  });

  it('does all of it or nothing', async () => {
    const ana = person({ levelOnEntity: 100 });
    const uuid = randomUUID();
    const rule = { permissions: 'rw', level: 0 };
    const outranked = { userUUID: randomUUID(), permissions: 'rwa', level: 101 };
    const refused = await put(ana, uuid, {
      rules: [{ userUUID: randomUUID(), ...rule }, outranked],
    });
    expect(refused).toMatchObject({ status: 403, meta: { reason: 'OUTRANKED' } });

    const made = await put(ana, uuid, {});
    expect(made.status).toBe(201);
    const again = await put(ana, uuid, {
      name: 'renamed',
      rules: [{ userUUID: randomUUID(), ...rule }, outranked],
    });
    expect(again).toMatchObject({ status: 403, meta: { reason: 'OUTRANKED' } });
    expect(await entriesOf(roomOf(made).id)).toHaveLength(2);
    const many = Array.from({ length: 9 }, () => ({ userUUID: randomUUID(), ...rule }));
    const crowded = await put(ana, uuid, { rules: many });
    expect(crowded).toMatchObject({ status: 403, meta: { reason: 'TOO_MANY_RULES' } });
    const raised = await put(ana, uuid, { rules: many, max_entity_rules: 11 });
    expect(raised.status).toBe(200);
    expect(await entriesOf(roomOf(made).id)).toHaveLength(2 + 1 + 9);
  });

  it.each([
    [{ type: 'user2user' }, 'type'],
    [{ type: 'club' }, 'type'],
    [{ name: null }, 'name'],
    [{ rules: {} }, 'rules'],
    [{ rules: [{ userUUID: 'ben', permissions: 'r', level: 0 }] }, 'rules.0.userUUID'],
    [{ uuid: randomUUID() }, 'uuid'],
  ])('answers 400 to %j for a group, and names the field', async (body, field) => {
    const ana = person({ levelOnEntity: 100 });
    const uuid = randomUUID();
    await put(ana, uuid, {});
    const answer = await put(ana, uuid, body);
    expect(answer).toMatchObject({ status: 400, meta: { reason: 'INVALID' } });
    expect(answer.meta.errors?.map((error) => error.field)).toEqual([field]);
  });

  it('answers 400 to a path that is no uuid', async () => {
    const answer = await put(person({ levelOnEntity: 100 }), '1', {});
    expect(answer.meta.errors?.map((error) => error.field)).toEqual(['uuid']);
  });
});

describe('POST /rooms with a userUUID', () => {
  function open(as: Person, other: string, on = node): Promise<Answer> {
    return request(on, 'POST', '/rooms', { as, body: { type: 'user2user', userUUID: other } });
  }

  function rulesOf(room: number): Promise<object[]> {
    const sql = `SELECT "entity_UUID", permissions, accepted, since::int FROM room_permissions
                 WHERE room_id = $1 ORDER BY since`;
    return query(world.databaseUrl, sql, [room]);
  }

  it('makes one room of two users, whoever opens it', async () => {
    const [ana, ben] = [person(), person()];

    const made = await open(ana, ben.userUUID.toUpperCase());

    expect(made).toMatchObject({
      status: 201,
      content: { room: { name: '', type: 'user2user', entity_owner: ana.entityUUID } },
    });
    const { id } = roomOf(made);
    expect(await rulesOf(id)).toEqual([
      { entity_UUID: ana.userUUID, permissions: 'rw', accepted: true, since: 1 },
      { entity_UUID: ben.userUUID, permissions: 'rw', accepted: false, since: 2 },
    ]);
    for (const [as, other] of [
      [ana, ben],
      [ben, ana],
    ] as const) {
      const found = await open(as, other.userUUID, elsewhere);
      expect(found).toMatchObject({ status: 200, content: { room: { id } } });
    }
    // Opening is consent.
    expect(await rulesOf(id)).toMatchObject([{ accepted: true }, { accepted: true }]);
    expect(roomOf(await open(ana, person().userUUID)).id).not.toBe(id);
  });

  it('makes one room if both open it at once, on two nodes', async () => {
    const [ana, ben] = [person(), person()];

    const answers = await Promise.all(
      Array.from({ length: 4 }, () => [
        open(ana, ben.userUUID),
        open(ben, ana.userUUID, elsewhere),
      ]).flat(),
    );

    expect(new Set(answers.map((answer) => roomOf(answer).id)).size).toBe(1);
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(1);
  });

  it('restores a rule that was given up, as a new one', async () => {
    const [ana, ben] = [person(), person()];
    const { id } = roomOf(await open(ana, ben.userUUID));
    await request(node, 'DELETE', `/rooms/${id}/members/${ben.userUUID}`, { as: ben });

    expect((await open(ana, ben.userUUID)).status).toBe(200);

    expect(await rulesOf(id)).toEqual([
      { entity_UUID: ana.userUUID, permissions: 'rw', accepted: true, since: 1 },
      { entity_UUID: ben.userUUID, permissions: 'rw', accepted: false, since: 4 },
    ]);
  });

  it('lets nobody else in, and lets neither of them delete it', async () => {
    const [ana, ben] = [person({ levelOnEntity: 1_000 }), person()];
    const { id } = roomOf(await open(ana, ben.userUUID));
    await request(node, 'DELETE', `/rooms/${id}/members/${ben.userUUID}`, { as: ben });

    for (const [method, path, body] of [
      ['PUT', `/rooms/${id}/members`, { userUUID: randomUUID(), permissions: 'r', level: 0 }],
      ['PATCH', `/rooms/${id}`, { name: 'ours' }],
      ['DELETE', `/rooms/${id}`, undefined],
    ] as const) {
      const answer = await request(node, method, path, { as: ana, body });
      expect(answer).toMatchObject({ status: 403, meta: { reason: 'FORBIDDEN' } });
    }
  });

  it('needs the level DIRECT_ROOM_LEVEL', async () => {
    const strict = await world.start({ DIRECT_ROOM_LEVEL: '50' });

    expect((await open(person({ levelOnEntity: 49 }), randomUUID(), strict)).status).toBe(403);
    expect((await open(person({ levelOnEntity: 50 }), randomUUID(), strict)).status).toBe(201);
  });

  it.each([
    [{ type: 'group' }, ['type']],
    [{ userUUID: 'ben' }, ['userUUID']],
    [{ name: 'us' }, ['name']],
    [{ level_admin: 1 }, ['level_admin']],
    // A body of version 1.
    [{ userUUID: null }, ['name', 'level_admin']],
  ])('answers 400 to %j and names the field', async (wrong, fields) => {
    const body = { type: 'user2user', userUUID: randomUUID(), ...wrong };
    const answer = await request(node, 'POST', '/rooms', { as: person(), body });
    expect(answer).toMatchObject({ status: 400, meta: { reason: 'INVALID' } });
    expect(answer.meta.errors?.map((error) => error.field)).toEqual(fields);
  });

  it('answers 400 to a room of one user', async () => {
    const ana = person();
    const answer = await open(ana, ana.userUUID);
    expect(answer.meta.errors?.map((error) => error.field)).toEqual(['userUUID']);
  });
});
