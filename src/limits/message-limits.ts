import type { Caller } from '../access/permissions.js';
import type { Limits } from '../config/load.js';
import { ChatError } from '../errors.js';
import { TokenBuckets } from './token-buckets.js';

/**
 * How many messages a user may send, and a room may get, on this node; edits, deletions and reactions count alike. Undefined
 * as a room: the user is not known to have rights in it, so that nobody uses up the messages of a room of others. Nothing
 * is counted of the application's server, which sends for all of its users.
 */
export interface MessageLimits {
  /** @throws {ChatError} RATELIMITED, with the time until the same would be taken; nothing is counted then */
  take(caller: Caller, roomId: number | undefined): void;
  /** For what is counted of its user already. @throws {ChatError} RATELIMITED */
  takeOfRoom(roomId: number): void;
  /** Takes the turn of a message that can't be refused; resolves when it is counted and may be stored, undefined: now. */
  turn(caller: Caller, roomId: number | undefined): Promise<void> | undefined;
  /** Resolves after a time, for a socket that is not read meanwhile. */
  pause(ms: number): Promise<void>;
  /** The node shuts down: whoever waits has waited long enough, and nobody waits any more. */
  release(): void;
}

/** @returns undefined if all of these limits are off */
export function createMessageLimits({
  messagesPerSecond,
  messagesBurst,
  roomMessagesPerSecond,
}: Pick<Limits, 'messagesPerSecond' | 'messagesBurst' | 'roomMessagesPerSecond'>):
  MessageLimits | undefined {
  const users =
    messagesPerSecond === 0
      ? undefined
      : new TokenBuckets<string>({ perSecond: messagesPerSecond, burst: messagesBurst });
  const rooms =
    roomMessagesPerSecond === 0
      ? undefined
      : new TokenBuckets<number>({
          perSecond: roomMessagesPerSecond,
          burst: roomMessagesPerSecond,
        });
  if (users === undefined && rooms === undefined) return undefined;
  /** By what ends it, the timer of each pause. */
  const pauses = new Map<() => void, NodeJS.Timeout>();
  let isReleased = false;

  return {
    take({ userUUID, isServer }, roomId) {
      if (isServer) return;
      const now = performance.now();
      const forUser = users?.waitMs(userUUID, now) ?? 0;
      const forRoom = roomId === undefined ? 0 : (rooms?.waitMs(roomId, now) ?? 0);
      if (users !== undefined && forUser > 0 && forUser >= forRoom) {
        throw exceeded(users, userUUID, forUser, now);
      }
      if (rooms !== undefined && roomId !== undefined && forRoom > 0) {
        throw exceeded(rooms, roomId, forRoom, now);
      }
      users?.take(userUUID, now);
      if (roomId !== undefined) rooms?.take(roomId, now);
    },

    takeOfRoom(roomId) {
      if (rooms === undefined) return;
      const now = performance.now();
      const ms = rooms.waitMs(roomId, now);
      if (ms > 0) throw exceeded(rooms, roomId, ms, now);
      rooms.take(roomId, now);
    },

    turn({ userUUID, isServer }, roomId) {
      if (isServer) return undefined;
      // One after the other: whoever waits for their own bucket keeps nobody in the room waiting.
      const forUser = users?.turn(userUUID, performance.now());
      const forRoom = (): Promise<void> | undefined =>
        roomId === undefined ? undefined : rooms?.turn(roomId, performance.now());
      return forUser === undefined ? forRoom() : forUser.then(forRoom);
    },

    pause(ms) {
      if (isReleased) return Promise.resolve();
      return new Promise((resolve) => {
        const timer = setTimeout(() => {
          pauses.delete(resolve);
          resolve();
        }, ms);
        pauses.set(resolve, timer);
      });
    },

    release() {
      isReleased = true;
      users?.release();
      rooms?.release();
      for (const [resolve, timer] of pauses) {
        clearTimeout(timer);
        resolve();
      }
      pauses.clear();
    },
  };
}

/** @param ms until the same would be taken */
function exceeded<Key>(buckets: TokenBuckets<Key>, key: Key, ms: number, now: number): ChatError {
  return new ChatError('RATELIMITED', {
    retryAfterMs: Math.ceil(ms),
    rate: { limit: buckets.burst, resetMs: buckets.msToFull(key, now) },
  });
}
