import { PassThrough } from 'node:stream';
import { expect, it } from 'vitest';
import { Backlog, closeFullest } from '../../src/feeds/backlog.js';
import { SocketWriter } from '../../src/feeds/socket-writer.js';
import { createFlushQueue } from '../../src/feeds/flush-queue.js';
import { deferred } from '../harness/deferred.js';

/** A socket that nobody reads, and the bytes that wait for it. */
class Stuck {
  readonly writer: SocketWriter;
  readonly stream = new PassThrough({ highWaterMark: 0 });
  closedBy: string | undefined;

  constructor(backlog: Backlog, ...waiting: Buffer[]) {
    this.writer = new SocketWriter(
      { readyState: 1 },
      this.stream,
      createFlushQueue(),
      1 << 20,
      backlog,
    );
    for (const frames of waiting) this.writer.write(frames);
  }

  close(reason: string): void {
    this.closedBy = reason;
    this.writer.end();
  }
}

function reasonsOf(stuck: readonly Stuck[]): (string | undefined)[] {
  return stuck.map(({ closedBy }) => closedBy);
}

it('no socket is closed while the backlog is within the limit', () => {
  const backlog = new Backlog();
  const stuck = [400, 500].map((bytes) => new Stuck(backlog, Buffer.alloc(bytes)));

  expect(closeFullest(stuck, backlog, 1_000)).toBe(0);

  expect(backlog.bytes).toBe(900);
  expect(reasonsOf(stuck)).toEqual([undefined, undefined]);
});

it('the sockets that hold the most are closed, and no more than necessary', () => {
  const backlog = new Backlog();
  const stuck = [300, 900, 100, 800].map((bytes) => new Stuck(backlog, Buffer.alloc(bytes)));

  expect(closeFullest(stuck, backlog, 600)).toBe(2);

  expect(backlog.bytes).toBe(400);
  expect(reasonsOf(stuck)).toEqual([undefined, 'OVERLOAD', undefined, 'OVERLOAD']);
});

it('a buffer that waits for many sockets counts once, and closes none of them', () => {
  const backlog = new Backlog();
  const shared = Buffer.alloc(900);
  const subscribers = Array.from({ length: 100 }, () => new Stuck(backlog, shared));
  const alone = new Stuck(backlog, Buffer.alloc(300));

  expect(closeFullest([...subscribers, alone], backlog, 1_200)).toBe(0);
  expect(closeFullest([...subscribers, alone], backlog, 1_100)).toBe(1);

  expect(alone.closedBy).toBe('OVERLOAD');
  expect(backlog.bytes).toBe(900);
});

it('bytes that were read do not count', async () => {
  const backlog = new Backlog();
  const reader = new Stuck(backlog, Buffer.alloc(600), Buffer.alloc(500));
  expect(backlog.bytes).toBe(1_100);

  reader.stream.resume();
  while (reader.writer.isWaiting) await new Promise(setImmediate);
  reader.writer.forgetSent();

  expect(backlog.bytes).toBe(0);
});

it('the rest of a partly read buffer counts', async () => {
  const backlog = new Backlog();
  const reader = new Stuck(backlog, Buffer.alloc(600), Buffer.alloc(500), Buffer.alloc(50));

  reader.stream.read(600);
  while (reader.stream.writableLength > 550) await new Promise(setImmediate);
  reader.writer.write(Buffer.alloc(7));

  expect(backlog.bytes).toBe(557);
});

it('the fullest socket is closed soon after the limit is passed, unless it was read meanwhile', async () => {
  let isOver = deferred();
  const stuck: Stuck[] = [];
  const backlog = new Backlog(1_000, () => {
    closeFullest(stuck, backlog, 1_000);
    isOver.resolve();
  });
  stuck.push(new Stuck(backlog, Buffer.alloc(600)), new Stuck(backlog, Buffer.alloc(700)));
  await isOver.promise;
  expect(reasonsOf(stuck)).toEqual([undefined, 'OVERLOAD']);

  isOver = deferred();
  stuck.push(new Stuck(backlog, Buffer.alloc(900)));
  for (const { stream } of stuck) stream.resume();
  await isOver.promise;
  expect(reasonsOf(stuck)).toEqual([undefined, 'OVERLOAD', undefined]);
});
