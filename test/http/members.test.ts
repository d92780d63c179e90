import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRoom, putRule, request, type Answer } from '../harness/api.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { eventually } from '../harness/eventually.js';
import { person, type Person } from '../harness/tokens.js';

let world: ChatWorld;
let node: TestNode;
const ana = person({ levelOnEntity: 200 });

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start();
});
afterAll(() => world.close());

function remove(as: Person, room: number, uuid: string): Promise<Answer> {
  return request(node, 'DELETE', `/rooms/${room}/members/${uuid}`, { as });
}

describe('GET /rooms/:id/members', () => {
  function list(as: Person, room: number, parameters = ''): Promise<Answer> {
    return request(node, 'GET', `/rooms/${room}/members${parameters}`, { as });
  }

  it('lists the rules in the order of their UUIDs, with names, in pages', async () => {
    const room = await createRoom(node, ana);
    const named = person({}, { name: 'Ben', picture: 'https://example.com/ben.png' });
    await putRule(node, ana, room, { userUUID: named.userUUID, permissions: 'r', level: 3 });
    await putRule(node, ana, room, { userUUID: randomUUID(), permissions: 'w' });
    await eventually(async () => {
      expect((await list(named, room)).content).toContainEqual({
        room_id: room,
        entity_UUID: named.userUUID,
        level: 3,
        permissions: 'r',
        accepted: false,
        createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]{12}Z$/) as string,
        updatedAt: expect.any(String) as string,
        name: 'Ben',
        picture: 'https://example.com/ben.png',
        online: false,
      });
    });

    const all = (await list(named, room)).content as { entity_UUID: string; name: unknown }[];
    expect(all).toHaveLength(4);
    const uuids = all.map(({ entity_UUID }) => entity_UUID);
    expect(uuids).toEqual(uuids.toSorted());
    expect(all.find(({ entity_UUID }) => entity_UUID === ana.entityUUID)?.name).toBeNull();
    const paged: unknown[] = [];
    let next: string | undefined = '?limit=3';
    for (; next !== undefined;) {
      const page: Answer = await list(named, room, next);
      paged.push(page.content);
      next = page.meta.next;
    }
    expect(paged).toEqual([all.slice(0, 3), all.slice(3)]);
    expect((await list(named, room, '?limit=4')).meta.next).toBeUndefined();
  });

  it('needs the permission `r`', async () => {
    const room = await createRoom(node, ana);
    const writer = person();
    await putRule(node, ana, room, { userUUID: writer.userUUID, permissions: 'w' });
    const owner = person({ entityUUID: ana.entityUUID, levelOnEntity: 0 });

    for (const who of [writer, owner, person()]) {
      expect(await list(who, room)).toMatchObject({ status: 403, meta: { reason: 'FORBIDDEN' } });
    }
    expect((await list(ana, 2_147_483_647)).status).toBe(404);
  });

  it.each(['?limit=0', '?limit=1001', '?cursor=', '?cursor=a', '?cursor=WyJhIl0', '?cursor=WzFd'])(
    'answers 400 to %s',
    async (parameters) => {
      const room = await createRoom(node, ana);
      const answer = await list(ana, room, parameters);
      expect(answer).toMatchObject({ status: 400, meta: { reason: 'INVALID' } });
    },
  );
});

