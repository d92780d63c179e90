import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { createRoom, putRule, request } from '../harness/api.js';
import { ChatClient, type ServerFrame } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { openOutlet, OUTLET_FAULTS } from '../harness/outlet.js';
import { eventually } from '../harness/eventually.js';
import { redisUrl } from '../harness/services.js';
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

describe('hints of version 2, on two nodes,', () => {
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

  async function enter(
    node: Pick<TestNode, 'chatUrl'>,
    who: Person,
    hints?: string[],
  ): Promise<ChatClient> {
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

  /** Until a node does not hear its own heartbeats. */
  async function isDown({ url }: TestNode): Promise<void> {
    await eventually(async () => {
      const answer = await fetch(`${url}/readyz`);
      expect(JSON.stringify(await answer.json())).toContain('"broker":"down"');
    });
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

  it('come behind the entries that a session has missed', async () => {
    const client = await ChatClient.enterV2(east, ana);
    client.send({ type: 'join', rooms: [{ room_id: room, after: 0 }], with: ['presence'] });
    const frames = await client.take(6);
    expect(frames.map(({ type }) => type)).toEqual([
      'status',
      'member',
      'member',
      'member',
      'member',
      'presence',
    ]);
    expect(frames.at(-1)?.data).toEqual({ room_id: room, count: 1, online: [ana.userUUID] });
    await client.close();
  });

  it('are those that the last join of the room asked for', async () => {
    const watcher = new Watcher(await enter(east, ana, ['presence']));
    await watcher.until(ana);
    const { client } = watcher;
    client.send({ type: 'join', rooms: [{ room_id: room }], with: ['typing'] });
    await client.expect('CONNECTED');
    const other = await enter(west, ben);
    // The acceptance of ben.
    expect(await client.next()).toMatchObject({ type: 'member' });
    other.send({ type: 'typing', room_id: room });
    expect(await client.next()).toMatchObject({ type: 'typing' });
    client.send({ type: 'join', rooms: [{ room_id: room }], with: ['presence'] });
    await client.expect('CONNECTED');
    await watcher.until(ana, ben);
    await Promise.all([client, other].map((one) => one.close()));
  });

  it('follow a session of version 1 to another user, by its token', async () => {
    const watcher = new Watcher(await enter(east, ana, ['presence']));
    const old = await ChatClient.enter(west, ben, room);
    await watcher.until(ana, ben);
    old.send({ type: 'token', content: cleo.token });
    await old.expect('READY');
    await watcher.until(ana, ben, cleo);
    // Ten seconds later.
    await watcher.until(ana, cleo);
    await old.close();
    await watcher.until(ana);
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

  it('do not tell that somebody types behind what they have sent', async () => {
    const here = await enter(east, ana);
    const there = await enter(west, ben, ['typing', 'read']);
    // What comes soon after a hint waits for the next turn.
    here.send({ type: 'read', room_id: room, upto: 1 });
    await nextOf(there, 'read');
    here.send({ type: 'typing', room_id: room });
    here.send({ type: 'message', room_id: room, content: 'hi', ref: 'm' });
    const { seq } = (await nextOf(there, 'message')).data as { seq: number };
    here.send({ type: 'read', room_id: room, upto: seq });
    const behind: unknown[] = [];
    while (!behind.includes('read')) behind.push((await there.next()).type);
    expect(behind).not.toContain('typing');
    await Promise.all([here.close(), there.close()]);
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

  it('do not flap when a node is killed, or restarted, and its clients come back elsewhere', async () => {
    const [killed, restarted] = await Promise.all([world.startProcess(), world.startProcess()]);
    const watcher = new Watcher(await enter(east, cleo, ['presence']));
    // Three sockets of one user, on two nodes.
    const sockets = await Promise.all([
      enter(killed, ana),
      enter(killed, ana),
      enter(restarted, ana),
    ]);
    const other = await enter(killed, ben);
    await watcher.until(ana, ben, cleo);
    const before = watcher.shown.length;

    await killed.end('SIGKILL');
    await Promise.all([...sockets.slice(0, 2), other].map((client) => client.closed()));
    const again = await enter(restarted, ben);
    await restarted.end('SIGTERM');
    await Promise.all([sockets[2], again].map((client) => client?.closed()));
    const back = [await enter(west, ana), await enter(west, ben)];

    // Those whose node has shut down are gone from it by now, if they did not come back.
    const passing = await enter(east, ana, ['presence']);
    await request(east, 'DELETE', `/rooms/${room}/members/${cleo.userUUID}`, { as: ana });
    await nextOf(watcher.client, 'access');
    expect(watcher.shown.slice(before).every((users) => users.length === 3)).toBe(true);
    await new Watcher(passing).until(ana, ben);
    await Promise.all([watcher.client, passing, ...back].map((client) => client.close()));
  });

  it.each(OUTLET_FAULTS)(
    'stay as they are while Redis $fault, and are true again after',
    async ({ fail, mend }) => {
      const outlets = await Promise.all([openOutlet(redisUrl()), openOutlet(redisUrl())]);
      onTestFinished(async () => {
        for (const outlet of outlets) await outlet.close();
      });
      const [here, there] = await Promise.all(
        outlets.map(({ url }) => world.start({ REDIS_URL: url })),
      );
      if (here === undefined || there === undefined) throw new Error('two nodes were started');
      const watchers = [
        new Watcher(await enter(here, ana, ['presence'])),
        new Watcher(await enter(there, ben, ['presence'])),
      ];
      await Promise.all(watchers.map((watcher) => watcher.until(ana, ben)));
      const before = watchers.map(({ shown }) => shown.length);

      for (const outlet of outlets) await fail(outlet);
      await isDown(here);
      await isDown(there);
      // Only her own node hears of her.
      const late = await enter(here, cleo);
      await watchers[0]?.until(ana, ben, cleo);
      await expectNone(watchers[1]?.client ?? late, 'presence');
      for (const outlet of outlets) await mend(outlet);
      await Promise.all(watchers.map((watcher) => watcher.until(ana, ben, cleo)));
      for (const [index, { shown }] of watchers.entries()) {
        expect(shown.slice(before[index]).every((users) => users.length >= 2)).toBe(true);
      }
      await Promise.all([late, ...watchers.map(({ client }) => client)].map((one) => one.close()));
    },
  );

  it('reach nobody who was removed while Redis is dead', async () => {
    const outlet = await openOutlet(redisUrl());
    onTestFinished(() => outlet.close());
    const deaf = await world.start({ REDIS_URL: outlet.url });
    const removed = await enter(deaf, ben, ALL);
    const other = await enter(deaf, cleo, ALL);
    await outlet.cut();
    await isDown(deaf);
    await request(east, 'DELETE', `/rooms/${room}/members/${ben.userUUID}`, { as: ana });
    expect(await nextOf(removed, 'access')).toMatchObject({ data: { reason: 'REVOKED' } });
    other.send({ type: 'typing', room_id: room });
    other.send({ type: 'read', room_id: room, upto: 4, ref: 'r' });
    const third = new Watcher(await enter(deaf, ana, ALL));
    await third.until(ana, cleo);
    for (const command of ['typing', 'read']) {
      removed.send({ type: command, room_id: room, upto: 1, ref: command });
      expect(await removed.next()).toMatchObject({ data: 'NOTAUTHORIZED', ref: command });
    }
    removed.send({ type: 'join', rooms: [{ room_id: room }], with: ALL, ref: 'j' });
    expect(await removed.next()).toMatchObject({ data: 'NOTAUTHORIZED', ref: 'j' });
    await expectNone(removed, 'typing', 'read', 'presence');
    await Promise.all([removed, other, third.client].map((client) => client.close()));
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

  it('say in the list of members who is online, also on a node that does not have the room open', async () => {
    const client = await enter(west, ben);
    const online = async (node: TestNode): Promise<string[]> => {
      const { content } = await request(node, 'GET', `/rooms/${room}/members`, { as: ana });
      const members = content as { entity_UUID: string; online: boolean }[];
      return members.filter((member) => member.online).map((member) => member.entity_UUID);
    };
    expect(await online(west)).toEqual([ben.userUUID]);
    expect(await online(east)).toEqual([ben.userUUID]);
    const watcher = new Watcher(await enter(east, ana, ['presence']));
    await watcher.until(ana, ben);
    expect((await online(east)).toSorted()).toEqual([ana.userUUID, ben.userUUID].toSorted());
    await Promise.all([client, watcher.client].map((one) => one.close()));
  });

  it('invite users, and entities from a level on, on all nodes', async () => {
    const high = person({ levelOnEntity: 500 });
    const low = person({ entityUUID: high.entityUUID, levelOnEntity: 499 });
    const [guest, chief, clerk] = [
      await ChatClient.enterV2(west, high),
      await ChatClient.enterV2(east, high),
      await ChatClient.enterV2(west, low),
    ];
    const old = await ChatClient.enter(west, high);
    const invited = (roomId: number, uuid: string, permissions: string): object => ({
      type: 'invited',
      data: { room_id: roomId, entity_UUID: uuid, permissions },
    });
    await putRule(east, ana, room, { userUUID: high.userUUID, permissions: 'rw' });
    for (const client of [guest, chief]) {
      expect(await client.next()).toEqual(invited(room, high.userUUID, 'rw'));
    }
    // A change is no invitation, and neither is a ban.
    await putRule(east, ana, room, { userUUID: high.userUUID, permissions: 'r' });
    await putRule(east, ana, room, { userUUID: low.userUUID, permissions: 'b' });
    const entity = { entity_UUID: high.entityUUID, permissions: 'r', level: 500 };
    await putRule(east, ana, room, entity);
    for (const client of [guest, chief]) {
      expect(await client.next()).toEqual(invited(room, high.entityUUID, 'r'));
    }
    const uuid = randomUUID();
    const path = `/rooms/${uuid}`;
    const body = {
      name: 'a room',
      type: 'group',
      rules: [{ userUUID: low.userUUID, permissions: 'rw', level: 0 }],
    };
    const made = await request(west, 'PUT', path, { as: ana, body });
    const { id } = (made.content as { room: { id: number } }).room;
    expect(await clerk.next()).toEqual(invited(id, low.userUUID, 'rw'));
    const direct = await request(east, 'POST', '/rooms', {
      as: ana,
      body: { type: 'user2user', userUUID: low.userUUID },
    });
    const { id: pair } = (direct.content as { room: { id: number } }).room;
    expect(await clerk.next()).toEqual(invited(pair, low.userUUID, 'rw'));
    // They are let in again.
    await putRule(east, ana, room, { userUUID: low.userUUID, permissions: 'r' });
    expect(await clerk.next()).toEqual(invited(room, low.userUUID, 'r'));
    for (const client of [guest, chief, clerk]) await expectNone(client, 'invited');
    await old.barrier();
    await Promise.all([guest, chief, clerk, old].map((client) => client.close()));
  });
});
