import { afterAll, beforeAll, expect, it } from 'vitest';
import { createRoom } from '../harness/api.js';
import { ChatClient, type ServerFrame } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { query } from '../harness/database.js';
import type { TestNode } from '../harness/node.js';
import { person } from '../harness/tokens.js';

const ROOMS = 300;
const BEHIND = 20_000;
const MAX = 500;

interface Entry {
  readonly room_id: number;
  readonly seq: number;
  readonly content?: string;
}

const ana = person({ levelOnEntity: 999 });
let world: ChatWorld;
let east: TestNode;
let west: TestNode;

beforeAll(async () => {
  world = await createChatWorld();
  const env = { ROOMS_PER_SOCKET: String(ROOMS) };
  [east, west] = await Promise.all([world.start(env), world.start(env)]);
});
afterAll(() => world.close());

it('a client comes back to 300 rooms in one frame, and only the one in which it is far behind begins anew', async () => {
  const rooms: number[] = [];
  while (rooms.length < ROOMS) {
    rooms.push(...(await Promise.all(Array.from({ length: 20 }, () => createRoom(east, ana)))));
  }
  const [far = 0, ...others] = rooms;
  const writer = await ChatClient.enterV2(east, ana);
  const messages = await send(writer, rooms, (room_id) => ({
    type: 'message',
    room_id,
    content: 'one',
  }));
  const epoch = await epochOf(others[0] ?? 0);

  // As if other nodes had stored them, while no node has the room open.
  await query(
    world.databaseUrl,
    `INSERT INTO messages (room_id, seq, kind, emitter, content, "createdAt", "updatedAt")
     SELECT id, head + n, 'message', $2, 'many', now(), now() FROM rooms, generate_series(1, $3) AS n WHERE id = $1`,
    [far, ana.userUUID, BEHIND],
  );
  await query(world.databaseUrl, 'UPDATE rooms SET head = head + $2 WHERE id = $1', [far, BEHIND]);
  await send(writer, rooms, (room_id) => {
    return { type: 'edit', room_id, target: messages.get(room_id), content: 'edited' };
  });

  const bystander = await ChatClient.enterV2(west, ana, ...others.slice(0, 1));
  const client = await ChatClient.enterV2(west, ana);
  client.send({
    type: 'join',
    rooms: rooms.map((room_id) => ({ room_id, after: messages.get(room_id), epoch })),
    max: MAX,
    ref: 'back',
  });
  // An answer each, and an edit in all rooms but one.
  const frames = await client.take(ROOMS + others.length);
  await send(writer, rooms, (room_id) => ({ type: 'message', room_id, content: 'two' }));
  frames.push(...(await client.take(ROOMS)));
  const places = new Map(
    frames
      .filter(({ data }) => data === 'CONNECTED')
      .map((frame) => [frame['room_id'] as number, frame]),
  );
  expect(places.size).toBe(ROOMS);
  const begun = places.get(far);
  const head = begun?.['head'] as number;
  expect(head).toBeGreaterThan((messages.get(far) ?? 0) + BEHIND);
  expect(begun).toMatchObject({ from: head, ref: 'back' });
  expect(entriesOf(frames, far)).toMatchObject([{ seq: head + 1, content: 'two' }]);
  for (const room of others) {
    const after = messages.get(room) ?? 0;
    expect(places.get(room)).toMatchObject({ from: after, ref: 'back' });
    expect(entriesOf(frames, room)).toMatchObject([
      { seq: after + 1, content: 'edited' },
      { seq: after + 2, content: 'two' },
    ]);
  }
  const [heard] = await bystander.take(1);
  expect(heard?.data).toMatchObject({ room_id: others[0], content: 'two' });
  await Promise.all([writer.close(), bystander.close(), client.close()]);
});

/** Sends a command to each room until it is stored; returns the number of its entry by room. */
async function send(
  writer: ChatClient,
  rooms: readonly number[],
  commandFor: (roomId: number) => object,
): Promise<Map<number, number>> {
  const commands = new Map<string, object>(
    rooms.map((room) => {
      const ref = crypto.randomUUID();
      return [ref, { ...commandFor(room), ref }];
    }),
  );
  for (const command of commands.values()) writer.send(command);
  const seqs = new Map<number, number>();
  while (seqs.size < rooms.length) {
    const { data, ref, room_id, seq } = await writer.next();
    expect(data).toMatch(/^(SENT|UNAVAILABLE)$/);
    if (data === 'SENT') seqs.set(room_id as number, seq as number);
    // A busy machine may take longer for 300 rooms than a command may wait.
    else writer.send(commands.get(ref as string) ?? {});
  }
  return seqs;
}

function entriesOf(frames: readonly ServerFrame[], room: number): Entry[] {
  return frames
    .filter(({ type }) => type !== 'status')
    .map(({ data }) => data as Entry)
    .filter(({ room_id }) => room_id === room);
}

async function epochOf(room: number): Promise<unknown> {
  const client = await ChatClient.enterV2(west, ana);
  client.send({ type: 'join', rooms: [{ room_id: room }] });
  const [connected] = await client.expect('CONNECTED');
  client.send({ type: 'leave', room_id: room });
  await client.expect('OK');
  await client.close();
  return connected?.['epoch'];
}
