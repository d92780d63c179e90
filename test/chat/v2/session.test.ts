import { once } from 'node:events';
import { Client } from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { createRoom, putRule, request } from '../../harness/api.js';
import { ChatClient, type ServerFrame } from '../../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../../harness/chat-world.js';
import { query } from '../../harness/database.js';
import type { TestNode } from '../../harness/node.js';
import { person, secondsFromNow, sign, type Person } from '../../harness/tokens.js';

const ana = person({ levelOnEntity: 999 });
const ben = person();

let world: ChatWorld;
let node: TestNode;
/** Answers UNAVAILABLE after a second. */
let hasty: TestNode;
let room: number;

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start({ ROOMS_PER_SOCKET: '3' });
  hasty = await world.start({ STORE_TIMEOUT_MS: '2000' });
});
afterAll(() => world.close());

beforeEach(async () => {
  room = await roomOf(ana, ben);
});

/** A room of an admin and of a member who may read and write. */
async function roomOf(admin: Person, member: Person): Promise<number> {
  const id = await createRoom(node, admin);
  await putRule(node, admin, id, { userUUID: member.userUUID, permissions: 'rw' });
  return id;
}

async function headOf(id: number): Promise<number> {
  const [row] = await query<{ head: number }>(
    world.databaseUrl,
    'SELECT head::int FROM rooms WHERE id = $1',
    [id],
  );
  return row?.head ?? 0;
}

function data(frame: ServerFrame | undefined): Record<string, unknown> {
  return frame?.data as Record<string, unknown>;
}

/** Does something while the room is locked: nothing is stored in it, and nobody enters it. */
async function whileLocked(id: number, work: () => Promise<void>): Promise<void> {
  const holder = new Client({ connectionString: world.databaseUrl });
  await holder.connect();
  try {
    await holder.query('BEGIN');
    await holder.query('SELECT 1 FROM rooms WHERE id = $1 FOR UPDATE', [id]);
    await work();
  } finally {
    await holder.end();
  }
}

/**
 * Edits a message, and does something behind the edit while the database does not answer.
 * @returns the number of the message
 */
async function behindEdit(client: ChatClient, work: () => Promise<void>): Promise<number> {
  // By a node that has more time for it than `hasty`.
  const { content } = await request(node, 'POST', `/rooms/${room}/messages`, {
    as: ana,
    body: { content: 'hi' },
  });
  const { seq } = content as { seq: number };
  expect(data(await client.next())['seq']).toBe(seq);
  await whileLocked(room, () => {
    client.send({ type: 'edit', room_id: room, target: seq, content: 'ho', ref: 'edit' });
    return work();
  });
  return seq;
}

/** Type and number of each frame. */
function outline(frames: readonly ServerFrame[]): string[] {
  return frames.map((frame) => `${frame.type} ${String(data(frame)['seq'])}`);
}

/** Shows that nothing else has been sent. */
async function expectNothing(client: ChatClient): Promise<void> {
  client.send({ type: 'ping', ref: 'nothing else' });
  expect(await client.next()).toEqual({ type: 'status', data: 'PONG', ref: 'nothing else' });
}

describe('the subprotocol', () => {
  it.each([
    [['nano-messaging.v2'], 'nano-messaging.v2'],
    [['chat', 'nano-messaging.v2'], 'nano-messaging.v2'],
    [['chat', 'nano-messaging.v3'], 'chat'],
    [[], ''],
  ])('of %j is answered with "%s"', async (asked, answered) => {
    const socket = new WebSocket(node.chatUrl, asked);
    await once(socket, 'open');
    expect(socket.protocol).toBe(answered);
    socket.close();
  });
});

