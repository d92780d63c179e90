import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { RoomHints } from '../../src/feeds/room-hints.js';
import type { Subscriber } from '../../src/feeds/subscribers.js';
import type { Hint } from '../../src/protocol/v2/commands.js';

const ROOM = 1;
const ALL: ReadonlySet<Hint> = new Set(['typing', 'presence', 'read']);

/** A session that keeps what is written to it. */
class Session implements Subscriber {
  readonly version = 2;
  readonly identity;
  isFull = false;
  isLive = true;
  readonly writes: Buffer[] = [];
  readonly writer: Subscriber['writer'];

  constructor(userUUID: string) {
    this.identity = { userUUID, entityUUID: '', levelOnEntity: 0, isServer: false };
    // eslint-disable-next-line typescript/no-this-alias
    const session = this;
    this.writer = {
      get isFull() {
        return session.isFull;
      },
      write: (frames: Buffer) => this.writes.push(frames),
    } as unknown as Subscriber['writer'];
  }

  roomLost(): void {
    // No room is lost in these tests.
  }

  /** Takes what was written: type and data of each frame. */
  take(): [type: string, data: Record<string, unknown>][] {
    const text = Buffer.concat(this.writes.splice(0)).toString('latin1');
    return [...text.matchAll(/\{"type":.*?\}\}/g)].map(([json]) => {
      const { type, data } = JSON.parse(json) as { type: string; data: Record<string, unknown> };
      return [type, data];
    });
  }
}

let hints: RoomHints;
let toFlush: boolean;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  toFlush = false;
  hints = new RoomHints({
    roomId: ROOM,
    flushQueue: {
      addRoom: () => {
        toFlush = true;
      },
      addWriter: () => undefined,
    },
    isLive: (subscriber) => (subscriber as Session).isLive,
  });
});
afterEach(() => {
  hints.close();
  vi.useRealTimers();
});

/** Lets time pass, a tick at a time. */
function pass(ms: number): void {
  for (let left = ms; left > 0; left -= 50) {
    vi.advanceTimersByTime(50);
    while (toFlush) toFlush = hints.flush(7) === 0;
  }
}

function enter(user: string, wants: ReadonlySet<Hint> = ALL): Session {
  const session = new Session(user);
  hints.join(session, wants);
  return session;
}

function crowd(count: number): Session[] {
  return Array.from({ length: count }, (_, n) => enter(`user ${n}`, new Set()));
}

it('a snapshot comes first, then differences, each shared by all that are at the same place', () => {
  const ana = enter('ana');
  pass(250);
  expect(ana.take()).toEqual([['presence', { room_id: ROOM, count: 1, online: ['ana'] }]]);
  const [ben, cleo] = [enter('ben'), enter('cleo')];
  pass(250);
  expect(ana.take()).toEqual([['presence', { room_id: ROOM, count: 3, join: ['ben', 'cleo'] }]]);
  expect(ben.writes).toHaveLength(1);
  expect(ben.writes[0]).toBe(cleo.writes[0]);
  expect(cleo.take()).toEqual([
    ['presence', { room_id: ROOM, count: 3, online: ['ana', 'ben', 'cleo'] }],
  ]);
});

it('who leaves between a snapshot and the first difference is in that difference', () => {
  const ana = enter('ana');
  const ben = enter('ben');
  pass(250);
  ana.take();
  hints.leave(ben, ben.identity, true);
  const cleo = enter('cleo');
  pass(250);
  expect(ana.take()).toEqual([
    ['presence', { room_id: ROOM, count: 2, join: ['cleo'], leave: ['ben'] }],
  ]);
  expect(cleo.take()).toEqual([['presence', { room_id: ROOM, count: 2, online: ['ana', 'cleo'] }]]);
});

it('nothing is told of who comes back within the grace, or comes and goes at once', () => {
  const ana = enter('ana');
  const ben = enter('ben');
  pass(250);
  ana.take();
  hints.leave(ben, ben.identity, false);
  pass(9_000);
  enter('ben');
  const cleo = enter('cleo');
  hints.leave(cleo, cleo.identity, true);
  pass(15_000);
  expect(ana.take()).toEqual([]);
});

it('above 200 users only their number is told, once a second, and then all names again', () => {
  const ana = enter('ana');
  const others = crowd(200);
  pass(250);
  expect(ana.take()).toEqual([['presence', { room_id: ROOM, count: 201 }]]);
  const more: Session[] = [];
  for (let n = 0; n < 20; n += 1) {
    more.push(enter(`more ${n}`, new Set()));
    pass(100);
  }
  pass(1_000);
  const told = ana.take();
  expect(told.length).toBeLessThanOrEqual(4);
  expect(told.at(-1)).toEqual(['presence', { room_id: ROOM, count: 221 }]);
  const late = enter('late');
  pass(1_000);
  expect(late.take().at(-1)).toEqual(['presence', { room_id: ROOM, count: 222 }]);
  ana.take();

  for (const one of [...more, late]) hints.leave(one, one.identity, true);
  const [first = ana] = others;
  hints.leave(first, first.identity, true);
  pass(1_250);
  const users = ['ana', ...others.slice(1).map(({ identity }) => identity.userUUID)];
  expect(ana.take()).toEqual([['presence', { room_id: ROOM, count: 200, online: users }]]);
});

