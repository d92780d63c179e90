import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRoom, putRule, request, type Answer } from '../harness/api.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { person, type Person } from '../harness/tokens.js';

interface Listed {
  readonly id: number;
  readonly room_id: number;
  readonly seq: number;
  readonly message: { readonly content: string } | null;
}

const ana = person({ levelOnEntity: 999 });
const ben = person();
const server = person({}, { server: true });
const FORBIDDEN = { status: 403, meta: { reason: 'FORBIDDEN' } };

let world: ChatWorld;
let node: TestNode;

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start();
});
afterAll(() => world.close());

/** A room that Ben reads, with messages. */
async function roomWith(...contents: string[]): Promise<{ room: number; seqs: number[] }> {
  const room = await createRoom(node, ana);
  await putRule(node, ana, room, { userUUID: ben.userUUID, permissions: 'r' });
  const seqs: number[] = [];
  for (const content of contents) {
    const { content: message } = await request(node, 'POST', `/rooms/${room}/messages`, {
      as: ana,
      body: { content },
    });
    seqs.push((message as { seq: number }).seq);
  }
  return { room, seqs };
}

function report(as: Person, room: number, seq: number, body: object = {}): Promise<Answer> {
  return request(node, 'POST', `/rooms/${room}/messages/${seq}/report`, { as, body });
}

/** All reports of a room, in pages of two. */
async function listOf(room: number): Promise<Listed[]> {
  const reports: Listed[] = [];
  for (let query: string | undefined = '?limit=2'; query !== undefined;) {
    const { content, meta }: Answer = await request(node, 'GET', `/reports${query}`, {
      as: server,
    });
    reports.push(...(content as Listed[]));
    query = meta.next;
  }
  return reports.filter((one) => one.room_id === room);
}

describe('reports', () => {
  it('are stored once a user and message', async () => {
    const { room, seqs } = await roomWith('spam');
    const [seq = 0] = seqs;

    const first = await report(ben, room, seq, { reason: 'This is spam.' });
    const again = await report(ben, room, seq, { reason: 'This is still spam.' });
    const other = await report(ana, room, seq);

    expect(first).toMatchObject({
      status: 201,
      content: { room_id: room, seq, reporter: ben.userUUID, reason: 'This is spam.' },
    });
    expect([again.status, again.content]).toEqual([200, first.content]);
    expect(other).toMatchObject({ status: 201, content: { reporter: ana.userUUID, reason: null } });
    const at = await Promise.all([1, 2, 3].map(() => report(server, room, seq)));
    expect(at.filter(({ status }) => status === 201)).toHaveLength(1);
    expect(await listOf(room)).toHaveLength(3);
  });

  it('are listed to the application, with messages as they are now', async () => {
    const { room, seqs } = await roomWith('one', 'two', 'three');
    for (const seq of seqs) await report(ben, room, seq);
    const [one, two] = seqs.map((seq) => `/rooms/${room}/messages/${seq}`);
    await request(node, 'PATCH', one ?? '', { as: ana, body: { content: 'edited' } });
    await request(node, 'DELETE', two ?? '', { as: ana });

    const listed = await listOf(room);

    expect(listed.map(({ seq, message }) => [seq, message?.content])).toEqual(
      seqs.map((seq, index) => [seq, ['edited', undefined, 'three'][index]]),
    );
    const { content } = await request(node, 'GET', one ?? '', { as: server });
    const summary = await request(node, 'GET', `/rooms/${room}`, { as: ana });
    expect(listed[0]).toMatchObject({
      message: content,
      room_uuid: (summary.content as { uuid: string }).uuid,
    });
    await request(node, 'DELETE', `/rooms/${room}`, { as: ana });
    expect(await listOf(room)).toEqual([]);
  });

  it('are closed by the application, and may be made anew', async () => {
    const { room, seqs } = await roomWith('spam');
    const [seq = 0] = seqs;
    const { id } = (await report(ben, room, seq)).content as { id: number };

    const closed = await request(node, 'DELETE', `/reports/${id}`, { as: server });

    expect(closed).toMatchObject({ status: 200, content: { id, seq } });
    expect(await listOf(room)).toEqual([]);
    const twice = await request(node, 'DELETE', `/reports/${id}`, { as: server });
    expect(twice).toMatchObject({ status: 404, meta: { reason: 'NOT_FOUND' } });
    expect((await report(ben, room, seq)).status).toBe(201);
  });

  it('are refused of what may not be read, or is not there', async () => {
    const { room, seqs } = await roomWith('one');
    const [seq = 0] = seqs;

    expect(await report(person(), room, seq)).toMatchObject(FORBIDDEN);
    expect(await report(ben, room, 1)).toMatchObject({ meta: { reason: 'NO_SUCH_MESSAGE' } });
    const path = `/rooms/${randomUUID()}/messages/1/report`;
    expect(await request(node, 'POST', path, { as: ben })).toMatchObject({ status: 404 });
    for (const reason of ['', 'a'.repeat(501), 1]) {
      const answer = await report(ben, room, seq, { reason });
      expect(answer).toMatchObject({ status: 400, meta: { errors: [{ field: 'reason' }] } });
    }
    await request(node, 'DELETE', `/rooms/${room}/messages/${seq}`, { as: ana });
    expect(await report(ben, room, seq)).toMatchObject({
      status: 404,
      meta: { reason: 'DELETED' },
    });
    expect(await listOf(room)).toEqual([]);
  });

  it('are nobody’s to list or close but the application’s', async () => {
    expect(await request(node, 'GET', '/reports', { as: ana })).toMatchObject(FORBIDDEN);
    expect(await request(node, 'DELETE', '/reports/1', { as: ana })).toMatchObject(FORBIDDEN);
  });
});
