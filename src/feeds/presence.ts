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

/** A user who is online, or was when somebody was last told. */
interface User {
  readonly uuid: string;
  /** The number of nodes by which they are online. */
  nodes: number;
  /** The number of sessions on this node. */
  sessions: number;
  /** If they have come or gone since `takeChanges`: whether they were online before. */
  was: boolean | undefined;
  /** As `was`, by this node alone, since `takeDiff`. */
  wasHere: boolean | undefined;
}

/** A user whose last session on this node has gone. */
interface Leaving {
  readonly caller: Caller;
  /** When they go offline, by `performance.now()`. */
  readonly until: number;
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
  readonly #users = new Map<string, User>();
  /** Number of users online. */
  #count = 0;
  /** The one who has gone first at the beginning. */
  readonly #leaving = new Map<User, Leaving>();
  /** Users who have come or gone since `takeChanges`, and by this node alone, since `takeDiff`. */
  #touched: User[] = [];
  #touchedHere: User[] = [];
  readonly #peers = new Map<string, PeerPresence>();
  #version = 0;

  /** @param nextVersion numbers that this process has not used before, rising from 1 on; they matter to peers alone */
  constructor(nextVersion: (() => number) | undefined) {
    this.#nextVersion = nextVersion ?? (() => this.#version + 1);
  }

  /** Number of users online. */
  get count(): number {
    return this.#count;
  }

  has(uuid: string): boolean {
    return (this.#users.get(uuid)?.nodes ?? 0) > 0;
  }

  users(): string[] {
    return this.#uuidsOf(({ nodes }) => nodes > 0);
  }

  /** A session has joined the room. One of the application's server is nobody's presence. */
  entered({ userUUID, isServer }: Caller): void {
    if (isServer) return;
    const user = this.#user(userUUID);
    if (user.sessions === 0 && !this.#leaving.delete(user)) this.#addHere(user);
    user.sessions += 1;
  }

  /** A session has left the room. `isRemoved`: its user may not read it any more. */
  left(
    { userUUID, entityUUID, levelOnEntity, isServer }: Caller,
    isRemoved: boolean,
    now: number,
  ): void {
    if (isServer) return;
    const user = this.#user(userUUID);
    user.sessions -= 1;
    if (user.sessions > 0) return;
    if (isRemoved) {
      this.#removeHere(user);
      return;
    }
    // A session's identity has all claims of its token, which are not to be kept for so long.
    const kept = { userUUID, entityUUID, levelOnEntity, isServer };
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
    const join: string[] = [];
    const leave: string[] = [];
    for (const user of this.#touched) {
      const is = user.nodes > 0;
      if (is !== user.was) (is ? join : leave).push(user.uuid);
      user.was = undefined;
      this.#forget(user);
    }
    this.#touched = [];
    return { join, leave };
  }

  /** The version of what this node tells of itself; 0: nobody has been online. */
  get version(): number {
    return this.#version;
  }

  /** What has changed on this node since the last call; undefined: nothing. */
  takeDiff(): PresenceDiff | undefined {
    if (this.#touchedHere.length === 0) return undefined;
    const on: string[] = [];
    const off: string[] = [];
    for (const user of this.#touchedHere) {
      const is = this.#isHere(user);
      if (is !== user.wasHere) (is ? on : off).push(user.uuid);
      user.wasHere = undefined;
      this.#forget(user);
    }
    this.#touchedHere = [];
    if (on.length === 0 && off.length === 0) return undefined;
    const from = this.#version;
    this.#version = this.#nextVersion();
    return { from, to: this.#version, on, off };
  }

  /** The users of this node, at its version if nothing has changed since `takeDiff`. */
  usersHere(): string[] {
    return this.#uuidsOf((user) => this.#isHere(user));
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
    for (const uuid of on) {
      if (!peer.users.has(uuid)) this.#add(this.#user(uuid));
      peer.users.add(uuid);
    }
    for (const uuid of off) if (peer.users.delete(uuid)) this.#remove(this.#user(uuid));
    return true;
  }

  /** Replaces all that is known of a peer. */
  replacePeer(node: string, version: number, users: readonly string[]): void {
    const before = this.#peers.get(node)?.users ?? new Set<string>();
    const after = new Set(users);
    for (const uuid of after) if (!before.has(uuid)) this.#add(this.#user(uuid));
    for (const uuid of before) if (!after.has(uuid)) this.#remove(this.#user(uuid));
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

  /** A user, whom `#forget` drops again. */
  #user(uuid: string): User {
    let user = this.#users.get(uuid);
    if (user === undefined) {
      user = { uuid, nodes: 0, sessions: 0, was: undefined, wasHere: undefined };
      this.#users.set(uuid, user);
    }
    return user;
  }

  /** Keeps nothing of a user who is offline, once everybody is told. */
  #forget({ uuid, nodes, was, wasHere }: User): void {
    if (nodes === 0 && was === undefined && wasHere === undefined) this.#users.delete(uuid);
  }

  #uuidsOf(isOne: (user: User) => boolean): string[] {
    const uuids: string[] = [];
    for (const user of this.#users.values()) if (isOne(user)) uuids.push(user.uuid);
    return uuids;
  }

  /** Whether a user is online by this node. */
  #isHere(user: User): boolean {
    return user.sessions > 0 || this.#leaving.has(user);
  }

  #addHere(user: User): void {
    this.#touchHere(user, false);
    this.#add(user);
  }

  #removeHere(user: User): void {
    this.#touchHere(user, true);
    this.#remove(user);
  }

  #touchHere(user: User, was: boolean): void {
    if (user.wasHere !== undefined) return;
    user.wasHere = was;
    this.#touchedHere.push(user);
  }

  #touch(user: User): void {
    if (user.was !== undefined) return;
    user.was = user.nodes > 0;
    this.#touched.push(user);
  }

  #add(user: User): void {
    this.#touch(user);
    if (user.nodes === 0) this.#count += 1;
    user.nodes += 1;
  }

  #remove(user: User): void {
    this.#touch(user);
    user.nodes -= 1;
    if (user.nodes === 0) this.#count -= 1;
  }
}