describe('PUT /rooms/:id/members', () => {
  it('answers 201 with a new rule and 200 with a changed one', async () => {
    const ben = person();
    const room = await createRoom(node, ana);
    const added = await request(node, 'PUT', `/rooms/${room}/members`, {
      as: ana,
      body: { userUUID: ben.userUUID.toUpperCase(), permissions: 'rw', level: '100' },
    });
    expect(added).toMatchObject({
      status: 201,
      content: {
        room_id: room,
        entity_UUID: ben.userUUID,
        permissions: 'rw',
        level: 100,
        accepted: false,
      },
    });
    const changed = await putRule(node, ana, room, { userUUID: ben.userUUID, permissions: 'r' });
    expect(changed).toMatchObject({ status: 200, content: { permissions: 'r', level: 0 } });
  });

  it.each(['userUUID', 'entity_UUID', 'entityUUID'])('accepts the UUID as %s', async (field) => {
    const room = await createRoom(node, ana);
    const body = { userUUID: '', [field]: randomUUID(), permissions: 'rw', level: 100 };
    const answer = await request(node, 'PUT', `/rooms/${room}/members`, { as: ana, body });
    expect(answer).toMatchObject({ status: 201, content: { entity_UUID: body[field] } });
  });

  it.each([
    { userUUID: 'nobody', permissions: 'rw', level: 1 },
    { permissions: 'rw', level: 1 },
    { userUUID: randomUUID(), entity_UUID: randomUUID(), permissions: 'rw', level: 1 },
    { userUUID: randomUUID(), permissions: 'rr', level: 1 },
    { userUUID: randomUUID(), permissions: 'x', level: 1 },
    { userUUID: randomUUID(), permissions: '', level: 1 },
    { userUUID: randomUUID(), permissions: 'rw', level: -1 },
    { userUUID: randomUUID(), permissions: 'rw', level: 3_000_000_000 },
    { userUUID: randomUUID(), permissions: 'rw' },
  ])('answers 400 to %j', async (body) => {
    const room = await createRoom(node, ana);
    const answer = await request(node, 'PUT', `/rooms/${room}/members`, { as: ana, body });
    expect(answer).toMatchObject({ status: 400, meta: { reason: 'INVALID' } });
  });

  it('is for admins, by `a` or by the owning entity', async () => {
    const room = await createRoom(node, ana, { level_admin: 300 });
    const ben = person();
    const rule = { userUUID: randomUUID(), permissions: 'r' };
    expect((await putRule(node, ben, room, rule)).status).toBe(403);
    await putRule(node, ana, room, { userUUID: ben.userUUID, permissions: 'rwa' });
    expect((await putRule(node, ben, room, rule)).status).toBe(201);
    const chief = person({ entityUUID: ana.entityUUID, levelOnEntity: 300 });
    expect((await putRule(node, chief, room, { ...rule, permissions: 'rw' })).status).toBe(200);
    expect((await putRule(node, ana, 2_000_000_000, rule)).status).toBe(404);
  });

  it('refuses more rules than the room may have, and never a change', async () => {
    const room = await createRoom(node, ana, { max_entity_rules: 3 });
    const third = { userUUID: randomUUID(), permissions: 'r' };
    expect((await putRule(node, ana, room, third)).status).toBe(201);
    const fourth = await putRule(node, ana, room, { userUUID: randomUUID(), permissions: 'r' });
    expect(fourth).toMatchObject({ status: 403, meta: { reason: 'TOO_MANY_RULES' } });
    expect((await putRule(node, ana, room, { ...third, permissions: 'rw' })).status).toBe(200);
  });

  it('refuses a third user in a user2user room', async () => {
    const room = await createRoom(node, ana, { type: 'user2user' });
    const second = await putRule(node, ana, room, { userUUID: randomUUID(), permissions: 'rw' });
    expect(second.status).toBe(201);
    const third = await putRule(node, ana, room, { userUUID: randomUUID(), permissions: 'rw' });
    expect(third).toMatchObject({ status: 403, meta: { reason: 'ROOM_FULL' } });
  });

  it('lets nobody grant `a` above their rank, or change a rule with `a` that outranks them', async () => {
    const room = await createRoom(node, ana, { level_admin: 1000 });
    const ben = person();
    await putRule(node, ana, room, { userUUID: ben.userUUID, permissions: 'rwa', level: 50 });
    const outranked = { status: 403, meta: { reason: 'OUTRANKED' } };
    const newcomer = { userUUID: randomUUID(), permissions: 'rwa' };
    expect(await putRule(node, ben, room, { ...newcomer, level: 51 })).toMatchObject(outranked);
    expect((await putRule(node, ben, room, { ...newcomer, level: 50 })).status).toBe(201);
    const ban = { userUUID: ana.userUUID, permissions: 'b' };
    expect(await putRule(node, ben, room, ban)).toMatchObject(outranked);
    expect(await remove(ben, room, ana.userUUID)).toMatchObject(outranked);
  });

  it('lets an admin invite, change and remove users at a level above their own, as clients of the first server do', async () => {
    const host = person({ levelOnEntity: 100 });
    const guest = person({ entityUUID: host.entityUUID, levelOnEntity: 100 });
    const room = await createRoom(node, host);
    const invite = (permissions: string) =>
      request(node, 'PUT', `/rooms/${room}/members`, {
        as: host,
        body: { userUUID: guest.userUUID, permissions, level: '999' },
      });

    expect(await invite('rw')).toMatchObject({ status: 201, content: { level: 999 } });
    expect((await invite('b')).status).toBe(200);
    expect(await invite('rwa')).toMatchObject({ status: 403, meta: { reason: 'OUTRANKED' } });
    expect((await remove(host, room, guest.userUUID)).status).toBe(200);
  });
});

