import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Store } from '../../src/store/store.js';
import { storeHosts, storeOver, type StoreHost } from '../harness/store-hosts.js';
import {
  emptyRoom,
  newCaller,
  readAll,
  removeRoom,
  roomDraft,
  say,
  setRule,
  TestWriter,
} from '../harness/writers.js';

const NO_ROOM = 2_147_483_647;

describe.each(storeHosts)('reading the log over %s', (_, openHost) => {
  let host: StoreHost;
  let store: Store;
  let room: number;

  beforeAll(async () => {
    host = await openHost();
    store = storeOver(host.database);
    room = await emptyRoom(store);
    const writer = new TestWriter(room);
    // Another room's log runs beside it.
    const other = new TestWriter(await emptyRoom(store));
    for (let n = 1; n <= 12; n += 1) {
      void say(store.log, writer, `${n}`);
      void say(store.log, other, 'elsewhere');
    }
    await store.log.close();
  });
  afterAll(() => host.close());

  it.each([
    ['begins behind `after`', { after: 9, upTo: 100, limit: 100 }, [10, 11, 12]],
    ['ends with `upTo`', { after: 0, upTo: 3, limit: 100 }, [1, 2, 3]],
    ['stops at `limit`', { after: 4, upTo: 12, limit: 2 }, [5, 6]],
    ['is empty at the end', { after: 12, upTo: 100, limit: 100 }, []],
    ['is empty if `upTo` is not beyond `after`', { after: 5, upTo: 5, limit: 100 }, []],
  ])('%s', async (_, range, seqs) => {
    const entries = await store.log.read(room, range);

    expect(entries.map(({ seq }) => seq)).toEqual(seqs);
    expect(entries.map(({ content }) => content)).toEqual(seqs.map(String));
  });

  it('gives what a message has beside its text', async () => {
    const author = newCaller();
    const writer = new TestWriter(await emptyRoom(store));
    const fresh = storeOver(host.database).log;
    const data = '{"a":[1.50,"\\u00e9"]}';
    const mentions = [newCaller().userUUID, newCaller().entityUUID];
    await say(fresh, writer, 'plain', { author });
    await say(fresh, writer, '', { author, data });
    await say(fresh, writer, 'reply', { author, replyTo: 1, mentions });

    const [plain, withData, reply] = await readAll(fresh, writer.roomId);

    expect(Object.keys(plain ?? {}).toSorted()).toEqual(
      ['roomId', 'seq', 'kind', 'emitter', 'content', 'ref', 'createdAt'].toSorted(),
    );
    expect(withData).toMatchObject({ content: '', data });
    expect(reply).toMatchObject({ content: 'reply', replyTo: 1, mentions });
    expect(writer.taken).toEqual([plain, withData, reply]);
  });

  it('is empty for a room that does not exist', async () => {
    expect(await store.log.read(NO_ROOM, { after: 0, upTo: 100, limit: 100 })).toEqual([]);
    expect(await store.log.state(NO_ROOM)).toBeUndefined();
  });

  it('returns the heads of many rooms at once, without deleted ones', async () => {
    const gone = await emptyRoom(store);
    await removeRoom(store, gone);
    const empty = await emptyRoom(store);

    const heads = await store.log.heads([room, empty, gone, NO_ROOM, room]);

    expect(heads).toEqual(
      new Map([
        [room, 12],
        [empty, 0],
      ]),
    );
    expect(await store.log.heads([])).toEqual(new Map());
  });

  it('gives the state of a room: its head, and the rules up to its last change of rights', async () => {
    const draft = roomDraft();
    const own = { entityUUID: newCaller().userUUID, level: 7, permissions: 'rwa', accepted: true };
    const other = {
      entityUUID: newCaller().userUUID,
      level: 0,
      permissions: 'r',
      accepted: false,
    };
    const { id, uuid } = await store.rooms.create(draft, [own], own.entityUUID);
    const fresh = storeOver(host.database).log;
    await say(fresh, new TestWriter(id, { rulesHead: 1 }), 'hi');
    await setRule(store, id, other);
    await say(fresh, new TestWriter(id, { rulesHead: 3 }), 'hi again');

    const entries = await readAll(store.log, id);
    expect(await store.log.state(id)).toEqual({
      id,
      uuid,
      head: 4,
      rulesHead: 3,
      rulesDate: entries[2]?.createdAt,
      headCreatedAt: entries[3]?.createdAt,
      access: {
        type: 'group',
        entityOwner: draft.entityOwner,
        levelAdmin: 999,
        maxEntityRules: 10,
        rules: new Map([
          [own.entityUUID, own],
          [other.entityUUID, other],
        ]),
      },
    });
    expect(await store.log.state(room)).toMatchObject({
      head: 12,
      rulesHead: 0,
      rulesDate: null,
    });
  });
});
