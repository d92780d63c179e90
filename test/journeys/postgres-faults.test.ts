import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createRoom, request } from '../harness/api.js';
import { ChatClient, numberOf } from '../harness/chat-client.js';
import { type TestDatabase } from '../harness/database.js';
import { startNode, type TestNode } from '../harness/node.js';
import { openOutlet, OUTLET_FAULTS, type Outlet } from '../harness/outlet.js';
import { createMigratedDatabase, redisUrl } from '../harness/services.js';
import { person } from '../harness/tokens.js';

describe('a node whose Postgres', () => {
  const ana = person({ levelOnEntity: 999 });
  let database: TestDatabase;
  let outlet: Outlet;
  /** A node that is connected to Postgres through the outlet. */
  let weak: TestNode;
  /** A node that is connected directly. */
  let strong: TestNode;
  let room: number;

  beforeAll(async () => {
    database = await createMigratedDatabase();
    outlet = await openOutlet(database.url);
    const env = {
      REDIS_URL: redisUrl(),
      REDIS_PREFIX: new URL(database.url).pathname.slice(1),
      STORE_TIMEOUT_MS: '2500',
      POLL_INTERVAL_MS: '200',
    };
    weak = await startNode({ ...env, DATABASE_URL: outlet.url });
    strong = await startNode({ ...env, DATABASE_URL: database.url });
  });
  afterAll(async () => {
    await weak.close();
    await strong.close();
    await outlet.close();
    await database.drop();
  });
  beforeEach(async () => {
    room = await createRoom(strong, ana);
  });

  it.each(OUTLET_FAULTS)(
    '$fault answers UNAVAILABLE, keeps its sockets, and recovers by itself',
    async ({ fail, mend }) => {
      const sender = await ChatClient.enter(weak, ana, room);
      const listener = await ChatClient.enter(strong, ana, room);
      sender.say('before', { ref: 'before' });
      await sender.take(2);
      await listener.messages(1);

      await fail(outlet);
      const words = Array.from({ length: 20 }, (_, i) => `word ${i}`);
      for (const word of words) sender.say(word, { ref: word });
      const answers = await sender.take(words.length);
      // Each answer names its message; a message in flight is merely not known to be stored.
      expect(answers.map((frame) => [frame.data, frame['ref']])).toEqual(
        words.map((word) => ['UNAVAILABLE', word]),
      );
      expect((await request(weak, 'GET', '/healthz')).status).toBe(200);

      await mend(outlet);
      // Sent again with the same refs until each is stored, as a client does.
      const missing = new Set(words);
      const numbers: number[] = [];
      while (missing.size > 0) {
        for (const word of missing) sender.say(word, { ref: word });
        for (let due = missing.size; due > 0;) {
          const frame = await sender.next();
          if (frame.type === 'message') continue;
          due -= 1;
          if (frame.data !== 'SENT') continue;
          missing.delete(String(frame['ref']));
          numbers.push(Number(frame['seq']));
        }
      }
      expect(new Set(numbers).size).toBe(words.length);
      const heard = await listener.take(words.length);
      expect(heard.map(numberOf).toSorted((a, b) => a - b)).toEqual(
        numbers.toSorted((a, b) => a - b),
      );
      await listener.barrier();
      await Promise.all([sender.close(), listener.close()]);
    },
  );

  it('stores a message without answering delivers it to everyone once, with one number', async () => {
    const sender = await ChatClient.enter(weak, ana, room);
    const listener = await ChatClient.enter(strong, ana, room);
    sender.say('before', { ref: 'before' });
    await sender.take(2);
    await listener.messages(1);

    outlet.mute();
    sender.say('kept', { ref: 'kept' });
    await sender.expect('UNAVAILABLE');
    // It was not sent again, and the sender's node does not know that it is stored.
    const [heard] = await listener.take(1);
    expect(heard?.data).toMatchObject({ content: 'kept', ref: 'kept' });

    outlet.resume();
    expect(await sender.take(1)).toEqual([heard]);
    sender.say('kept', { ref: 'kept' });
    const [sent] = await sender.expect('SENT');
    expect(sent).toMatchObject({ ref: 'kept', seq: numberOf(heard) });
    sender.say('behind it');
    expect(await sender.messages(1)).toEqual(['behind it']);
    expect(await listener.messages(1)).toEqual(['behind it']);
    await Promise.all([sender.close(), listener.close()]);
  });

  it('hangs answers 503 to REST and to /readyz', async () => {
    outlet.stall();
    const [rooms, ready] = await Promise.all([
      request(weak, 'GET', '/rooms', { as: ana }),
      request(weak, 'GET', '/readyz'),
    ]);
    expect(rooms).toMatchObject({ status: 503, meta: { reason: 'UNAVAILABLE' } });
    expect(ready.meta.detail).toBe('not ready: database');
    outlet.resume();
    expect((await request(weak, 'GET', '/rooms', { as: ana })).status).toBe(200);
  });
});