describe('a token', () => {
  it('is announced to end, once, and another one keeps the socket and its rooms', async () => {
    // Deadlines of a quarter of a second are checked often.
    const watchful = await world.start({ PONG_TIMEOUT_MS: '1000' });
    // With the leeway of five seconds, it lives for eight, and is announced to end when a quarter is left.
    const soon = person(ana, { exp: secondsFromNow(3) });
    const client = await ChatClient.enterV2(watchful, soon, room);
    const [expiring] = await client.expect('EXPIRING');
    expect(expiring).toEqual({
      type: 'status',
      data: 'EXPIRING',
      expires_in_ms: expect.any(Number) as number,
    });
    expect(expiring?.['expires_in_ms']).toBeLessThanOrEqual(2_000);
    client.send({ type: 'token', content: ana.token });
    await client.expect('READY');
    client.send({ type: 'message', room_id: room, content: 'still here', ref: 'still' });
    const [message] = await client.take(1);
    expect(data(message)).toMatchObject({ content: 'still here' });
    await client.expect('SENT');
    await client.close();
  });

  it('is answered with READY: who, for how long, and the limits', async () => {
    const client = await ChatClient.openV2(node.chatUrl);
    client.send({ type: 'token', content: ana.token, ref: 'a1' });
    const [, ready] = await client.expect('START?', 'READY');
    expect(ready).toEqual({
      type: 'status',
      data: 'READY',
      ref: 'a1',
      userUUID: ana.userUUID,
      entityUUID: ana.entityUUID,
      expires_in_ms: expect.any(Number) as number,
      limits: { content: 8_000, data: 4_096, frame: 131_072, rooms: 3 },
    });
    const { expires_in_ms } = ready as unknown as { expires_in_ms: number };
    expect(expires_in_ms).toBeGreaterThan(3_500_000);
    expect(expires_in_ms).toBeLessThanOrEqual(3_605_000);
    await client.close();
  });

  it('may come with the upgrade, and may have no end', async () => {
    const { userUUID, entityUUID } = ana;
    const headers = { Authorization: `Bearer ${sign({ userUUID, entityUUID })}` };
    const client = await ChatClient.openV2(node.chatUrl, { headers });
    const [, ready] = await client.expect('START?', 'READY');
    expect(ready).not.toHaveProperty('expires_in_ms');
    await client.close();
  });

  it('must come first: the third refusal closes the socket', async () => {
    const client = await ChatClient.openV2(node.chatUrl);
    client.send({ type: 'ping', ref: 'p' });
    client.send({ type: 'message', room_id: room, content: 'hi', ref: 'm' });
    client.send({ type: 'token', content: 'no token', ref: 't' });
    client.send({ type: 'dance' });
    const [, pong, ...refused] = await client.expect(
      'START?',
      'PONG',
      'BADAUTH',
      'BADAUTH',
      'BADAUTH',
    );
    expect(pong).toMatchObject({ ref: 'p' });
    expect(refused).toMatchObject([
      { ref: 'm', reason: 'UNAUTHORIZED' },
      { ref: 't', reason: 'UNAUTHORIZED', detail: 'jwt malformed' },
      { reason: 'UNAUTHORIZED' },
    ]);
    expect(await client.closed()).toEqual({ code: 4401, reason: 'TOKEN' });
  });

  it('is refreshed by one of the same user alone', async () => {
    const client = await ChatClient.enterV2(node, ana, room);
    client.send({ type: 'token', content: ben.token, ref: 'other' });
    client.send({ type: 'token', content: 'no token', ref: 'bad' });
    client.send({ type: 'token', ref: 'none' });
    const again = person(ana, { exp: secondsFromNow(7_200) });
    client.send({ type: 'token', content: again.token, ref: 'mine' });

    const frames = await client.expect('BADAUTH', 'BADAUTH', 'BADAUTH', 'READY');
    expect(new Set(frames.map(({ ref }) => ref))).toEqual(
      new Set(['bad', 'mine', 'none', 'other']),
    );
    expect(frames[3]).toMatchObject({ ref: 'mine', userUUID: ana.userUUID });
    client.send({ type: 'message', room_id: room, content: 'still here' });
    expect(await client.next()).toMatchObject({ type: 'message', data: { room_id: room } });
    await client.close();
  });
});

