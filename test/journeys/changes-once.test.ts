import { afterAll, beforeAll, expect, it } from 'vitest';
import { RoomState } from '../../src/client/room-state.js';
import type { Entry, MessageRow } from '../../src/client/wire.js';
import { createRoom, putRule, request } from '../harness/api.js';
import { ChatClient, type ServerFrame } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { deferred } from '../harness/deferred.js';
import type { TestNode } from '../harness/node.js';
import { person } from '../harness/tokens.js';

const ana = person({ levelOnEntity: 999 });
const friends = [person(), person(), person()];
let world: ChatWorld;
let east: TestNode;
let west: TestNode;

beforeAll(async () => {
  world = await createChatWorld();
  [east, west] = await Promise.all([world.start(), world.start()]);
});
afterAll(() => world.close());

it('reactions count once, wherever a client begins, and whether the page or the entries come first', async () => {
  const room = await createRoom(east, ana);
  for (const { userUUID } of friends) {
    await putRule(east, ana, room, { userUUID, permissions: 'rw' });
  }
  const author = await ChatClient.enterV2(east, ana, room);
  author.send({ type: 'message', room_id: room, content: 'what a day', ref: 'm' });
  const [, sent] = await author.take(2);
  const target = sent?.['seq'] as number;
  for (const friend of friends) {
    const client = await ChatClient.enterV2(west, friend);
    client.send({ type: 'reaction', room_id: room, target, emoji: '👍', on: true });
    await client.expect('SENT');
    await client.close();
  }
  for (let n = 0; n < 7; n += 1) author.send({ type: 'message', room_id: room, content: `${n}` });
  await author.take(friends.length + 7);
  const page = await pageOf(room);

  // Before the message, in the midst of the reactions, and behind the page.
  for (const after of [target - 1, target + 1, page.head]) {
    const entries = await entriesBeyond(room, after, page.head);
    for (const pageFirst of [true, false]) {
      const state = new RoomState();
      state.userUUID = ana.userUUID;
      state.drop(after, page.epoch);
      const answered = deferred();
      const read = state.read(() => answered.promise.then(() => page));
      if (pageFirst) {
        answered.resolve();
        await read;
      }
      for (const { type, data } of entries) expect(state.take(type, data as Entry)).toBe('taken');
      answered.resolve();
      await read;
      expect(state.last).toBe(page.head);
      expect(state.get(target)?.reactions).toEqual([{ emoji: '👍', count: 3, mine: false }]);
    }
  }
  await author.close();
});

interface Page {
  readonly head: number;
  readonly epoch: string;
  readonly rows: readonly MessageRow[];
}

async function pageOf(room: number): Promise<Page> {
  const { meta, content } = await request(west, 'GET', `/rooms/${room}/messages?limit=50`, {
    as: ana,
  });
  const { head, epoch } = meta as unknown as Page;
  return { head, epoch, rows: content as Page['rows'] };
}

/** What a client gets that joins behind an entry. */
async function entriesBeyond(room: number, after: number, head: number): Promise<ServerFrame[]> {
  const client = await ChatClient.enterV2(west, ana);
  client.send({ type: 'join', rooms: [{ room_id: room, after }] });
  await client.expect('CONNECTED');
  const entries = await client.take(head - after);
  await client.close();
  return entries;
}
