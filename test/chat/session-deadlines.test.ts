import { randomUUID } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { WebSocket } from 'ws';
import { createMessageActions } from '../../src/actions/messages.js';
import { Feed } from '../../src/feeds/feed.js';
import { Backlog } from '../../src/feeds/backlog.js';
import { UserSessions } from '../../src/feeds/user-sessions.js';
import { SocketWriter } from '../../src/feeds/socket-writer.js';
import { SessionV1 } from '../../src/chat/v1/session.js';
import type { SessionContext } from '../../src/chat/context.js';
import { createFlushQueue } from '../../src/feeds/flush-queue.js';
import { ChatError } from '../../src/errors.js';
import { createDecoder } from '../../src/protocol/v1/decode.js';
import { createDecoder as createDecoderV2 } from '../../src/protocol/v2/decode.js';
import type { Log } from '../../src/store/log.js';
import { deferred } from '../harness/deferred.js';
import { LIMITS, QUIET } from '../harness/store-hosts.js';

const STORE_TIMEOUT_MS = 100;
type MessageContext = Parameters<typeof createMessageActions>[0];

const NEVER = new Promise<never>(() => undefined);
const identity = {
  userUUID: randomUUID(),
  entityUUID: randomUUID(),
  levelOnEntity: 0,
  expiresAt: undefined,
  issuedAt: undefined,
  isServer: false,
  profile: undefined,
  claims: {},
};

/** A socket whose messages come from the test. */
class Client extends EventEmitter {
  readonly readyState = 1;
  readonly stream = new PassThrough();
  session: SessionV1 | undefined;
  #text = '';

  pause(): void {
    // The test alone makes messages.
  }
  resume(): void {
    // The same.
  }
  close(): void {
    // The tests check the session itself.
  }

  say(...commands: object[]): void {
    for (const command of commands)
      this.emit('message', Buffer.from(JSON.stringify(command)), false);
  }