describe('join', () => {
  it('answers each room of its list', async () => {
    const foreign = await createRoom(node, person({ levelOnEntity: 100 }));
    const client = await ChatClient.enterV2(node, ben);
    const rooms = [{ room_id: `${room}` }, { room_id: '2000000000' }, { room_id: foreign }];
    client.send({ type: 'join', rooms, ref: 'j' });

    const frames = await client.take(3);
    const head = await headOf(room);
    const [epoch] = await query(world.databaseUrl, 'SELECT uuid FROM log_epoch');
    const [{ uuid } = {}] = await query(world.databaseUrl, 'SELECT uuid FROM rooms WHERE id = $1', [
      room,
    ]);
    const byWord = frames.toSorted((a, b) => String(a.data).localeCompare(String(b.data)));
    expect(byWord).toEqual([
      {
        type: 'status',
        data: 'CONNECTED',
        ref: 'j',
        room_id: room,
        uuid,
        head,
        epoch: epoch?.['uuid'],
        from: head,
        permissions: 'rw',
        // The entry that added ben's rule.
        read: 3,
      },
      { type: 'status', data: 'NOTAUTHORIZED', ref: 'j', room_id: foreign, reason: 'FORBIDDEN' },
      { type: 'status', data: 'NOTFOUND', ref: 'j', room_id: '2000000000', reason: 'NOT_FOUND' },
    ]);
    await client.close();
  });

  it('replays every entry beyond `after`, rules as well, each once and in order', async () => {
    const writer = await ChatClient.enterV2(node, ana, room);
    for (const content of ['a', 'b', 'c']) {
      writer.send({ type: 'message', room_id: room, content });
    }
    await writer.take(3);
    // Entering is consent, which is an entry.
    const client = await ChatClient.enterV2(node, ben);
    client.send({ type: 'join', rooms: [{ room_id: room, after: 0 }] });

    const [connected] = await client.expect('CONNECTED');
    const head = await headOf(room);
    expect(connected).toMatchObject({ from: 0, head });
    const frames = await client.take(head);
    expect(outline(frames)).toEqual([
      'member 1',
      'member 2',
      'member 3',
      'message 4',
      'message 5',
      'message 6',
      'member 7',
    ]);
    expect(data(frames[2])).toEqual({
      room_id: room,
      seq: 3,
      emitter: ana.userUUID,
      createdAt: expect.any(String) as string,
      entity_UUID: ben.userUUID,
      level: 0,
      permissions: 'rw',
      accepted: false,
    });
    writer.send({ type: 'message', room_id: room, content: 'live' });
    expect(outline([await client.next()])).toEqual(['message 8']);
    await expectNothing(client);
    await Promise.all([writer.close(), client.close()]);
  });

  it('takes the uuid of a room for its number', async () => {
    const client = await ChatClient.enterV2(node, ana);
    const [row] = await query(world.databaseUrl, 'SELECT uuid FROM rooms WHERE id = $1', [room]);
    const uuid = String(row?.['uuid']);
    const byUuid = { type: 'join', rooms: [{ room_id: uuid.toUpperCase() }], ref: 'j' };
    client.send(byUuid);
    const [connected] = await client.expect('CONNECTED');
    expect(connected).toMatchObject({ ref: 'j', room_id: room, uuid });
    // Again, now that it is joined, between two other commands of the room.
    client.send({ type: 'message', room_id: room, content: 'hi', ref: 'm' });
    client.send(byUuid);
    client.send({ type: 'leave', room_id: room });
    const frames = await client.take(4);
    expect(frames.slice(1).map(({ data: word }) => word)).toEqual(['SENT', 'CONNECTED', 'OK']);

    client.send({ type: 'join', rooms: [{ room_id: ana.userUUID }], ref: 'j' });
    expect(await client.next()).toMatchObject({
      data: 'NOTFOUND',
      reason: 'NOT_FOUND',
      room_id: ana.userUUID,
      ref: 'j',
    });
    await client.close();
  });

  it('replays nothing if the room is more than `max` behind', async () => {
    const client = await ChatClient.enterV2(node, ana);
    const head = await headOf(room);
    client.send({ type: 'join', rooms: [{ room_id: room, after: 0 }], max: head - 1 });
    const [far] = await client.expect('CONNECTED');
    expect(far).toMatchObject({ from: head, head });
    await expectNothing(client);

    client.send({ type: 'join', rooms: [{ room_id: room, after: 0 }], max: head });
    const [near] = await client.expect('CONNECTED');
    expect(near).toMatchObject({ from: 0, head });
    expect(await client.take(head)).toHaveLength(head);
    await client.close();
  });

  it('refuses a place that the log does not have as AHEAD', async () => {
    const client = await ChatClient.enterV2(node, ana);
    const head = await headOf(room);
    const [log] = await query(world.databaseUrl, 'SELECT uuid FROM log_epoch');
    const ahead = { data: 'INVALID', reason: 'AHEAD', room_id: room, ref: 'j' };

    client.send({ type: 'join', rooms: [{ room_id: room, after: head + 1 }], ref: 'j' });
    expect(await client.next()).toMatchObject(ahead);
    const epoch = ana.userUUID;
    client.send({ type: 'join', rooms: [{ room_id: room, after: head, epoch }], ref: 'j' });
    expect(await client.next()).toMatchObject(ahead);
    client.send({ type: 'join', rooms: [{ room_id: room, after: head, epoch: log?.['uuid'] }] });
    await client.expect('CONNECTED');
    await client.close();
  });

  it('again replaces the place, and leaves the room if it is refused', async () => {
    const client = await ChatClient.enterV2(node, ana, room);
    const head = await headOf(room);
    client.send({ type: 'join', rooms: [{ room_id: room, after: head - 1 }] });
    await client.expect('CONNECTED');
    expect(outline([await client.next()])).toEqual([`member ${head}`]);

    client.send({ type: 'join', rooms: [{ room_id: room, after: head + 1 }] });
    await client.expect('INVALID');
    client.send({ type: 'message', room_id: room, content: 'unseen', ref: 'm' });
    await client.expect('SENT');
    await expectNothing(client);
    await client.close();
  });

  it('is refused beyond ROOMS_PER_SOCKET, until a room is left', async () => {
    const rooms = await Promise.all([1, 2, 3].map(() => createRoom(node, ana)));
    const client = await ChatClient.enterV2(node, ana, ...rooms);
    client.send({ type: 'join', rooms: [{ room_id: room }], ref: 'j' });
    expect(await client.next()).toMatchObject({
      data: 'INVALID',
      reason: 'TOO_MANY_ROOMS',
      room_id: room,
      ref: 'j',
    });
    // One that is joined already.
    client.send({ type: 'join', rooms: [{ room_id: rooms[0] }] });
    client.send({ type: 'leave', room_id: rooms[1] });
    client.send({ type: 'join', rooms: [{ room_id: room }] });
    const words = (await client.take(3)).map((frame) => String(frame.data));
    expect(words.filter((word) => word !== 'OK')).toEqual(['CONNECTED', 'CONNECTED']);
    await client.close();
  });

  it('of all rooms may wait for a token', async () => {
    const small = await world.start({ ROOMS_PER_SOCKET: '3', INBOX_FRAMES: '2' });
    const rooms = await Promise.all([1, 2, 3].map(() => createRoom(small, ana)));
    const client = await ChatClient.enterV2(small, ana, room);
    await whileLocked(room, async () => {
      client.send({ type: 'message', room_id: room, content: 'stuck' });
      client.send({ type: 'leave', room_id: room, ref: 'l' });
      client.send({ type: 'token', content: ana.token, ref: 't' });
      client.send({ type: 'join', rooms: rooms.map((room_id) => ({ room_id })), ref: 'j' });
      await expectNothing(client);
    });
    const [, left, ready, ...joined] = await client.take(6);
    expect([left, ready]).toMatchObject([
      { data: 'OK', ref: 'l' },
      { data: 'READY', ref: 't' },
    ]);
    expect(joined.map(({ data: word }) => word)).toEqual(['CONNECTED', 'CONNECTED', 'CONNECTED']);
    await client.close();
  });

  it('joins nothing if its list is malformed', async () => {
    const client = await ChatClient.enterV2(node, ana);
    client.send({ type: 'join', rooms: [{ room_id: room }, { room_id: 'x' }], ref: 'j' });
    expect(await client.next()).toMatchObject({ data: 'INVALID', reason: 'INVALID', ref: 'j' });
    const writer = await ChatClient.enterV2(node, ben);
    writer.send({ type: 'message', room_id: room, content: 'hi', ref: 'm' });
    await writer.expect('SENT');
    await expectNothing(client);
    await Promise.all([client.close(), writer.close()]);
  });
});

