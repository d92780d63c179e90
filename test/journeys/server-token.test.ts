import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { NIL_UUID } from '../../src/access/token.js';
import { createRoom, putRule, request, type Answer } from '../harness/api.js';
import { ChatClient, type ServerFrame } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { person, sign, type Person } from '../harness/tokens.js';

describe('a server token, on two nodes,', () => {
  const ana = person({ levelOnEntity: 999 });
  const ben = person();
  const cleo = person();
  /** It names neither a user nor an entity. */
  const server: Person = {
    userUUID: NIL_UUID,
    entityUUID: NIL_UUID,
    levelOnEntity: 0,
    isServer: true,
    token: sign({ server: true }),
  };
  const bot = person({}, { server: true });
  let world: ChatWorld;
  let east: TestNode;
  let west: TestNode;
  let room: number;
  let path: string;

  beforeAll(async () => {
    world = await createChatWorld();
    [east, west] = await Promise.all([
      world.start({ MESSAGES_PER_SECOND: '1', MESSAGES_BURST: '3', ROOM_MESSAGES_PER_SECOND: '3' }),
      world.start(),
    ]);
  });
  afterAll(() => world.close());
  beforeEach(async () => {
    room = await createRoom(east, ana);
    path = `/rooms/${room}`;
    await putRule(east, ana, room, { userUUID: ben.userUUID, permissions: 'rw' });
  });

  const call = (
    method: string,
    where: string,
    body?: object,
    as: Person = server,
    node = east,
  ): Promise<Answer> => request(node, method, where, { as, ...(body !== undefined && { body }) });

  async function content(answer: Promise<Answer>): Promise<Record<string, unknown>> {
    const { meta, content } = await answer;
    expect(meta.reason).toBeUndefined();
    return content as Record<string, unknown>;
  }

  async function post(body: object, as: Person = server): Promise<number> {
    return Number((await content(call('POST', `${path}/messages`, body, as)))['seq']);
  }

  const dataOf = ({ data }: ServerFrame): unknown => data;

  describe('has every right in every room', () => {
    it('reads the room, its members, history, log and messages', async () => {
      const seq = await post({ content: 'Fueled up' }, ben);
      expect(await content(call('GET', path))).toMatchObject({
        id: room,
        permissions: 'rwa',
        accepted: true,
        unread: 1,
        last_message: { seq, content: 'Fueled up' },
      });
      expect(await content(call('GET', `${path}/members`))).toHaveLength(3);
      expect(await content(call('GET', `${path}/messages`))).toHaveLength(1);
      expect(await content(call('GET', `${path}/messages/${seq}`))).toMatchObject({ seq });
      expect(await content(call('GET', `${path}/entries`))).toHaveLength(seq);
      expect(await content(call('GET', `/messages?q=fueled&room=${room}`))).toHaveLength(1);
    });

    it('lists all rooms as those that it may read, and none as its own', async () => {
      const other = await createRoom(east, person({ levelOnEntity: 100 }), { type: 'user2user' });
      const all = (await content(call('GET', '/rooms/all'))) as unknown as { id: number }[];
      expect(all.map(({ id }) => id)).toEqual(expect.arrayContaining([room, other]));
      for (const where of ['/me/rooms', '/rooms', '/messages?q=fueled']) {
        expect(await content(call('GET', where))).toEqual([]);
      }
    });

    it('though it, or its user, is banned, and a rule is above its level', async () => {
      const admin = { entity_UUID: cleo.userUUID, permissions: 'rwa', level: 999 };
      await putRule(east, ana, room, { userUUID: bot.userUUID, permissions: 'b' });
      await content(call('DELETE', `${path}/members/${ben.userUUID}`));
      expect(await content(call('PUT', `${path}/members`, admin, bot))).toMatchObject(admin);
      await content(call('DELETE', `${path}/members/${cleo.userUUID}`, undefined, bot));
      await post({ content: 'still here' }, bot);
      await content(call('PATCH', path, { name: 'moderated' }, bot));
    });

    it('but not over the number of rules that the room may have', async () => {
      await content(call('PATCH', path, { max_entity_rules: 3 }));
      const put = (userUUID: string) =>
        call('PUT', `${path}/members`, { userUUID, permissions: 'r', level: 0 });
      expect((await put(cleo.userUUID)).meta.reason).toBe('TOO_MANY_RULES');
    });

    it('and deletes any of them', async () => {
      await content(call('DELETE', path));
      expect((await call('GET', path)).meta.reason).toBe('NOT_FOUND');
    });

    it('reads and moderates a direct room, and lets nobody else in', async () => {
      const opened = await content(
        call('POST', '/rooms', { type: 'user2user', userUUID: cleo.userUUID }, ben),
      );
      const { id } = opened['room'] as { id: number };
      path = `/rooms/${id}`;
      const seq = await post({ content: 'psst' }, ben);
      expect(await content(call('GET', path))).toMatchObject({ type: 'user2user', with: null });
      expect(await content(call('GET', path, undefined, ben))).toMatchObject({
        with: { userUUID: cleo.userUUID },
      });
      const put = (userUUID: string) =>
        call('PUT', `${path}/members`, { userUUID, permissions: 'r', level: 0 });
      expect((await put(ana.userUUID)).meta.reason).toBe('ROOM_FULL');
      // Also if one of the two has left.
      await content(call('DELETE', `${path}/members/${cleo.userUUID}`));
      expect((await put(ana.userUUID)).meta.reason).toBe('ROOM_FULL');
      expect((await put(cleo.userUUID)).status).toBe(201);
      await content(call('DELETE', `${path}/messages/${seq}`));
      expect(await content(call('GET', `${path}/messages`))).toEqual([]);
    });

    it('over both versions of the socket, without a rule, and after a ban', async () => {
      const v1 = await ChatClient.enter(east, server, room);
      const v2 = await ChatClient.openV2(west.chatUrl);
      v2.send({ type: 'token', content: bot.token });
      await v2.expect('START?', 'READY');
      v2.send({ type: 'join', rooms: [{ room_id: room }] });
      const [connected] = await v2.expect('CONNECTED');
      expect(connected).toMatchObject({ permissions: 'rwa' });
      await putRule(east, ana, room, { userUUID: bot.userUUID, permissions: 'b' });
      expect((await v2.next()).type).toBe('member');
      v1.say('as the system');
      v2.send({ type: 'message', room_id: room, content: 'as the bot' });
      const [first, second] = await v2.take(2);
      const emitters = [first, second].map((frame) => frame?.data);
      expect(emitters).toEqual(
        expect.arrayContaining([
          expect.objectContaining({ emitter: NIL_UUID, content: 'as the system' }),
          expect.objectContaining({ emitter: bot.userUUID, content: 'as the bot' }),
        ]),
      );
      await Promise.all([v1.close(), v2.close()]);
    });

    it('and consents to no invitation by entering', async () => {
      await putRule(east, ana, room, { userUUID: bot.userUUID, permissions: 'rw' });
      const client = await ChatClient.enterV2(east, bot, room);
      const members = await content(call('GET', `${path}/members`));
      expect(members).toContainEqual(
        expect.objectContaining({ entity_UUID: bot.userUUID, accepted: false }),
      );
      await client.close();
    });
  });

  it('is not online, neither its user nor the nil UUID, whatever token the socket had before', async () => {
    const user = person({ userUUID: bot.userUUID, entityUUID: bot.entityUUID });
    await putRule(east, ana, room, { userUUID: user.userUUID, permissions: 'rw' });
    const bots = [
      await ChatClient.enterV2(east, bot, room),
      await ChatClient.enterV2(west, server, room),
    ];
    const watcher = await ChatClient.enterV2(west, ana);
    watcher.send({ type: 'join', rooms: [{ room_id: room }], with: ['presence'] });
    await watcher.expect('CONNECTED');
    const presence = async (): Promise<unknown> => {
      for (;;) {
        const frame = await watcher.next();
        if (frame.type === 'presence') return dataOf(frame);
      }
    };
    expect(await presence()).toMatchObject({ count: 1, online: [ana.userUUID] });
    const turning = bots[0];
    turning?.send({ type: 'token', content: user.token });
    await turning?.expect('READY');
    const access = { type: 'access', data: { room_id: room, permissions: 'rw' } };
    expect(await turning?.next()).toEqual(access);
    expect(await presence()).toMatchObject({ count: 2, join: [user.userUUID] });
    turning?.send({ type: 'token', content: bot.token });
    await turning?.expect('READY');
    expect(await presence()).toMatchObject({ count: 1, leave: [user.userUUID] });
    await Promise.all([...bots, watcher].map((client) => client.close()));
  });

  describe('acts', () => {
    it('as any user: its messages, edits and deletions are those of the user', async () => {
      const watcher = await ChatClient.enterV2(west, ana, room);
      const as = { emitter: cleo.userUUID };
      const seq = await post({ ...as, content: 'from afar', ref: 'a1' });
      expect(await post({ ...as, content: 'from afar', ref: 'a1' })).toBe(seq);
      const edited = await call('PATCH', `${path}/messages/${seq}`, { ...as, content: 'edited' });
      expect(edited.content).toMatchObject({ seq, ref: 'a1', content: 'edited', ...as });
      await content(call('DELETE', `${path}/messages/${seq}?emitter=${cleo.userUUID}&ref=a2`));
      const frames = await watcher.take(3);
      expect(frames.map(dataOf)).toMatchObject([
        { ...as, seq, ref: 'a1' },
        { ...as, target: seq },
        { ...as, target: seq, ref: 'a2' },
      ]);
      await watcher.close();
    });

    it('as the system if nobody is named, and as the user of its token if that names one', async () => {
      const messages = [await post({ content: 'a', ref: '1' }), await post({ content: 'b' }, bot)];
      messages.push(await post({ content: 'c', emitter: NIL_UUID }, bot));
      // A ref is the emitter's own.
      messages.push(await post({ content: 'd', ref: '1' }, bot));
      const history = await content(call('GET', `${path}/messages`));
      expect(history).toMatchObject([
        { seq: messages[0], emitter: NIL_UUID },
        { seq: messages[1], emitter: bot.userUUID },
        { seq: messages[2], emitter: NIL_UUID },
        { seq: messages[3], emitter: bot.userUUID },
      ]);
    });

    it('on anybody’s message, which nobody else may edit', async () => {
      const seq = await post({ content: 'rude' }, ben);
      const edit = { content: 'polite' };
      const forbidden = await call('PATCH', `${path}/messages/${seq}`, edit, ana);
      expect(forbidden.meta.reason).toBe('FORBIDDEN');
      const { content: edited } = await call('PATCH', `${path}/messages/${seq}`, edit);
      expect(edited).toMatchObject({ emitter: ben.userUUID, content: 'polite' });
      const entries = await content(call('GET', `${path}/entries?after=${seq}`));
      expect(entries).toMatchObject([{ type: 'edit', data: { emitter: NIL_UUID, target: seq } }]);
    });

    it('as a reader, whose own sockets are told', async () => {
      const seq = await post({ content: 'a' }, ana);
      const reader = await ChatClient.enterV2(west, ben);
      const moved = await content(
        call('PUT', `${path}/read`, { upto: seq, emitter: ben.userUUID }),
      );
      expect(moved).toEqual({ upto: seq });
      expect(await reader.next()).toMatchObject({
        type: 'read',
        data: { emitter: ben.userUUID, upto: seq },
      });
      expect(await content(call('GET', path, undefined, ben))).toMatchObject({ read: seq });
      await reader.close();
    });

    it('as a reader who came after the entity of the token', async () => {
      const agent = person({ entityUUID: ana.entityUUID, levelOnEntity: 999 }, { server: true });
      await putRule(east, ana, room, { userUUID: cleo.userUUID, permissions: 'rw' });
      const seen = await content(call('GET', path, undefined, cleo));
      expect(seen['read']).toBeGreaterThan(1);

      const body = { upto: 1, emitter: cleo.userUUID };
      for (const sent of [body, { ...body, back: true }]) {
        expect(await content(call('PUT', `${path}/read`, sent, agent))).toEqual({
          upto: seen['read'],
        });
      }
    });

    it.each([
      ['POST', '/messages', { content: 'a' }],
      ['PATCH', '/messages/1', { content: 'a' }],
      ['DELETE', `/messages/1?emitter=${ben.userUUID}`, undefined],
      ['PUT', '/read', { upto: 1 }],
      ['PUT', '/notify', { level: 'none' }],
    ])('for others never by another token: %s %s', async (method, where, fields) => {
      const body = fields && { ...fields, emitter: ben.userUUID };
      for (const as of [ana, ben]) {
        expect((await call(method, path + where, body, as)).meta.reason).toBe('FORBIDDEN');
      }
    });
  });

  it('is not limited in messages, of no user and in no room', async () => {
    const burst = async (body: object, as: Person) => {
      const statuses = new Set<number>();
      for (let n = 0; n < 8; n += 1) {
        const { status } = await call('POST', `${path}/messages`, { ...body, content: 'a' }, as);
        statuses.add(status);
      }
      return [...statuses];
    };
    expect(await burst({}, server)).toEqual([201]);
    expect(await burst({ emitter: ben.userUUID }, server)).toEqual([201]);
    expect(await burst({}, ben)).toEqual([201, 429]);
    for (const enter of ['enter', 'enterV2'] as const) {
      const client = await ChatClient[enter](east, bot, room);
      for (let n = 0; n < 8; n += 1) client.say(String(n), { room_id: room });
      expect(await client.messages(8)).toEqual(['0', '1', '2', '3', '4', '5', '6', '7']);
      await client.close();
    }
  });

  describe('makes rooms', () => {
    const group = { name: 'Order 4711', type: 'group' };

    it('of any entity, without a rule for the system, and changes them', async () => {
      const where = `/rooms/${randomUUID()}`;
      const owner = person({ levelOnEntity: 100 });
      const body = {
        ...group,
        entity_owner: owner.entityUUID,
        rules: [{ userUUID: ben.userUUID, permissions: 'rw', level: 0 }],
      };
      const made = await call('PUT', where, body);
      expect(made).toMatchObject({
        status: 201,
        content: { room: { entity_owner: owner.entityUUID } },
      });
      const members = async () =>
        ((await content(call('GET', `${where}/members`))) as unknown as { entity_UUID: string }[])
          .map(({ entity_UUID }) => entity_UUID)
          .toSorted();
      expect(await members()).toEqual([ben.userUUID, owner.entityUUID].toSorted());
      expect((await call('PUT', where, body)).status).toBe(200);
      const renamed = await call('PUT', where, { ...group, name: 'Order 4712' });
      expect(renamed).toMatchObject({
        status: 200,
        content: { room: { name: 'Order 4712', entity_owner: owner.entityUUID } },
      });
      // Of its entity, as any room of it.
      expect((await call('PUT', where, group, owner)).meta.reason).toBeUndefined();
      const moved = await call('PUT', where, { ...group, entity_owner: ana.entityUUID });
      expect(moved.meta).toMatchObject({ reason: 'INVALID', errors: [{ field: 'entity_owner' }] });
    });

    it('of its token’s entity by default, with a rule for its user', async () => {
      const made = await content(call('PUT', `/rooms/${randomUUID()}`, group, bot));
      const { id, entity_owner: owner } = made['room'] as { id: number; entity_owner: string };
      expect(owner).toBe(bot.entityUUID);
      expect(await content(call('GET', `/rooms/${id}/members`))).toContainEqual(
        expect.objectContaining({ entity_UUID: bot.userUUID, permissions: 'rwa' }),
      );
      const created = await content(call('POST', '/rooms', { ...group, level_admin: 900 }));
      expect(created['room']).toMatchObject({ entity_owner: NIL_UUID });
    });

    it('and a direct room only of a user', async () => {
      const direct = { type: 'user2user', userUUID: cleo.userUUID };
      expect((await call('POST', '/rooms', direct)).meta.reason).toBe('FORBIDDEN');
      expect((await call('POST', '/rooms', direct, bot)).status).toBe(201);
    });

    it('whose entity nobody else may name', async () => {
      const body = { ...group, entity_owner: ana.entityUUID };
      const answer = await call('PUT', `/rooms/${randomUUID()}`, body, ana);
      expect(answer.meta.reason).toBe('FORBIDDEN');
    });
  });
});
