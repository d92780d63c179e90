import { QueryTypes, Sequelize } from 'sequelize';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRoom, request, type Answer } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { person } from '../harness/tokens.js';

let world: ChatWorld;
let node: TestNode;
let sequelize: Sequelize;
let room: number;
const ana = person({ levelOnEntity: 999 });

/** Instants of the room's messages: the days around a night in Santiago, and the ends of a UTC day. */
const INSTANTS = [
  '2026-03-10T23:59:59.999Z',
  '2026-03-11T00:00:00.000Z',
  '2026-03-11T02:30:00.000Z',
  '2026-03-11T23:59:59.999Z',
  '2026-03-12T00:00:00.000Z',
  '2026-03-12T12:00:00.000Z',
];

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start();
  room = await createRoom(node, ana);
  const client = await ChatClient.enter(node, ana, room);
  for (const instant of INSTANTS) client.say(instant);
  client.say('today');
  await client.messages(INSTANTS.length + 1);
  await client.close();
  sequelize = new Sequelize(world.databaseUrl, { logging: false });
  await sequelize.query(
    `UPDATE messages SET "createdAt" = content::timestamptz
     WHERE room_id = $1 AND kind = 'message' AND content <> 'today'`,
    { bind: [room], type: QueryTypes.UPDATE },
  );
});
afterAll(async () => {
  await sequelize.close();
  await world.close();
});

function get(query: string): Promise<Answer> {
  return request(node, 'GET', `/rooms/${room}/messages${query}`, { as: ana });
}

function contents(answer: Answer): string[] {
  return (answer.content as { content: string }[]).map((message) => message.content);
}

