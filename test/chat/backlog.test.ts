import { PassThrough } from 'node:stream';
import { expect, it } from 'vitest';
import { closeFullest, type Recipient } from '../../src/chat/backlog.js';
import { Outbox } from '../../src/chat/outbox.js';
import { createTurn } from '../../src/chat/turn.js';

/** A socket that nobody reads, and what waits for it. */
class Stuck implements Recipient {
  readonly outbox: Outbox;
  readonly stream = new PassThrough({ highWaterMark: 0 });
  closedBy: string | undefined;

  constructor(...waiting: Buffer[]) {
    this.outbox = new Outbox({ readyState: 1 }, this.stream, createTurn(), 1 << 20);
    for (const frames of waiting) this.outbox.write(frames);
  }

  close(reason: string): void {
    this.closedBy = reason;
  }
}

it('closes nobody while what waits is within the limit', () => {
  const stuck = [new Stuck(Buffer.alloc(400)), new Stuck(Buffer.alloc(500))];
  expect(closeFullest(stuck, 1_000)).toBe(0);
  expect(stuck.map(({ closedBy }) => closedBy)).toEqual([undefined, undefined]);
});

it('closes those that hold the most, and no more of them than it takes', () => {
  const stuck = [300, 900, 100, 800].map((bytes) => new Stuck(Buffer.alloc(bytes)));
  expect(closeFullest(stuck, 600)).toBe(2);
  expect(stuck.map(({ closedBy }) => closedBy)).toEqual([
    undefined,
    'OVERLOAD',
    undefined,
    'OVERLOAD',
  ]);
});

it('counts once what waits for many, and closes none of them for it', () => {
  const shared = Buffer.alloc(900);
  const audience = Array.from({ length: 100 }, () => new Stuck(shared));
  const alone = new Stuck(Buffer.alloc(300));
  expect(closeFullest([...audience, alone], 1_400)).toBe(0);
  expect(closeFullest([...audience, alone], 1_100)).toBe(1);
  expect(alone.closedBy).toBe('OVERLOAD');
});

it('counts nothing that was read', async () => {
  const reader = new Stuck(Buffer.alloc(600), Buffer.alloc(500));
  expect(reader.outbox.unsentBytes).toBe(1_100);
  reader.stream.resume();
  while (reader.outbox.unsentBytes > 0) await new Promise(setImmediate);
  expect(reader.outbox.unsent()).toEqual([]);
  expect(closeFullest([reader], 0)).toBe(0);
});
