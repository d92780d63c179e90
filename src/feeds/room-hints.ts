import type { Caller, Rule } from '../access/permissions.js';
import type { Hint } from '../protocol/v2/commands.js';
import { encodePresence, encodeRead, encodeTyping } from '../protocol/v2/events.js';
import type { FlushableRoom, FlushQueue } from './flush-queue.js';
import type { PeerHints } from './peer-messages.js';
import { Presence, type PresenceDiff } from './presence.js';
import type { Subscriber } from './subscribers.js';
import { encodeFrame } from './ws-frame.js';

/** The shortest time between two passes of a room: nobody sees that somebody types a quarter of a second late. */
const TICK_MS = 250;
/** The shortest time between two hints of one kind about one user, and between two counts of a large room. */
const PACE_MS = 1_000;
/**
 * With more users online, only their number is told: what everybody does would be told to everybody. The page of the wire
 * has the number.
 */
const MAX_LISTED = 200;

/** A session that asked for hints. */
interface Listener {
  readonly subscriber: Subscriber;
  readonly wants: ReadonlySet<Hint>;
  /** Listeners with the same key get the same frames. */
  readonly key: string;
  /** The version of the presence that it was told; 0: none. */
  seen: number;
}

/** A frame about a user. */
interface UserFrame {
  readonly user: string;
  readonly frame: Buffer;
}

/** What one pass over the listeners tells them. */
interface Pass {
  readonly listeners: Iterator<Listener>;
  readonly typing: readonly UserFrame[];
  readonly read: readonly UserFrame[];
  /** The users whom these are about: they don't get those about themselves. */
  readonly about: ReadonlySet<string>;
  /** Of the presence. */
  readonly version: number;
  /** A listener that was told this version needs only the difference. */
  readonly diffFrom: number;
  readonly diff: Buffer | undefined;
  snapshot: Buffer | undefined;
  /** By the keys of listeners, what all others get. */
  readonly frames: Map<string, Buffer | undefined>;
}

/**
 * What has no number in one room: who types, who reads, who is online. It is collected, and told in passes over the
 * sessions that asked for it: one buffer a room and pass, not one a pair of users. A hint may be lost.
 */