describe('GET /rooms/:id/messages', () => {
  it('answers with the messages of today, oldest first, if no date is given', async () => {
    const answer = await get('');
    expect(answer.status).toBe(200);
    expect(answer.content).toEqual([
      {
        id: expect.any(Number),
        room_id: room,
        seq: expect.any(Number),
        emitter: ana.userUUID,
        content: 'today',
        createdAt: expect.any(String),
        updatedAt: expect.any(String),
      },
    ]);
    const [message] = answer.content as { id: number; seq: number }[];
    expect(message?.id).toBe(message?.seq);
  });

  it('covers whole days, both ends included', async () => {
    expect(contents(await get('?dateFrom=2026-03-11&dateTo=2026-03-11'))).toEqual(
      INSTANTS.slice(1, 4),
    );
    expect(contents(await get('?dateFrom=2026-03-10&dateTo=2026-03-12'))).toEqual(INSTANTS);
    expect(contents(await get('?dateFrom=2026-03-12'))).toEqual([...INSTANTS.slice(4), 'today']);
  });

  it('covers days of a time zone, also across a change of its clocks', async () => {
    // Santiago is three hours behind UTC in March: its 10th ends at 03:00 UTC.
    expect(
      contents(await get('?dateFrom=2026-03-10&dateTo=2026-03-10&timezone=America/Santiago')),
    ).toEqual(INSTANTS.slice(0, 3));
    const spring = await get('?dateFrom=2026-03-29&dateTo=2026-03-29&timezone=Europe/Madrid');
    expect(spring).toMatchObject({ status: 200, content: [] });
  });

  it('covers all of a day with two midnights, and nothing of a day that the zone skipped', async () => {
    const strange = await createRoom(node, ana);
    const said = [
      '2011-12-30T09:59:59.999Z',
      '2011-12-30T10:00:00.000Z',
      '2024-11-03T03:59:59.999Z',
      '2024-11-03T04:00:00.000Z',
      '2024-11-03T05:30:00.000Z',
    ];
    await sequelize.query(
      `INSERT INTO messages (room_id, seq, kind, emitter, content, "createdAt", "updatedAt")
       SELECT $1, 100 + n, 'message', $2, said, said::timestamptz, now()
       FROM unnest($3::text[]) WITH ORDINALITY AS these (said, n)`,
      { bind: [strange, ana.userUUID, said], type: QueryTypes.INSERT },
    );
    await sequelize.query('UPDATE rooms SET head = 200 WHERE id = $1', {
      bind: [strange],
      type: QueryTypes.UPDATE,
    });
    const day = async (date: string, timezone: string): Promise<string[]> =>
      contents(
        await request(
          node,
          'GET',
          `/rooms/${strange}/messages?dateFrom=${date}&dateTo=${date}&timezone=${timezone}`,
          { as: ana },
        ),
      );

    expect(await day('2024-11-02', 'America/Havana')).toEqual(said.slice(2, 3));
    expect(await day('2024-11-03', 'America/Havana')).toEqual(said.slice(3));
    expect(await day('2011-12-29', 'Pacific/Apia')).toEqual(said.slice(0, 1));
    expect(await day('2011-12-30', 'Pacific/Apia')).toEqual([]);
    expect(await day('2011-12-31', 'Pacific/Apia')).toEqual(said.slice(1, 2));
  });

  it('covers a period between instants, both ends included', async () => {
    const query = `?dateFrom=${INSTANTS[2]}&dateTo=${INSTANTS[4]}`;
    expect(contents(await get(query))).toEqual(INSTANTS.slice(2, 5));
  });

  it.each([
    '?dateFrom=yesterday',
    '?dateFrom=2026-02-30',
    '?dateFrom=2026-W10',
    '?dateTo=11:30',
    '?dateFrom=2026-03-12&dateTo=2026-03-11',
    '?dateTo=2020-01-01',
    '?timezone=Moon/Base',
    '?limit=0',
    '?limit=1001',
    '?before=x',
    '?after=-1',
  ])('answers 400 to %s', async (query) => {
    expect(await get(query)).toMatchObject({ status: 400, meta: { reason: 'INVALID' } });
  });

  it('pages by number, backwards from the end and forwards, and links to more', async () => {
    const all = [...INSTANTS, 'today'];
    const last = await get('?limit=3');
    expect(contents(last)).toEqual(all.slice(-3));
    expect(last.headers.get('Link')).toBe(`<${last.meta.next}>; rel="next"`);
    const before = await get(last.meta.next ?? '');
    expect(contents(before)).toEqual(all.slice(-6, -3));

    const seen: string[] = [];
    for (let next: string | undefined = '?after=0&limit=3'; next;) {
      const page: Answer = await get(next);
      seen.push(...contents(page));
      next = page.meta.next;
    }
    expect(seen).toEqual(all);
  });

  it('pages within a period if dates are given', async () => {
    const page = await get('?dateFrom=2026-03-11&dateTo=2026-03-11&limit=2&after=0');
    expect(contents(page)).toEqual(INSTANTS.slice(1, 3));
    const rest = await get(page.meta.next ?? '');
    expect(contents(rest)).toEqual(INSTANTS.slice(3, 4));
    expect(rest.meta.next).toBeUndefined();
  });

  it('links to the next page relative to the request, since a proxy may use another path', async () => {
    const { meta } = await get('?limit=2&timezone=Asia%2FTokyo');
    for (const base of ['https://app.example/chat/api', node.url]) {
      const asked = `${base}/rooms/${room}/messages`;
      const next = new URL(meta.next ?? '', `${asked}?limit=2&timezone=Asia%2FTokyo`);
      expect(next.origin + next.pathname).toBe(asked);
      expect(next.searchParams.get('limit')).toBe('2');
      expect(next.searchParams.get('timezone')).toBe('Asia/Tokyo');
    }
  });

  it('needs the permission r', async () => {
    const answer = await request(node, 'GET', `/rooms/${room}/messages`, { as: person() });
    expect(answer).toMatchObject({ status: 403, meta: { reason: 'FORBIDDEN' } });
    const missing = await request(node, 'GET', '/rooms/2000000000/messages', { as: ana });
    expect(missing.status).toBe(404);
  });

  it('sends all messages of a long day, page by page', async () => {
    const long = await createRoom(node, ana);
    const client = await ChatClient.enter(node, ana, long);
    const words = Array.from({ length: 2_345 }, (_, i) => `word ${i} “ünïcode” 🙂`);
    for (const word of words) client.say(word);
    await client.messages(words.length);
    await client.close();
    const answer = await request(node, 'GET', `/rooms/${long}/messages`, { as: ana });
    expect(contents(answer)).toEqual(words);
  });
});

