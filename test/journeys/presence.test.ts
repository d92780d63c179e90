import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createRoom, putRule, request } from '../harness/api.js';
import { ChatClient, type ServerFrame } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { person, type Person } from '../harness/tokens.js';

const ALL = ['typing', 'presence', 'read'];

/** What a client shows of who is online, by the frames that it gets. */
class Watcher {
  readonly client: ChatClient;
  online: Set<string> | undefined;
  count: number | undefined;
  /** All sets that it has shown, in order. */
  readonly shown: string[][] = [];

  constructor(client: ChatClient) {
    this.client = client;
  }

  /** Takes frames until it shows these users. */
  async until(...people: Pick<Person, 'userUUID'>[]): Promise<void> {
    const wanted = people.map(({ userUUID }) => userUUID).toSorted();
    const isShown = (): boolean =>
      this.count === wanted.length &&
      JSON.stringify([...(this.online ?? [])].toSorted()) === JSON.stringify(wanted);
    while (!isShown()) this.take(await this.client.next());
  }

  take(frame: ServerFrame): void {
    if (frame.type !== 'presence') return;
    const { count, online, join, leave } = frame.data as {
      count: number;
      online?: string[];
      join?: string[];
      leave?: string[];
    };
    this.count = count;
    if (online !== undefined) this.online = new Set(online);
    for (const user of join ?? []) this.online?.add(user);
    for (const user of leave ?? []) this.online?.delete(user);
    this.shown.push([...(this.online ?? [])]);
  }
}

describe('hints of version 2, on two nodes,', { timeout: 60_000 }, () => {
  const ana = person({ levelOnEntity: 999 });
  const ben = person();
  const cleo = person();
  let world: ChatWorld;
  let east: TestNode;
  let west: TestNode;
  let room: number;

  beforeAll(async () => {
    world = await createChatWorld();
    [east, west] = await Promise.all([world.start(), world.start()]);
  });
  afterAll(() => world.close());
  beforeEach(async () => {
    room = await createRoom(east, ana);
    for (const { userUUID } of [ben, cleo]) {
      await putRule(east, ana, room, { userUUID, permissions: 'rw' });
    }
  });

  async function enter(node: TestNode, who: Person, hints?: string[]): Promise<ChatClient> {
    const client = await ChatClient.enterV2(node, who);
    client.send({ type: 'join', rooms: [{ room_id: room }], ...(hints && { with: hints }) });
    await client.expect('CONNECTED');
    return client;
  }

  async function nextOf(client: ChatClient, type: string): Promise<ServerFrame> {
    for (;;) {
      const frame = await client.next();
      if (frame.type === type) return frame;
    }
  }

  /** Shows that nothing of a type has been sent. */
  async function expectNone(client: ChatClient, ...types: string[]): Promise<void> {
    client.send({ type: 'ping', ref: 'none' });
    for (;;) {
      const frame = await client.next();
      if (frame['ref'] === 'none') return;
      expect(types).not.toContain(frame.type);
    }
  }

  it('show who is online, each once, however many sockets and nodes', async () => {
    const watcher = new Watcher(await enter(east, ana, ['presence']));
    await watcher.until(ana);
    const old = await ChatClient.enter(west, ben, room);
    const others = [await enter(west, ben), await enter(east, ben)];
    await watcher.until(ana, ben);
    const late = new Watcher(await enter(west, cleo, ['presence']));
    await Promise.all([watcher.until(ana, ben, cleo), late.until(ana, ben, cleo)]);
    await old.close();
    for (const other of others) await other.close();
    await late.client.close();
    // Ten seconds later.
    await watcher.until(ana);
    expect(watcher.shown.every((users) => users.length > 0)).toBe(true);
    await watcher.client.close();
  });

  it('show a user who was removed as offline at once, who gets nothing more', async () => {
    const watcher = new Watcher(await enter(east, ana, ALL));
    const removed = await enter(west, ben, ALL);
    const leaver = await enter(west, cleo);
    await watcher.until(ana, ben, cleo);
    // She stays online for ten seconds, but he who is removed does not.
    await leaver.close();
    removed.send({ type: 'typing', room_id: room, ref: 't' });
    for (;;) if ((await removed.next())['ref'] === 't') break;
    await request(east, 'DELETE', `/rooms/${room}/members/${ben.userUUID}`, { as: ana });
    await watcher.until(ana, cleo);
    expect(await nextOf(removed, 'access')).toMatchObject({ data: { reason: 'REVOKED' } });

    watcher.client.send({ type: 'typing', room_id: room });
    watcher.client.send({ type: 'read', room_id: room, upto: 3, ref: 'r' });
    const third = new Watcher(await enter(east, cleo, ALL));
    await third.until(ana, cleo);
    removed.send({ type: 'typing', room_id: room, ref: 'no' });
    expect(await removed.next()).toMatchObject({ data: 'NOTAUTHORIZED', ref: 'no' });
    await expectNone(removed, 'typing', 'read', 'presence');
    await Promise.all([watcher, third].map(({ client }) => client.close()));
    await removed.close();
  });

  it('tell who types and who reads to those who asked for it, but not to oneself', async () => {
    const here = await enter(east, ana, ['typing', 'read']);
    const there = await enter(west, ben, ['typing', 'read']);
    const plain = await enter(west, cleo);
    const old = await ChatClient.enter(west, cleo, room);
    const own = await enter(west, ana, ['typing', 'read']);

    here.send({ type: 'typing', room_id: room });
    here.send({ type: 'typing', room_id: room, ref: 'again' });
    expect(await nextOf(there, 'typing')).toEqual({
      type: 'typing',
      data: { room_id: room, emitter: ana.userUUID },
    });
    here.send({ type: 'read', room_id: room, upto: 3 });
    here.send({ type: 'read', room_id: room, upto: 4, ref: 'r' });
    const markers: unknown[] = [];
    while (markers.at(-1) !== 4) {
      const { data } = await nextOf(there, 'read');
      markers.push((data as { upto: number }).upto);
    }
    expect(await nextOf(own, 'read')).toMatchObject({ data: { emitter: ana.userUUID } });
    // Not told to others.
    here.send({ type: 'read', room_id: room, upto: 2, back: true, ref: 'back' });
    there.send({ type: 'read', room_id: room, upto: 5 });
    expect(await nextOf(here, 'read')).toMatchObject({ data: { emitter: ben.userUUID } });
    await expectNone(here, 'typing');
    await expectNone(there, 'typing', 'read');
    await expectNone(plain, 'typing', 'read', 'presence');
    await old.barrier();
    await Promise.all([here, there, plain, old, own].map((client) => client.close()));
  });

  it('are refused if `with` is malformed, and nothing is joined', async () => {
    const client = await ChatClient.enterV2(east, ana);
    for (const wrong of [['dance'], 'typing', [1], { typing: true }]) {
      client.send({ type: 'join', rooms: [{ room_id: room }], with: wrong, ref: 'j' });
      expect(await client.next()).toMatchObject({ data: 'INVALID', reason: 'INVALID', ref: 'j' });
    }
    await putRule(east, ana, room, { userUUID: person().userUUID, permissions: 'r' });
    client.send({ type: 'ping' });
    await client.expect('PONG');
    await client.close();
  });
});
