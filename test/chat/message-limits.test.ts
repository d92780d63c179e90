import type { Socket } from 'node:net';
import { randomUUID } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest';
import { ChatClient as LibraryClient } from '../../src/client/node.js';
import { createRoom, putRule, request } from '../harness/api.js';
import { ChatClient, type ServerFrame } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { person, type Person } from '../harness/tokens.js';

const admin = person({ levelOnEntity: 999 });
let world: ChatWorld;
/** A user sends 5 at once, then one each 100 ms. */
let node: TestNode;

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start({
    MESSAGES_PER_SECOND: '10',
    MESSAGES_BURST: '5',
    REQUESTS_PER_SECOND: '10',
  });
});
afterEach(() => vi.useRealTimers());
afterAll(() => world.close());

/** Stops the clock by which buckets are filled. */
function stopClock(): void {
  vi.useFakeTimers({ toFake: ['performance'] });
}

/** A new user, who may write in a new room. */
async function member(on = node): Promise<{ who: Person; room: number }> {
  const who = person();
  const room = await createRoom(on, admin);
  await putRule(on, admin, room, { userUUID: who.userUUID, permissions: 'rw' });
  return { who, room };
}

const texts = (count: number): string[] => Array.from({ length: count }, (_, n) => String(n));

/** The answers to commands, by their refs. */
async function answersTo(
  client: ChatClient,
  commands: readonly object[],
): Promise<(ServerFrame | undefined)[]> {
  const refs = commands.map((command) => {
    const ref = randomUUID();
    client.send({ ...command, ref });
    return ref;
  });
  const answers = new Map<unknown, ServerFrame>();
  while (answers.size < refs.length) {
    const frame = await client.next();
    if (frame.type === 'status') answers.set(frame['ref'], frame);
  }
  return refs.map((ref) => answers.get(ref));
}

it('over version 2 messages, edits, reactions and deletions beyond the burst are RATELIMITED', async () => {
  const { who, room } = await member();
  const client = await ChatClient.enterV2(node, who);
  const at = { room_id: room };
  stopClock();
  const [first] = await answersTo(client, [{ type: 'message', ...at, content: 'a' }]);
  const target = first?.['seq'];
  const given = await answersTo(client, [
    { type: 'message', ...at, content: 'b' },
    { type: 'edit', ...at, target, content: 'c' },
    { type: 'reaction', ...at, target, emoji: '👍', on: true },
    { type: 'delete', ...at, target },
    ...['edit', 'delete', 'message'].map((type) => ({ type, ...at, target, content: 'd' })),
  ]);
  const words = given.map((frame) => frame?.data);
  expect(words.slice(0, 4)).toEqual(['SENT', 'SENT', 'SENT', 'SENT']);
  expect(words.slice(4)).toEqual(['RATELIMITED', 'RATELIMITED', 'RATELIMITED']);
  expect(given.at(-1)).toMatchObject({ room_id: room, reason: 'RATELIMITED' });
  vi.advanceTimersByTime(Number(given.at(-1)?.['retry_after_ms']));
  const [later] = await answersTo(client, [{ type: 'message', ...at, content: 'e' }]);
  expect(later?.data).toBe('SENT');
  await client.close();
});

it('over version 1 messages beyond the burst wait for their turn, and none is refused', async () => {
  const { who, room } = await member();
  const client = await ChatClient.enter(node, who, room);
  const startedAt = performance.now();
  for (const text of texts(15)) client.say(text);
  expect(await client.messages(15)).toEqual(texts(15));
  // The last one waits for ten tokens.
  expect(performance.now() - startedAt).toBeGreaterThan(950);
  await client.barrier();
  await client.close();
});

it('messages that wait for their turn are stored when the node shuts down', async () => {
  const closing = await world.start({ MESSAGES_PER_SECOND: '1', MESSAGES_BURST: '1' });
  const { who, room } = await member(closing);
  const client = await ChatClient.enter(closing, who, room);
  // In one packet: what is not read yet when the node shuts down is sent again by its client.
  const { _socket: stream } = client.socket as unknown as { _socket: Socket };
  stream.cork();
  for (const text of texts(20)) client.say(text);
  stream.uncork();
  expect(await client.messages(1)).toEqual(['0']);
  const closed = closing.close();
  expect(await client.messages(19)).toEqual(texts(20).slice(1));
  expect(await client.closed()).toMatchObject({ code: 1012 });
  await closed;
});

it('over REST they are 429 with Retry-After, and those over the socket count', async () => {
  const { who, room } = await member();
  const client = await ChatClient.enterV2(node, who);
  stopClock();
  await answersTo(
    client,
    texts(5).map((content) => ({ type: 'message', room_id: room, content })),
  );
  const answer = await request(node, 'POST', `/rooms/${room}/messages`, {
    as: who,
    body: { content: 'f' },
  });
  expect(answer).toMatchObject({ status: 429, meta: { reason: 'RATELIMITED' } });
  expect(answer.headers.get('Retry-After')).toBe('1');
  // Those of this limit, not of the user's requests.
  expect(answer.headers.get('RateLimit-Limit')).toBe('5');
  expect(answer.headers.get('RateLimit-Remaining')).toBe('0');
  expect(answer.headers.get('RateLimit-Reset')).toBe('1');
  await client.close();
});