describe('a message', () => {
  it('is echoed to all before SENT, in each joined room with its number', async () => {
    const other = await roomOf(ana, ben);
    const [client, reader] = [
      await ChatClient.enterV2(node, ana, room, other),
      await ChatClient.enterV2(node, ben, room, other),
    ];
    await client.take(2);
    client.send({ type: 'message', room_id: room, content: 'one', ref: 'm1' });
    client.send({ type: 'message', room_id: other, content: 'two', ref: 'm2' });
    client.send({ type: 'message', room_id: room, content: 'three' });

    const got = await client.take(5);
    for (const [ref, room_id] of [
      ['m1', room],
      ['m2', other],
    ] as const) {
      const echo = got.findIndex(
        ({ type, data: it }) => type === 'message' && (it as { ref?: string }).ref === ref,
      );
      const sent = got.findIndex((frame) => frame['ref'] === ref);
      expect(sent).toBeGreaterThan(echo);
      expect(got[sent]).toEqual({
        type: 'status',
        data: 'SENT',
        ref,
        room_id,
        seq: data(got[echo])['seq'],
      });
    }
    const seen = await reader.take(3);
    expect(
      seen
        .map((frame) => `${String(data(frame)['room_id'])} ${String(data(frame)['content'])}`)
        .toSorted(),
    ).toEqual([`${room} one`, `${room} three`, `${other} two`].toSorted());
    await Promise.all([client.close(), reader.close()]);
  });

  it('carries data, a reply and mentions to all, and to none of version 1 if it is data alone', async () => {
    const client = await ChatClient.enterV2(node, ana, room);
    const old = await ChatClient.enter(node, ana, room);
    const first = await headOf(room);
    const said = { data: { b: 1, a: ['€'] }, reply_to: first + 1, mentions: [ben.userUUID] };
    client.send({ type: 'message', room_id: room, content: 'one' });
    await client.take(1);
    client.send({ type: 'message', room_id: room, ...said, ref: 'm' });
    const [echo] = await client.take(2);
    expect(data(echo)).toMatchObject({ ...said, content: '' });
    // As it was given: JSON keeps the order of keys.
    expect(JSON.stringify(data(echo)['data'])).toBe(JSON.stringify(said.data));

    client.send({ type: 'message', room_id: room, content: 'x', reply_to: first, ref: 'r' });
    expect(await client.next()).toMatchObject({
      data: 'NOTFOUND',
      reason: 'NO_SUCH_MESSAGE',
      ref: 'r',
    });
    client.send({ type: 'message', room_id: room, content: 'two' });
    expect(await old.messages(2)).toEqual(['one', 'two']);

    const reader = await ChatClient.enterV2(node, ana);
    reader.send({ type: 'join', rooms: [{ room_id: room, after: first + 1 }] });
    const [, replayed] = await reader.take(2);
    expect(replayed).toEqual(echo);
    await Promise.all([client.close(), old.close(), reader.close()]);
  });

  it('needs no joined room, and its ref holds for ever', async () => {
    const client = await ChatClient.enterV2(node, ben);
    client.send({ type: 'message', room_id: room, content: 'hi', ref: 'm' });
    const [sent] = await client.expect('SENT');
    client.send({ type: 'message', room_id: room, content: 'hi', ref: 'm' });
    expect(await client.next()).toEqual(sent);
    client.send({ type: 'message', room_id: room, content: 'another', ref: 'm' });
    expect(await client.next()).toEqual({
      type: 'status',
      data: 'INVALID',
      ref: 'm',
      room_id: room,
      seq: sent?.['seq'],
      reason: 'REF_USED',
    });
    await client.close();
  });

  it('is refused with a reason: no right, no room, no content', async () => {
    const reader = person();
    await putRule(node, ana, room, { userUUID: reader.userUUID, permissions: 'r' });
    const client = await ChatClient.enterV2(node, reader);
    client.send({ type: 'message', room_id: room, content: 'hi', ref: 'm' });
    expect(await client.next()).toMatchObject({
      data: 'NOTAUTHORIZED',
      reason: 'FORBIDDEN',
      room_id: room,
      ref: 'm',
    });
    client.send({ type: 'message', room_id: 2_000_000_000, content: 'hi', ref: 'm' });
    expect(await client.next()).toMatchObject({ data: 'NOTFOUND', reason: 'NOT_FOUND', ref: 'm' });
    client.send({ type: 'message', room_id: room, content: '', ref: 'm' });
    expect(await client.next()).toMatchObject({
      data: 'INVALID',
      reason: 'INVALID',
      detail: 'content is empty',
      room_id: room,
      ref: 'm',
    });
    await client.close();
  });

  it('reaches a session of version 1, which sees no other entry', async () => {
    const old = await ChatClient.enter(node, ana, room);
    const client = await ChatClient.enterV2(node, ben, room);
    client.send({ type: 'message', room_id: room, content: 'hi', ref: 'm' });
    await client.take(2);
    old.say('hello');
    expect(await client.next()).toMatchObject({ type: 'message', data: { content: 'hello' } });
    expect(await old.messages(2)).toEqual(['hi', 'hello']);
    await old.barrier();
    await Promise.all([old.close(), client.close()]);
  });
});