describe('GET /rooms/:id/messages/:seq', () => {
  it('answers with the message as it is now, and with the end of the log', async () => {
    const { client, seq, own } = await newMessage('hi');
    client.send({ type: 'reaction', room_id: own, target: seq, emoji: '👍', on: true });
    await client.expect('SENT');
    client.send({ type: 'message', room_id: own, content: 'hi', reply_to: seq, ref: 'b' });
    await client.expect('SENT');
    client.send({ type: 'edit', room_id: own, target: seq, content: 'ho', data: { a: 1 } });
    const [edited] = await client.expect('SENT');
    const rev = Number(edited?.['seq']);
    await client.close();

    const answer = await one(own, seq);

    expect(answer).toMatchObject({ status: 200, meta: { head: rev } });
    const { updatedAt } = answer.content as { updatedAt: string };
    expect(answer.content).toEqual({
      id: seq,
      room_id: own,
      seq,
      emitter: ana.userUUID,
      ref: 'a',
      content: 'ho',
      data: { a: 1 },
      createdAt: expect.any(String),
      updatedAt,
      edited_at: updatedAt,
      rev,
      replies: 1,
      reactions: [{ emoji: '👍', count: 1, mine: true }],
    });
    const page = await request(node, 'GET', `/rooms/${own}/messages?thread=${seq}&limit=1`, {
      as: ana,
    });
    expect(page.content).toMatchObject([{ content: 'hi', reply_to: seq, ref: 'b' }]);
    const query = `?limit=1&thread=${seq}&before=${rev - 1}`;
    expect(page.meta).toEqual({ ...answer.meta, next: query });
    const before = await request(node, 'GET', `/rooms/${own}/messages${query}`, { as: ana });
    expect(before.content).toEqual([answer.content]);
    expect(before.meta).toEqual(answer.meta);
  });

  it('answers 404 to the number of a deleted message, and of none', async () => {
    const { client, seq, own } = await newMessage('hi');
    client.send({ type: 'delete', room_id: own, target: seq });
    await client.expect('SENT');
    await client.close();

    expect(await one(own, seq)).toMatchObject({ status: 404, meta: { reason: 'DELETED' } });
    for (const none of [1, seq + 1, Number.MAX_SAFE_INTEGER]) {
      const answer = await one(own, none);
      expect(answer).toMatchObject({ status: 404, meta: { reason: 'NO_SUCH_MESSAGE' } });
    }
    expect(await one(2_000_000_000, 1)).toMatchObject({ meta: { reason: 'NOT_FOUND' } });
    const stranger = { as: person() };
    const refused = await request(node, 'GET', `/rooms/${own}/messages/${seq}`, stranger);
    expect(refused).toMatchObject({ status: 403, meta: { reason: 'FORBIDDEN' } });
  });

  function one(roomId: number, seq: number): Promise<Answer> {
    return request(node, 'GET', `/rooms/${roomId}/messages/${seq}`, { as: ana });
  }

  /** A client of version 2, and its message in a room of its own. */
  async function newMessage(
    content: string,
  ): Promise<{ client: ChatClient; seq: number; own: number }> {
    const own = await createRoom(node, ana);
    const client = await ChatClient.enterV2(node, ana);
    client.send({ type: 'message', room_id: own, content, ref: 'a' });
    const [sent] = await client.expect('SENT');
    return { client, seq: Number(sent?.['seq']), own };
  }
});
