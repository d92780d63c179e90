import { randomUUID } from 'node:crypto';
import { PassThrough } from 'node:stream';
import { afterEach, expect, it } from 'vitest';
import type { Broker } from '../../src/broker/broker.js';
import type { Subscriber } from '../../src/feeds/subscribers.js';
import { createHub, type Hub } from '../../src/feeds/hub.js';
import { Backlog } from '../../src/feeds/backlog.js';
import { SocketWriter } from '../../src/feeds/socket-writer.js';
import { createFlushQueue } from '../../src/feeds/flush-queue.js';
import type { Entry } from '../../src/store/entry.js';
import type { Epoch } from '../../src/store/epoch.js';
import type { Log, RoomState } from '../../src/store/log.js';
import { deferred } from '../harness/deferred.js';
import { NO_REVOCATIONS, QUIET } from '../harness/store-hosts.js';

const ROOM = 1;
const STORE_TIMEOUT_MS = 100;
const UNAVAILABLE = { status: 'rejected', reason: { code: 'UNAVAILABLE' } };
const NEVER = new Promise<never>(() => undefined);

const ana = { userUUID: randomUUID(), entityUUID: randomUUID(), levelOnEntity: 0, isServer: false };
const opened: Hub[] = [];

afterEach(async () => {
  await Promise.all(opened.splice(0).map((hub) => hub.close()));
});

/** A room with this number of messages. */
function stateAt(head: number): RoomState {
  const rule = { entityUUID: ana.userUUID, level: 0, permissions: 'rw', accepted: true };
  return {
    id: ROOM,
    uuid: '',
    head,
    rulesHead: 0,
    rulesDate: null,
    headCreatedAt: '',
    access: {
      type: 'group',
      entityOwner: ana.entityUUID,
      levelAdmin: 0,
      maxEntityRules: 10,
      rules: new Map([[ana.userUUID, rule]]),
    },
  };
}

/** Entries of a room that has only messages. */
const read: Log['read'] = (roomId, { after, upTo, limit }) =>
  Promise.resolve(
    Array.from({ length: Math.min(HEAD - after, upTo - after, limit) }, (_, i): Entry => {
      const seq = after + 1 + i;
      return { roomId, seq, kind: 'message', emitter: '', content: 'hi', ref: null, createdAt: '' };
    }),
  );
const HEAD = 7;

/** The first call never settles; the others work. */
function hangingOnce<A extends unknown[], T>(
  work: (...args: A) => Promise<T>,
): (...args: A) => Promise<T> {
  let calls = 0;
  return (...args) => {
    calls += 1;
    return calls === 1 ? NEVER : work(...args);
  };
}

/** Subscribes to any channel, except that the first call for a room never settles. */
function hangingOnRoom(): Broker['subscribe'] {
  const subscribe = hangingOnce(() => Promise.resolve());
  return (channel) => (channel.includes('room') ? subscribe() : Promise.resolve());
}

/** A hub over a log and a broker that answer, except for the given methods. */
function hubOver(log: Partial<Log>, broker: Partial<Broker> = {}, epoch: Partial<Epoch> = {}): Hub {
  const hub = createHub({
    log: {
      read,
      state: () => Promise.resolve(stateAt(0)),
      horizon: () => Promise.resolve(0),
      heads: (roomIds) => Promise.resolve(new Map(roomIds.map((id) => [id, HEAD]))),
      append: () => NEVER,
      settledIn: () => undefined,
      unsettled: () => ({ entries: 0, bytes: 0 }),
      close: () => NEVER,
      ...log,
    },
    epoch: {
      uuid: '',
      confirm: () => Promise.resolve(),
      renew: () => Promise.resolve(),
      onChange: () => undefined,
      ...epoch,
    },
    revocations: NO_REVOCATIONS,
    flushQueue: createFlushQueue(),
    createBroker: () => ({
      isUp: true,
      publish: () => undefined,
      subscribe: () => Promise.resolve(),
      unsubscribe: () => Promise.resolve(),
      onReconnect: () => undefined,
      problem: undefined,
      onLoss: () => undefined,
      close: () => Promise.resolve(),
      ...broker,
    }),
    repairsGaps: true,
    limits: {
      storeTimeoutMs: STORE_TIMEOUT_MS,
      pollIntervalMs: 20,
      pollIntervalBrokerDownMs: 20,
    },
    logger: QUIET,
  });
  opened.push(hub);
  return hub;
}

