import type { Caller } from '../access/permissions.js';

/** How long a user stays online after their last session has gone: clients reconnect within it, on any node. */
const GRACE_MS = 10_000;

/** A change of the users who are online by the sessions of one node. */
export interface PresenceDiff {
  /** The version before it. */
  readonly from: number;
  readonly to: number;
  readonly on: readonly string[];
  readonly off: readonly string[];
}

/** The users who are online by the sessions of one peer. */
interface PeerPresence {
  version: number;
  users: Set<string>;
  /** When they go offline, by `performance.now()`, if the peer has shut down. */
  until: number;
}

/**
 * Who is online in one room: each user who has a session in it, on this node or on a peer, once. Of the peers it holds
 * what they have told. Users are UUIDs.
 */
export class Presence {
  readonly #nextVersion: () => number;
  /** By user, the number of nodes by which they are online. */
  readonly #online = new Map<string, number>();
  /** By user whose count has changed since `takeChanges`, whether they were online before. */
  readonly #touched = new Map<string, boolean>();
  /** By user, the number of sessions on this node. */
  readonly #sessions = new Map<string, number>();
  /** Users whose last session on this node has gone, the one who has gone first at the beginning. */
  readonly #leaving = new Map<string, { readonly caller: Caller; readonly until: number }>();
  /** As `#touched`, by this node alone, since `takeDiff`. */
  readonly #touchedHere = new Map<string, boolean>();
  readonly #peers = new Map<string, PeerPresence>();
  #version = 0;

  /** @param nextVersion numbers that this process has not used before, rising from 1 on; they matter to peers alone */
  constructor(nextVersion: (() => number) | undefined) {
    this.#nextVersion = nextVersion ?? (() => this.#version + 1);
  }

  /** Number of users online. */
  get count(): number {
    return this.#online.size;
  }

  has(user: string): boolean {
    return this.#online.has(user);
  }

  users(): string[] {
    return [...this.#online.keys()];
  }

  /** A session has joined the room. */
  entered({ userUUID: user }: Caller): void {
    const before = this.#sessions.get(user) ?? 0;
    this.#sessions.set(user, before + 1);
    if (before === 0 && !this.#leaving.delete(user)) this.#addHere(user);
  }

  /** A session has left the room. `isRemoved`: its user may not read it any more. */
  left(caller: Caller, isRemoved: boolean, now: number): void {
    const user = caller.userUUID;
    const left = (this.#sessions.get(user) ?? 0) - 1;
    if (left > 0) {
      this.#sessions.set(user, left);
      return;
    }
    this.#sessions.delete(user);
    if (isRemoved) {
      this.#removeHere(user);
      return;
    }
    // A session's identity has all claims of its token, which are not to be kept for so long.
    const { entityUUID, levelOnEntity } = caller;
    const kept = { userUUID: user, entityUUID, levelOnEntity };
    this.#leaving.set(user, { caller: kept, until: now + GRACE_MS });
  }

  /** Drops users who have gone, and may not read any more. */
  recheck(mayRead: (caller: Caller) => boolean): void {
    for (const [user, { caller }] of this.#leaving) {
      if (mayRead(caller)) continue;
      this.#leaving.delete(user);
      this.#removeHere(user);
    }
  }

  /**
   * Drops those whose time is over.
   * @returns when the next one goes; Infinity: nobody
   */
  expire(now: number): number {
    let next = Infinity;
    for (const [user, { until }] of this.#leaving) {
      if (until > now) {
        next = until;
        break;
      }
      this.#leaving.delete(user);
      this.#removeHere(user);
    }
    for (const [node, { until }] of this.#peers) {
      if (until <= now) this.dropPeer(node);
      else next = Math.min(next, until);
    }
    return next;
  }

  /** Who came and who went since the last call. */
  takeChanges(): { join: string[]; leave: string[] } {
    const { on: join, off: leave } = take(this.#touched, (user) => this.#online.has(user));
    return { join, leave };
  }

  /** As if `takeChanges` had been called. */
  skipChanges(): void {
    this.#touched.clear();
  }

  /** The version of what this node tells of itself; 0: nobody has been online. */
  get version(): number {
    return this.#version;
  }

  /** What has changed on this node since the last call; undefined: nothing. */
  takeDiff(): PresenceDiff | undefined {
    if (this.#touchedHere.size === 0) return undefined;
    const { on, off } = take(this.#touchedHere, (user) => this.#isHere(user));
    if (on.length === 0 && off.length === 0) return undefined;
    const from = this.#version;
    this.#version = this.#nextVersion();
    return { from, to: this.#version, on, off };
  }

  /** The users of this node, at its version if nothing has changed since `takeDiff`. */
  usersHere(): string[] {
    return [...this.#sessions.keys(), ...this.#leaving.keys()];
  }

  /** The version that is known of a peer. */
  versionOf(node: string): number {
    return this.#peers.get(node)?.version ?? 0;
  }

  /** @returns false if a diff before it is missing */
  applyDiff(node: string, { from, to, on, off }: PresenceDiff): boolean {
    if (this.versionOf(node) === to) return true;
    if (this.versionOf(node) !== from) return false;
    const peer = this.#peers.get(node) ?? { version: 0, users: new Set(), until: Infinity };
    this.#peers.set(node, peer);
    peer.version = to;
    for (const user of on) {
      if (!peer.users.has(user)) this.#add(user);
      peer.users.add(user);
    }
    for (const user of off) if (peer.users.delete(user)) this.#remove(user);
    return true;
  }

  /** Replaces all that is known of a peer. */
  replacePeer(node: string, version: number, users: readonly string[]): void {
    const before = this.#peers.get(node)?.users ?? new Set<string>();
    const after = new Set(users);
    for (const user of after) if (!before.has(user)) this.#add(user);
    for (const user of before) if (!after.has(user)) this.#remove(user);
    this.#peers.set(node, { version, users: after, until: Infinity });
  }

  /** The users of a peer are offline now. */
  dropPeer(node: string): void {
    this.replacePeer(node, 0, []);
    this.#peers.delete(node);
  }

  /** The users of a peer have time to come back elsewhere: it has shut down. */
  peerEnded(node: string, now: number): void {
    const peer = this.#peers.get(node);
    if (peer !== undefined) peer.until = now + GRACE_MS;
  }

  #isHere(user: string): boolean {
    return this.#sessions.has(user) || this.#leaving.has(user);
  }

  #addHere(user: string): void {
    if (!this.#touchedHere.has(user)) this.#touchedHere.set(user, false);
    this.#add(user);
  }

  #removeHere(user: string): void {
    if (!this.#touchedHere.has(user)) this.#touchedHere.set(user, true);
    this.#remove(user);
  }

  #add(user: string): void {
    const nodes = this.#online.get(user) ?? 0;
    if (!this.#touched.has(user)) this.#touched.set(user, nodes > 0);
    this.#online.set(user, nodes + 1);
  }

  #remove(user: string): void {
    const nodes = this.#online.get(user) ?? 0;
    if (!this.#touched.has(user)) this.#touched.set(user, nodes > 0);
    if (nodes > 1) this.#online.set(user, nodes - 1);
    else this.#online.delete(user);
  }
}

/** Empties `touched`, whose values say who was in a set; returns who came into it and who left it. */
function take(
  touched: Map<string, boolean>,
  isIn: (user: string) => boolean,
): { on: string[]; off: string[] } {
  const on: string[] = [];
  const off: string[] = [];
  for (const [user, was] of touched) {
    const is = isIn(user);
    if (is !== was) (is ? on : off).push(user);
  }
  touched.clear();
  return { on, off };
}
