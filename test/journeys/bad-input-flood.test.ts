import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { MessageData } from '../../src/protocol/v1/events.js';
import { createRoom, putRule, request } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { memoryOf } from '../harness/memory.js';
import type { NodeProcess } from '../harness/node-process.js';
import { ana, ben, eve, json, messageOf, SocketLab, token } from '../harness/socket-lab.js';
import { CLOSE, FIN, frame, PING, PONG, WsWire } from '../harness/ws-wire.js';

const MOST_GROWTH_BYTES = 200 * 1024 * 1024;

let lab: SocketLab;

beforeAll(async () => {
  lab = await SocketLab.open();
});
afterEach(() => lab.bystanders.expectServed());
afterAll(() => lab.close());

describe('a flood', () => {
  let target: NodeProcess;
  /** The room in which ana and ben talk meanwhile. */
  let corner: number;

  beforeAll(async () => {
    corner = await createRoom(lab.node, ana);
    await putRule(lab.node, ana, corner, { userUUID: ben.userUUID, permissions: 'rw' });
    // Only answers must come.
    target = await lab.world.startProcess({ PING_INTERVAL_MS: '3600000' });
  });
  afterAll(async () => {
    const code = await target.end('SIGTERM');
    if (code !== 0) throw new Error(`the server ended with ${code}: ${target.program.stderr()}`);
  });

  /** Watches the memory; the returned function ends that, and returns its largest growth. */
  function watchMemory(): () => number {
    const memory = (): number => memoryOf(target.pid).now;
    const before = memory();
    let most = before;
    const timer = setInterval(() => {
      most = Math.max(most, memory());
    }, 25);
    return () => {
      clearInterval(timer);
      return Math.max(most, memory()) - before;
    };
  }

  /** Two users who talk until `done`, and must get every message of each other. */
  async function talkUntil(done: () => boolean, rounds = 0): Promise<void> {
    const [here, there] = await Promise.all([
      ChatClient.enter(target, ana, corner),
      ChatClient.enter(target, ben, corner),
    ]);
    for (let i = 0; i < rounds || !done(); i += 1) {
      here.say(`round ${i}`);
      for (const client of [here, there]) expect(await client.messages(1)).toEqual([`round ${i}`]);
    }
    await Promise.all([here.close(), there.close()]);
  }

  /**
   * Writes frames as fast as the server reads them, and reads no answer, until the server has read nothing for some
   * rounds of others' messages. The rest of the frames is still offered to it afterwards.
   * @returns the number of frames that it has read
   */
  async function pour(wire: WsWire, one: Buffer, count: number, rounds = 100): Promise<number> {
    const size = 10_000;
    const block = Buffer.concat(Array<Buffer>(size).fill(one));
    let taken = 0;
    const offer = (): void => {
      wire.socket.write(block, (error) => {
        if (error) return;
        taken += size;
        if (taken < count) offer();
      });
    };
    wire.socket.pause();
    offer();
    let before = -1;
    let still = 0;
    await talkUntil(() => {
      still = taken === before ? still + 1 : 0;
      before = taken;
      return still > rounds;
    });
    return taken;
  }

  it('of 300,000 tiny frames does not grow the heap, is answered in full, and stops no other session', async () => {
    // 10 MB of answers are more than the buffers in between hold.
    const count = 300_000;
    const wire = await WsWire.open(target);
    wire.write(token());
    expect(await wire.words(2)).toEqual(['START?', 'READY']);
    await talkUntil(() => true, 20);
    const growth = watchMemory();

    wire.socket.removeAllListeners('data');
    await pour(wire, frame('{}'), count);

    // All answers are equal: their bytes repeat one pattern.
    const answer = frame('{"type":"query","data":"COMMAND?"}', { masked: false });
    const pattern = Buffer.concat(Array<Buffer>(4_096).fill(answer));
    let received = 0;
    let differs = false;
    const all = new Promise<void>((resolve) => {
      wire.socket.on('data', (chunk: Buffer) => {
        for (let at = 0; at < chunk.length;) {
          const offset = received % answer.length;
          const length = Math.min(chunk.length - at, pattern.length - offset);
          differs ||= chunk.compare(pattern, offset, offset + length, at, at + length) !== 0;
          received += length;
          at += length;
        }
        if (differs || received >= count * answer.length) resolve();
      });
    });
    let isAll = false;
    void all.then(() => {
      isAll = true;
    });
    wire.socket.resume();
    await talkUntil(() => isAll, 20);
    await all;
    expect(differs).toBe(false);
    expect(received).toBe(count * answer.length);
    expect(growth()).toBeLessThan(MOST_GROWTH_BYTES);
    wire.destroy();
  });

  it('of a million frames before READY is closed at the third', async () => {
    const growth = watchMemory();
    const wire = await WsWire.open(target);
    const block = Buffer.concat(Array<Buffer>(10_000).fill(frame('{}')));
    for (let i = 0; i < 100; i += 1) wire.socket.write(block);
    expect(await wire.words(4)).toEqual(['START?', 'TOKEN?', 'TOKEN?', 'TOKEN?']);
    const close = await wire.next();
    expect([close?.opcode, close?.payload.readUInt16BE(0)]).toEqual([CLOSE, 4401]);
    expect(growth()).toBeLessThan(MOST_GROWTH_BYTES);
    wire.destroy();
  });

  it('of four million tiny frames whose answers are not read is no longer read', async () => {
    const wire = await WsWire.open(target);
    wire.write(token());
    expect(await wire.words(2)).toEqual(['START?', 'READY']);
    const growth = watchMemory();
    // 32 MB are more than the buffers in between hold.
    const count = 4_000_000;
    expect(await pour(wire, frame('{}'), count, 300)).toBeLessThan(count);
    expect(growth()).toBeLessThan(MOST_GROWTH_BYTES);
    wire.destroy();
  });

  it.each([
    ['pings of 125 bytes', () => frame('p'.repeat(125), { first: FIN | PING })],
    ['pongs', () => frame('p'.repeat(125), { first: FIN | PONG })],
    ['messages without a room', () => json({ type: 'message', content: 'x'.repeat(100) })],
    ['selections of no room', () => json({ type: 'select_room', room_id: 'x'.repeat(100) })],
    ['bad tokens', () => json({ type: 'token', content: 'x'.repeat(100) })],
  ] as const)(
    'of 300,000 %s, whose answers are not read, does not grow the heap',
    async (_what, flood) => {
      const wire = await WsWire.open(target);
      wire.write(token());
      expect(await wire.words(2)).toEqual(['START?', 'READY']);
      const growth = watchMemory();
      await pour(wire, flood(), 300_000);
      expect(growth()).toBeLessThan(MOST_GROWTH_BYTES);
      wire.destroy();
    },
  );
});

