import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRoom, putRule, request } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { query } from '../harness/database.js';
import type { TestNode } from '../harness/node.js';
import {
  startReceiver,
  WEBHOOK_SECRET,
  type Delivery,
  type Receiver,
} from '../harness/receiver.js';
import { eventually } from '../harness/eventually.js';
import { person } from '../harness/tokens.js';

const ana = person({ levelOnEntity: 999 }, { name: 'Ana' });
const ben = person({}, { name: 'Ben' });
const cleo = person({}, { name: 'Cleo' });
const server = person({}, { server: true });

let world: ChatWorld;
let receiver: Receiver;
let webhooks: Record<string, string>;
let node: TestNode;

beforeAll(async () => {
  [world, receiver] = await Promise.all([createChatWorld(), startReceiver()]);
  webhooks = { WEBHOOK_URL: receiver.url, WEBHOOK_SECRET };
  node = await world.start(webhooks);
  // Until a token of theirs has come, nobody knows that they are users.
  for (const as of [ana, ben, cleo]) await request(node, 'GET', '/test/token', { as });
});
afterAll(async () => {
  await world.close();
  await receiver.close();
});

/** The deliveries of a room. */
const of = (room: number): Delivery[] =>
  receiver.taken.filter(({ body }) => body.data['room_id'] === room);

const typesOf = (room: number): string[] => of(room).map(({ body }) => body.type);

/** The messages of a room, as their events tell of them. */
const messagesOf = (room: number): Delivery['body'][] =>
  of(room)
    .map(({ body }) => body)
    .filter(({ type }) => type === 'message.created');

async function call(method: string, path: string, body?: object, as = ana): Promise<unknown> {
  const { meta, content } = await request(node, method, path, { as, ...(body && { body }) });
  if (meta.code >= 400) throw new Error(JSON.stringify(meta));
  return content;
}

/** The keys of a JSON value, all the way down; lists as that of their first item. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.length === 0 ? [] : [shapeOf(value[0])];
  if (typeof value !== 'object' || value === null) return typeof value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, shapeOf(item)]));
}

/** The example of each type of event in docs/WEBHOOKS.md. */
const examples = new Map(
  [
    ...readFileSync(new URL('../../docs/WEBHOOKS.md', import.meta.url), 'utf8').matchAll(
      /```json\n([\s\S]+?)```/g,
    ),
  ].map(([, json = '']) => {
    const body = JSON.parse(json) as Delivery['body'];
    return [body.type, body];
  }),
);

