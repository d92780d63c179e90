import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRoom, putRule, request } from '../harness/api.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { person } from '../harness/tokens.js';

let world: ChatWorld;
let node: TestNode;

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start();
});
afterAll(() => world.close());

describe('POST /rooms', () => {
  it('creates a room, also with numbers as strings, and the rules of creator and entity', async () => {
    const ana = person({ levelOnEntity: 321 });
    const answer = await request(node, 'POST', '/rooms', {
      as: ana,
      body: { name: 'the room', level_admin: '999', type: 'group' },
    });
    expect(answer.status).toBe(200);
    expect(answer.content).toEqual({
      room: {
        id: expect.any(Number),
        uuid: expect.stringMatching(/^[0-9a-f-]{36}$/),
        name: 'the room',
        type: 'group',
        level_admin: 999,
        entity_owner: ana.entityUUID,
        max_entity_rules: 10,
        createdAt: expect.any(String),
        updatedAt: expect.any(String),
      },
    });
    const rules = await request(node, 'GET', '/rooms', { as: ana });
    expect(rules.content).toMatchObject([
      { name: 'the room', entity_UUID: ana.userUUID, level: 321, permissions: 'rwa' },
    ]);
    const colleague = person({ entityUUID: ana.entityUUID, levelOnEntity: 100 });
    const theirs = await request(node, 'GET', '/rooms', { as: colleague });
    expect(theirs.content).toMatchObject([
      { name: 'the room', entity_UUID: ana.entityUUID, level: 100, permissions: 'rw' },
    ]);
  });

  it('creates one rule for a user2user room, and if both UUIDs are equal', async () => {
    const uuid = randomUUID();
    const same = person({ userUUID: uuid, entityUUID: uuid, levelOnEntity: 100 });
    await createRoom(node, same);
    expect((await request(node, 'GET', '/rooms', { as: same })).content).toHaveLength(1);
    const ana = person({ levelOnEntity: 100 });
    await createRoom(node, ana, { type: 'user2user' });
    expect((await request(node, 'GET', '/rooms', { as: ana })).content).toHaveLength(1);
  });

  it('needs a level of 100 or more', async () => {
    const body = { name: 'a', level_admin: 1, type: 'group' };
    const refused = await request(node, 'POST', '/rooms', {
      as: person({ levelOnEntity: 99 }),
      body,
    });
    expect(refused).toMatchObject({ status: 403, meta: { reason: 'FORBIDDEN' }, content: {} });
  });

  it.each([
    [{ name: '' }, 'name'],
    [{ name: 'x'.repeat(101) }, 'name'],
    [{ level_admin: 1001 }, 'level_admin'],
    [{ level_admin: -1 }, 'level_admin'],
    [{ level_admin: '1e3' }, 'level_admin'],
    [{ type: 'party' }, 'type'],
    [{ max_entity_rules: 0 }, 'max_entity_rules'],
    [{ colour: 'red' }, 'colour'],
  ])('answers 400 to %j and names the field', async (wrong, field) => {
    const answer = await request(node, 'POST', '/rooms', {
      as: person({ levelOnEntity: 100 }),
      body: { name: 'a', level_admin: 1, type: 'group', ...wrong },
    });
    expect(answer.status).toBe(400);
    expect(answer.meta.reason).toBe('INVALID');
    expect(answer.meta.errors?.map((error) => error.field)).toEqual([field]);
  });
});

describe('GET /rooms', () => {
  it('lists each room once, with the caller’s rule or their entity’s, paged and filtered', async () => {
    const ana = person({ levelOnEntity: 100 });
    const ben = person({ entityUUID: ana.entityUUID, levelOnEntity: 100 });
    const rooms = [];
    for (let i = 0; i < 3; i += 1) rooms.push(await createRoom(node, ana));
    await putRule(node, ana, rooms[0] ?? 0, { userUUID: ben.userUUID, permissions: 'r' });

    const all = await request(node, 'GET', '/rooms', { as: ben });
    expect(all.content).toMatchObject([
      { id: rooms[2], entity_UUID: ana.entityUUID },
      { id: rooms[1], entity_UUID: ana.entityUUID },
      { id: rooms[0], entity_UUID: ben.userUUID },
    ]);
    const own = await request(node, 'GET', '/rooms?accepted=false', { as: ben });
    expect(own.content).toEqual([
      {
        id: rooms[0],
        uuid: expect.any(String),
        name: 'a room',
        type: 'group',
        level_admin: 999,
        entity_owner: ana.entityUUID,
        room_id: rooms[0],
        entity_UUID: ben.userUUID,
        level: 0,
        permissions: 'r',
        accepted: false,
        createdAt: expect.any(String),
        updatedAt: expect.any(String),
      },
    ]);
    const pages = await Promise.all(
      [0, 2].map((offset) => request(node, 'GET', `/rooms?limit=2&offset=${offset}`, { as: ben })),
    );
    expect(pages.flatMap((page) => page.content)).toEqual(all.content);
  });
});

