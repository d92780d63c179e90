import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Store } from '../../src/store/store.js';
import { storeHosts, storeOver, type StoreHost } from '../harness/store-hosts.js';
import type { MovedMarker } from '../../src/store/read-markers.js';
import { newCaller, removeRoom, roomOf, say } from '../harness/writers.js';

describe.each(storeHosts)('the read marker of a user over %s', (_, openHost) => {
  let host: StoreHost;
  let store: Store;
  /** The store of a second node. */
  let elsewhere: Store;
  let room: number;
  const ana = newCaller();
  const ben = newCaller();

  beforeAll(async () => {
    host = await openHost();
    store = storeOver(host.database);
    elsewhere = storeOver(await host.another());
  });
  beforeEach(async () => {
    room = await roomWith(70);
  });
  afterAll(() => host.close());

  /** A room of ana and ben with this number of entries. */
  async function roomWith(entries: number): Promise<number> {
    const writer = await roomOf(store, [
      [ana, 'r'],
      [ben, 'r'],
    ]);
    await Promise.all(
      Array.from({ length: entries - 2 }, () => say(store.log, writer, 'hi', { author: ana })),
    );
    return writer.roomId;
  }

  it('moves forwards, and backwards only on demand', async () => {
    const at: (MovedMarker | undefined)[] = [];
    for (const [upto, isBack] of [
      [60, false],
      [50, false],
      [60, true],
      [40, true],
      [41, false],
      [70, true],
    ] as const) {
      at.push(await store.readMarkers.move(ana, room, upto, isBack));
    }

    expect(at.map((marker) => [marker?.upto, marker?.isMoved])).toEqual([
      [60, true],
      [60, false],
      [60, false],
      [40, true],
      [41, true],
      [70, true],
    ]);
    expect(await store.readMarkers.find(ana, room)).toMatchObject({ upto: 70 });
  });

  it('is its own in each room, and each user has one', async () => {
    const other = await roomWith(3);
    await store.readMarkers.move(ana, room, 60, false);

    expect(await store.readMarkers.move(ana, other, 2, false)).toMatchObject({ upto: 2 });
    expect(await store.readMarkers.move(ben, room, 3, false)).toMatchObject({ upto: 3 });
    expect(await store.readMarkers.move(ana, room, 1, false)).toMatchObject({ upto: 60 });
  });

  it('is the greatest number of many that come at once on two nodes', async () => {
    const numbers = Array.from({ length: 40 }, (_, n) => n + 1);

    const at = await Promise.all(
      numbers.map((upto) =>
        (upto % 2 === 0 ? store : elsewhere).readMarkers.move(ana, room, upto, false),
      ),
    );

    for (const [index, upto] of numbers.entries()) {
      expect(at[index]?.upto).toBeGreaterThanOrEqual(upto);
      expect(at[index]?.upto).toBeLessThanOrEqual(40);
    }
    expect(await store.readMarkers.move(ana, room, 0, false)).toMatchObject({ upto: 40 });
  });

  it('is found and moved for many users and rooms by few statements', async () => {
    const query = vi.spyOn(host.database.sequelize, 'query');
    const rooms = [room, await roomWith(5), 2_000_000_000];
    query.mockClear();
    const asked = rooms.flatMap((id) => [ana, ben].map((who) => [who, id] as const));

    const moved = await Promise.all(
      asked.map(([who, id]) => store.readMarkers.move(who, id, who === ana ? 4 : 9, false)),
    );
    const found = await Promise.all(asked.map(([who, id]) => store.readMarkers.find(who, id)));

    expect(moved.map((marker) => marker?.upto)).toEqual([4, 9, 4, 5, undefined, undefined]);
    expect(found.map((marker) => marker?.upto)).toEqual([4, 9, 4, 5, undefined, undefined]);
    expect(query).toHaveBeenCalledTimes(2);
    query.mockRestore();
  });

  it('stays for who may not read the room', async () => {
    const eve = newCaller();
    expect(await store.readMarkers.move(eve, room, 9, true)).toMatchObject({ mayRead: false });
    const [rows] = await host.database.sequelize.query(
      'SELECT FROM read_markers WHERE user_uuid = $1',
      { bind: [eve.userUUID] },
    );
    expect(rows).toEqual([]);
  });

  it('is none in a room that is gone, and goes with the room', async () => {
    await store.readMarkers.move(ana, room, 1, false);
    await removeRoom(store, room);

    expect(await store.readMarkers.move(ana, room, 2, false)).toBeUndefined();
    const [rows] = await host.database.sequelize.query(
      'SELECT FROM read_markers WHERE room_id = $1',
      { bind: [room] },
    );
    expect(rows).toEqual([]);
  });
});
