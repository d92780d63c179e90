import { setTimeout as delay } from 'node:timers/promises';
import type { ServerResponse } from 'node:http';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createRoom, putRule, request, type Answer } from '../harness/api.js';
import { ChatClient, type ServerFrame } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { startReceiver, WEBHOOK_SECRET, type Receiver } from '../harness/receiver.js';
import { person, type Person } from '../harness/tokens.js';

/** What the hook is asked. */
interface Question {
  readonly type: string;
  readonly room: Readonly<Record<string, unknown>>;
  readonly message: { readonly content: string; readonly [key: string]: unknown };
  readonly caller: object;
}

type Decide = (question: Question, response: ServerResponse) => void;

let world: ChatWorld;
let hook: Receiver;
/** Two nodes that do not hear each other, whose hook may fail. */
let east: TestNode;
let west: TestNode;
/** A node that stores nothing without the hook. */
let strict: TestNode;
let room: number;
const ana = person({ levelOnEntity: 999 });
const ben = person();

beforeAll(async () => {
  world = await createChatWorld();
  hook = await startReceiver();
  const env = { HOOK_URL: hook.url, WEBHOOK_SECRET };
  [east, west, strict] = await Promise.all([
    world.start({ ...env, REDIS_PREFIX: 'apart-east' }),
    world.start({ ...env, REDIS_PREFIX: 'apart-west' }),
    world.start({ ...env, REDIS_PREFIX: 'apart-strict', HOOK_FAIL: 'closed' }),
  ]);
});
beforeEach(async () => {
  room = await createRoom(east, ana);
  await putRule(east, ana, room, { userUUID: ben.userUUID, permissions: 'rw' });
});
afterEach(() => {
  decide((_, response) => {
    response.writeHead(204).end();
  });
});
afterAll(async () => {
  await world.close();
  await hook.close();
});

function decide(how: Decide): void {
  hook.answer = ({ body }, response) => {
    how(body as unknown as Question, response);
  };
}

function reply(response: ServerResponse, answer: unknown): void {
  response.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(answer));
}

/** Holds the answers back until it is called. */
function holdAnswers(): () => void {
  const held: ServerResponse[] = [];
  decide((_, response) => held.push(response));
  return () => {
    decide((_, response) => {
      response.writeHead(204).end();
    });
    for (const response of held) response.writeHead(204).end();
  };
}

/** The questions since a moment. */
function asked(from: number): Question[] {
  return hook.got.slice(from).map(({ body }) => body as unknown as Question);
}

function post(node: TestNode, as: Person, body: object): Promise<Answer> {
  return request(node, 'POST', `/rooms/${room}/messages`, { as, body });
}

function patch(node: TestNode, as: Person, seq: number, body: object): Promise<Answer> {
  return request(node, 'PATCH', `/rooms/${room}/messages/${seq}`, { as, body });
}

function seqOf({ content }: Answer): number {
  return (content as { seq: number }).seq;
}

/** The texts of the room's messages, as they are now. */
async function texts(): Promise<string[]> {
  const { content } = await request(east, 'GET', `/rooms/${room}/messages?after=0&limit=1000`, {
    as: ana,
  });
  return (content as { content: string }[]).map((message) => message.content);
}

async function answerTo(client: ChatClient, ref: string): Promise<ServerFrame> {
  for (;;) {
    const frame = await client.next();
    if (frame.type === 'status' && frame['ref'] === ref) return frame;
  }
}