describe('GET /rooms/all', () => {
  it('lists the rooms that the caller may read, and the group rooms of their entity', async () => {
    const ana = person({ levelOnEntity: 100 });
    const ben = person();
    const colleague = person({ entityUUID: ana.entityUUID, levelOnEntity: 0 });
    const room = await createRoom(node, ana);
    const pair = await createRoom(node, ana, { type: 'user2user' });
    await putRule(node, ana, pair, { userUUID: ben.userUUID, permissions: 'rw' });
    const ids = async (who: typeof ana): Promise<number[]> => {
      const answer = await request(node, 'GET', '/rooms/all', { as: who });
      return (answer.content as { id: number }[]).map(({ id }) => id);
    };
    expect(await ids(ana)).toEqual([room, pair]);
    expect(await ids(ben)).toEqual([pair]);
    expect(await ids(colleague)).toEqual([room]);
    await putRule(node, ana, room, { userUUID: colleague.userUUID, permissions: 'b' });
    expect(await ids(colleague)).toEqual([]);
  });

  it('gives each room as it was created', async () => {
    const ana = person({ levelOnEntity: 100 });
    const body = { name: 'the room', level_admin: 7, type: 'group', max_entity_rules: 3 };
    const created = await request(node, 'POST', '/rooms', { as: ana, body });

    const listed = await request(node, 'GET', '/rooms/all', { as: ana });

    expect(listed.content).toEqual([(created.content as { room: object }).room]);
  });
});

describe('a room in a path', () => {
  it('may be named by its uuid, in every route', async () => {
    const ana = person({ levelOnEntity: 100 });
    const ben = person();
    const body = { name: 'the room', level_admin: 1, type: 'group' };
    const created = await request(node, 'POST', '/rooms', { as: ana, body });
    const { uuid } = (created.content as { room: { uuid: string } }).room;
    const rule = { userUUID: ben.userUUID, permissions: 'r', level: 0 };

    for (const [method, path, as, sent] of [
      ['PUT', `/rooms/${uuid}/members`, ana, rule],
      ['PUT', `/rooms/${uuid.toUpperCase()}/invitation`, ben, { accepted: true }],
      ['GET', `/rooms/${uuid}/messages?limit=1`, ben, undefined],
      ['DELETE', `/rooms/${uuid}/members/${ben.userUUID}`, ben, undefined],
      ['DELETE', `/rooms/${uuid}`, ana, undefined],
    ] as const) {
      const answer = await request(node, method, path, { as, body: sent });
      expect([path, answer.meta.reason]).toEqual([path, undefined]);
    }
    const gone = await request(node, 'DELETE', `/rooms/${uuid}`, { as: ana });
    expect(gone).toMatchObject({ status: 404, meta: { reason: 'NOT_FOUND' } });
  });
});

describe('DELETE /rooms/:id', () => {
  it('lets admins delete a room with all its rules and messages', async () => {
    const ana = person({ levelOnEntity: 100 });
    const ben = person();
    const room = await createRoom(node, ana);
    await putRule(node, ana, room, { userUUID: ben.userUUID, permissions: 'rw' });
    expect((await request(node, 'DELETE', `/rooms/${room}`, { as: ben })).status).toBe(403);
    expect((await request(node, 'DELETE', `/rooms/${room}`, { as: ana })).status).toBe(200);
    expect((await request(node, 'DELETE', `/rooms/${room}`, { as: ana })).status).toBe(404);
    const messages = await request(node, 'GET', `/rooms/${room}/messages`, { as: ana });
    expect(messages.status).toBe(404);
    expect((await request(node, 'GET', '/rooms', { as: ben })).content).toEqual([]);
  });

  it('lets members of the owning entity delete it from level_admin on', async () => {
    const ana = person({ levelOnEntity: 100 });
    const chief = person({ entityUUID: ana.entityUUID, levelOnEntity: 500 });
    const room = await createRoom(node, ana, { level_admin: 500 });
    const below = person({ ...chief, levelOnEntity: 499 });
    expect((await request(node, 'DELETE', `/rooms/${room}`, { as: below })).status).toBe(403);
    expect((await request(node, 'DELETE', `/rooms/${room}`, { as: chief })).status).toBe(200);
  });
});
