import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { createRoom, putRule, request } from '../harness/api.js';
import { ChatClient, numberOf } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { query } from '../harness/database.js';
import type { TestNode } from '../harness/node.js';
import { openOutlet, OUTLET_FAULTS } from '../harness/outlet.js';
import { redisUrl } from '../harness/services.js';
import { person } from '../harness/tokens.js';

let world: ChatWorld;
let east: TestNode;
let west: TestNode;

beforeAll(async () => {
  world = await createChatWorld();
  // Two processes that start at once: one migrates, both run.
  [east, west] = await Promise.all([world.start(), world.start()]);
});
afterAll(() => world.close());

describe('on two nodes with one Postgres and one Redis,', () => {
  const ana = person({ levelOnEntity: 999 });
  const ben = person();

  async function roomForBoth(permissions = 'rw'): Promise<number> {
    const room = await createRoom(east, ana);
    await putRule(east, ana, room, { userUUID: ben.userUUID, permissions });
    return room;
  }

  it('both show the same entries in the same order', async () => {
    const room = await roomForBoth();
    const here = await ChatClient.enter(east, ana, room);
    const there = await ChatClient.enter(west, ben, room);
    for (let i = 0; i < 50; i += 1) {
      here.say(`east ${i}`);
      there.say(`west ${i}`);
    }
    const [seen, alsoSeen] = await Promise.all([here.take(100), there.take(100)]);
    const numbers = seen.map(numberOf);
    expect(alsoSeen).toEqual(seen);
    expect(numbers).toEqual(numbers.toSorted((a, b) => a - b));
    expect(new Set(numbers).size).toBe(100);
    await Promise.all([here.close(), there.close()]);
  });

  it('a user banned on one node leaves the room on the other, and may return when unbanned', async () => {
    const room = await roomForBoth();
    const here = await ChatClient.enter(east, ana, room);
    const there = await ChatClient.enter(west, ben, room);

    await putRule(east, ana, room, { userUUID: ben.userUUID, permissions: 'rwb' });
    const [lost] = await there.expect('NOTAUTHORIZED');
    expect(lost).toMatchObject({ type: 'status', room_id: room, reason: 'REVOKED' });
    here.say('without ben');
    expect(await here.messages(1)).toEqual(['without ben']);
    there.say('may I?');
    await there.expect('SELECTROOM?');
    there.send({ type: 'select_room', room_id: room });
    await there.expect('NOTAUTHORIZED');

    await putRule(east, ana, room, { userUUID: ben.userUUID, permissions: 'rw' });
    there.send({ type: 'select_room', room_id: room });
    await there.expect('CONNECTED');
    here.say('welcome back');
    expect(await there.messages(1)).toEqual(['welcome back']);
    await Promise.all([here.close(), there.close()]);
  });

  it('all members of an entity that loses r leave the room on both, before the next message', async () => {
    const room = await roomForBoth();
    const guests = person();
    const entity_UUID = guests.entityUUID;
    await putRule(east, ana, room, { entity_UUID, permissions: 'rw' });
    const members = await Promise.all(
      [east, east, west, west].map((node) =>
        ChatClient.enter(node, person({ entityUUID: guests.entityUUID }), room),
      ),
    );
    const here = await ChatClient.enter(east, ana, room);
    const there = await ChatClient.enter(west, ben, room);

    await putRule(west, ana, room, { entity_UUID, permissions: 'w' });
    here.say('without them');
    // The other subscribers of both nodes get this message, so it would have reached the members, too.
    for (const client of [here, there]) expect(await client.messages(1)).toEqual(['without them']);
    for (const member of members) {
      const [lost] = await member.expect('NOTAUTHORIZED');
      expect(lost).toMatchObject({ room_id: room, reason: 'REVOKED' });
      await member.barrier();
    }
    await Promise.all([here, there, ...members].map((client) => client.close()));
  });

  it('a refreshed token with fewer rights leaves the room on every node', async () => {
    const room = await roomForBoth();
    const guests = person({ levelOnEntity: 500 });
    const { userUUID, entityUUID: entity_UUID } = guests;
    await putRule(east, ana, room, { entity_UUID, permissions: 'rw', level: 400 });
    const guest = await ChatClient.enter(west, guests, room);
    const here = await ChatClient.enter(east, ana, room);
    const there = await ChatClient.enter(west, ben, room);

    const demoted = person({ userUUID, entityUUID: entity_UUID, levelOnEntity: 399 });
    guest.say('still allowed');
    expect(await guest.messages(1)).toEqual(['still allowed']);
    guest.send({ type: 'token', content: demoted.token });
    guest.say('too late');
    await guest.expect('READY', 'NOTAUTHORIZED', 'SELECTROOM?');
    here.say('without the guest');
    for (const client of [here, there]) {
      expect(await client.messages(2)).toEqual(['still allowed', 'without the guest']);
    }
    await guest.barrier();
    await Promise.all([here, there, guest].map((client) => client.close()));
  });

  it('a member who loses only w keeps reading', async () => {
    const room = await roomForBoth();
    const there = await ChatClient.enter(west, ben, room);
    await putRule(east, ana, room, { userUUID: ben.userUUID, permissions: 'r' });
    there.say('too late', { ref: 'mine' });
    const [refused] = await there.expect('NOTAUTHORIZED');
    expect(refused).toMatchObject({ room_id: room, ref: 'mine' });
    const here = await ChatClient.enter(east, ana, room);
    here.say('listen');
    expect(await there.messages(1)).toEqual(['listen']);
    await Promise.all([here.close(), there.close()]);
  });

  it('everybody leaves a deleted room', async () => {
    const room = await roomForBoth();
    const here = await ChatClient.enter(east, ana, room);
    const there = await ChatClient.enter(west, ben, room);
    const deleted = await request(west, 'DELETE', `/rooms/${room}`, { as: ana });
    expect(deleted.status).toBe(200);
    for (const client of [here, there]) {
      const [lost] = await client.expect('NOTAUTHORIZED');
      expect(lost).toMatchObject({ room_id: room, reason: 'ROOM_DELETED' });
      client.send({ type: 'select_room', room_id: room });
      await client.expect('NOTAUTHORIZED');
    }
    await Promise.all([here.close(), there.close()]);
  });

  it('a ref that was sent to one node is known to the other', async () => {
    const room = await roomForBoth();
    const first = await ChatClient.enter(east, ana, room);
    first.say('once', { ref: 'r1' });
    const [echo, sent] = await first.take(2);
    expect(sent).toMatchObject({ data: 'SENT', ref: 'r1', room_id: room });
    const second = await ChatClient.enter(west, ana, room);
    second.say('once', { ref: 'r1' });
    const [again] = await second.expect('SENT');
    expect(again).toMatchObject({ seq: numberOf(echo) });
    await first.barrier();
    await Promise.all([first.close(), second.close()]);
  });

  it('a right granted on one node holds at once on the other, without Redis too', async () => {
    // Nothing comes through Redis, and no poll is due for a minute.
    const deaf = await world.start({
      REDIS_PREFIX: 'nobody',
      POLL_INTERVAL_MS: '60000',
      POLL_INTERVAL_BROKER_DOWN_MS: '60000',
    });
    const room = await createRoom(east, ana);
    const here = await ChatClient.enter(east, ana, room);
    // The room is active on the deaf node from now on.
    const first = await ChatClient.enter(deaf, ana, room);
    await putRule(east, ana, room, { userUUID: ben.userUUID, permissions: 'r' });
    const there = await ChatClient.enter(deaf, ben, room);
    await putRule(east, ana, room, { userUUID: ben.userUUID, permissions: 'rw' });
    there.say('thank you');
    expect(await there.messages(1)).toEqual(['thank you']);
    here.say('more');
    const [, more] = await here.take(2);
    const late = await ChatClient.enter(deaf, ben);
    late.send({ type: 'select_room', room_id: room, after: numberOf(more) });
    await late.expect('CONNECTED');
    await Promise.all([here, first, there, late].map((client) => client.close()));
  });

  it('a sender behind a gap gets the missing messages, then its own, then SENT', async () => {
    const deaf = await world.start({ REDIS_PREFIX: 'nobody', POLL_INTERVAL_MS: '60000' });
    const polling = await world.start({ POLL_INTERVAL_MS: '50' });
    const room = await roomForBoth();
    const here = await ChatClient.enter(polling, ana, room);
    const there = await ChatClient.enter(deaf, ben, room);
    for (let i = 0; i < 3; i += 1) {
      here.say(`east ${i}`);
      await here.messages(1);
      there.say(`deaf ${i}`, { ref: `${i}` });
      expect(await there.messages(2)).toEqual([`east ${i}`, `deaf ${i}`]);
      await there.expect('SENT');
      await here.messages(1);
    }
    await Promise.all([here.close(), there.close()]);
  });

  it('malformed messages of strangers in Redis are ignored', async () => {
    const room = await roomForBoth();
    const there = await ChatClient.enter(west, ben, room);
    const stranger = new Redis(redisUrl());
    const prefix = new URL(world.databaseUrl).pathname.slice(1);
    const [epoch] = await query<{ uuid: string }>(world.databaseUrl, 'SELECT uuid FROM log_epoch');
    const channel = `${prefix}:${epoch?.uuid}:room:${room}`;
    const bodies = [
      '',
      'x',
      'x null',
      'stranger.1 {"entries":5}',
      'stranger.1 {"entries":[null]}',
      'stranger.1 {"deleted":1}',
      `stranger.1 {"here":[[${room},"9"]]}`,
    ];
    for (const body of bodies) {
      // The message must have reached both nodes, or the test shows nothing.
      expect(await stranger.publish(channel, body)).toBeGreaterThan(0);
    }
    stranger.disconnect();
    const here = await ChatClient.enter(east, ana, room);
    here.say('still there');
    expect(await there.messages(1)).toEqual(['still there']);
    await Promise.all([here.close(), there.close()]);
  });

  it.each(OUTLET_FAULTS)('messages arrive while Redis $fault for one', async ({ fail, mend }) => {
    const outlet = await openOutlet(redisUrl());
    onTestFinished(() => outlet.close());
    // Only a node that knows that its broker is down polls soon enough for this test.
    const weak = await world.start({
      REDIS_URL: outlet.url,
      POLL_INTERVAL_MS: '60000',
      POLL_INTERVAL_BROKER_DOWN_MS: '50',
    });
    const room = await roomForBoth();
    const here = await ChatClient.enter(east, ana, room);
    const there = await ChatClient.enter(weak, ben, room);
    here.say('before');
    expect(await there.messages(1)).toEqual(['before']);

    await fail(outlet);
    there.say('from the weak one', { ref: 'weak' });
    expect(await there.messages(1)).toEqual(['from the weak one']);
    await there.expect('SENT');
    here.say('from the other one');
    expect(await there.messages(1)).toEqual(['from the other one']);
    expect(await here.messages(3)).toEqual(['before', 'from the weak one', 'from the other one']);

    await mend(outlet);
    for (let i = 0; i < 20; i += 1) {
      here.say(`here ${i}`);
      there.say(`there ${i}`);
    }
    const [seen, alsoSeen] = await Promise.all([here.take(40), there.take(40)]);
    expect(alsoSeen).toEqual(seen);
    expect(new Set(seen.map(numberOf)).size).toBe(40);
    await Promise.all([here.close(), there.close()]);
    await weak.close();
  });

  it('messages and revocations reach a node that hears nothing through Redis', async () => {
    // A node with another prefix hears nothing of the others, and finds everything by polling.
    const deaf = await world.start({ REDIS_PREFIX: 'nobody', POLL_INTERVAL_MS: '50' });
    const room = await roomForBoth();
    const there = await ChatClient.enter(deaf, ben, room);
    const here = await ChatClient.enter(east, ana, room);
    const words = Array.from({ length: 20 }, (_, i) => `word ${i}`);
    for (const word of words) here.say(word);
    expect(await there.messages(20)).toEqual(words);
    await putRule(east, ana, room, { userUUID: ben.userUUID, permissions: 'b' });
    await there.expect('NOTAUTHORIZED');
    await Promise.all([here.close(), there.close()]);
  });
});
