import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Store } from '../../src/store/store.js';
import { storeHosts, storeOver, type StoreHost } from '../harness/store-hosts.js';
import { emptyRoom, removeRoom } from '../harness/writers.js';

describe.each(storeHosts)('the read marker of a user over %s', (_, openHost) => {
  let host: StoreHost;
  let store: Store;
  /** The store of a second node. */
  let elsewhere: Store;
  let room: number;
  const ana = randomUUID();

  beforeAll(async () => {
    host = await openHost();
    store = storeOver(host.database);
    elsewhere = storeOver(await host.another());
  });
  beforeEach(async () => {
    room = await emptyRoom(store);
  });
  afterAll(() => host.close());

  it('moves forwards, and backwards only on demand', async () => {
    const at: number[] = [];
    for (const [upto, isBack] of [
      [60, false],
      [50, false],
      [60, true],
      [40, true],
      [41, false],
      [70, true],
    ] as const) {
      at.push(await store.readMarkers.move(room, ana, upto, isBack));
    }

    expect(at).toEqual([60, 60, 60, 40, 41, 70]);
  });

  it('is its own in each room, and each user has one', async () => {
    const other = await emptyRoom(store);
    await store.readMarkers.move(room, ana, 60, false);

    expect(await store.readMarkers.move(other, ana, 1, false)).toBe(1);
    expect(await store.readMarkers.move(room, randomUUID(), 1, false)).toBe(1);
    expect(await store.readMarkers.move(room, ana, 1, false)).toBe(60);
  });

  it('is the greatest number of many that come at once on two nodes', async () => {
    const numbers = Array.from({ length: 40 }, (_, n) => n + 1);

    const at = await Promise.all(
      numbers.map((upto) =>
        (upto % 2 === 0 ? store : elsewhere).readMarkers.move(room, ana, upto, false),
      ),
    );

    for (const [index, upto] of numbers.entries()) {
      expect(at[index]).toBeGreaterThanOrEqual(upto);
      expect(at[index]).toBeLessThanOrEqual(40);
    }
    expect(await store.readMarkers.move(room, ana, 0, false)).toBe(40);
  });

  it('is NOT_FOUND in a room that is gone, and goes with the room', async () => {
    await store.readMarkers.move(room, ana, 1, false);
    await removeRoom(store, room);

    const move = store.readMarkers.move(room, ana, 2, false);

    await expect(move).rejects.toMatchObject({ code: 'NOT_FOUND' });
    const [rows] = await host.database.sequelize.query(
      'SELECT FROM read_markers WHERE room_id = $1',
      { bind: [room] },
    );
    expect(rows).toEqual([]);
  });
});