it('a room takes so many of all users, and no user without rights in it uses them up', async () => {
  const busy = await world.start({ ROOM_MESSAGES_PER_SECOND: '4' });
  const { who, room } = await member(busy);
  stopClock();
  const stranger = await ChatClient.enterV2(busy, person());
  const message = { type: 'message', room_id: room, content: 'a' };
  const refused = await answersTo(stranger, [message, message, message, message, message]);
  expect(new Set(refused.map((frame) => frame?.data))).toEqual(new Set(['NOTAUTHORIZED']));
  const [one, other] = await Promise.all(
    [who, admin].map((each) => ChatClient.enterV2(busy, each, room)),
  );
  expect(one && (await answersTo(one, [message, message])).map((frame) => frame?.data)).toEqual([
    'SENT',
    'SENT',
  ]);
  const given = other && (await answersTo(other, [message, message, message, message, message]));
  expect(given?.at(-1)?.data).toBe('RATELIMITED');
  for (const client of [stranger, one, other]) await client?.close();
});

it('changes count in a room that is not open on their node, but those of strangers', async () => {
  const [one, other] = await Promise.all(
    [1, 2].map(() => world.start({ ROOM_MESSAGES_PER_SECOND: '3' })),
  );
  if (one === undefined || other === undefined) throw new Error('there are two nodes');
  const { who, room } = await member(one);
  stopClock();
  const posted = await request(one, 'POST', `/rooms/${room}/messages`, {
    as: who,
    body: { content: 'a' },
  });
  const { seq } = posted.content as { seq: number };
  const edit = async (as: Person): Promise<number> => {
    const path = `/rooms/${room}/messages/${seq}`;
    return (await request(other, 'PATCH', path, { as, body: { content: randomUUID() } })).status;
  };
  for (const status of [403, 403, 403, 403]) expect(await edit(person())).toBe(status);
  for (const status of [200, 200, 200, 429]) expect(await edit(who)).toBe(status);
});

it('messages of version 1 that wait starve neither version 2 nor REST in their room', async () => {
  const busy = await world.start({ MESSAGES_PER_SECOND: '0', ROOM_MESSAGES_PER_SECOND: '20' });
  const { who, room } = await member(busy);
  const waiting = await Promise.all(texts(8).map(() => ChatClient.enter(busy, admin, room)));
  for (const client of waiting) for (const text of texts(1_000)) client.say(text);
  const polite = await ChatClient.enterV2(busy, who);
  for (const content of texts(5)) {
    let words: unknown;
    while (words !== 'SENT') {
      const [frame] = await answersTo(polite, [{ type: 'message', room_id: room, content }]);
      words = frame?.data;
      await setTimeout(Number(frame?.['retry_after_ms'] ?? 0));
    }
  }
  let status: number | undefined;
  while (status !== 201) {
    const answer = await request(busy, 'POST', `/rooms/${room}/messages`, {
      as: who,
      body: { content: 'over REST' },
    });
    ({ status } = answer);
    await setTimeout(Number(answer.headers.get('Retry-After')) * 1_000);
  }
  // They are still waiting.
  const [one] = waiting;
  expect(one && (await one.messages(1))).toHaveLength(1);
  for (const client of [...waiting, polite]) client.socket.terminate();
});

it('a socket that ignores RATELIMITED is paused, and closed with 4429 if it goes on', async () => {
  const { who, room } = await member();
  const client = await ChatClient.enterV2(node, who);
  vi.useFakeTimers({ toFake: ['performance', 'setTimeout', 'clearTimeout'] });
  const commands = texts(2_000).map((content) =>
    JSON.stringify({ type: 'message', room_id: room, content }),
  );
  for (const command of commands) client.raw(command);
  let unreadMs = 0;
  while (client.socket.readyState === client.socket.OPEN) {
    await new Promise((resolve) => setImmediate(resolve));
    if (vi.getTimerCount() === 0) continue;
    vi.advanceTimersByTime(100);
    unreadMs += 100;
  }
  expect(await client.closed()).toMatchObject({ code: 4429, reason: 'TOO_FAST' });
  expect(unreadMs).toBeGreaterThan(8_500);
});

it('the client library sends what was RATELIMITED again, in order', async () => {
  const { who, room: roomId } = await member();
  const client = new LibraryClient(node.url, { token: () => who.token });
  const room = client.room(roomId);
  const seqs = await Promise.all(texts(9).map((text) => room.send(text)));
  expect(seqs).toEqual(seqs.toSorted((a, b) => a - b));
  expect(new Set(seqs).size).toBe(9);
  client.close();
});