describe('a change of a message', () => {
  /** Sends a message; returns its number. */
  async function say(client: ChatClient, content: string): Promise<number> {
    client.send({ type: 'message', room_id: room, content, ref: content });
    const [, sent] = await client.take(2);
    return Number(sent?.['seq']);
  }

  it('is an entry for all, echoed before SENT, and unseen by version 1', async () => {
    const client = await ChatClient.enterV2(node, ben, room);
    const old = await ChatClient.enter(node, ana, room);
    const target = await say(client, 'first');
    const about = { room_id: room, target };
    client.send({ type: 'edit', ...about, content: 'second', data: { a: 1 }, ref: 'e' });
    client.send({ type: 'reaction', ...about, emoji: '👍', on: true, ref: 'r' });
    client.send({ type: 'delete', ...about, ref: 'd' });

    const frames = await client.take(6);
    const common = { room_id: room, emitter: ben.userUUID, target };
    expect(frames).toMatchObject([
      {
        type: 'edit',
        data: { ...common, seq: target + 1, ref: 'e', content: 'second', data: { a: 1 } },
      },
      { type: 'status', data: 'SENT', ref: 'e', room_id: room, seq: target + 1 },
      { type: 'reaction', data: { ...common, seq: target + 2, emoji: '👍', on: true, count: 1 } },
      { type: 'status', data: 'SENT', ref: 'r', seq: target + 2 },
      { type: 'delete', data: { ...common, seq: target + 3, ref: 'd' } },
      { type: 'status', data: 'SENT', ref: 'd', seq: target + 3 },
    ]);
    client.send({ type: 'message', room_id: room, content: 'last' });
    expect(await old.messages(2)).toEqual(['first', 'last']);
    await Promise.all([client.close(), old.close()]);
  });

  it('leaves its text out of the earlier entries, and a deletion out of all', async () => {
    const client = await ChatClient.enterV2(node, ben, room);
    const target = await say(client, 'first');
    const about = { room_id: room, target };
    client.send({ type: 'edit', ...about, content: 'second' });
    client.send({ type: 'edit', ...about, content: 'third' });
    await client.take(4);
    const reader = await ChatClient.enterV2(node, ana);
    const replay = async (): Promise<(string | undefined)[]> => {
      reader.send({ type: 'join', rooms: [{ room_id: room, after: target - 1 }] });
      const [connected] = await reader.expect('CONNECTED');
      const frames = await reader.take(Number(connected?.['head']) - target + 1);
      expect(frames.map((frame) => data(frame)['seq'])).toEqual(
        frames.map((_, index) => target + index),
      );
      return frames.map((frame) => data(frame)['content'] as string | undefined);
    };
    expect(await replay()).toEqual([undefined, undefined, 'third']);

    client.send({ type: 'delete', ...about });
    await client.take(2);
    expect(outline([await reader.next()])).toEqual([`delete ${target + 3}`]);
    expect(await replay()).toEqual([undefined, undefined, undefined, undefined]);
    await Promise.all([client.close(), reader.close()]);
  });

  it('sent again with its ref, or to no effect, has the first number', async () => {
    const client = await ChatClient.enterV2(node, ben);
    client.send({ type: 'message', room_id: room, content: 'first', ref: 'm' });
    const [sent] = await client.expect('SENT');
    const about = { room_id: room, target: sent?.['seq'] };
    const first = Number(sent?.['seq']);
    const commands: [object, number][] = [
      [{ type: 'edit', ...about, content: 'second', ref: 'e' }, first + 1],
      [{ type: 'edit', ...about, content: 'second', ref: 'e' }, first + 1],
      [{ type: 'reaction', ...about, emoji: '👍', on: false }, first],
      [{ type: 'reaction', ...about, emoji: '👍', on: true }, first + 2],
      [{ type: 'reaction', ...about, emoji: '👍\u{FE0F}', on: true }, first + 2],
      [{ type: 'delete', ...about, ref: 'd' }, first + 3],
      [{ type: 'delete', ...about }, first + 3],
    ];
    for (const [command, seq] of commands) {
      client.send(command);
      expect(await client.next()).toMatchObject({ data: 'SENT', room_id: room, seq });
    }
    client.send({ type: 'delete', ...about, ref: 'e' });
    expect(await client.next()).toMatchObject({ reason: 'REF_USED', seq: first + 1, ref: 'e' });
    client.send({ type: 'edit', ...about, content: 'third', ref: 'late' });
    expect(await client.next()).toMatchObject({ data: 'INVALID', reason: 'DELETED', ref: 'late' });
    await client.close();
  });

  it('is refused with a reason', async () => {
    const client = await ChatClient.enterV2(node, ben);
    const other = await ChatClient.enterV2(node, ana, room);
    const target = await say(other, 'of ana');
    const about = { room_id: room, target, ref: 'x' };
    const refused: [object, object][] = [
      [
        { type: 'edit', ...about, content: 'mine' },
        { data: 'NOTAUTHORIZED', reason: 'FORBIDDEN' },
      ],
      [
        { type: 'delete', ...about },
        { data: 'NOTAUTHORIZED', reason: 'FORBIDDEN' },
      ],
      [
        { type: 'delete', ...about, target: 1 },
        { data: 'NOTFOUND', reason: 'NO_SUCH_MESSAGE' },
      ],
      [
        { type: 'reaction', ...about, room_id: 2_000_000_000, emoji: '👍', on: true },
        { data: 'NOTFOUND', reason: 'NOT_FOUND' },
      ],
      [
        { type: 'edit', ...about },
        { data: 'INVALID', reason: 'INVALID' },
      ],
    ];
    for (const [command, answer] of refused) {
      client.send(command);
      expect(await client.next()).toMatchObject({ ...answer, ref: 'x' });
    }
    await Promise.all([client.close(), other.close()]);
  });
});