describe('the hook before storing', () => {
  it('is asked about messages and edits, over REST and both versions of the socket', async () => {
    await request(east, 'PATCH', `/rooms/${room}`, { as: ana, body: { data: { topic: 'tea' } } });
    const { uuid } = (await request(east, 'GET', `/rooms/${room}`, { as: ana })).content as {
      uuid: string;
    };
    const from = hook.got.length;

    const first = await post(east, ana, { content: 'one', ref: 'a' });
    const more = { data: { a: [1] }, reply_to: seqOf(first), mentions: [ben.userUUID] };
    const v1 = await ChatClient.enter(west, ben, room);
    v1.say('two', { ref: 'b' });
    await answerTo(v1, 'b');
    const v2 = await ChatClient.enterV2(west, ben, room);
    v2.send({ type: 'message', room_id: room, content: 'three', ref: 'c', ...more });
    const { seq } = await answerTo(v2, 'c');
    v2.send({ type: 'edit', room_id: room, target: seq, content: 'four', ref: 'd' });
    await answerTo(v2, 'd');
    await Promise.all([v1.close(), v2.close()]);

    const ofRoom = { id: room, uuid, type: 'group', data: { topic: 'tea' } };
    const callerOf = ({ userUUID, entityUUID, levelOnEntity }: Person): object => ({
      userUUID,
      entityUUID,
      levelOnEntity,
    });
    const questionOf = (as: Person, message: object): object => ({
      type: 'message',
      room: ofRoom,
      message: { emitter: as.userUUID, ...message },
      caller: callerOf(as),
    });
    expect(asked(from)).toEqual([
      questionOf(ana, { content: 'one', ref: 'a' }),
      questionOf(ben, { content: 'two', ref: 'b' }),
      questionOf(ben, { content: 'three', ref: 'c', ...more }),
      { ...questionOf(ben, { content: 'four', ref: 'd', target: seq }), type: 'edit' },
    ]);
    expect(await texts()).toEqual(['one', 'two', 'four']);
  });

  it('rejects, which each version hears by its own word, and nothing is stored', async () => {
    const { content } = await post(east, ben, { content: 'fine' });
    const { seq } = content as { seq: number };
    decide((_, response) => {
      reply(response, { action: 'reject', detail: 'mind your language' });
    });

    const v1 = await ChatClient.enter(west, ben, room);
    v1.say('bad', { ref: 'a' });
    expect(await v1.next()).toEqual({
      type: 'status',
      data: 'INVALID',
      room_id: room,
      ref: 'a',
      reason: 'mind your language',
    });
    const v2 = await ChatClient.enterV2(west, ben, room);
    const said = { room_id: room, content: 'bad' };
    for (const command of [
      { type: 'message', ...said, ref: 'b' },
      { type: 'edit', ...said, target: seq, ref: 'c' },
    ]) {
      v2.send(command);
      expect(await v2.next()).toEqual({
        type: 'status',
        data: 'REJECTED',
        ref: command.ref,
        room_id: room,
        reason: 'REJECTED',
        detail: 'mind your language',
      });
    }
    const refused = { status: 422, meta: { reason: 'REJECTED', detail: 'mind your language' } };
    expect(await post(west, ben, { content: 'bad' })).toMatchObject(refused);
    expect(await patch(west, ben, seq, { content: 'bad' })).toMatchObject(refused);

    expect(await texts()).toEqual(['fine']);
    await Promise.all([v1.close(), v2.close()]);
  });

  it('replaces, and what its sender said is the same under its ref', async () => {
    decide(({ type, message }, response) => {
      const content = `${message.content} (${type})`;
      reply(response, { action: 'replace', content, data: { clean: true } });
    });
    const first = await post(east, ben, { content: 'one', ref: 'a' });
    const seq = seqOf(first);
    expect(first).toMatchObject({
      status: 201,
      content: { content: 'one (message)', data: { clean: true } },
    });
    const client = await ChatClient.enterV2(east, ben, room);
    const said = { type: 'message', room_id: room, content: 'two', ref: 'b' };
    client.send(said);
    expect(await client.next()).toMatchObject({
      type: 'message',
      data: { content: 'two (message)' },
    });
    const sent = await client.next();
    const from = hook.got.length;

    // Again, here and on another node.
    client.send(said);
    expect(await client.next()).toEqual(sent);
    const again = await post(west, ben, { content: 'one', ref: 'a' });
    expect([again.status, seqOf(again)]).toEqual([200, seq]);
    expect(asked(from)).toEqual([]);

    const edited = await patch(east, ben, seq, { content: 'three', ref: 'c' });
    expect(edited).toMatchObject({ status: 200, content: { content: 'three (edit)' } });
    expect(asked(from)).toHaveLength(1);
    expect((await patch(west, ben, seq, { content: 'three', ref: 'c' })).status).toBe(200);
    // A ref of another command, or of another message, is used.
    const used = { status: 409, meta: { reason: 'REF_USED' } };
    expect(
      await patch(west, ben, sent?.['seq'] as number, { content: 'three', ref: 'c' }),
    ).toMatchObject(used);
    expect(await post(west, ben, { content: 'three', ref: 'c' })).toMatchObject(used);
    expect(asked(from)).toHaveLength(1);
    expect(await texts()).toEqual(['three (edit)', 'two (message)']);
    await client.close();
  });

  it('replaces only what it names', async () => {
    const answers = [{ content: 'b' }, { data: { b: 2 } }, { data: null }];
    for (const answer of answers) {
      decide((_, response) => {
        reply(response, { action: 'replace', ...answer });
      });
      await post(east, ben, { content: 'a', data: { a: 1 } });
    }

    const { content } = await request(east, 'GET', `/rooms/${room}/messages?after=0`, { as: ana });
    expect(
      (content as object[]).map(({ content, data }: { content?: string; data?: object }) => [
        content,
        data,
      ]),
    ).toEqual([
      ['b', { a: 1 }],
      ['a', { b: 2 }],
      ['a', undefined],
    ]);
  });

  it('is not asked about what is refused anyway, or changes nothing', async () => {
    const { content } = await post(east, ana, { content: 'of ana', ref: 'a' });
    const { seq } = content as { seq: number };
    const from = hook.got.length;

    const stranger = person();
    expect((await post(west, stranger, { content: 'x' })).status).toBe(403);
    expect((await patch(west, stranger, seq, { content: 'x' })).status).toBe(403);
    expect((await patch(west, ben, seq, { content: 'x' })).status).toBe(403);
    expect((await patch(west, ana, 9_999, { content: 'x' })).status).toBe(404);
    expect((await patch(west, ana, seq, { content: 'of ana' })).status).toBe(200);
    // The application knows what it sends itself.
    const server = person({}, { server: true });
    expect((await post(west, server, { content: 'x' })).status).toBe(201);
    expect((await patch(west, server, seq, { content: 'x' })).status).toBe(200);

    expect(asked(from)).toEqual([]);
  });

  it('stores a message once whose ref is sent to two nodes at once, though each gets another text', async () => {
    let answers = 0;
    decide((_, response) => {
      answers += 1;
      reply(response, { action: 'replace', content: `text ${answers}` });
    });

    const both = await Promise.all(
      [east, west, east, west].map((node) => post(node, ben, { content: 'one', ref: 'a' })),
    );

    expect(new Set(both.map(seqOf)).size).toBe(1);
    expect(both.filter(({ status }) => status === 201)).toHaveLength(1);
    expect(await texts()).toHaveLength(1);
  });

  it('lets nothing be stored after a revocation that came while it was thinking', async () => {
    const v1 = await ChatClient.enter(west, ben, room);
    const { content } = await post(east, ben, { content: 'before' });
    const { seq } = content as { seq: number };
    const from = hook.got.length;
    const release = holdAnswers();
    v1.say('one', { ref: 'a' });
    const rest = post(west, ben, { content: 'two' });
    const edit = patch(west, ben, seq, { content: 'three' });
    await hook.until(() => hook.got.length === from + 3);

    await putRule(east, ana, room, { userUUID: ben.userUUID, permissions: 'r' });
    release();

    expect(await answerTo(v1, 'a')).toMatchObject({ data: 'NOTAUTHORIZED' });
    expect(await rest).toMatchObject({ status: 403 });
    expect(await edit).toMatchObject({ status: 403 });
    expect(await texts()).toEqual(['before']);
    await v1.close();
  });
});