describe('a burst of messages', () => {
  it('of ten thousand is stored completely and in order', async () => {
    const client = await lab.clientIn('room');
    const witness = await ChatClient.enter(lab.node, ana, lab.room);
    const words = Array.from({ length: 10_000 }, (_, i) => `word ${i}`);
    for (const word of words) client.say(word);
    expect(await client.messages(words.length)).toEqual(words);
    const heard = await witness.take(words.length);
    expect(heard.map((echo) => messageOf(echo).content)).toEqual(words);
    await Promise.all([client.close(), witness.close()]);

    const stored: string[] = [];
    let after = messageOf(heard[0]).seq - 1;
    while (stored.length < words.length) {
      const path = `/rooms/${lab.room}/messages?after=${after}&limit=1000`;
      const page = (await request(lab.node, 'GET', path, { as: eve })).content as MessageData[];
      expect(page).not.toEqual([]);
      stored.push(...page.map(({ content }) => content));
      after = page.at(-1)?.seq ?? 0;
    }
    expect(stored).toEqual(words);
  });

  it('among invalid messages and other commands keeps its order', async () => {
    const client = await lab.clientIn('room');
    const answers: unknown[] = [];
    for (let i = 0; i < 200; i += 1) {
      client.say(`word ${i}`);
      client.send({});
      client.say('');
      answers.push(`word ${i}`, 'COMMAND?', 'INVALID');
    }
    const frames = await client.take(answers.length);
    expect(
      frames.map((one) => (one.type === 'message' ? messageOf(one).content : one.data)),
    ).toEqual(answers);
    await client.close();
  });

  it('is stored as far as it was read, if the client hangs up at once', async () => {
    const client = await lab.clientIn('room');
    const words = Array.from({ length: 2_000 }, (_, i) => `gone ${i}`);
    for (const word of words) client.say(word);
    const [first] = await client.take(1);
    client.terminate();
    const from = messageOf(first).seq;
    const page = await request(
      lab.node,
      'GET',
      `/rooms/${lab.room}/messages?after=${from - 1}&limit=1000`,
      {
        as: eve,
      },
    );
    const contents = (page.content as MessageData[]).map(({ content }) => content);
    expect(contents.length).toBeGreaterThan(0);
    expect(contents).toEqual(words.slice(0, contents.length));
  });
});
