import type { Message } from '../../../src/client/index.js';
import type { Key } from './heights.js';

/** Messages of one sender that follow each other within this time stand together. */
const GROUP_MS = 5 * 60_000;

/** How a message stands among its neighbours. */
export interface Placement {
  readonly beginsDay: boolean;
  /** Whether the line of the first unread message is above it. */
  readonly beginsUnread: boolean;
  /** Whether it is the first of its sender's group, which shows who that is. */
  readonly beginsGroup: boolean;
  readonly endsGroup: boolean;
}

/**
 * What a message is told apart by. An own one keeps its `ref` when it is stored; the refs of others may be equal, their
 * numbers are not.
 */
export function keyOf({ seq, ref, emitter }: Message, userUUID: string): Key {
  return emitter === userUUID ? (ref ?? seq ?? '') : (seq ?? '');
}

/** @param unreadSeq number of the first unread message, if there is one */
export function placementOf(
  messages: readonly Message[],
  index: number,
  unreadSeq: number | undefined,
): Placement {
  const message = messages[index];
  const before = messages[index - 1];
  const next = messages[index + 1];
  const isUnread = (one: Message | undefined): boolean =>
    unreadSeq !== undefined && one?.seq === unreadSeq;
  return {
    beginsDay: !isTogether(before, message, isSameDayOf),
    beginsUnread: isUnread(message),
    beginsGroup: isUnread(message) || !isTogether(before, message, isSameGroup),
    endsGroup: isUnread(next) || !isTogether(message, next, isSameGroup),
  };
}

function isTogether(
  one: Message | undefined,
  other: Message | undefined,
  test: (one: Message, other: Message) => boolean,
): boolean {
  return one !== undefined && other !== undefined && test(one, other);
}

function isSameDayOf(one: Message, other: Message): boolean {
  return one.createdAt.toDateString() === other.createdAt.toDateString();
}

function isSameGroup(one: Message, other: Message): boolean {
  const apart = other.createdAt.getTime() - one.createdAt.getTime();
  return one.emitter === other.emitter && apart < GROUP_MS && isSameDayOf(one, other);
}

/** The first message of others beyond a number; undefined if there is none. */
export function firstUnread(
  messages: readonly Message[],
  upto: number,
  userUUID: string,
): number | undefined {
  return messages.find(
    ({ seq, emitter }) => seq !== undefined && seq > upto && emitter !== userUUID,
  )?.seq;
}
