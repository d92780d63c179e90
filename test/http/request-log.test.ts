import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRoom, request } from '../harness/api.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { HttpWire } from '../harness/http-wire.js';
import type { NodeProcess } from '../harness/node-process.js';
import { person } from '../harness/tokens.js';

/** Almost the largest size of a head. */
const LONG = 'a'.repeat(15_000);
const MOST_BYTES_A_LINE = 1_000;

const ana = person({ levelOnEntity: 999 });

let world: ChatWorld;
let node: NodeProcess;

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.startProcess({ NODE_ENV: 'production' });
});
afterAll(() => world.close());

interface Line {
  readonly msg: string;
  readonly path?: string;
  readonly route?: string;
}

/** The lines that were logged since the log had this number of characters. */
function linesSince(start: number): string[] {
  return node.program.stdout().slice(start).trim().split('\n');
}

describe('the log line of a request', () => {
  it('names the route by its pattern', async () => {
    const room = await createRoom(node, ana);
    await node.program.seen(/"route":"\/rooms"/);
    const start = node.program.stdout().length;
    await request(node, 'GET', `/rooms/${room}/messages?limit=1`, { as: ana });
    await request(node, 'GET', `/rooms/${room}/messages`);
    await request(node, 'GET', '/nowhere');
    await node.program.seen(/"path":"\/nowhere"/);
    expect(linesSince(start).map((line) => JSON.parse(line) as Line)).toEqual([
      expect.objectContaining({ path: `/rooms/${room}/messages`, route: '/rooms/:id/messages' }),
      expect.objectContaining({ status: 401, route: '/rooms/:id/messages' }),
      expect.not.objectContaining({ route: expect.anything() as unknown }),
    ]);
  });

  it.each([
    ['a path', `/${LONG}`],
    ['an id in a path', `/rooms/${LONG}/messages`],
    ['a query', `/rooms?${LONG}`],
    ['an absolute target', `http://${LONG}/`],
    ['an escaped path', `/${'%61'.repeat(5_000)}`],
  ])('is short, and so is the answer, however long %s is', async (_what, target) => {
    const start = node.program.stdout().length;
    const wire = await HttpWire.dial(node);
    const end = `/end-${Math.random()}`;
    const rest = `HTTP/1.1\r\nHost: x\r\nUser-Agent: ${'u'.repeat(500)}\r\n\r\n`;
    wire.write(`GET ${target} ${rest}`, `GET ${end} ${rest}`);
    expect((await wire.answer()).body.length).toBeLessThan(MOST_BYTES_A_LINE);
    await wire.answer();
    wire.destroy();
    await node.program.seen(new RegExp(end));
    for (const line of linesSince(start)) expect(line.length).toBeLessThan(MOST_BYTES_A_LINE);
  });
});
