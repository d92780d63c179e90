import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRoom, putRule, request } from '../harness/api.js';
import { ChatClient, numberOf } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { query } from '../harness/database.js';
import type { TestNode } from '../harness/node.js';
import { person, type Person } from '../harness/tokens.js';

/** A user who enters a room accepts the rule that admits them. */
describe('entering a room', () => {
  let world: ChatWorld;
  let node: TestNode;
  const ana = person({ levelOnEntity: 999 });

  beforeAll(async () => {
    world = await createChatWorld();
    // Hundreds at once take a slow machine longer than one may.
    node = await world.start({ STORE_TIMEOUT_MS: '60000', AUTH_TIMEOUT_MS: '60000' });
  });
  afterAll(() => world.close());

  /** The head of a room's log, and the number of its last change of rights. */
  async function headsOf(room: number): Promise<{ head: number; rules_head: number } | undefined> {
    const [heads] = await query<{ head: number; rules_head: number }>(
      world.databaseUrl,
      'SELECT head::int, rules_head::int FROM rooms WHERE id = $1',
      [room],
    );
    return heads;
  }

  async function ready(who: readonly Person[]): Promise<ChatClient[]> {
    return Promise.all(who.map((one) => ChatClient.enter(node, one)));
  }

  async function unaccepted(room: number): Promise<number> {
    const [row] = await query<{ count: number }>(
      world.databaseUrl,
      'SELECT count(*)::int FROM room_permissions WHERE room_id = $1 AND NOT accepted',
      [room],
    );
    return row?.count ?? -1;
  }

  it('admits hundreds at once, each by an unaccepted rule, while the room keeps talking', async () => {
    const room = await createRoom(node, ana, { max_entity_rules: 1_000 });
    const people = Array.from({ length: 400 }, () => person());
    await query(
      world.databaseUrl,
      `INSERT INTO room_permissions
         (room_id, "entity_UUID", level, permissions, accepted, "createdAt", "updatedAt")
       SELECT $1, uuid, 0, 'rw', false, now(), now() FROM unnest($2::uuid[]) AS uuid`,
      [room, people.map(({ userUUID }) => userUUID)],
    );
    const talker = await ChatClient.enter(node, ana, room);
    const clients = await ready(people);
    const before = await headsOf(room);

    for (const client of clients) client.send({ type: 'select_room', room_id: room });
    const said = Array.from({ length: 50 }, () => randomUUID());
    for (const ref of said) {
      talker.say('meanwhile', { ref });
      const [echo, sent] = await talker.take(2);
      expect(sent).toMatchObject({ data: 'SENT', ref, seq: numberOf(echo) });
    }

    for (const client of clients) await client.expect('CONNECTED');
    expect(await unaccepted(room)).toBe(0);
    const after = await headsOf(room);
    expect((after?.head ?? 0) - (before?.head ?? 0)).toBe(people.length + said.length);
    // Nobody's rights have changed.
    expect(after?.rules_head).toBe(before?.rules_head);
    await Promise.all([talker, ...clients].map((client) => client.close()));
  });

  it('accepts an entity’s rule once, even if many of its members enter at once', async () => {
    const room = await createRoom(node, ana);
    const entityUUID = randomUUID();
    const members = Array.from({ length: 50 }, () => person({ entityUUID }));
    await putRule(node, ana, room, { entity_UUID: entityUUID, permissions: 'r' });
    const clients = await ready(members);
    const before = await headsOf(room);

    for (const client of clients) client.send({ type: 'select_room', room_id: room });
    for (const client of clients) await client.expect('CONNECTED');

    expect((await headsOf(room))?.head).toBe((before?.head ?? 0) + 1);
    await Promise.all(clients.map((client) => client.close()));
  });

  it('writes nothing the second time, and so does answering an invitation', async () => {
    const room = await createRoom(node, ana);
    const ben = person();
    await putRule(node, ana, room, { userUUID: ben.userUUID, permissions: 'r' });
    const first = await ChatClient.enter(node, ben, room);
    const before = await headsOf(room);

    const second = await ChatClient.enter(node, ben, room);
    const answer = { as: ben, body: { accepted: true } };
    const answers = [
      await request(node, 'PUT', `/rooms/${room}/invitation`, answer),
      await request(node, 'PUT', `/rooms/${room}/invitation`, answer),
    ];

    expect(answers[0]).toMatchObject({ status: 200, content: { accepted: true } });
    expect(answers[1]?.content).toEqual(answers[0]?.content);
    expect(await headsOf(room)).toEqual(before);
    await Promise.all([first.close(), second.close()]);
  });
});