describe('messages that wait for the hook', () => {
  it('are stored in the order in which each user sent them, however late each answer is', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ ms: fc.nat(30), isRejected: fc.boolean() }), { maxLength: 40 }),
        async (plan) => {
          room = await createRoom(east, ana);
          await putRule(east, ana, room, { userUUID: ben.userUUID, permissions: 'rw' });
          decide(({ message }, response) => {
            const { ms, isRejected } = plan[Number(message.content.split(' ')[1])] ?? { ms: 0 };
            void delay(ms).then(() => {
              reply(response, { action: isRejected ? 'reject' : 'accept' });
            });
          });
          const v1 = await ChatClient.enter(east, ana, room);
          const v2 = await ChatClient.enterV2(east, ben, room);
          for (const n of plan.keys()) {
            v1.say(`ana ${n}`, { ref: `${n}` });
            v2.send({ type: 'message', room_id: room, content: `ben ${n}`, ref: `${n}` });
          }
          const answers = await Promise.all(
            [v1, v2].map(async (client) => {
              const words: unknown[] = [];
              // In their order: a client may know its messages by that.
              for (const n of plan.keys()) words.push((await answerTo(client, `${n}`)).data);
              return words;
            }),
          );
          await Promise.all([v1.close(), v2.close()]);

          const stored = await texts();
          for (const [index, who] of ['ana', 'ben'].entries()) {
            expect(stored.filter((text) => text.startsWith(who))).toEqual(
              [...plan.keys()].filter((n) => !plan[n]?.isRejected).map((n) => `${who} ${n}`),
            );
            const refused = index === 0 ? 'INVALID' : 'REJECTED';
            expect(answers[index]).toEqual(
              plan.map(({ isRejected }) => (isRejected ? refused : 'SENT')),
            );
          }
        },
      ),
      { numRuns: 8, endOnFailure: true },
    );
  });

  it('keep no other user waiting', async () => {
    const held: ServerResponse[] = [];
    decide(({ message }, response) => {
      if (message.content === 'slow') held.push(response);
      else response.writeHead(204).end();
    });
    const slow = post(east, ben, { content: 'slow' });
    await hook.until(() => held.length === 1);

    expect((await post(east, ana, { content: 'fast' })).status).toBe(201);

    for (const response of held) response.writeHead(204).end();
    expect((await slow).status).toBe(201);
    expect(await texts()).toEqual(['fast', 'slow']);
  });

  it('are stored, or not acknowledged, if their node goes down', async () => {
    const node = await world.start({ HOOK_URL: hook.url, WEBHOOK_SECRET });
    const from = hook.got.length;
    const release = holdAnswers();
    const client = await ChatClient.enterV2(node, ben, room);
    client.send({ type: 'message', room_id: room, content: 'over the socket', ref: 'a' });
    const rest = post(node, ben, { content: 'over REST', ref: 'b' }).then(
      ({ status }) => status,
      () => 'cut',
    );
    await hook.until(() => hook.got.length === from + 2);

    const closed = node.close();
    release();

    expect(await answerTo(client, 'a')).toMatchObject({ data: 'SENT' });
    await closed;
    const stored = await texts();
    expect(stored).toContain('over the socket');
    expect(stored.includes('over REST')).toBe((await rest) === 201);
  });
});

