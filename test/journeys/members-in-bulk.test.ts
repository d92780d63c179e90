import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createRoom, putRule, request, type Answer } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { person, sign } from '../harness/tokens.js';

interface BulkRule {
  readonly userUUID?: string;
  readonly entity_UUID?: string;
  readonly permissions: string;
  readonly level?: number;
  readonly accepted?: boolean;
}

describe('many rules at once, on two nodes,', () => {
  const ana = person({ levelOnEntity: 999 });
  const ben = person();
  const cleo = person();
  const server = { ...person(), token: sign({ server: true }) };
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
    room = await createRoom(east, ana, { max_entity_rules: 1_010 });
    await putRule(east, ana, room, { userUUID: ben.userUUID, permissions: 'rw' });
  });

  const put = (members: readonly BulkRule[], as = server): Promise<Answer> =>
    request(east, 'PUT', `/rooms/${room}/members/bulk`, { as, body: { members } });

  async function entriesAfter(after: number): Promise<unknown[]> {
    const path = `/rooms/${room}/entries?after=${after}`;
    return (await request(west, 'GET', path, { as: server })).content as unknown[];
  }

  /** The rules, as a list of members shows them. */
  async function members(): Promise<{ entity_UUID: string; permissions: string }[]> {
    const path = `/rooms/${room}/members?limit=1000`;
    const { content } = await request(west, 'GET', path, { as: server });
    return content as { entity_UUID: string; permissions: string }[];
  }

  it('are one entry with one number, of which each session is told what concerns it', async () => {
    const [here, there, former] = [
      await ChatClient.enterV2(east, ana, room),
      await ChatClient.enterV2(west, ben, room),
      await ChatClient.enter(west, ben, room),
    ];
    const accepted = await here.next();
    const guest = await ChatClient.enterV2(west, cleo);
    const { seq: before } = accepted.data as { seq: number };

    const answer = await put([
      { userUUID: ben.userUUID, permissions: 'r', level: 7 },
      { userUUID: cleo.userUUID, permissions: 'rw' },
      { entity_UUID: ana.entityUUID, permissions: '' },
    ]);

    expect(answer).toMatchObject({ status: 200, content: { seq: before + 1 } });
    const entry = {
      type: 'members',
      data: {
        room_id: room,
        seq: before + 1,
        emitter: '00000000-0000-0000-0000-000000000000',
        createdAt: expect.any(String) as string,
        members: [
          { entity_UUID: ana.entityUUID, level: 100, permissions: '', accepted: true },
          { entity_UUID: ben.userUUID, level: 7, permissions: 'r', accepted: true },
          { entity_UUID: cleo.userUUID, level: 0, permissions: 'rw', accepted: false },
        ],
      },
    };
    expect(await here.next()).toEqual(entry);
    // ben's own acceptance came first.
    const frames = await there.take(2);
    expect(frames).toEqual([entry, { type: 'access', data: { room_id: room, permissions: 'r' } }]);
    expect(await guest.next()).toEqual({
      type: 'invited',
      data: { room_id: room, entity_UUID: cleo.userUUID, permissions: 'rw' },
    });
    expect(await entriesAfter(before)).toEqual([entry]);
    await former.barrier();
    await Promise.all([here, there, former, guest].map((client) => client.close()));
  });

  it('tell the users whom they add, also of rules that are accepted, once', async () => {
    const guest = await ChatClient.enterV2(west, cleo);
    const rule = { userUUID: cleo.userUUID, permissions: 'rw', accepted: true };

    await put([rule]);
    await put([{ ...rule, permissions: 'r' }]);
    await put([{ ...rule, permissions: '' }]);
    await put([{ ...rule, permissions: 'rw' }]);

    const invited = { room_id: room, entity_UUID: cleo.userUUID, permissions: 'rw' };
    expect(await guest.take(2)).toEqual([
      { type: 'invited', data: invited },
      { type: 'invited', data: invited },
    ]);
    await guest.close();
  });

  it('let nobody see an entry after the one that removed them, and store none of theirs', async () => {
    await put([{ userUUID: cleo.userUUID, permissions: 'rw', accepted: true }]);
    const lost = [
      await ChatClient.enterV2(west, ben, room),
      await ChatClient.enterV2(east, cleo, room),
    ];
    const old = await ChatClient.enter(west, cleo, room);
    const { content } = await put([
      { userUUID: ben.userUUID, permissions: '' },
      { userUUID: cleo.userUUID, permissions: 'rwb' },
    ]);
    const { seq } = content as { seq: number };
    await request(east, 'POST', `/rooms/${room}/messages`, { as: ana, body: { content: 'alone' } });
    for (const client of lost) {
      for (;;) {
        const frame = await client.next();
        expect(frame.type).not.toBe('message');
        if (frame.type !== 'access') continue;
        expect(frame.data).toEqual({ room_id: room, permissions: '', reason: 'REVOKED' });
        break;
      }
      client.send({ type: 'message', room_id: room, content: 'too late', ref: 'x' });
      await client.expect('NOTAUTHORIZED');
    }
    expect(await old.next()).toMatchObject({ data: 'NOTAUTHORIZED', reason: 'REVOKED' });
    expect(await entriesAfter(seq)).toMatchObject([
      { type: 'message', data: { content: 'alone' } },
    ]);
    await Promise.all([...lost, old].map((client) => client.close()));
  });

  it('may be a thousand, of which a replay shows what they were', async () => {
    const many = Array.from({ length: 1_000 }, () => ({
      userUUID: randomUUID(),
      permissions: 'rw',
      accepted: true,
    }));
    const { content } = await put(many);
    const { seq } = content as { seq: number };
    expect(await members()).toHaveLength(1_000);
    await put(many.map(({ userUUID }) => ({ userUUID, permissions: '' })));
    expect(await members()).toHaveLength(3);

    const client = await ChatClient.enterV2(west, server);
    client.send({ type: 'join', rooms: [{ room_id: room, after: seq - 1 }] });
    await client.expect('CONNECTED');
    const [added, removed] = (await client.take(2)).map(
      ({ data }) => (data as { members: { permissions: string; accepted: boolean }[] }).members,
    );
    expect(added).toEqual(
      many.map(({ userUUID }) => ({
        entity_UUID: userUUID,
        level: 0,
        permissions: 'rw',
        accepted: true,
      })),
    );
    expect(new Set(removed?.map(({ permissions }) => permissions))).toEqual(new Set(['']));
    await client.close();
  });

  it('change nothing if they are so already, and keep a consent that is not named', async () => {
    const rule = { userUUID: cleo.userUUID, permissions: 'r', level: 3 };
    await put([{ ...rule, accepted: true }]);
    const head = (await entriesAfter(0)).length;
    const same = [rule, { userUUID: randomUUID(), permissions: '' }];
    expect(await put(same)).toMatchObject({ status: 200, content: { seq: null } });
    expect(await put([])).toMatchObject({ status: 200, content: { seq: null } });
    expect((await entriesAfter(0)).length).toBe(head);
    expect(await members()).toContainEqual(
      expect.objectContaining({ entity_UUID: cleo.userUUID, accepted: true }),
    );
  });

  it('are stored all or none; those that are removed leave places to the others', async () => {
    await request(east, 'PATCH', `/rooms/${room}`, { as: ana, body: { max_entity_rules: 3 } });
    const before = await members();
    const guests = [
      { userUUID: cleo.userUUID, permissions: 'rw' },
      { userUUID: randomUUID(), permissions: 'rw' },
    ];
    const removed = { userUUID: ben.userUUID, permissions: '' };
    expect((await put([...guests, removed])).meta.reason).toBe('TOO_MANY_RULES');
    expect(await members()).toEqual(before);
    expect((await put([...guests.slice(0, 1), removed])).status).toBe(200);
    expect(await members()).toHaveLength(3);
  });

  it.each<[string, object, string]>([
    ['the same UUID twice', { members: [0, 1].map(() => rule(ben.userUUID)) }, 'members.1'],
    ['no UUID', { members: [{ permissions: 'r' }] }, 'members.0.userUUID'],
    [
      'an unknown letter',
      { members: [{ ...rule(ben.userUUID), permissions: 'x' }] },
      'members.0.permissions',
    ],
    [
      '1,001 rules',
      { members: Array.from({ length: 1_001 }, () => rule(randomUUID())) },
      'members',
    ],
    ['no list', {}, 'members'],
  ])('are refused with %s', async (_, body, field) => {
    const path = `/rooms/${room}/members/bulk`;
    const { meta } = await request(east, 'PUT', path, { as: server, body });
    expect(meta).toMatchObject({ reason: 'INVALID', errors: [{ field }] });
  });

  it('are the application’s alone, and of a room that there is', async () => {
    expect((await put([], ana)).meta.reason).toBe('FORBIDDEN');
    const path = '/rooms/2147483647/members/bulk';
    const { meta } = await request(east, 'PUT', path, { as: server, body: { members: [] } });
    expect(meta.reason).toBe('NOT_FOUND');
  });
});

function rule(userUUID: string): BulkRule {
  return { userUUID, permissions: 'r' };
}
