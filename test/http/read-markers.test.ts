import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createRoom, putRule, request, type Answer } from '../harness/api.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { person, type Person } from '../harness/tokens.js';

let world: ChatWorld;
let node: TestNode;
/** A second node. */
let elsewhere: TestNode;
/** A room of ana and, from its entry 4 on, ben; its last entry is 6. */
let room: number;
const ana = person({ levelOnEntity: 100 });
const ben = person();

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start();
  elsewhere = await world.start();
});
beforeEach(async () => {
  room = await createRoom(node, ana);
  await putRule(node, ana, room, { userUUID: person().userUUID, permissions: 'r' });
  await putRule(node, ana, room, { userUUID: ben.userUUID, permissions: 'r' });
  // A change keeps the number of the entry that added the rule.
  await putRule(node, ana, room, { userUUID: ben.userUUID, permissions: 'rw' });
  await request(node, 'PUT', `/rooms/${room}/invitation`, { as: ben, body: { accepted: true } });
});
afterAll(() => world.close());

function read(as: Person, body: object, on = node): Promise<Answer> {
  return request(on, 'PUT', `/rooms/${room}/read`, { as, body });
}

describe('PUT /rooms/:id/read', () => {
  it('moves the marker forwards, and backwards only on demand, on every node', async () => {
    expect(await read(ana, { upto: 5 })).toMatchObject({ status: 200, content: { upto: 5 } });
    expect(await read(ana, { upto: '3' }, elsewhere)).toMatchObject({ content: { upto: 5 } });
    expect(await read(ana, { upto: 3, back: true })).toMatchObject({ content: { upto: 3 } });
    expect(await read(ana, { upto: 0 }, elsewhere)).toMatchObject({ content: { upto: 3 } });
  });

  it('means the last entry by a number beyond it', async () => {
    expect(await read(ana, { upto: 1_000 })).toMatchObject({ content: { upto: 6 } });
    expect(await read(ben, { upto: 7, back: true })).toMatchObject({ content: { upto: 6 } });
  });

  it('goes never below the entry that let the user in', async () => {
    for (const body of [{ upto: 1 }, { upto: 0, back: true }, { upto: 4, back: true }]) {
      expect(await read(ben, body)).toMatchObject({ content: { upto: 4 } });
    }
  });

  it('begins anew if the user is removed and added again', async () => {
    await read(ben, { upto: 5 });
    await request(node, 'DELETE', `/rooms/${room}/members/${ben.userUUID}`, { as: ana });
    await putRule(node, ana, room, { userUUID: ben.userUUID, permissions: 'r' });

    expect(await read(ben, { upto: 0, back: true })).toMatchObject({ content: { upto: 8 } });
  });

  it('needs the permission `r`', async () => {
    expect(await read(person(), { upto: 1 })).toMatchObject({
      status: 403,
      meta: { reason: 'FORBIDDEN' },
    });
    const missing = { as: ana, body: { upto: 1 } };
    const answer = await request(node, 'PUT', '/rooms/2147483647/read', missing);
    expect(answer).toMatchObject({ status: 404, meta: { reason: 'NOT_FOUND' } });
  });

  it.each([
    [{}, 'upto'],
    [{ upto: -1 }, 'upto'],
    [{ upto: 1.5 }, 'upto'],
    [{ upto: 1, back: 'yes' }, 'back'],
    [{ upto: 1, seq: 1 }, 'seq'],
  ])('answers 400 to %j and names the field', async (body, field) => {
    const answer = await read(ana, body);
    expect(answer).toMatchObject({ status: 400, meta: { reason: 'INVALID' } });
    expect(answer.meta.errors?.map((error) => error.field)).toEqual([field]);
  });
});

describe('PUT /rooms/:id/notify', () => {
  const notify = (as: Person, level: string, on = node): Promise<Answer> =>
    request(on, 'PUT', `/rooms/${room}/notify`, { as, body: { level } });

  const shown = async (as: Person): Promise<unknown> => {
    const { content } = await request(elsewhere, 'GET', `/rooms/${room}`, { as });
    const { notify, read } = content as { notify: string; read: number };
    return { notify, read };
  };

  it('sets what the caller is to be notified of, for them alone, on every node', async () => {
    expect(await shown(ben)).toEqual({ notify: 'all', read: 4 });

    expect(await notify(ben, 'mentions')).toMatchObject({
      status: 200,
      content: { level: 'mentions' },
    });
    expect(await shown(ben)).toEqual({ notify: 'mentions', read: 4 });
    expect(await shown(ana)).toMatchObject({ notify: 'all' });
    await notify(ben, 'none', elsewhere);
    const rooms = await request(node, 'GET', '/me/rooms', { as: ben });
    expect(rooms.content).toContainEqual(expect.objectContaining({ id: room, notify: 'none' }));
  });

  it('stays if the marker is moved, and leaves the marker where it is', async () => {
    await notify(ben, 'none');
    await read(ben, { upto: 6 });
    expect(await shown(ben)).toEqual({ notify: 'none', read: 6 });

    await notify(ben, 'all');
    expect(await shown(ben)).toEqual({ notify: 'all', read: 6 });
  });

  it('needs the permission r, and a room', async () => {
    expect(await notify(person(), 'none')).toMatchObject({ meta: { reason: 'FORBIDDEN' } });
    const nowhere = await request(node, 'PUT', '/rooms/2000000000/notify', {
      as: ben,
      body: { level: 'none' },
    });
    expect(nowhere.meta.reason).toBe('NOT_FOUND');
  });
});