describe('DELETE /rooms/:id/members/:uuid', () => {
  it('is for admins and the member, needs no body, and answers 404 without a rule', async () => {
    const [ben, eve] = [person(), person()];
    const room = await createRoom(node, ana);
    await putRule(node, ana, room, { userUUID: ben.userUUID, permissions: 'rw' });
    expect((await remove(eve, room, ben.userUUID)).status).toBe(403);
    expect((await remove(ben, room, ben.userUUID)).status).toBe(200);
    expect((await remove(ana, room, ben.userUUID)).status).toBe(404);
    expect((await remove(ana, room, 'nobody')).status).toBe(400);
  });

  it('refuses a banned member', async () => {
    const ben = person();
    const room = await createRoom(node, ana);
    await putRule(node, ana, room, { userUUID: ben.userUUID, permissions: 'rwab' });
    expect((await remove(ben, room, ben.userUUID)).status).toBe(403);
    expect((await remove(ana, room, ben.userUUID)).status).toBe(200);
  });
});

describe('PUT /rooms/:id/invitation', () => {
  function answerInvitation(as: Person, room: number, body: object): Promise<Answer> {
    return request(node, 'PUT', `/rooms/${room}/invitation`, { as, body });
  }

  it('is for the invited user, and answers with the rule', async () => {
    const ben = person();
    const room = await createRoom(node, ana);
    expect((await answerInvitation(ben, room, { accepted: true })).status).toBe(404);
    await putRule(node, ana, room, { userUUID: ben.userUUID, permissions: 'rw' });
    for (const accepted of [true, false]) {
      const answer = await answerInvitation(ben, room, { accepted });
      expect(answer).toMatchObject({
        status: 200,
        content: { entity_UUID: ben.userUUID, permissions: 'rw', accepted },
      });
    }
    expect((await answerInvitation(ben, room, { accepted: 'perhaps' })).status).toBe(400);
  });

  it('is for the entity’s members from the level of its rule on', async () => {
    const room = await createRoom(node, ana);
    const other = person({ levelOnEntity: 100 });
    const below = person({ ...other, levelOnEntity: 99 });
    await request(node, 'PUT', `/rooms/${room}/members`, {
      as: ana,
      body: { entityUUID: other.entityUUID, permissions: 'r', level: 100 },
    });
    const body = { accepted: true, use_parent_entity: true };
    expect((await answerInvitation(below, room, body)).status).toBe(403);
    expect(await answerInvitation(other, room, body)).toMatchObject({
      status: 200,
      content: { entity_UUID: other.entityUUID, accepted: true },
    });
  });
});
