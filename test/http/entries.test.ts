import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createRoom, putRule, request, type Answer } from '../harness/api.js';
import { ChatClient, type ServerFrame } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { person, type Person } from '../harness/tokens.js';

let world: ChatWorld;
let node: TestNode;
let room: number;
const ana = person({ levelOnEntity: 999 });
const ben = person();

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start();
});
afterAll(() => world.close());

beforeEach(async () => {
  room = await createRoom(node, ana);
  await putRule(node, ana, room, { userUUID: ben.userUUID, permissions: 'rw' });
});

function entries(query: string, as: Person = ben): Promise<Answer> {
  return request(node, 'GET', `/rooms/${room}/entries${query}`, { as });
}

async function say(content: string, as: Person = ana): Promise<number> {
  const answer = await request(node, 'POST', `/rooms/${room}/messages`, { as, body: { content } });
  return (answer.content as { seq: number }).seq;
}

/** What a session gets that joins behind a number. */
async function replayed(after: number): Promise<ServerFrame[]> {
  const client = await ChatClient.enterV2(node, ben);
  client.send({ type: 'join', rooms: [{ room_id: room, after }] });
  const [connected] = await client.expect('CONNECTED');
  const frames = await client.take(Number(connected?.['head']) - after);
  await client.close();
  return frames;
}

describe('GET /rooms/:id/entries', () => {
  it('answers with the frames of a replay, each number once', async () => {
    const edited = await say('before the edit');
    const deleted = await say('before the deletion');
    const client = await ChatClient.enterV2(node, ana);
    for (const target of [edited, deleted]) {
      client.send({ type: 'reaction', room_id: room, target, emoji: '👍', on: true });
      client.send({
        type: 'edit',
        room_id: room,
        target,
        content: `edited ${target}`,
        ref: `${target}`,
      });
    }
    client.send({ type: 'delete', room_id: room, target: deleted });
    await client.expect('SENT', 'SENT', 'SENT', 'SENT', 'SENT');
    await client.close();
    await request(node, 'PATCH', `/rooms/${room}`, { as: ana, body: { name: 'a name' } });

    const answer = await entries('');

    expect(answer.status).toBe(200);
    // A session tells its room's rules first: joining accepts ben's.
    const frames = await replayed(0);
    expect(answer.content).toEqual(frames.slice(0, -1));
    const kinds = (answer.content as ServerFrame[]).map(({ type }) => type);
    expect(kinds.join(' ')).toBe(
      'member member member message message reaction edit reaction edit delete room',
    );
    const text = JSON.stringify(answer.content);
    expect(text).toContain(`edited ${edited}`);
    for (const gone of ['before', `edited ${deleted}`]) expect(text).not.toContain(gone);
    expect(answer.meta).toMatchObject({ head: kinds.length, epoch: expect.any(String) });
  });

  it('pages through a long log of long messages', async () => {
    const long = 'x'.repeat(8_000);
    const contents = Array.from({ length: 60 }, (_, n) => (n % 2 === 0 ? long : `${n}`));
    for (const content of contents) await say(content);
    const read: ServerFrame[] = [];
    let heads = 0;
    for (let next: string | undefined = '?after=3&limit=25'; next !== undefined;) {
      const page: Answer = await entries(next);
      read.push(...(page.content as ServerFrame[]));
      expect(page.headers.get('Link')).toBe(
        page.meta.next === undefined ? null : `<${page.meta.next}>; rel="next"`,
      );
      next = page.meta.next;
      heads += 1;
    }

    expect(heads).toBe(3);
    expect(read.map(({ data }) => (data as { content: string }).content)).toEqual(contents);
    const whole = await entries('?after=3&limit=1000');
    expect(whole.content).toEqual(read);
    expect(whole.meta.next).toBeUndefined();
    expect(await entries('?after=63')).toMatchObject({ status: 200, content: [] });
  });

  it('needs the permission r, and a number that the log has', async () => {
    const head = await say('hi');
    expect(await entries(`?after=${head + 1}`)).toMatchObject({
      status: 400,
      meta: { reason: 'AHEAD' },
    });
    expect(await entries('', person())).toMatchObject({
      status: 403,
      meta: { reason: 'FORBIDDEN' },
    });
    const missing = await request(node, 'GET', '/rooms/2000000000/entries', { as: ana });
    expect(missing).toMatchObject({ status: 404, meta: { reason: 'NOT_FOUND' } });
  });
});