class Reader implements Subscriber {
  readonly version = 1;
  readonly identity = ana;
  readonly stream = new PassThrough();
  readonly writer = new SocketWriter(
    { readyState: 1 },
    this.stream,
    createFlushQueue(),
    1 << 20,
    new Backlog(),
  );

  roomLost(): void {
    throw new Error('the room was lost');
  }

  /** Resolves once the message with this number has arrived. */
  async reached(seq: number): Promise<void> {
    let text = '';
    while (!text.includes(`"seq":${seq},`)) {
      text += String((this.stream.read() as Buffer | null) ?? '');
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

it('a comparison of heads that began before the epoch changed does not renew it again', async () => {
  let change = (): void => undefined;
  let renewals = 0;
  const compared = deferred();
  const hub = hubOver(
    {
      state: () => Promise.resolve(stateAt(HEAD)),
      heads: async (roomIds) => {
        change();
        await new Promise(setImmediate);
        setImmediate(() => {
          compared.resolve();
        });
        return new Map(roomIds.map((id) => [id, HEAD - 1]));
      },
    },
    {},
    {
      onChange: (subscriber) => {
        change = subscriber;
      },
      renew: () => {
        renewals += 1;
        return Promise.resolve();
      },
    },
  );
  await hub.open(1);
  await compared.promise;
  expect(renewals).toBe(0);
});

it.each([
  {
    what: 'whose state never comes',
    open: () => hubOver({ state: hangingOnce(() => Promise.resolve(stateAt(HEAD))) }),
  },
  {
    what: 'whose subscription is never confirmed, nor its end',
    open: () => hubOver({}, { subscribe: hangingOnRoom(), unsubscribe: () => NEVER }),
  },
])(
  'a room $what is UNAVAILABLE for all waiting callers, and is opened anew for the next',
  async ({ open }) => {
    const hub = open();

    const waiting = await Promise.allSettled([hub.open(ROOM), hub.open(ROOM)]);

    expect(waiting).toMatchObject([UNAVAILABLE, UNAVAILABLE]);
    expect((await hub.open(ROOM))?.roomId).toBe(ROOM);
  },
);

it('a state that arrives too late opens nothing', async () => {
  const late = deferred();
  let asked = 0;
  const hub = hubOver({
    state: () => {
      asked += 1;
      return asked === 1 ? late.promise.then(() => stateAt(1)) : Promise.resolve(stateAt(HEAD));
    },
    heads: () => NEVER,
  });
  await expect(hub.open(ROOM)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  const feed = await hub.open(ROOM);

  late.resolve();
  await new Promise(setImmediate);

  expect(await hub.open(ROOM)).toBe(feed);
  expect(feed?.position).toBe(HEAD);
});

it('a read of the log that hangs is UNAVAILABLE for all waiting callers, and the next one reads again', async () => {
  const hub = hubOver({ read: hangingOnce(read), heads: () => NEVER });
  const feed = await hub.open(ROOM);

  const waiting = await Promise.allSettled([feed?.refresh(), feed?.refresh()]);

  expect(waiting).toMatchObject([UNAVAILABLE, UNAVAILABLE]);
  await feed?.refresh();
  expect(feed?.position).toBe(HEAD);
});

it('a comparison of heads that hangs is followed by another', async () => {
  const hub = hubOver({
    heads: hangingOnce((roomIds) => Promise.resolve(new Map(roomIds.map((id) => [id, HEAD])))),
  });
  const feed = await hub.open(ROOM);
  const reader = new Reader();
  feed?.join(reader);

  await reader.reached(HEAD);

  expect(feed?.position).toBe(HEAD);
});

it('a page that hangs is read again', async () => {
  const hub = hubOver({
    read: hangingOnce(read),
    state: () => Promise.resolve(stateAt(HEAD)),
  });
  const feed = await hub.open(ROOM);
  const reader = new Reader();
  feed?.join(reader, 2);

  await reader.reached(HEAD);

  expect(feed?.position).toBe(HEAD);
});