describe('leave', () => {
  it('is OK, and nothing of the room follows', async () => {
    const client = await ChatClient.enterV2(node, ana, room);
    const writer = await ChatClient.enterV2(node, ana);
    client.send({ type: 'message', room_id: room, content: 'before', ref: 'm' });
    client.send({ type: 'leave', room_id: room, ref: 'l' });
    const frames = await client.take(3);
    expect(frames.at(-1)).toEqual({ type: 'status', data: 'OK', ref: 'l', room_id: room });
    writer.send({ type: 'message', room_id: room, content: 'after', ref: 'm2' });
    await writer.expect('SENT');
    await expectNothing(client);
    // It is OK again.
    client.send({ type: 'leave', room_id: room });
    expect(await client.next()).toEqual({ type: 'status', data: 'OK', room_id: room });
    await Promise.all([client.close(), writer.close()]);
  });
});

describe('the session', () => {
  it('says what is unknown or malformed, and closes only for what is no JSON object', async () => {
    const client = await ChatClient.enterV2(node, ana);
    client.send({ type: 'select_room', room_id: room, ref: 's' });
    expect(await client.next()).toMatchObject({
      data: 'INVALID',
      reason: 'UNKNOWN_COMMAND',
      ref: 's',
      room_id: room,
    });
    client.send({ type: 'leave', ref: 'l' });
    expect(await client.next()).toMatchObject({ data: 'INVALID', reason: 'INVALID', ref: 'l' });
    client.raw('no JSON');
    expect(await client.next()).toEqual({ type: 'status', data: 'BADJSON', reason: 'BAD_JSON' });
    expect(await client.closed()).toEqual({ code: 4400, reason: 'BAD_JSON' });
  });

  it('quits when all before is answered', async () => {
    const client = await ChatClient.enterV2(node, ana);
    client.send({ type: 'join', rooms: [{ room_id: room }] });
    client.send({ type: 'message', room_id: room, content: 'last words', ref: 'm' });
    client.send({ type: 'quit' });
    const [connected, , sent] = await client.take(3);
    expect([connected?.data, sent?.data]).toEqual(['CONNECTED', 'SENT']);
    expect(await client.closed()).toEqual({ code: 1000, reason: 'NORMAL' });
  });

  it('goes on after a fault of the server', async () => {
    const client = await ChatClient.enterV2(node, ana);
    await query(world.databaseUrl, 'ALTER TABLE room_permissions RENAME TO away');
    try {
      client.send({ type: 'join', rooms: [{ room_id: room }], ref: 'j' });
      expect(await client.next()).toEqual({
        type: 'status',
        data: 'INTERNAL',
        ref: 'j',
        room_id: room,
        reason: 'INTERNAL',
      });
    } finally {
      await query(world.databaseUrl, 'ALTER TABLE away RENAME TO room_permissions');
    }
    client.send({ type: 'join', rooms: [{ room_id: room }] });
    await client.expect('CONNECTED');
    await client.close();
  });

  it('is told of its own permissions, behind the entry that changes them', async () => {
    const client = await ChatClient.enterV2(node, ben, room);
    await putRule(node, ana, room, { userUUID: ben.userUUID, permissions: 'r' });
    const [member, access] = await client.take(2);
    expect(member).toMatchObject({ type: 'member', data: { permissions: 'r' } });
    expect(access).toEqual({ type: 'access', data: { room_id: room, permissions: 'r' } });
    // A rule of somebody else, and one that changes nothing for them.
    await putRule(node, ana, room, { userUUID: person().userUUID, permissions: 'rw' });
    await putRule(node, ana, room, { userUUID: ben.userUUID, permissions: 'r', level: 3 });
    expect(outline(await client.take(2)).map((line) => line.split(' ')[0])).toEqual([
      'member',
      'member',
    ]);
    await expectNothing(client);

    await putRule(node, ana, room, { userUUID: ben.userUUID, permissions: 'b' });
    expect(await client.next()).toEqual({
      type: 'access',
      data: { room_id: room, permissions: '', reason: 'REVOKED' },
    });
    await expectNothing(client);
    await client.close();
  });

  it('is told of the rooms whose rights its new token changes', async () => {
    const entity = person({ levelOnEntity: 999 });
    const own = await createRoom(node, entity, { level_admin: 500 });
    await request(node, 'DELETE', `/rooms/${own}/members/${entity.userUUID}`, { as: entity });
    const client = await ChatClient.enterV2(node, entity);
    client.send({ type: 'join', rooms: [{ room_id: own }] });
    expect(await client.next()).toMatchObject({ data: 'CONNECTED', permissions: 'rwa' });

    const refresh = async (levelOnEntity: number): Promise<void> => {
      client.send({ type: 'token', content: person({ ...entity, levelOnEntity }).token });
      await client.expect('READY');
    };

    await refresh(500);
    await expectNothing(client);
    await refresh(100);
    expect(await client.next()).toEqual({
      type: 'access',
      data: { room_id: own, permissions: 'rw' },
    });
    await refresh(99);
    expect(await client.next()).toEqual({
      type: 'access',
      data: { room_id: own, permissions: '', reason: 'REVOKED' },
    });
    await client.close();
  });

  it('is told that its room was deleted', async () => {
    const client = await ChatClient.enterV2(node, ben, room);
    await request(node, 'DELETE', `/rooms/${room}`, { as: ana });
    expect(await client.next()).toEqual({
      type: 'access',
      data: { room_id: room, permissions: '', reason: 'ROOM_DELETED' },
    });
    await client.close();
  });

  it('goes on in other rooms while one hangs', async () => {
    const client = await ChatClient.enterV2(node, ana, room);
    const other = await createRoom(node, ana);
    await whileLocked(room, async () => {
      client.send({ type: 'message', room_id: room, content: 'stuck', ref: 'stuck' });
      for (let i = 0; i < 33; i += 1) client.send({ type: 'leave', room_id: room, ref: `${i}` });
      expect(await client.next()).toMatchObject({
        data: 'UNAVAILABLE',
        reason: 'UNAVAILABLE',
        room_id: room,
        ref: '32',
      });
      client.send({ type: 'join', rooms: [{ room_id: other }] });
      await client.expect('CONNECTED');
      client.send({ type: 'message', room_id: other, content: 'hi', ref: 'm' });
      expect((await client.take(2)).at(-1)).toMatchObject({ data: 'SENT', room_id: other });
      await expectNothing(client);
    });
    // The stuck message, its echo, and what waited for it.
    const frames = await client.take(34);
    expect(frames.slice(0, 2).map(({ type }) => type)).toEqual(['message', 'status']);
    expect(frames.slice(2).map(({ ref }) => ref)).toEqual(
      Array.from({ length: 32 }, (_, i) => `${i}`),
    );
    await client.close();
  });

  it('answers all in time, though a change before it is not known to be made', async () => {
    const client = await ChatClient.enterV2(hasty, ana, room);
    const seq = await behindEdit(client, async () => {
      client.send({ type: 'message', room_id: room, content: 'late', ref: 'message' });
      client.send({ type: 'read', room_id: room, upto: 1, ref: 'read' });
      client.send({ type: 'token', content: ana.token, ref: 'token' });
      client.send({ type: 'join', rooms: [{ room_id: room }], ref: 'join' });
      client.send({ type: 'leave', room_id: room, ref: 'leave' });
      // The lock is held until these have come.
      const answers = await client.take(6);
      const told = answers.map(({ data: word, ref }) => `${String(word)} ${String(ref)}`);
      expect(told.toSorted()).toEqual([
        'OK leave',
        ...['edit', 'join', 'message', 'read', 'token'].map((ref) => `UNAVAILABLE ${ref}`),
      ]);
    });
    // The edit may be made after all, and nothing of what was given up behind it.
    client.send({ type: 'join', rooms: [{ room_id: room, after: seq }] });
    await client.expect('CONNECTED');
    client.send({ type: 'message', room_id: room, content: 'next', ref: 'next' });
    const heard: unknown[] = [];
    while (!heard.includes('next')) heard.push(data(await client.next())['content']);
    expect(heard).not.toContain('late');
    await client.close();
  });

  it('leaves a room that it asked for again in vain', async () => {
    const client = await ChatClient.enterV2(hasty, ana, room);
    await behindEdit(client, async () => {
      client.send({ type: 'join', rooms: [{ room_id: room }], ref: 'join' });
      const answers = await client.take(2);
      expect(answers.map(({ data: word }) => word)).toEqual(['UNAVAILABLE', 'UNAVAILABLE']);
    });
    const other = await ChatClient.enterV2(hasty, ben);
    other.send({ type: 'message', room_id: room, content: 'unheard', ref: 'unheard' });
    await other.expect('SENT');
    await expectNothing(client);
    await other.close();
    await client.close();
  });

  it('is in a room once that it joins by its number and its uuid at once', async () => {
    const { content } = await request(node, 'GET', `/rooms/${room}`, { as: ana });
    const { uuid } = content as { uuid: string };
    // The room is not open on this node, so that the join by number takes as long as the other.
    const fresh = await world.start();
    const client = await ChatClient.enterV2(fresh, ben);
    client.send({ type: 'join', rooms: [{ room_id: room }, { room_id: uuid }] });
    await client.expect('CONNECTED', 'CONNECTED');
    const watcher = await ChatClient.enterV2(fresh, ana);
    watcher.send({ type: 'join', rooms: [{ room_id: room }], with: ['presence'] });
    await watcher.expect('CONNECTED');
    expect(data(await watcher.next())).toMatchObject({ count: 2 });
    await request(fresh, 'DELETE', `/rooms/${room}/members/${ben.userUUID}`, { as: ana });

    expect(await watcher.next()).toMatchObject({ type: 'member' });
    expect(data(await watcher.next())).toMatchObject({ count: 1, leave: [ben.userUUID] });
    await watcher.close();
    await client.close();
  });
});
