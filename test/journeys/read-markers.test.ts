import { Redis } from 'ioredis';
import { Client } from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { createRoom, putRule, request } from '../harness/api.js';
import { ChatClient, type ServerFrame } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { query } from '../harness/database.js';
import type { TestNode } from '../harness/node.js';
import { redisUrl } from '../harness/services.js';
import { person } from '../harness/tokens.js';

describe('read markers of version 2, on two nodes,', () => {
  const ana = person({ levelOnEntity: 999 });
  const ben = person();
  let world: ChatWorld;
  let east: TestNode;
  let west: TestNode;
  /** A room of ana and, from its entry 3 on, ben, with 70 entries. */
  let room: number;

  beforeAll(async () => {
    world = await createChatWorld();
    [east, west] = await Promise.all([world.start(), world.start()]);
  });
  afterAll(() => world.close());
  beforeEach(async () => {
    room = await createRoom(east, ana);
    await putRule(east, ana, room, { userUUID: ben.userUUID, permissions: 'rw' });
    const writer = await ChatClient.enterV2(east, ana, room);
    for (let seq = 4; seq <= 70; seq += 1) {
      writer.send({ type: 'message', room_id: room, content: 'hi' });
    }
    await writer.take(67);
    await writer.close();
  });

  function moved(upto: number, { userUUID } = ana): ServerFrame {
    return { type: 'read', data: { room_id: room, emitter: userUUID, upto } };
  }

  async function expectNothing(client: ChatClient): Promise<void> {
    client.send({ type: 'ping' });
    await client.expect('PONG');
  }

  it('go backwards on demand alone, and follow the user to all their sockets', async () => {
    const phone = await ChatClient.enterV2(east, ana, room);
    const desk = await ChatClient.enterV2(west, ana, room);
    const lobby = await ChatClient.enterV2(west, ana);
    const old = await ChatClient.enter(west, ana, room);
    const other = await ChatClient.enterV2(west, ben, room);
    // The acceptance of ben.
    await Promise.all([phone.take(1), desk.take(1)]);

    phone.send({ type: 'read', room_id: room, upto: 60, ref: 'r1' });
    expect(await phone.next()).toEqual({
      type: 'status',
      data: 'OK',
      ref: 'r1',
      room_id: room,
      upto: 60,
    });
    for (const client of [desk, lobby]) expect(await client.next()).toEqual(moved(60));

    desk.send({ type: 'read', room_id: room, upto: 50, ref: 'late' });
    expect(await desk.next()).toMatchObject({ data: 'OK', ref: 'late', upto: 60 });
    desk.send({ type: 'read', room_id: room, upto: 40, back: true, ref: 'back' });
    expect(await desk.next()).toMatchObject({ data: 'OK', ref: 'back', upto: 40 });
    for (const client of [phone, lobby]) expect(await client.next()).toEqual(moved(40));

    await request(west, 'PUT', `/rooms/${room}/read`, { as: ana, body: { upto: 1_000 } });
    for (const client of [phone, desk, lobby]) expect(await client.next()).toEqual(moved(71));
    for (const client of [phone, desk, lobby, other]) await expectNothing(client);
    await old.barrier();
    await Promise.all([phone, desk, lobby, old, other].map((client) => client.close()));
  });

  it('come with CONNECTED, and never go below the entry that let the user in', async () => {
    const client = await ChatClient.enterV2(east, ben);
    client.send({ type: 'join', rooms: [{ room_id: room }] });
    expect(await client.next()).toMatchObject({ data: 'CONNECTED', read: 3 });
    client.send({ type: 'read', room_id: room, upto: 1, back: true });
    expect(await client.next()).toMatchObject({ data: 'OK', upto: 3 });
    client.send({ type: 'read', room_id: room, upto: 9 });
    expect(await client.next()).toMatchObject({ data: 'OK', upto: 9 });
    await client.close();

    const again = await ChatClient.enterV2(west, ben);
    again.send({ type: 'join', rooms: [{ room_id: room }] });
    let frame = await again.next();
    // The move may reach the node when the client is there.
    while (frame.type === 'read') frame = await again.next();
    expect(frame).toMatchObject({ data: 'CONNECTED', read: 9 });
    await again.close();
  });

  it('come with CONNECTED as they were told last, even if they move while they are looked up', async () => {
    const client = await ChatClient.enterV2(east, ana);
    const blocker = new Client({ connectionString: world.databaseUrl });
    await blocker.connect();
    const peer = new Redis(redisUrl());
    onTestFinished(async () => {
      peer.disconnect();
      await blocker.end();
    });
    await blocker.query('BEGIN; LOCK TABLE read_markers IN ACCESS EXCLUSIVE MODE');
    client.send({ type: 'join', rooms: [{ room_id: room }], ref: 'j' });
    const [epoch] = await query(world.databaseUrl, 'SELECT uuid FROM log_epoch');
    // Sent after the join, and heard while it waits.
    client.send({ type: 'ping' });
    await client.expect('PONG');
    const channel = `${new URL(world.databaseUrl).pathname.slice(1)}:${String(epoch?.['uuid'])}:nodes`;
    await peer.publish(
      channel,
      `stranger.1 ${JSON.stringify({ markers: [[room, ana.userUUID, 44, false]] })}`,
    );
    expect(await client.next()).toEqual(moved(44));
    await blocker.query('COMMIT');
    expect(await client.next()).toMatchObject({ data: 'CONNECTED', ref: 'j', read: 44 });
    await client.close();
  });

  it('of who may not read are refused', async () => {
    const eve = await ChatClient.enterV2(east, person());
    eve.send({ type: 'read', room_id: room, upto: 9, ref: 'a' });
    expect(await eve.next()).toMatchObject({ data: 'NOTAUTHORIZED', room_id: room, ref: 'a' });
    eve.send({ type: 'read', room_id: 2_000_000_000, upto: 9, ref: 'b' });
    expect(await eve.next()).toMatchObject({ data: 'NOTFOUND', reason: 'NOT_FOUND', ref: 'b' });
    eve.send({ type: 'read', room_id: room, upto: -1, ref: 'c' });
    expect(await eve.next()).toMatchObject({ data: 'INVALID', reason: 'INVALID', ref: 'c' });
    await eve.close();
  });
});