describe('a hook that has decided against a message', () => {
  const long = 'a'.repeat(8_001);

  it.each<[name: string, answer: unknown, status?: number]>([
    ['an empty text', { action: 'replace', content: '', data: null }],
    ['a long text', { action: 'replace', content: long }],
    ['a text with U+0000', { action: 'replace', content: '\0' }],
    ['data that is a list', { action: 'replace', data: [1] }],
    ['valid content, and data that is a text', { action: 'replace', content: 'b', data: 'c' }],
    ['nothing in its place', { action: 'replace', text: 'b' }],
    ['a reason that is no text', { action: 'reject', detail: { text: 'no' } }],
    ['fields that there are not', { action: 'reject', reason: 'no', code: 1 }],
    ['a status that is not 2xx', { action: 'reject' }, 422],
  ])(
    'but has %s, leaves nothing of it stored, whatever HOOK_FAIL is',
    async (...[, answer, status]) => {
      decide((_, response) => {
        response.writeHead(status ?? 200).end(`\uFEFF${JSON.stringify(answer)}`);
      });

      for (const node of [east, strict]) {
        const { status, meta } = await post(node, ben, { content: 'hi', data: { a: 1 }, ref: 'a' });
        expect([status, meta.reason, meta.detail]).toEqual([422, 'REJECTED', undefined]);
      }
      expect(await texts()).toEqual([]);
    },
  );

  it.each([
    ['y'.repeat(501), 'y'.repeat(500)],
    [`${'y'.repeat(499)}🚀`, 'y'.repeat(499)],
  ])('is heard with 500 characters of its reason', async (detail, told) => {
    decide((_, response) => {
      reply(response, { action: 'reject', detail });
    });

    expect(await post(east, ben, { content: 'hi' })).toMatchObject({
      status: 422,
      meta: { reason: 'REJECTED', detail: told },
    });
  });
});

