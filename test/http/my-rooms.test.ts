import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRoom, putRule, request, type Answer } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { query } from '../harness/database.js';
import type { TestNode } from '../harness/node.js';
import { person, type Person } from '../harness/tokens.js';

interface Item {
  readonly id: number;
  readonly unread: number;
}

let world: ChatWorld;
let node: TestNode;
let epoch: string;

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start();
  const rows = await query<{ uuid: string }>(world.databaseUrl, 'SELECT uuid FROM log_epoch');
  epoch = rows[0]?.uuid ?? '';
});
afterAll(() => world.close());

async function say(as: Person, room: number, ...contents: string[]): Promise<void> {
  const client = await ChatClient.enter(node, as, room);
  for (const content of contents) client.say(content);
  await client.messages(contents.length);
  await client.close();
}

function list(as: Person, parameters = ''): Promise<Answer> {
  return request(node, 'GET', `/me/rooms${parameters}`, { as });
}

function get(as: Person, room: number | string): Promise<Answer> {
  return request(node, 'GET', `/rooms/${room}`, { as });
}

describe('GET /me/rooms and GET /rooms/:id', () => {
  it('give a room as the caller sees it', async () => {
    const ana = person({ levelOnEntity: 100 });
    const ben = person();
    const room = await createRoom(node, ana, { name: 'the room' });
    await request(node, 'PATCH', `/rooms/${room}`, { as: ana, body: { data: { topic: 'tea' } } });
    await putRule(node, ana, room, { userUUID: ben.userUUID, permissions: 'rw' });
    await say(ana, room, 'one', 'two');

    const answer = await list(ben);

    expect(answer.status).toBe(200);
    expect(answer.content).toEqual([
      {
        id: room,
        uuid: expect.stringMatching(/^[0-9a-f-]{36}$/),
        name: 'the room',
        type: 'group',
        data: { topic: 'tea' },
        head: 6,
        epoch,
        createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]{12}Z$/),
        permissions: 'rw',
        accepted: false,
        read: 4,
        unread: 2,
        mentions: 0,
        notify: 'all',
        last_message: {
          id: 6,
          room_id: room,
          seq: 6,
          emitter: ana.userUUID,
          content: 'two',
          createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]{12}Z$/),
          updatedAt: expect.any(String),
        },
      },
    ]);
    const [item] = answer.content as Item[];
    expect((await get(ben, room)).content).toEqual(item);
    await request(node, 'PUT', `/rooms/${room}/read`, { as: ben, body: { upto: 5 } });
    expect((await get(ben, room)).content).toEqual({ ...item, read: 5, unread: 1 });
    // An admin by the entity is one; ana's own messages are not unread.
    expect((await get(ana, room)).content).toMatchObject({
      permissions: 'rwa',
      accepted: true,
      unread: 0,
    });
  });

  it('give the other user of a direct room, who may have left', async () => {
    const ana = person();
    const ben = person();
    const body = { type: 'user2user', userUUID: ben.userUUID };
    const opened = await request(node, 'POST', '/rooms', { as: ana, body });
    const { id } = (opened.content as { room: Item }).room;
    await request(node, 'DELETE', `/rooms/${id}/members/${ben.userUUID}`, { as: ben });

    const { userUUID } = ben;
    expect((await get(ana, id)).content).toMatchObject({
      name: '',
      with: { userUUID, name: null, picture: null },
    });
    expect((await list(ana, '?type=group')).content).toEqual([]);
    expect((await list(ana, '?type=user2user')).content).toMatchObject([{ id }]);
  });

  it('give pages with a cursor, and keep the filter', async () => {
    const ana = person({ levelOnEntity: 100 });
    const rooms: number[] = [];
    for (const name of ['red tea', 'green tea', 'coffee', 'black tea']) {
      rooms.push(await createRoom(node, ana, { name }));
    }
    await say(ana, rooms[0] ?? 0, 'hi');

    const first = await list(ana, '?limit=2&q=TEA');
    const second = await list(ana, first.meta.next);

    const pages = [first, second].map(({ content }) => (content as Item[]).map(({ id }) => id));
    expect(pages).toEqual([[rooms[0], rooms[3]], [rooms[1]]]);
    expect(first.headers.get('Link')).toBe(`<${first.meta.next}>; rel="next"`);
    expect(second.meta.next).toBeUndefined();
  });

  it('are for those who may read or are invited', async () => {
    const ana = person({ levelOnEntity: 100 });
    const room = await createRoom(node, ana);
    const banned = person();
    await putRule(node, ana, room, { userUUID: banned.userUUID, permissions: 'rb' });

    for (const who of [banned, person()]) {
      expect(await get(who, room)).toMatchObject({ status: 403, meta: { reason: 'FORBIDDEN' } });
      expect((await list(who)).content).toEqual([]);
    }
    expect((await get(ana, 2_147_483_647)).status).toBe(404);
  });

  it.each([
    ['?limit=0', 'limit'],
    ['?limit=101', 'limit'],
    ['?type=party', 'type'],
    ['?q=', 'q'],
    ['?q=%00', 'q'],
    ['?cursor=', 'cursor'],
    ['?cursor=abc', 'cursor'],
    // [1e300,1], [0,0] and ["a",1].
    ['?cursor=WzFlMzAwLDFd', 'cursor'],
    ['?cursor=WzAsMF0', 'cursor'],
    ['?cursor=WyJhIiwxXQ', 'cursor'],
  ])('answer 400 to %s', async (parameters, field) => {
    const answer = await list(person(), parameters);
    expect(answer).toMatchObject({ status: 400, meta: { reason: 'INVALID' } });
    expect(answer.meta.errors?.map((error) => error.field)).toEqual([field]);
  });
});