it.each([
  [199, { count: 200 }],
  [200, { count: 201 }],
])('the first who listens in a room of %d users gets a snapshot', (others, told) => {
  crowd(others);
  // Another session of theirs: nobody comes.
  enter('ana', new Set());
  pass(1_000);
  const ana = enter('ana');
  pass(250);
  const [snapshot, ...more] = ana.take();
  expect(more).toEqual([]);
  expect(snapshot).toMatchObject(['presence', told]);
  expect('online' in (snapshot?.[1] ?? {})).toBe(told.count <= 200);
});

it('with more than 200 users nobody is told who types and who reads', () => {
  const ana = enter('ana');
  crowd(200);
  pass(250);
  ana.take();
  hints.typed('user 1', true);
  hints.read('user 1', 9);
  pass(2_000);
  expect(ana.take()).toEqual([]);
});

it('who types is told once a second, and not to themselves', () => {
  const [ana, ben] = [enter('ana'), enter('ben')];
  pass(250);
  ana.take();
  ben.take();
  for (let n = 0; n < 30; n += 1) {
    hints.typed('ben', true);
    pass(100);
  }
  const typing = ['typing', { room_id: ROOM, emitter: 'ben' }];
  expect(ana.take()).toEqual([typing, typing, typing]);
  expect(ben.take()).toEqual([]);
});

it('nobody is told that somebody types behind what they have sent', () => {
  const ana = enter('ana');
  enter('ben');
  pass(250);
  ana.take();
  hints.typed('ben', true);
  hints.sent('ben');
  pass(2_000);
  expect(ana.take()).toEqual([]);
});

it('a marker of another user is told once a second, and the last one always', () => {
  const [ana, ben] = [enter('ana'), enter('ben')];
  pass(250);
  ana.take();
  ben.take();
  for (let upto = 1; upto <= 25; upto += 1) {
    hints.read('ben', upto);
    pass(100);
  }
  pass(1_000);
  const told = ana.take().map(([, { upto }]) => upto);
  expect(told.length).toBeLessThanOrEqual(4);
  expect(told.at(-1)).toBe(25);
  expect(ben.take()).toEqual([]);
});

it('a session that is paged up, or reads too slowly, gets none, and a snapshot when it is back', () => {
  const [behind, slow, ben] = [enter('behind'), enter('slow'), enter('ben')];
  behind.isLive = false;
  pass(250);
  slow.take();
  slow.isFull = true;
  hints.typed('ben', true);
  hints.leave(ben, ben.identity, true);
  pass(2_000);
  expect([behind.take(), slow.take()]).toEqual([[], []]);

  behind.isLive = true;
  hints.wake(behind);
  slow.isFull = false;
  pass(1_500);
  const snapshot = ['presence', { room_id: ROOM, count: 2, online: ['behind', 'slow'] }];
  expect([behind.take(), slow.take()]).toEqual([[snapshot], [snapshot]]);
});

it('a session gets what it asked for alone', () => {
  const [types, reads, none] = [
    enter('a', new Set(['typing'])),
    enter('b', new Set(['read'])),
    enter('c', new Set()),
  ];
  pass(250);
  hints.typed('c', true);
  hints.read('c', 9);
  pass(250);
  expect(types.take()).toEqual([['typing', { room_id: ROOM, emitter: 'c' }]]);
  expect(reads.take()).toEqual([['read', { room_id: ROOM, emitter: 'c', upto: 9 }]]);
  expect(none.take()).toEqual([]);
});

it('nothing that waits is told of who has lost the right', () => {
  const ana = enter('ana');
  pass(250);
  ana.take();
  const rule = { entityUUID: 'eve', level: 0, accepted: true };
  const everybody = (): boolean => true;
  hints.typed('eve', false);
  hints.read('eve', 9);
  hints.recheck(everybody, everybody, [{ ...rule, permissions: 'r' }]);
  pass(1_000);
  expect(ana.take()).toEqual([['read', { room_id: ROOM, emitter: 'eve', upto: 9 }]]);
  for (const permissions of ['', 'rwb']) {
    hints.typed('eve', false);
    hints.read('eve', 10);
    const rules = [
      { ...rule, entityUUID: 'ana', permissions: 'rw' },
      { ...rule, permissions },
    ];
    hints.recheck(everybody, (user) => user !== 'eve', rules);
    pass(1_000);
    expect(ana.take()).toEqual([]);
  }
});

it('the last marker of a user is told, though somebody else has lost the right before', () => {
  const [ana] = [enter('ana'), enter('ben')];
  hints.read('ben', 1);
  pass(250);
  ana.take();
  hints.read('ben', 2);
  const removed = { entityUUID: 'eve', level: 0, permissions: '', accepted: true };
  hints.recheck(
    () => true,
    (user) => user !== 'eve',
    [removed],
  );
  pass(1_000);
  expect(ana.take()).toEqual([['read', { room_id: ROOM, emitter: 'ben', upto: 2 }]]);
});

it('a user who has gone is offline at once when they lose the right', () => {
  const ana = enter('ana');
  const ben = enter('ben');
  pass(250);
  ana.take();
  hints.leave(ben, ben.identity, false);
  pass(500);
  hints.recheck(
    ({ userUUID }) => userUUID !== 'ben',
    () => true,
  );
  pass(250);
  expect(ana.take()).toEqual([['presence', { room_id: ROOM, count: 1, leave: ['ben'] }]]);
});
