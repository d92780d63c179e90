import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { PeerMessage } from '../../src/feeds/peer-messages.js';
import { PeerRegistry } from '../../src/feeds/peer-registry.js';
import { createRoomAnnouncer, type RoomAnnouncer } from '../../src/feeds/room-announcer.js';

const HEAD = 9;
/** The longest delay before an announcement of all rooms. */
const DELAY_MS = 2_000;

let sent: { peers: readonly string[]; message: PeerMessage }[];
let registry: PeerRegistry;
let announcer: RoomAnnouncer;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  sent = [];
  registry = new PeerRegistry();
  announcer = createRoomAnnouncer({
    registry,
    markOf: (roomId) => [roomId, HEAD, 0],
    send: (peers, message) => sent.push({ peers, message }),
  });
});
afterEach(() => {
  vi.useRealTimers();
});

function openRooms(count: number): void {
  for (let room = 1; room <= count; room += 1) registry.addRoom(room);
}

/** What was sent: the peers, the number of rooms, and whether the announcement begins or ends. */
function pages(): unknown[] {
  return sent.map(({ peers, message: { rooms, ...marks } }) => [peers, rooms?.length, marks]);
}

describe('the announcer of rooms', () => {
  it('sends the single rooms of one turn in one message a peer', async () => {
    announcer.announce('a', 1);
    announcer.announce('b', 1);
    announcer.announce('a', 2);
    expect(sent).toEqual([]);
    await new Promise(setImmediate);
    expect(sent).toEqual([
      {
        peers: ['a'],
        message: {
          rooms: [
            [1, HEAD, 0],
            [2, HEAD, 0],
          ],
        },
      },
      { peers: ['b'], message: { rooms: [[1, HEAD, 0]] } },
    ]);
  });

  it('sends all rooms in pages, one message for all peers that have requested them by then', () => {
    openRooms(2_500);
    announcer.announceAll('a');
    announcer.announceAll('b');
    vi.advanceTimersByTime(DELAY_MS + 100);
    const both = ['a', 'b'];
    expect(pages()).toEqual([
      [both, 1_000, { begins: true }],
      [both, 1_000, {}],
      [both, 500, { ends: true }],
    ]);
    const rooms = sent.flatMap(({ message }) => message.rooms ?? []);
    expect(new Set(rooms.map(([room]) => room)).size).toBe(2_500);
    expect(new Set(rooms.map(([, head]) => head))).toEqual(new Set([HEAD]));
  });

  it('begins anew for a peer that requests all rooms during an announcement', () => {
    openRooms(1_500);
    announcer.announceAll('a');
    while (sent.length === 0) vi.advanceTimersToNextTimer();
    announcer.announceAll('b');
    vi.advanceTimersByTime(2 * DELAY_MS);
    expect(pages()).toEqual([
      [['a'], 1_000, { begins: true }],
      [['a'], 500, { ends: true }],
      [['b'], 1_000, { begins: true }],
      [['b'], 500, { ends: true }],
    ]);
  });

  it('leaves out rooms that are closed during the announcement, and sends a last page without rooms', () => {
    openRooms(1_001);
    announcer.announceAll('a');
    while (sent.length === 0) vi.advanceTimersToNextTimer();
    // The last rooms go first.
    registry.removeRoom(1);
    vi.advanceTimersByTime(DELAY_MS);
    expect(pages()).toEqual([
      [['a'], 1_000, { begins: true }],
      [['a'], 0, { ends: true }],
    ]);
  });

  it('stops in the middle of an announcement, and begins with the next request', () => {
    openRooms(1_500);
    announcer.announceAll('a');
    while (sent.length === 0) vi.advanceTimersToNextTimer();
    announcer.stop();
    vi.advanceTimersByTime(2 * DELAY_MS);
    expect(sent).toHaveLength(1);
    announcer.announceAll('b');
    vi.advanceTimersByTime(2 * DELAY_MS);
    expect(pages().slice(1)).toEqual([
      [['b'], 1_000, { begins: true }],
      [['b'], 500, { ends: true }],
    ]);
  });
});