  /** Resolves with the received words, once there are `count` of them. */
  async words(count: number): Promise<string[]> {
    for (;;) {
      this.#text += String((this.stream.read() as Buffer | null) ?? '');
      const words = [...this.#text.matchAll(/"data":"([^"]+)"/g)].map(([, word = '']) => word);
      if (words.length >= count) return words;
      // Time passes by the turns of the event loop, however long the machine takes for one.
      await new Promise(setImmediate);
      vi.advanceTimersByTime(5);
    }
  }
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** A session that is READY, over a hub and a log of the test. */
async function readyOver({
  append = () => NEVER,
  ...hub
}: Partial<SessionContext['hub'] & Pick<Log, 'append'>>): Promise<Client> {
  const unused = {} as MessageContext;
  const client = new Client();
  const flushQueue = createFlushQueue();
  const limits = { ...LIMITS, storeTimeoutMs: STORE_TIMEOUT_MS };
  const session = new SessionV1(
    { id: 1, address: '127.0.0.1', place: undefined },
    client as unknown as WebSocket,
    new SocketWriter(client, client.stream, flushQueue, limits.outboxBytes, new Backlog()),
    {
      tokens: { verify: () => identity },
      decode: createDecoder(limits),
      decodeV2: createDecoderV2(limits),
      hub: {
        userSessions: new UserSessions(),
        epoch: '',
        active: () => undefined,
        open: () => NEVER,
        ...hub,
      },
      actions: {
        members: {} as SessionContext['actions']['members'],
        rooms: {} as SessionContext['actions']['rooms'],
        readMarkers: {} as SessionContext['actions']['readMarkers'],
        messages: createMessageActions({
          ...unused,
          log: { append, settledIn: () => undefined, read: () => NEVER, horizon: () => NEVER },
        }),
      },
      limits,
      logger: QUIET,
    },
  );
  client.session = session;
  client.say({ type: 'token', content: 'any' });
  await client.words(1);
  return client;
}

/** A room in which everybody may read, and, by the rules that this node knows, nobody may write. */
function feedOf(roomId: number): Feed {
  const feed = new Feed({
    roomId,
    log: { read: () => NEVER } as unknown as Log,
    flushQueue: createFlushQueue(),
    onReadFailure: () => undefined,
    publish: () => undefined,
    onOldSeqs: () => undefined,
    onLost: () => undefined,
  });
  const rule = { entityUUID: identity.userUUID, level: 0, permissions: 'r', accepted: true };
  feed.activate({
    id: roomId,
    uuid: '',
    head: 0,
    rulesHead: 0,
    rulesDate: null,
    headCreatedAt: '',
    access: {
      type: 'group',
      entityOwner: identity.entityUUID,
      levelAdmin: 0,
      maxEntityRules: 10,
      rules: new Map([[identity.userUUID, rule]]),
    },
  });
  return feed;
}

function select(room_id: number): object {
  return { type: 'select_room', room_id };
}

it('a room that never opens is UNAVAILABLE, and so are the rooms selected after it, at once', async () => {
  const open = vi.fn<SessionContext['hub']['open']>(() => NEVER);
  const client = await readyOver({ open });

  const rooms = Array.from({ length: 8 }, (_, index) => index + 1);
  client.say(...rooms.map(select), { type: 'message', content: 'hi' });

  const words = (await client.words(2 + rooms.length)).slice(1);
  expect(words).toEqual([...rooms.map(() => 'UNAVAILABLE'), 'SELECTROOM?']);
  // The second caller came a moment after the first, and has the same time.
  expect(open.mock.calls.length).toBeLessThanOrEqual(2);
});

it('a room that opens too late is not entered, and the next room is', async () => {
  const late = deferred();
  const client = await readyOver({
    open: async (roomId) => {
      if (roomId === 1) await late.promise;
      return feedOf(roomId);
    },
  });
  client.say(select(1));
  expect((await client.words(2)).at(-1)).toBe('UNAVAILABLE');

  late.resolve();
  await new Promise(setImmediate);
  client.say({ type: 'message', content: 'hi' }, select(2));

  expect((await client.words(4)).slice(2)).toEqual(['SELECTROOM?', 'CONNECTED']);
});

it('a message is UNAVAILABLE if the sender’s rules are never read', async () => {
  const client = await readyOver({ open: (roomId) => Promise.resolve(feedOf(roomId)) });
  client.say(select(1), { type: 'message', content: 'hi', ref: 'a' });

  expect((await client.words(3)).slice(1)).toEqual(['CONNECTED', 'UNAVAILABLE']);
});

it('a message that waited for the rules has only the rest of its time', async () => {
  const rules = deferred();
  const feed = feedOf(1);
  let known = false;
  vi.spyOn(feed, 'permits').mockImplementation(() => known);
  vi.spyOn(feed, 'refresh').mockImplementation(() => rules.promise);
  const client = await readyOver({ open: () => Promise.resolve(feed), append: () => NEVER });
  client.say(select(1));
  await client.words(2);
  client.say({ type: 'message', content: 'one' }, { type: 'message', content: 'two' });
  setTimeout(() => {
    known = true;
    rules.resolve();
  }, 0.8 * STORE_TIMEOUT_MS);
  expect((await client.words(4)).slice(2)).toEqual(['UNAVAILABLE', 'UNAVAILABLE']);
});

it('commands behind slow ones do not add up: each has its time from its arrival', async () => {
  const feed = feedOf(1);
  const refresh = vi.spyOn(feed, 'refresh').mockImplementation(async () => {
    await new Promise((resolve) => setTimeout(resolve, 0.4 * STORE_TIMEOUT_MS));
    throw new ChatError('UNAVAILABLE');
  });
  const client = await readyOver({ open: () => Promise.resolve(feed) });
  client.say(select(1));
  await client.words(2);

  client.say(...Array.from({ length: 8 }, () => ({ type: 'message', content: 'hi' })));

  expect(new Set((await client.words(10)).slice(2))).toEqual(new Set(['UNAVAILABLE']));
  expect(refresh.mock.calls.length).toBeLessThanOrEqual(3);
});

it('a client that has not read for a long time is served when it reads again', async () => {
  const append = vi.fn<Log['append']>(() => Promise.resolve({ seq: 1, known: false }));
  const feed = feedOf(1);
  vi.spyOn(feed, 'permits').mockImplementation(() => true);
  const client = await readyOver({ open: () => Promise.resolve(feed), append });
  client.say(select(1));
  await client.words(2);
  const isFull = vi.spyOn(SocketWriter.prototype, 'isFull', 'get').mockReturnValue(true);
  const drained = deferred();
  vi.spyOn(SocketWriter.prototype, 'drained').mockImplementation(() => drained.promise);
  client.say(...['a', 'b'].map((ref) => ({ type: 'message', content: 'hi', ref })));
  await new Promise(setImmediate);
  vi.advanceTimersByTime(1.5 * STORE_TIMEOUT_MS);
  await new Promise(setImmediate);

  isFull.mockReturnValue(false);
  drained.resolve();

  expect((await client.words(4)).slice(2)).toEqual(['SENT', 'SENT']);
});

it.each(['is read too late', 'is read after the socket has closed'])(
  'a message whose right %s is not stored any more',
  async (when) => {
    const rules = deferred();
    const feed = feedOf(1);
    vi.spyOn(feed, 'permits').mockImplementation(() => false);
    vi.spyOn(feed, 'refresh').mockImplementation(() => rules.promise);
    const append = vi.fn<Log['append']>(() => Promise.resolve({ seq: 1, known: false }));
    const client = await readyOver({ open: () => Promise.resolve(feed), append });
    client.say(select(1));
    await client.words(2);

    client.say({ type: 'message', content: 'hi' });
    // Its answer: UNAVAILABLE.
    if (when === 'is read too late') await client.words(3);
    else client.session?.close('TOKEN');
    rules.resolve();
    await new Promise(setImmediate);

    expect(append).not.toHaveBeenCalled();
  },
);