describe('a hook that gives no valid answer', () => {
  it.each<[name: string, decide: Decide]>([
    ['an error', (_, response) => void response.writeHead(500).end()],
    ['a redirect', (_, response) => void response.writeHead(302, { Location: '/' }).end()],
    ['no JSON', (_, response) => void response.end('yes')],
    ['another action', (_, response) => reply(response, { action: 'maybe' })],
    ['no action', (_, response) => reply(response, {})],
    ['a list', (_, response) => reply(response, [])],
    [
      'too many bytes',
      (_, response) => reply(response, { more: 'a'.repeat(200_000), action: 'reject' }),
    ],
    ['no answer', (_, response) => void response.destroy()],
  ])('but %s, leaves messages as they are, or refuses them for now', async (_name, how) => {
    decide(how);

    expect(await post(east, ben, { content: 'hi', data: { a: 1 } })).toMatchObject({
      status: 201,
      content: { content: 'hi', data: { a: 1 } },
    });
    const refused = await post(strict, ben, { content: 'hi', ref: 'a' });
    expect(refused).toMatchObject({ status: 503, meta: { reason: 'UNAVAILABLE' } });

    expect(await texts()).toEqual(['hi']);
    decide((_, response) => {
      response.writeHead(204).end();
    });
    expect((await post(strict, ben, { content: 'hi', ref: 'a' })).status).toBe(201);
  });

  it('in time leaves messages as they are, or refuses them for now, which is in the log once', async () => {
    const release = holdAnswers();
    const v1 = await ChatClient.enter(strict, ben, room);
    v1.say('closed', { ref: 'a' });

    expect((await post(east, ben, { content: 'open' })).status).toBe(201);
    expect(await answerTo(v1, 'a')).toMatchObject({ data: 'UNAVAILABLE' });

    release();
    v1.say('closed', { ref: 'a' });
    expect(await answerTo(v1, 'a')).toMatchObject({ data: 'SENT' });
    expect(await texts()).toEqual(['open', 'closed']);
    await v1.close();
  });

  it('at all is soon not asked any more, and asked again once it is back', async () => {
    const dead = await startReceiver();
    await dead.close();
    const node = await world.start({ HOOK_URL: dead.url, WEBHOOK_SECRET, METRICS_PORT: '0' });
    const { port } = node.server.metricsAddress ?? { port: 0 };
    const counts = async (): Promise<Record<string, number>> => {
      const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
      return Object.fromEntries(
        [...text.matchAll(/^nano_messaging_hook_seconds_count\{outcome="(\w+)"\} (\d+)$/gm)].map(
          ([, outcome = '', count]) => [outcome, Number(count)],
        ),
      );
    };
    const client = await ChatClient.enter(node, ben, room);
    for (let n = 0; n < 30; n += 1) {
      client.say(`${n}`, { ref: `${n}` });
      expect(await answerTo(client, `${n}`)).toMatchObject({ data: 'SENT' });
    }

    expect(await counts()).toEqual({
      accepted: 0,
      rejected: 0,
      replaced: 0,
      failed: 10,
      skipped: 20,
    });
    await dead.open();
    while (dead.got.length === 0) {
      expect((await post(node, ben, { content: 'again' })).status).toBe(201);
    }
    expect(await counts()).toMatchObject({ accepted: 1 });
    await client.close();
    await dead.close();
  });
});
