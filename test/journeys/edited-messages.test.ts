import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import { connectDatabase, type Database } from '../../src/store/connect.js';
import type { Store } from '../../src/store/store.js';
import { createRoom, putRule, request } from '../harness/api.js';
import { ChatClient, numberOf } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { QUIET, storeOver } from '../harness/store-hosts.js';
import { person } from '../harness/tokens.js';
import { removeRule, say, writerOver } from '../harness/writers.js';

/** A node that compares no heads while a test runs: it knows of nothing that was not published. */
const UNAWARE = { POLL_INTERVAL_MS: '600000', POLL_INTERVAL_BROKER_DOWN_MS: '600000' };

let world: ChatWorld;
let east: TestNode;
let west: TestNode;
let database: Database;
/** The store of a node that was cut off from Redis: it publishes nothing. */
let store: Store;

beforeAll(async () => {
  world = await createChatWorld();
  [east, west] = await Promise.all([world.start(UNAWARE), world.start(UNAWARE)]);
  database = await connectDatabase(loadConfig({ DATABASE_URL: world.databaseUrl }), QUIET);
  store = storeOver(database);
});
afterAll(async () => {
  await database.close();
  await world.close();
});

describe('messages that are edited and deleted, on two nodes,', () => {
  const ana = person({ levelOnEntity: 999 });
  const ben = person();
  const author = { ...ana, levelOnEntity: 999 };

  async function roomForBoth(): Promise<number> {
    const room = await createRoom(east, ana);
    await putRule(east, ana, room, { userUUID: ben.userUUID, permissions: 'r' });
    return room;
  }

  /** What a session of version 1 gets that resumes, and what the history has. */
  async function resumed(room: number, after: number, count: number): Promise<string[]> {
    const client = await ChatClient.enter(west, ben);
    client.send({ type: 'select_room', room_id: room, after });
    await client.expect('CONNECTED');
    const contents = await client.messages(count);
    await client.barrier();
    await client.close();
    return contents;
  }

  async function history(room: number): Promise<string[]> {
    const answer = await request(east, 'GET', `/rooms/${room}/messages?limit=50`, { as: ben });
    return (answer.content as { content: string }[]).map(({ content }) => content);
  }

  it('are shown by version 1 as they are now, and not live', async () => {
    const room = await roomForBoth();
    const here = await ChatClient.enter(east, ana, room);
    const there = await ChatClient.enter(west, ben, room);
    here.say('before');
    const [echo] = await here.take(1);
    await there.take(1);
    const target = numberOf(echo);

    await store.changes.edit(author, room, { target, content: 'after' });
    here.say('next');
    expect(await here.messages(1)).toEqual(['next']);
    expect(await there.messages(1)).toEqual(['next']);
    expect(await resumed(room, target - 1, 2)).toEqual(['after', 'next']);
    expect(await history(room)).toEqual(['after', 'next']);

    await store.changes.remove(author, room, { target });
    here.say('last');
    expect(await here.messages(1)).toEqual(['last']);
    expect(await there.messages(1)).toEqual(['last']);
    expect(await resumed(room, target - 1, 2)).toEqual(['next', 'last']);
    expect(await history(room)).toEqual(['next', 'last']);
    await Promise.all([here.close(), there.close()]);
  });

  it('show a text only to those who may read when it was set', async () => {
    const room = await roomForBoth();
    const here = await ChatClient.enter(east, ana, room);
    const there = await ChatClient.enter(west, ben, room);
    const writer = writerOver(store.log, room);
    await writer.refresh();

    const { seq: target } = await say(store.log, writer, 'before', { author });
    await removeRule(store, room, ben.userUUID, author);
    await store.changes.edit(author, room, { target, content: 'without ben' });
    here.say('next');

    const [lost] = await there.expect('NOTAUTHORIZED');
    expect(lost).toMatchObject({ room_id: room, reason: 'REVOKED' });
    expect(await here.messages(2)).toEqual(['without ben', 'next']);
    expect(there.unread('message')).toEqual([]);
    await Promise.all([here.close(), there.close()]);
  });

  it('leave nothing of a deleted text to those who come back before their node knows of it', async () => {
    const room = await roomForBoth();
    const here = await ChatClient.enterV2(west, ana, room);
    // His first join is an entry of its own.
    await (await ChatClient.enterV2(west, ben, room)).close();
    here.send({ type: 'message', room_id: room, content: 'sesame 1', ref: 'm' });
    const [, , sent] = await here.take(3);
    const target = sent?.['seq'] as number;
    for (const content of ['sesame 2', 'sesame 3']) {
      here.send({ type: 'edit', room_id: room, target, content });
      await here.take(2);
    }
    // Stored, and not published.
    await store.changes.remove(author, room, { target });

    const back = await ChatClient.enterV2(west, ben);
    back.send({ type: 'join', rooms: [{ room_id: room, after: target - 1 }] });
    const [connected] = await back.expect('CONNECTED');
    expect(connected).toMatchObject({ from: target - 1, head: target + 2 });
    const old = await ChatClient.enter(west, ben);
    old.send({ type: 'select_room', room_id: room, after: target - 1 });
    await old.expect('CONNECTED');
    here.send({ type: 'message', room_id: room, content: 'next' });
    const entries = await back.take(5);
    expect(entries.map(({ type, data }) => [type, (data as { seq: number }).seq])).toEqual([
      ['message', target],
      ['edit', target + 1],
      ['edit', target + 2],
      ['delete', target + 3],
      ['message', target + 4],
    ]);
    expect(JSON.stringify(entries)).not.toContain('sesame');
    expect(await old.messages(1)).toEqual(['next']);

    const found = await request(east, 'GET', '/messages?q=sesame', { as: ana });
    expect(found.content).toEqual([]);
    const one = await request(east, 'GET', `/rooms/${room}/messages/${target}`, { as: ana });
    expect([one.status, one.meta.reason]).toEqual([404, 'DELETED']);
    await Promise.all([here.close(), back.close(), old.close()]);
  });

  it('show a later text to nobody who was removed, by any way, in version 2', async () => {
    const room = await roomForBoth();
    const here = await ChatClient.enterV2(east, ana, room);
    const there = await ChatClient.enterV2(west, ben, room);
    await here.take(1);
    here.send({ type: 'message', room_id: room, content: 'before', ref: 'm' });
    const [, sent] = await here.take(2);
    await there.take(1);
    const target = sent?.['seq'] as number;
    // Neither is published: the message behind them shows a gap.
    await removeRule(store, room, ben.userUUID, author);
    await store.changes.edit(author, room, { target, content: 'without ben' });
    here.send({ type: 'message', room_id: room, content: 'next' });
    await here.take(3);

    expect((await there.next()).data).toMatchObject({ permissions: '', reason: 'REVOKED' });
    there.send({ type: 'join', rooms: [{ room_id: room, after: target - 1 }] });
    await there.expect('NOTAUTHORIZED');
    const path = `/rooms/${room}`;
    for (const of of [
      `${path}/messages?limit=5`,
      `${path}/messages/${target}`,
      `${path}/entries?after=0`,
      `/messages?q=ben&room=${room}`,
    ]) {
      expect((await request(west, 'GET', of, { as: ben })).status).toBe(403);
    }
    const found = await request(west, 'GET', '/messages?q=without', { as: ben });
    expect(found.content).toEqual([]);
    await Promise.all([here.close(), there.close()]);
  });
});