export class RoomHints implements FlushableRoom {
  readonly presence: Presence;
  readonly #roomId: number;
  readonly #flushQueue: FlushQueue;
  readonly #publish: ((hints: PeerHints) => void) | undefined;
  readonly #isLive: (subscriber: Subscriber) => boolean;
  readonly #listeners = new Map<Subscriber, Listener>();
  /** Users who type, and those of them on this node. */
  readonly #typing = new Set<string>();
  readonly #typingHere = new Set<string>();
  /** By user, the read marker that is still to be told. */
  readonly #read = new Map<string, number>();
  /** By user, when they last typed, and when their marker was last told. */
  readonly #typedAt = new Map<string, number>();
  readonly #readAt = new Map<string, number>();
  /** Of the presence that listeners are told, from 1 on. */
  #version = 1;
  #isLarge = false;
  /** The number of users that was told last, and when. */
  #count = 0;
  #countedAt = -Infinity;
  /** Whether a listener has not been told the present version. */
  #hasNews = false;
  #pass: Pass | undefined;
  #tickedAt = -Infinity;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Infinity;
  readonly #onTick = (): void => {
    this.#tick();
  };
  #isClosed = false;

  constructor(options: {
    roomId: number;
    flushQueue: FlushQueue;
    publish?: ((hints: PeerHints) => void) | undefined;
    /** Whether a subscriber gets entries as they come; one that is being paged up gets no hints. */
    isLive: (subscriber: Subscriber) => boolean;
    nextVersion?: (() => number) | undefined;
  }) {
    this.#roomId = options.roomId;
    this.#flushQueue = options.flushQueue;
    this.#publish = options.publish;
    this.#isLive = options.isLive;
    this.presence = new Presence(options.nextVersion);
  }

  /** A session has joined the room. */
  join(subscriber: Subscriber, wants: ReadonlySet<Hint>): void {
    this.presence.entered(subscriber.identity);
    if (wants.size > 0) {
      const key = [...wants].toSorted().join(' ');
      this.#listeners.set(subscriber, { subscriber, wants, key, seen: 0 });
      this.#hasNews = true;
    }
    this.changed();
  }

  /** A session has left the room. `isRemoved`: its user may not read it any more. */
  leave(subscriber: Subscriber, caller: Caller, isRemoved: boolean): void {
    this.#listeners.delete(subscriber);
    this.presence.left(caller, isRemoved, performance.now());
    this.changed();
  }

  /** A session has another token: it may be a server's, or in version 1 that of another user. */
  identify({ identity }: Subscriber, before: Caller): void {
    if (identity.userUUID === before.userUUID && identity.isServer === before.isServer) return;
    this.presence.left(before, false, performance.now());
    this.presence.entered(identity);
    this.changed();
  }

  /** A session that was being paged up is live. */
  wake(subscriber: Subscriber): void {
    if (!this.#listeners.has(subscriber)) return;
    this.#hasNews = true;
    this.changed();
  }

  /**
   * Rights have changed by rules, or by the room's settings. Who has lost the right is not online any more, and nothing
   * that waits is told of them. Of typing that is nobody, as a rule may be that of an entity: who types tells it again, but
   * a read marker that is not told now may never be.
   * @param isIn whether a user may be in the room, as far as this node knows; asked once the presence is rechecked
   */
  recheck(
    mayRead: (caller: Caller) => boolean,
    isIn: (user: string) => boolean,
    rules: readonly Rule[] = [],
  ): void {
    this.presence.recheck(mayRead);
    if (rules.some((rule) => !mayType(rule))) {
      this.#typing.clear();
      this.#typingHere.clear();
    }
    for (const user of this.#read.keys()) if (!isIn(user)) this.#read.delete(user);
    this.changed();
  }

  /** A user types. */
  typed(user: string, isHere: boolean): void {
    const now = performance.now();
    if (this.presence.count > MAX_LISTED || now - at(this.#typedAt, user) < PACE_MS) return;
    this.#typedAt.set(user, now);
    this.#typing.add(user);
    if (isHere) this.#typingHere.add(user);
    this.changed();
  }

  /** A user has sent what they typed: nobody is told behind it that they type. */
  sent(user: string): void {
    this.#typing.delete(user);
    this.#typingHere.delete(user);
  }

  /** A user has read up to a seq. */
  read(user: string, upto: number): void {
    if (this.presence.count > MAX_LISTED || this.#listeners.size === 0) return;
    this.#read.set(user, Math.max(upto, this.#read.get(user) ?? 0));
    this.changed();
  }

  /** @returns false if a diff before it is missing */
  applyDiff(node: string, diff: PresenceDiff): boolean {
    this.changed();
    return this.presence.applyDiff(node, diff);
  }

  replacePeer(node: string, version: number, users: readonly string[]): void {
    this.presence.replacePeer(node, version, users);
    this.changed();
  }

  /** The users of a peer are offline: at once, or, if it has shut down, once they have had time to come back. */
  peerGone(node: string, hasShutDown: boolean): void {
    if (hasShutDown) this.presence.peerEnded(node, performance.now());
    else this.presence.dropPeer(node);
    this.changed();
  }

  /** Something is to be told: at once, or TICK_MS after the last pass. */
  changed(): void {
    this.#tickAt(this.#tickedAt + TICK_MS);
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  flush(sockets: number): number {
    let left = sockets;
    while (left > 0 && this.#pass !== undefined) {
      const next = this.#pass.listeners.next();
      if (next.done === true) {
        this.#pass = undefined;
        break;
      }
      const { writer } = next.value.subscriber;
      if (!this.#isLive(next.value.subscriber)) continue;
      if (writer.isFull) {
        // It is told of the presence when it has read.
        this.#hasNews = true;
        this.#tickAt(performance.now() + PACE_MS);
        continue;
      }
      const frames = this.#framesFor(next.value, this.#pass);
      if (frames === undefined) continue;
      writer.write(frames);
      left -= 1;
    }
    return left;
  }

  #tickAt(time: number): void {
    if (this.#isClosed || time >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = time;
    this.#timer = setTimeout(this.#onTick, Math.max(0, time - performance.now())).unref();
  }

  #tick(): void {
    const now = performance.now();
    this.#timerAt = Infinity;
    this.#tickedAt = now;
    this.#tickAt(this.presence.expire(now));
    this.tellPeers();
    // A pass that has not ended tells nothing new.
    if (this.#pass === undefined) this.#startPass(now);
    else this.changed();
    for (const times of [this.#typedAt, this.#readAt]) forgetBefore(times, now - PACE_MS);
  }

  /** Tells the peers what they have not been told. */
  tellPeers(): void {
    const presence = this.presence.takeDiff();
    const typing = [...this.#typingHere];
    this.#typingHere.clear();
    if (presence === undefined && typing.length === 0) return;
    this.#publish?.({ ...(presence && { presence }), ...(typing.length > 0 && { typing }) });
  }

  #startPass(now: number): void {
    if (this.#listeners.size === 0) {
      this.#skipPass();
      return;
    }
    const { diffFrom, diff } = this.#nextPresence(now);
    if (this.#listeners.size === 0) {
      this.#typing.clear();
      return;
    }
    const typing = [...this.#typing].map((user) => ({
      user,
      frame: encodeFrame(encodeTyping(this.#roomId, user)),
    }));
    this.#typing.clear();
    const read = this.#takeRead(now);
    if (typing.length === 0 && read.length === 0 && !this.#hasNews) return;
    this.#hasNews = false;
    this.#pass = {
      listeners: this.#listeners.values(),
      typing,
      read,
      about: new Set([...typing, ...read].map(({ user }) => user)),
      version: this.#version,
      diffFrom,
      diff,
      snapshot: undefined,
      frames: new Map(),
    };
    this.#flushQueue.addRoom(this);
  }

  /** Nobody listens: the next one who does is told of the whole presence. */
  #skipPass(): void {
    this.presence.takeChanges();
    this.#isLarge = this.presence.count > MAX_LISTED;
    this.#count = this.presence.count;
    this.#typing.clear();
    this.#read.clear();
    this.#hasNews = false;
  }

  /** Makes a new version of the presence if it has changed, and the frame of the difference. */
  #nextPresence(now: number): Pick<Pass, 'diffFrom' | 'diff'> {
    const { count } = this.presence;
    const isLarge = count > MAX_LISTED;
    if (isLarge && this.#isLarge && now - this.#countedAt < PACE_MS) {
      if (count !== this.#count) this.#tickAt(this.#countedAt + PACE_MS);
      return { diffFrom: 0, diff: undefined };
    }
    const { join, leave } = this.presence.takeChanges();
    if (join.length === 0 && leave.length === 0) return { diffFrom: 0, diff: undefined };
    const wasLarge = this.#isLarge;
    const before = this.#version;
    this.#version += 1;
    this.#isLarge = isLarge;
    this.#count = count;
    this.#countedAt = now;
    this.#hasNews = true;
    // Who was told numbers alone needs all names.
    const needsNames = wasLarge && !isLarge;
    if (needsNames || this.#listeners.size === 0) return { diffFrom: 0, diff: undefined };
    const names = isLarge
      ? {}
      : { ...(join.length > 0 && { join }), ...(leave.length > 0 && { leave }) };
    return { diffFrom: before, diff: encodeFrame(encodePresence(this.#roomId, count, names)) };
  }

  /** The read markers that may be told now; the others follow. */
  #takeRead(now: number): UserFrame[] {
    const told: UserFrame[] = [];
    for (const [user, upto] of this.#read) {
      const due = at(this.#readAt, user) + PACE_MS;
      if (due > now) {
        this.#tickAt(due);
        continue;
      }
      this.#read.delete(user);
      this.#readAt.set(user, now);
      told.push({ user, frame: encodeFrame(encodeRead(this.#roomId, user, upto)) });
    }
    return told;
  }

  #framesFor(listener: Listener, pass: Pass): Buffer | undefined {
    const presence = this.#presenceFor(listener, pass);
    const { userUUID } = listener.subscriber.identity;
    if (pass.about.has(userUUID)) return framesOf(listener, pass, presence, userUUID);
    const kind = presence === undefined ? '' : presence === pass.diff ? 'diff' : 'snapshot';
    const key = `${listener.key} ${kind}`;
    if (!pass.frames.has(key)) pass.frames.set(key, framesOf(listener, pass, presence));
    return pass.frames.get(key);
  }

  #presenceFor(listener: Listener, pass: Pass): Buffer | undefined {
    if (!listener.wants.has('presence') || listener.seen === pass.version) return undefined;
    const isNext = listener.seen === pass.diffFrom;
    listener.seen = pass.version;
    if (isNext && pass.diff !== undefined) return pass.diff;
    return (pass.snapshot ??= encodeFrame(this.#snapshot()));
  }

  #snapshot(): string {
    const { presence } = this;
    const names = this.#isLarge ? {} : { online: presence.users() };
    return encodePresence(this.#roomId, presence.count, names);
  }
}

function framesOf(
  { wants }: Listener,
  { typing, read }: Pass,
  presence: Buffer | undefined,
  except?: string,
): Buffer | undefined {
  const about = [...(wants.has('typing') ? typing : []), ...(wants.has('read') ? read : [])];
  const frames = about.filter(({ user }) => user !== except).map(({ frame }) => frame);
  if (presence !== undefined) frames.push(presence);
  return frames.length > 1 ? Buffer.concat(frames) : frames[0];
}

function mayType({ permissions }: Rule): boolean {
  return permissions.includes('w') && !permissions.includes('b');
}

function at(times: ReadonlyMap<string, number>, user: string): number {
  return times.get(user) ?? -Infinity;
}

function forgetBefore(times: Map<string, number>, time: number): void {
  for (const [user, at] of times) if (at < time) times.delete(user);
}
