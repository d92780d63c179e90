import type { Caller } from '../access/permissions.js';
import type { Limits } from '../config/load.js';
import { ChatError } from '../errors.js';
import { networkOf } from './client-address.js';

/** Nobody knows when a socket ends: a client that comes back each five seconds costs little. */
const RETRY_AFTER_MS = 5_000;

/** One open socket, as it is counted. */
export interface SocketPlace {
  /**
   * The socket is that of a caller from now on. Those of the application's server are not counted.
   * @returns whether the caller may have it
   */
  identify(caller: Pick<Caller, 'userUUID' | 'isServer'>): boolean;
  /** The socket has ended. */
  release(): void;
}

/** How many sockets a user and an address have on this node, and how many wait for a token. */
export interface SocketLimits {
  /** @throws {ChatError} RATELIMITED if an address has too many, UNAVAILABLE if too many wait for a token */
  check(address: string): void;
  /** Counts a socket that was opened. */
  open(address: string): SocketPlace;
}

/** @returns undefined if all of these limits are off */
export function createSocketLimits({
  socketsPerUser,
  socketsPerAddress,
  socketsBeforeReady,
}: Pick<Limits, 'socketsPerUser' | 'socketsPerAddress' | 'socketsBeforeReady'>):
  SocketLimits | undefined {
  if (socketsPerUser === 0 && socketsPerAddress === 0 && socketsBeforeReady === 0) return undefined;
  const ofUsers = new Map<string, number>();
  const ofNetworks = new Map<string, number>();
  let waiting = 0;

  return {
    check(address) {
      if (socketsBeforeReady > 0 && waiting >= socketsBeforeReady) {
        throw new ChatError('UNAVAILABLE', { detail: 'too many sockets wait for their token' });
      }
      const open = ofNetworks.get(networkOf(address)) ?? 0;
      if (socketsPerAddress === 0 || open < socketsPerAddress) return;
      const detail = 'this address has too many sockets';
      throw new ChatError('RATELIMITED', {
        detail,
        retryAfterMs: RETRY_AFTER_MS,
        rate: { limit: socketsPerAddress, resetMs: RETRY_AFTER_MS },
      });
    },

    open(address) {
      const network = networkOf(address);
      let isWaiting = true;
      let user: string | undefined;
      add(ofNetworks, network, 1);
      waiting += 1;
      return {
        identify({ userUUID, isServer }) {
          if (isWaiting) waiting -= 1;
          isWaiting = false;
          const counted = isServer ? undefined : userUUID;
          if (counted === user) return true;
          if (user !== undefined) add(ofUsers, user, -1);
          user = counted;
          if (user === undefined) return true;
          add(ofUsers, user, 1);
          return socketsPerUser === 0 || (ofUsers.get(user) ?? 0) <= socketsPerUser;
        },
        release() {
          add(ofNetworks, network, -1);
          if (isWaiting) waiting -= 1;
          if (user !== undefined) add(ofUsers, user, -1);
        },
      };
    },
  };
}

/** Those that have none are not kept. */
function add(counts: Map<string, number>, key: string, difference: 1 | -1): void {
  const count = (counts.get(key) ?? 0) + difference;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
}
