import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import type { ChatError } from '../../src/errors.js';
import { connectDatabase, type Database } from '../../src/store/connect.js';
import type { Store } from '../../src/store/store.js';
import { openOutlet, type Outlet } from '../harness/outlet.js';
import { openPostgres, QUIET, storeOver, type StoreHost } from '../harness/store-hosts.js';
import { emptyRoom, newCaller, roomDraft, say, TestWriter } from '../harness/writers.js';

const SILENCE_MS = 2_000;
/** The time to wait for a connection and for its answer, and more for a busy machine. */
const SETTLED_MS = 6 * SILENCE_MS;
/** More calls than any pool has connections. */
const MANY = 30;
const NO_ROOM = 2_147_483_647;

describe('the store over links to Postgres that are half open', () => {
  let host: StoreHost;
  let outlet: Outlet;
  let database: Database;
  let store: Store;
  let roomIds: number[];

  beforeAll(async () => {
    host = await openPostgres();
    outlet = await openOutlet(host.url);
    database = await connectDatabase(
      loadConfig({ DATABASE_URL: outlet.url, STORE_TIMEOUT_MS: `${SILENCE_MS}` }),
      QUIET,
    );
    store = storeOver(database);
    roomIds = await Promise.all(Array.from({ length: MANY }, () => emptyRoom(store)));
  });
  afterAll(async () => {
    await database.close();
    await outlet.close();
    await host.close();
  });

  const kinds: Record<string, (roomId: number) => Promise<unknown>> = {
    'opening a room': (id) => store.log.state(id),
    'comparing heads': () => store.log.heads(roomIds),
    'reading a log': (id) => store.log.read(id, { after: 0, upTo: 10, limit: 10 }),
    'a message': (id) => say(store.log, new TestWriter(id), 'a message'),
    history: (id) => store.history.page(id, { upTo: 1, limit: 10 }, newCaller()),
    'creating a room': () => store.rooms.create(roomDraft(), [], randomUUID()),
    'deleting a room': () => store.rooms.remove(NO_ROOM, newCaller(), () => undefined),
    'a list of rooms': () => store.rooms.visibleTo(newCaller()).next(),
    'a probe': () => database.ping(),
  };

  it.each(['just now', 'a while ago'])(
    'settles every call in time, and answers later ones, if the links were used %s',
    async (when) => {
      const askAll = (): Promise<unknown>[] =>
        Object.values(kinds).flatMap((ask) => roomIds.map((id) => ask(id)));
      await Promise.allSettled(askAll());
      if (when === 'a while ago') await delay(2 * SILENCE_MS);
      outlet.swallow();

      const late = new Set(Object.keys(kinds));
      const settled = Object.entries(kinds).map(async ([kind, ask]) => {
        await Promise.allSettled(roomIds.map((id) => ask(id)));
        late.delete(kind);
      });
      await Promise.race([Promise.all(settled), delay(SETTLED_MS)]);
      expect([...late]).toEqual([]);

      // No call gets another one of the dead connections.
      const refused: string[] = [];
      for (const [kind, ask] of Object.entries(kinds)) {
        await ask(roomIds[0] ?? NO_ROOM).catch((error: unknown) => {
          refused.push(`${kind}: ${(error as ChatError).code}`);
        });
      }
      expect(refused).toEqual(['deleting a room: NOT_FOUND']);
    },
  );
});