describe('webhooks', () => {
  it('are as docs/WEBHOOKS.md has them, each type of event', async () => {
    const room = await createRoom(node, ana);
    const path = `/rooms/${room}`;
    await putRule(node, ana, room, { userUUID: ben.userUUID, permissions: 'rw' });
    const sent = { content: 'hi', mentions: [ben.userUUID], ref: 'a1' };
    const { seq } = (await call('POST', `${path}/messages`, sent)) as { seq: number };
    await call('PUT', `${path}/read`, { upto: seq }, ben);
    await receiver.until(() => typesOf(room).includes('message.read'));
    await call('POST', `${path}/messages`, { content: 'hello' }, ben);
    await call('PATCH', `${path}/messages/${seq}`, { content: 'Hi!' });
    await receiver.until(() => typesOf(room).includes('message.edited'));
    await call('DELETE', `${path}/messages/${seq}`);
    await call('PATCH', path, { name: 'another', data: { topic: 'tea' } });
    const members = [{ userUUID: cleo.userUUID, permissions: 'rw', level: 0 }];
    await call('PUT', `${path}/members/bulk`, { members }, server);
    await receiver.until(() => typesOf(room).includes('members.changed'));
    await call('DELETE', `/users/${ben.userUUID}/messages`, undefined, server);
    await receiver.until(() => typesOf(room).includes('messages.erased'));
    await call('DELETE', path);
    await receiver.until(() => typesOf(room).includes('room.deleted'));

    // The first of each type.
    const seen = new Map(
      of(room)
        .toReversed()
        .map(({ body }) => [body.type, body]),
    );
    expect(new Set(seen.keys())).toEqual(new Set(examples.keys()));
    for (const [type, body] of seen)
      expect([type, shapeOf(body)]).toEqual([type, shapeOf(examples.get(type))]);
    const entries = of(room).filter(({ body }) => body.data['seq'] !== undefined);
    expect(entries.map(({ id }) => id)).toEqual(entries.map((_, index) => `${room}:${index + 1}`));
  });

  it('tell whom a message may concern, and how', async () => {
    const room = await createRoom(node, ana);
    const [entity, nobody, banned] = [person(), person(), person({}, { name: 'Dan' })];
    await request(node, 'GET', '/test/token', { as: banned });
    const rule = (userUUID: string, permissions: string) =>
      putRule(node, ana, room, { userUUID, permissions });
    for (const { userUUID } of [ben, cleo, entity]) await rule(userUUID, 'rw');
    await rule(nobody.userUUID, 'w');
    await rule(banned.userUUID, 'rb');
    await call('PUT', `/rooms/${room}/notify`, { level: 'mentions' }, cleo);
    const reader = await ChatClient.enterV2(node, ben, room);

    await call('POST', `/rooms/${room}/messages`, { content: 'one' });
    await receiver.until(() => messagesOf(room).length === 1);
    await call('POST', `/rooms/${room}/messages`, { content: 'two', mentions: [cleo.userUUID] });
    await receiver.until(() => messagesOf(room).length === 2);
    await reader.close();

    const [first, second] = messagesOf(room).map(({ data }) => data);
    const recipient = { online: false, unread: 1, mentioned: false };
    const by = (one: { userUUID: string }, other: { userUUID: string }): number =>
      one.userUUID.localeCompare(other.userUUID);
    expect(first).toMatchObject({
      entities: [ana.entityUUID, entity.userUUID].toSorted(),
      recipients_truncated: false,
      recipients: [
        { ...recipient, userUUID: ben.userUUID, online: true, level: 'all' },
        { ...recipient, userUUID: cleo.userUUID, level: 'mentions' },
      ].toSorted(by),
    });
    // Who is mentioned comes first.
    expect(second).toMatchObject({
      recipients: [
        { userUUID: cleo.userUUID, unread: 2, mentioned: true },
        { userUUID: ben.userUUID, unread: 2, mentioned: false },
      ],
    });
  });

  it('know users whose token has no name, but not those who have never come', async () => {
    const room = await createRoom(node, ana);
    const [nameless, stranger] = [person(), person()];
    for (const { userUUID } of [nameless, stranger]) {
      await putRule(node, ana, room, { userUUID, permissions: 'rw' });
    }
    const reader = await ChatClient.enterV2(node, nameless, room);
    await eventually(async () => {
      const sql = 'SELECT FROM user_profiles WHERE uuid = $1';
      expect(await query(world.databaseUrl, sql, [nameless.userUUID])).toHaveLength(1);
    });

    await call('POST', `/rooms/${room}/messages`, { content: 'hi' });
    await receiver.until(() => messagesOf(room).length === 1);
    await reader.close();

    expect(messagesOf(room)[0]?.data).toMatchObject({
      recipients: [{ userUUID: nameless.userUUID, online: true }],
      entities: [ana.entityUUID, stranger.userUUID].toSorted(),
    });
  });

  it('tell 200 of those whom a message may concern, and the mentioned ones in any case', async () => {
    const room = await createRoom(node, ana, { max_entity_rules: 300 });
    const last = 'ffffffff-ffff-4fff-bfff-ffffffffffff';
    await query(
      world.databaseUrl,
      `INSERT INTO room_permissions (room_id, "entity_UUID", level, permissions, accepted, "createdAt", "updatedAt")
       SELECT $1, uuid, 0, 'r', true, now(), now()
       FROM (SELECT gen_random_uuid() AS uuid FROM generate_series(1, 250) UNION SELECT $2::uuid) AS users`,
      [room, last],
    );
    await call('POST', `/rooms/${room}/messages`, { content: 'all', mentions: [last] });
    await receiver.until(() => messagesOf(room).length === 1);

    const data = messagesOf(room)[0]?.data ?? {};
    expect(data['recipients_truncated']).toBe(true);
    const entities = data['entities'] as string[];
    expect((data['recipients'] as unknown[]).length + entities.length).toBe(200);
    expect(entities[0]).toBe(last);
  });

  it('store nothing in a node without WEBHOOK_URL', async () => {
    const quiet = await createChatWorld();
    try {
      const other = await quiet.start();
      const room = await createRoom(other, ana);
      await request(other, 'POST', `/rooms/${room}/messages`, { as: ana, body: { content: 'hi' } });
      await request(other, 'PUT', `/rooms/${room}/read`, { as: ana, body: { upto: 1 } });
      await other.close();
      for (const table of ['webhook_start', 'webhook_cursors', 'webhook_reads']) {
        expect(await query(quiet.databaseUrl, `SELECT FROM ${table}`)).toEqual([]);
      }
    } finally {
      await quiet.close();
    }
  });

  it('are posted by another node if the node that posts one is killed', async () => {
    await node.close();
    const killed = await world.startProcess(webhooks);
    const room = await createRoom(killed, ana);
    const { answer } = receiver;
    receiver.answer = (delivery, response) => {
      if (delivery.body.type !== 'message.created') answer(delivery, response);
    };
    for (const content of ['one', 'two', 'three']) {
      await request(killed, 'POST', `/rooms/${room}/messages`, { as: ana, body: { content } });
    }
    await receiver.until(() => receiver.got.some(({ body }) => body.data['content'] === 'one'));
    expect(await killed.end('SIGKILL')).toBe('SIGKILL');
    receiver.answer = answer;
    // The lease of the killed node has ended, by the clock of Postgres, which can't be set.
    await query(
      world.databaseUrl,
      `UPDATE webhook_cursors SET "dueAt" = now() WHERE room_id = $1 AND "dueAt" > now()`,
      [room],
    );
    node = await world.start(webhooks);

    await receiver.until(() => messagesOf(room).length === 3);
    expect(messagesOf(room).map(({ data }) => data['content'])).toEqual(['one', 'two', 'three']);
    await eventually(async () => {
      const left = await query(
        world.databaseUrl,
        'SELECT FROM webhook_cursors WHERE room_id = $1 AND "dueAt" IS NOT NULL',
        [room],
      );
      expect(left).toEqual([]);
    });
  });
});
