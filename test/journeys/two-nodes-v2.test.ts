import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRoom, putRule, requestPatiently } from '../harness/api.js';
import { ChatClient, type ServerFrame } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { query } from '../harness/database.js';
import type { TestNode } from '../harness/node.js';
import { person } from '../harness/tokens.js';

describe('version 2 on two nodes with one Postgres and one Redis,', () => {
  const ana = person({ levelOnEntity: 999 });
  const ben = person();
  let world: ChatWorld;
  let east: TestNode;
  let west: TestNode;

  beforeAll(async () => {
    world = await createChatWorld();
    [east, west] = await Promise.all([world.start(), world.start()]);
  });
  afterAll(() => world.close());

  async function roomForBoth(): Promise<number> {
    const room = await createRoom(east, ana, { max_entity_rules: 100 });
    await putRule(east, ana, room, { userUUID: ben.userUUID, permissions: 'rw' });
    return room;
  }

  async function headOf(room: number): Promise<number> {
    const [row] = await query<{ head: number }>(
      world.databaseUrl,
      'SELECT head::int FROM rooms WHERE id = $1',
      [room],
    );
    return row?.head ?? 0;
  }

  function seqOf({ data }: ServerFrame): number {
    return (data as { seq: number }).seq;
  }

  /** The numbers from one to another. */
  function range(from: number, to: number): number[] {
    return Array.from({ length: to - from + 1 }, (_, index) => from + index);
  }

  it('both get every number once and in order, whatever the entry is', async () => {
    const room = await roomForBoth();
    const here = await ChatClient.enterV2(east, ana, room);
    const there = await ChatClient.enterV2(west, ben, room);
    const before = await headOf(room);
    // Its own acceptance, which ben caused by joining.
    await here.take(1);
    for (let i = 0; i < 20; i += 1) {
      here.send({ type: 'message', room_id: room, content: `east ${i}` });
      there.send({ type: 'message', room_id: room, content: `west ${i}` });
    }
    const guests = Array.from({ length: 10 }, () => person().userUUID);
    await Promise.all(
      guests.map((userUUID) => putRule(west, ana, room, { userUUID, permissions: 'r' })),
    );

    const [seen, alsoSeen] = await Promise.all([here.take(50), there.take(50)]);
    expect(alsoSeen).toEqual(seen);
    expect(seen.map(seqOf)).toEqual(range(before + 1, before + 50));
    await Promise.all([here.close(), there.close()]);
  });

  it('a client comes back to many rooms on the other node, and has each number once', async () => {
    const rooms = await Promise.all(Array.from({ length: 10 }, roomForBoth));
    const first = await ChatClient.enterV2(east, ana, ...rooms);
    const after = await Promise.all(rooms.map(headOf));
    await first.close();
    const writer = await ChatClient.enterV2(east, ben);
    for (const room_id of rooms) {
      for (const ref of ['a', 'b', 'c']) {
        writer.send({ type: 'message', room_id, content: ref, ref });
      }
    }
    await writer.take(30);

    const again = await ChatClient.enterV2(west, ana);
    again.send({
      type: 'join',
      rooms: rooms.map((room_id, index) => ({ room_id, after: after[index] })),
      max: 500,
      ref: 'again',
    });
    for (const room_id of rooms) {
      writer.send({ type: 'message', room_id, content: 'd', ref: 'd' });
    }
    const frames = await again.take(10 + 40);
    for (const [index, room] of rooms.entries()) {
      const ofRoom = frames.filter(
        (frame) =>
          frame['room_id'] === room || (frame.data as { room_id?: number }).room_id === room,
      );
      const from = after[index] ?? 0;
      expect(ofRoom[0]).toMatchObject({ data: 'CONNECTED', from, ref: 'again' });
      expect(ofRoom.slice(1).map(seqOf)).toEqual(range(from + 1, from + 4));
    }
    await Promise.all([writer.close(), again.close()]);
  });

  it('the same ref sent to both at once is stored once', async () => {
    const room = await roomForBoth();
    const before = await headOf(room);
    const here = await ChatClient.enterV2(east, ben);
    const there = await ChatClient.enterV2(west, ben);
    const command = { type: 'message', room_id: room, content: 'once', data: { a: 1 } };
    for (let i = 0; i < 20; i += 1) {
      here.send({ ...command, ref: `${i}` });
      there.send({ ...command, ref: `${i}` });
    }
    const answers = [await here.take(20), await there.take(20)].map((frames) =>
      Object.fromEntries(frames.map((frame) => [frame['ref'], frame['seq']])),
    );
    expect(answers[0]).toEqual(answers[1]);
    expect(new Set(Object.values(answers[0] ?? {}))).toEqual(
      new Set(range(before + 1, before + 20)),
    );
    there.send({ ...command, data: { a: 2 }, ref: '0' });
    expect(await there.next()).toMatchObject({ reason: 'REF_USED', seq: answers[0]?.['0'] });
    await Promise.all([here.close(), there.close()]);
  });

  it('nothing with the number of a revocation, or a later one, reaches who was removed', async () => {
    const room = await roomForBoth();
    const here = await ChatClient.enterV2(east, ana, room);
    const there = await ChatClient.enterV2(west, ben, room);
    await here.take(1);
    here.send({ type: 'message', room_id: room, content: 'before' });
    const [seen] = await there.take(1);
    await putRule(east, ana, room, { userUUID: ben.userUUID, permissions: 'b' });
    here.send({ type: 'message', room_id: room, content: 'after' });
    await here.take(3);

    expect(await there.next()).toEqual({
      type: 'access',
      data: { room_id: room, permissions: '', reason: 'REVOKED' },
    });
    const after = seen === undefined ? 0 : seqOf(seen);
    there.send({ type: 'join', rooms: [{ room_id: room, after }], ref: 'j' });
    expect(await there.next()).toMatchObject({ data: 'NOTAUTHORIZED', ref: 'j' });
    there.send({ type: 'message', room_id: room, content: 'may I?', ref: 'm' });
    expect(await there.next()).toMatchObject({ data: 'NOTAUTHORIZED', ref: 'm' });
    there.send({ type: 'ping' });
    await there.expect('PONG');
    await Promise.all([here.close(), there.close()]);
  });

  it('a token with fewer rights comes before the join behind it, and loses the lost rooms alone', async () => {
    const { userUUID, entityUUID } = person();
    const entity = { userUUID, entityUUID };
    const admin = person({ levelOnEntity: 999 });
    const rooms = await Promise.all(
      Array.from({ length: 50 }, async (_, index) => {
        const id = await createRoom(index % 2 === 0 ? east : west, admin);
        const level = index % 2 === 0 ? 100 : 500;
        const body = { entity_UUID: entityUUID, permissions: 'rw', level };
        await requestPatiently(east, 'PUT', `/rooms/${id}/members`, { as: admin, body });
        return { id, isLost: level === 500 };
      }),
    );
    const list = rooms.map(({ id }) => ({ room_id: id }));
    const client = await ChatClient.enterV2(west, person({ ...entity, levelOnEntity: 500 }));
    // Each CONNECTED behind the acceptance of its rule, which no other session sees. Postgres may be too busy for some of them.
    for (let left = list; left.length > 0;) {
      client.send({ type: 'join', rooms: left });
      const answers = await client.take(left.length);
      const words = new Set(answers.map(({ data }) => data));
      expect(['CONNECTED', 'UNAVAILABLE']).toEqual(expect.arrayContaining([...words]));
      left = answers
        .filter(({ data }) => data === 'UNAVAILABLE')
        .map((frame) => ({ room_id: frame['room_id'] as number }));
    }

    const demoted = person({ ...entity, levelOnEntity: 100 });
    client.send({ type: 'join', rooms: list, ref: 'before' });
    client.send({ type: 'token', content: demoted.token, ref: 'token' });
    client.send({ type: 'join', rooms: list, ref: 'behind' });

    const before = await client.take(50);
    expect(new Set(before.map(({ ref, data }) => `${String(ref)} ${String(data)}`))).toEqual(
      new Set(['before CONNECTED']),
    );
    const [ready] = await client.expect('READY');
    expect(ready).toMatchObject({ ref: 'token' });
    const lost = rooms.filter(({ isLost }) => isLost).map(({ id }) => id);
    const told = await client.take(lost.length);
    expect(told.map(({ type, data }) => [type, data])).toEqual(
      expect.arrayContaining(
        lost.map((room_id) => ['access', { room_id, permissions: '', reason: 'REVOKED' }]),
      ),
    );
    const behind = await client.take(50);
    const words = new Map(behind.map((frame) => [frame['room_id'], frame.data]));
    expect(words).toEqual(
      new Map(rooms.map(({ id, isLost }) => [id, isLost ? 'NOTAUTHORIZED' : 'CONNECTED'])),
    );
    await client.close();
  });

  it('a reader that stopped gets every number once it reads again', async () => {
    const slim = await world.start({ OUTBOX_BYTES: '65536' });
    const room = await roomForBoth();
    const slow = await ChatClient.enterV2(slim, ana, room);
    const quick = await ChatClient.enterV2(slim, ben, room);
    const before = await headOf(room);
    slow.socket.pause();
    // More than the kernel's buffers and the outbox hold together.
    const content = 'x'.repeat(8_000);
    const count = 2_000;
    for (let sent = 0; sent < count; sent += 100) {
      for (let i = 0; i < 100; i += 1) {
        quick.send({ type: 'message', room_id: room, content });
      }
      await quick.take(100);
    }
    quick.send({ type: 'edit', room_id: room, target: before + count, content: 'short' });
    await quick.take(2);
    slow.socket.resume();
    // Its acceptance by ben came before it stopped.
    const seen = await slow.take(count + 2);
    expect(seen.map(seqOf)).toEqual(range(before, before + count + 1));
    expect(seen.slice(-2).map(({ data }) => (data as { content?: string }).content)).toEqual([
      undefined,
      'short',
    ]);
    await Promise.all([slow.close(), quick.close()]);
  });

  it('a log that went back closes every session with 1012, and their places are AHEAD', async () => {
    const fast = await world.start({ POLL_INTERVAL_MS: '500' });
    const room = await roomForBoth();
    const client = await ChatClient.enterV2(fast, ana);
    client.send({ type: 'join', rooms: [{ room_id: room }] });
    const [connected] = await client.expect('CONNECTED');
    await query(world.databaseUrl, 'DELETE FROM messages WHERE room_id = $1 AND seq > 1', [room]);
    await query(world.databaseUrl, 'UPDATE rooms SET head = 1, rules_head = 1 WHERE id = $1', [
      room,
    ]);
    expect(await client.closed()).toEqual({ code: 1012, reason: 'RESTART' });

    const again = await ChatClient.enterV2(fast, ana);
    const epoch = connected?.['epoch'];
    again.send({ type: 'join', rooms: [{ room_id: room, after: 1, epoch }] });
    expect(await again.next()).toMatchObject({ data: 'INVALID', reason: 'AHEAD' });
    again.send({ type: 'join', rooms: [{ room_id: room }] });
    const [anew] = await again.expect('CONNECTED');
    expect(anew).toMatchObject({ head: 1, from: 1 });
    expect(anew?.['epoch']).not.toBe(epoch);
    await again.close();
  });
});
