import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRoom, putRule, request, type Answer } from '../harness/api.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { person } from '../harness/tokens.js';
import { ChatClient } from '../harness/chat-client.js';

/** Each is a race; so many take some seconds. */
const ROUNDS = 6;
/** What is said, and done, after the removal alone. */
const LATER = ['afterwards', '🔥'];

let world: ChatWorld;
let nodes: TestNode[];

beforeAll(async () => {
  world = await createChatWorld();
  // Nodes that do not hear each other.
  nodes = await Promise.all(
    ['a', 'b', 'c'].map((prefix) => world.start({ REDIS_PREFIX: `apart-${prefix}` })),
  );
});
afterAll(() => world.close());

describe('who was removed from a room, on three nodes that do not hear each other,', () => {
  const ana = person({ levelOnEntity: 999 });

  it('reads nothing with or after the number of the removal, by any route', async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const answers = await race();

      expect(answers.some(({ status }) => status === 403)).toBe(true);
      for (const { meta, content } of answers) {
        const text = JSON.stringify({ meta, content });
        for (const word of LATER) expect(text).not.toContain(word);
        // A reply that came later is not counted either.
        expect(text).not.toContain('"replies"');
      }
    }
  });

  /** All that a user was answered while they were removed, and since. */
  async function race(): Promise<Answer[]> {
    const ben = person();
    const [east] = nodes;
    if (east === undefined) throw new Error('no node');
    const room = await createRoom(east, ana);
    await putRule(east, ana, room, { userUUID: ben.userUUID, permissions: 'rw' });
    const post = (body: object): Promise<Answer> =>
      request(east, 'POST', `/rooms/${room}/messages`, { as: ana, body });
    const { content } = await post({ content: 'cherry before' });
    const { seq: target } = content as { seq: number };
    const own = { content: 'cherry of ben', ref: 'own' };
    const posted = await request(east, 'POST', `/rooms/${room}/messages`, { as: ben, body: own });
    const { seq: ofBen } = posted.content as { seq: number };
    const socket = await ChatClient.enterV2(east, ana);

    const calls: [method: string, path: string, body?: object][] = [
      ['GET', `/rooms/${room}/messages`],
      ['GET', `/rooms/${room}/messages?after=0`],
      ['GET', `/rooms/${room}/messages?limit=10`],
      ['GET', `/rooms/${room}/messages?thread=${target}`],
      ['GET', `/rooms/${room}/messages/${target}`],
      ['GET', `/rooms/${room}/entries`],
      ['GET', '/messages?q=cherry'],
      ['GET', `/messages?q=cherry&room=${room}`],
      ['GET', '/me/rooms'],
      ['GET', `/rooms/${room}`],
      ['POST', `/rooms/${room}/messages`, own],
      ['PATCH', `/rooms/${room}/messages/${ofBen}`, { content: own.content }],
    ];
    const over = new AbortController();
    const answers: Answer[] = [];
    const readers = nodes.flatMap((node, first) =>
      [0, 1].map(async (more) => {
        for (let at = 2 * first + more; !over.signal.aborted; at += 1) {
          const [method, path, body] = calls[at % calls.length] ?? ['GET', '/me/rooms'];
          answers.push(await request(node, method, path, { as: ben, body }));
        }
      }),
    );

    const removed = await request(east, 'DELETE', `/rooms/${room}/members/${ben.userUUID}`, {
      as: ana,
    });
    expect(removed.status).toBe(200);
    for (const seq of [target, ofBen]) {
      socket.send({ type: 'reaction', room_id: room, target: seq, emoji: '🔥', on: true });
      await socket.expect('SENT');
    }
    await request(east, 'PATCH', `/rooms/${room}/messages/${target}`, {
      as: ana,
      body: { content: 'cherry afterwards' },
    });
    await post({ content: 'cherry afterwards', reply_to: target });
    const from = answers.length;
    // Each route on each node, since the removal.
    while (answers.length < from + 6 * calls.length) {
      await Promise.race([readers[0], request(east, 'GET', '/healthz')]);
    }
    over.abort();
    await Promise.all(readers);
    await socket.close();

    return answers;
  }
});
