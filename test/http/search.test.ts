import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRoom, request, type Answer } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { person, type Person } from '../harness/tokens.js';

let world: ChatWorld;
let node: TestNode;
let rooms: number[];
const ana = person({ levelOnEntity: 999 });
const stranger = person();

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start();
  rooms = [await createRoom(node, ana), await createRoom(node, ana)];
  for (const room of rooms) {
    const client = await ChatClient.enter(node, ana, room);
    client.say('Mañana, reunión.');
    client.say('我家在上海东边');
    await client.messages(2);
    await client.close();
  }
});
afterAll(() => world.close());

function get(query: Record<string, string>, as: Person = ana): Promise<Answer> {
  return request(node, 'GET', `/messages?${new URLSearchParams(query).toString()}`, { as });
}

function roomsOf(answer: Answer): number[] {
  return (answer.content as { room_id: number }[]).map((message) => message.room_id);
}

describe('GET /messages', () => {
  it('finds messages of all rooms of the caller, the newest first', async () => {
    const answer = await get({ q: 'manana reuni' });

    expect(answer.status).toBe(200);
    expect(roomsOf(answer)).toEqual(rooms.toReversed());
    expect(answer.content).toMatchObject([
      { id: 3, seq: 3, emitter: ana.userUUID, content: 'Mañana, reunión.' },
      { id: 3, seq: 3, emitter: ana.userUUID, content: 'Mañana, reunión.' },
    ]);
    expect(answer.meta).toEqual({ code: 200, message: 'OK' });
  });

  it('finds messages of one room', async () => {
    expect(roomsOf(await get({ q: '上海', room: `${rooms[0]}` }))).toEqual([rooms[0]]);

    const { content } = await request(node, 'GET', `/rooms/${rooms[0]}`, { as: ana });
    const { uuid } = content as { uuid: string };
    expect(roomsOf(await get({ q: '上海', room: uuid }))).toEqual([rooms[0]]);
    expect((await get({ q: '上海', room: ana.userUUID })).status).toBe(404);
  });

  it('goes on by meta.next', async () => {
    const first = await get({ q: '上海', limit: '1' });
    expect(roomsOf(first)).toEqual([rooms[1]]);

    const next = String(first.meta['next']);
    const second = await request(node, 'GET', `/messages${next}`, { as: ana });
    expect(roomsOf(second)).toEqual([rooms[0]]);
    expect(second.meta).not.toHaveProperty('next');
  });

  it('finds nothing for a user without a room, and refuses a room that they may not read', async () => {
    expect(await get({ q: 'manana' }, stranger)).toMatchObject({ status: 200, content: [] });
    expect(await get({ q: 'manana', room: `${rooms[0]}` }, stranger)).toMatchObject({
      status: 403,
      meta: { reason: 'FORBIDDEN' },
    });
    expect(await get({ q: 'manana', room: '2147483647' })).toMatchObject({
      status: 404,
      meta: { reason: 'NOT_FOUND' },
    });
  });

  it.each<[string, Record<string, string>]>([
    ['q', {}],
    ['q', { q: '' }],
    ['q', { q: '?!' }],
    ['q', { q: '\0' }],
    ['q', { q: 'x'.repeat(201) }],
    ['limit', { q: 'a', limit: '101' }],
    ['room', { q: 'a', room: '0' }],
    ['cursor', { q: 'a', cursor: '' }],
    ['cursor', { q: 'a', cursor: 'x' }],
    ['cursor', { q: 'a', cursor: Buffer.from('[1,2]').toString('base64url') }],
    ['cursor', { q: 'a', cursor: Buffer.from('[253402300800000,1,1]').toString('base64url') }],
    ['cursor', { q: 'a', cursor: Buffer.from('[0,2147483648,1]').toString('base64url') }],
  ])('refuses a wrong %s: %j', async (field, query) => {
    expect(await get(query)).toMatchObject({
      status: 400,
      meta: { reason: 'INVALID', errors: [{ field }] },
    });
  });
});
