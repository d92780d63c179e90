import { describe, expect, it } from 'vitest';
import type { Message } from '../../src/client/index.js';
import { CHOSEN_ROLES, LETTERS, roleOf } from '../../web/src/room/permissions.js';
import { Heights } from '../../web/src/timeline/heights.js';
import { firstUnread, keyOf, placementOf } from '../../web/src/timeline/timeline-model.js';

const NOON = new Date(2026, 4, 5, 12);

/** @param minutes after noon */
const message = (seq: number, emitter: string, minutes: number): Message => ({
  seq,
  ref: undefined,
  emitter,
  createdAt: new Date(NOON.getTime() + minutes * 60_000),
  editedAt: undefined,
  content: 'hi',
  data: undefined,
  replyTo: undefined,
  mentions: [],
  reactions: [],
});

describe('Heights', () => {
  it('adds measured rows and guesses the others', () => {
    const heights = new Heights(10);
    heights.setKeys(['a', 'b', 'c']);
    expect(heights.measure(1, 25)).toBe(true);
    expect(heights.measure(1, 25)).toBe(false);
    expect([0, 1, 2, 3].map((index) => heights.offsetOf(index))).toEqual([0, 10, 35, 45]);
    expect(heights.total).toBe(45);
  });

  it('keeps what was measured by key when rows come above', () => {
    const heights = new Heights(10);
    heights.setKeys(['b']);
    heights.measure(0, 25);
    expect(heights.setKeys(['b'])).toBe(false);
    expect(heights.setKeys(['a', 'b'])).toBe(true);
    expect(heights.offsetOf(2)).toBe(35);
    heights.forget();
    expect(heights.total).toBe(20);
  });

  it('has the sums of the heights, however rows come, go and grow', () => {
    const heights = new Heights(10);
    const measured = new Map<number, number>();
    let keys: number[] = [];
    for (let step = 1; step <= 60; step += 1) {
      const page = Array.from({ length: step % 7 }, (_, n) => 100 * step + n);
      const kept = keys.filter((key) => key % 13 !== step % 13);
      keys = step % 3 === 0 ? [...kept, ...page] : [...page, ...kept];
      heights.setKeys(keys);
      for (const [index, key] of keys.entries()) {
        if (key % 3 !== step % 3) continue;
        heights.measure(index, 5 + step);
        measured.set(key, 5 + step);
      }
      let offset = 0;
      for (const [index, key] of keys.entries()) {
        expect(heights.offsetOf(index)).toBe(offset);
        expect(heights.indexAt(offset)).toBe(index);
        offset += measured.get(key) ?? 10;
      }
      expect(heights.total).toBe(offset);
    }
  });

  it('finds the row at each place, and the nearest one beyond the ends', () => {
    const heights = new Heights(10);
    expect(heights.indexAt(5)).toBe(0);
    heights.setKeys(['a', 'b', 'c']);
    heights.measure(0, 5);
    expect([-1, 0, 4, 5, 14, 15, 99].map((at) => heights.indexAt(at))).toEqual([
      0, 0, 0, 1, 1, 2, 2,
    ]);
  });
});

describe('placementOf', () => {
  it('groups what one sender says within five minutes of a day', () => {
    const messages = [
      message(1, 'ana', 0),
      message(2, 'ana', 4),
      message(3, 'ana', 10),
      message(4, 'bruno', 11),
      message(5, 'bruno', 24 * 60),
    ];
    const placements = messages.map((_, index) => placementOf(messages, index, undefined));
    expect(placements.map(({ beginsGroup }) => beginsGroup)).toEqual([
      true,
      false,
      true,
      true,
      true,
    ]);
    expect(placements.map(({ endsGroup }) => endsGroup)).toEqual([false, true, true, true, true]);
    expect(placements.map(({ beginsDay }) => beginsDay)).toEqual([true, false, false, false, true]);
  });

  it('parts a group at the line of the unread messages', () => {
    const messages = [message(1, 'ana', 0), message(2, 'ana', 1)];
    expect(placementOf(messages, 0, 2).endsGroup).toBe(true);
    expect(placementOf(messages, 1, 2)).toMatchObject({ beginsUnread: true, beginsGroup: true });
  });
});

describe('firstUnread', () => {
  it('is the first message of others beyond a number', () => {
    const messages = [message(1, 'ana', 0), message(2, 'bruno', 1), message(3, 'ana', 2)];
    expect(firstUnread(messages, 1, 'bruno')).toBe(3);
    expect(firstUnread(messages, 0, 'ana')).toBe(2);
    expect(firstUnread(messages, 3, 'bruno')).toBeUndefined();
  });
});

describe('keyOf', () => {
  it('of an own message stays when it is stored, and never is the ref of another user', () => {
    const own = { ...message(7, 'ana', 0), ref: 'r' };
    expect(keyOf({ ...own, seq: undefined }, 'ana')).toBe(keyOf(own, 'ana'));
    expect(keyOf(own, 'bruno')).toBe(7);
  });
});

describe('roleOf', () => {
  it('names the letters of each role, in any order', () => {
    for (const role of CHOSEN_ROLES) {
      expect(roleOf(Array.from(LETTERS[role]).toReversed().join(''))).toBe(role);
    }
  });

  it('is banned whatever else is allowed, and custom for other letters', () => {
    expect(roleOf('rwb')).toBe('banned');
    expect(roleOf('ra')).toBe('custom');
    expect(roleOf('')).toBe('custom');
  });
});
