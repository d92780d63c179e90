import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { createVerifier } from '../../src/access/token.js';
import { createActions, type Actions } from '../../src/actions/actions.js';
import type { MessagePages } from '../../src/actions/messages.js';
import type { Hub } from '../../src/feeds/hub.js';
import type { HistoryMessage } from '../../src/store/history.js';
import type { Store } from '../../src/store/store.js';
import { SECRET } from '../harness/node.js';
import {
  NO_ERASURES,
  NO_REVOCATIONS,
  openPostgres,
  QUIET,
  storeOver,
  type StoreHost,
  LIMITS,
} from '../harness/store-hosts.js';
import { eventually } from '../harness/eventually.js';
import { newCaller, removeRule, roomOf, say, writerOver } from '../harness/writers.js';

const ALWAYS = { from: new Date('2000-01-01'), until: new Date('2100-01-01') };
const gone = new AbortController().signal;

let host: StoreHost;
let store: Store;
let actions: Actions;
const publish = vi.fn<Hub['publish']>();

beforeAll(async () => {
  host = await openPostgres();
  store = storeOver(host.database);
  actions = createActions({
    store,
    hub: {
      active: () => undefined,
      announceStored: () => undefined,
      created: () => undefined,
      open: () => Promise.resolve(undefined),
      publish,
      publishDeletion: () => undefined,
      publishRevocation: () => undefined,
      markerMoved: () => undefined,
      invite: () => undefined,
      online: () => Promise.resolve(new Set()),
    },
    revocations: NO_REVOCATIONS,
    erasures: NO_ERASURES,
    verify: createVerifier({ secrets: [SECRET] }),
    directRoomLevel: 0,
    limits: LIMITS,
    logger: QUIET,
  });
});
afterAll(() => host.close());

const author = newCaller();
const reader = newCaller();
let room: number;
let target: number;

beforeEach(async () => {
  publish.mockReset();
  const writer = await roomOf(store, [
    [author, 'rw'],
    [reader, 'r'],
  ]);
  room = writer.roomId;
  ({ seq: target } = await say(store.log, writer, 'before', { author }));
});

/** Both ways to read a room: each opens its history, and then reads it. */
const reads = {
  'a page': async () => {
    const history = await actions.messages.openHistory(reader, room, gone);
    return async () => (await history.page({ limit: 10 })).messages;
  },
  'a period': async () => {
    const history = await actions.messages.openHistory(reader, room, gone);
    return async () => drain(await history.during(ALWAYS));
  },
};

describe('a history that was opened before a message was edited', () => {
  it.each(Object.entries(reads))('shows in %s the text as it is now', async (_, open) => {
    const read = await open();
    await actions.messages.edit(author, room, { target, content: 'after' });

    expect((await read()).map(({ content }) => content)).toEqual(['after']);
  });

  it.each(Object.entries(reads))(
    'shows in %s no text to a reader who was removed before the edit',
    async (_, open) => {
      const read = await open();
      await removeRule(store, room, reader.userUUID);
      await actions.messages.edit(author, room, { target, content: 'after' });

      await expect(read()).rejects.toMatchObject({ code: 'FORBIDDEN' });
    },
  );

  it.each(Object.entries(reads))(
    'shows in %s no reaction to a reader who was removed before it',
    async (_, open) => {
      const read = await open();
      await removeRule(store, room, reader.userUUID);
      await actions.messages.react(author, room, { target, emoji: '👍', on: true });

      await expect(read()).rejects.toMatchObject({ code: 'FORBIDDEN' });
    },
  );

  it.each(Object.entries(reads))('counts in %s no reply that came later', async (_, open) => {
    const read = await open();
    await say(store.log, writerOver(store.log, room), 'later', { author, replyTo: target });

    expect(await read()).toMatchObject([{ replies: 0 }]);
  });

  it.each(Object.entries(reads))(
    'shows in %s what was said before the reader was removed',
    async (_, open) => {
      const read = await open();
      await removeRule(store, room, reader.userUUID);

      expect((await read()).map(({ content }) => content)).toEqual(['before']);
    },
  );
});

describe('a history of a room whose old entries are deleted', () => {
  it.each(Object.entries(reads))('shows in %s none that a replica still has', async (_, open) => {
    await say(store.log, writerOver(store.log, room), 'young', { author });
    // The rows of a replica that is behind, and the horizon of the primary.
    await host.database.sequelize.query('UPDATE rooms SET horizon = $2 WHERE id = $1', {
      bind: [room, target],
    });
    const read = await open();

    expect((await read()).map(({ content }) => content)).toEqual(['young']);
  });
});

describe('changes', () => {
  it('are published once, and answered when they are delivered', async () => {
    let deliver = (): void => undefined;
    publish.mockReturnValueOnce(
      new Promise<void>((resolve) => {
        deliver = resolve;
      }),
    );
    let isAnswered = false;
    const reacting = actions.messages
      .react(author, room, { target, emoji: '👍', on: true })
      .finally(() => {
        isAnswered = true;
      });
    await eventually(() => {
      expect(publish).toHaveBeenCalledOnce();
    });
    expect(isAnswered).toBe(false);
    deliver();

    expect(await reacting).toEqual({ seq: target + 1 });
    expect(publish).toHaveBeenCalledWith(room, [
      expect.objectContaining({ seq: target + 1, kind: 'reaction', target }),
    ]);
    const again = await actions.messages.react(author, room, { target, emoji: '👍', on: true });
    expect(again).toEqual({ seq: target + 1 });
    expect((await actions.messages.remove(author, room, { target })).seq).toBe(target + 2);
    expect(publish).toHaveBeenCalledTimes(2);
  });
});

async function drain(pages: MessagePages | undefined): Promise<HistoryMessage[]> {
  const messages: HistoryMessage[] = [];
  if (pages !== undefined) for await (const page of pages) messages.push(...page);
  return messages;
}
