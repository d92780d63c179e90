import { randomBytes } from 'node:crypto';
import type { Broker, CreateBroker } from '../broker/broker.js';
import type { Logger } from '../logger.js';
import type { Entry } from '../store/entries.js';
import { encodeNews, parseNews, senderOf, type News } from './news.js';
import { nodeOf, PeerIndex, type Peer } from './peer-index.js';

/**
 * How often a node says that it lives. What a node that was killed has stored, and not published, is found within
 * 2 s: after MISSED_MAX of these, and a poll.
 */
const HEARTBEAT_INTERVAL_MS = 400;
/** A node is silent if it was not heard for so many of the hearer's own heartbeats. */
const MISSED_MAX = 3;
/** A node that was silent for a minute was killed: it is waited for no longer. */
const FORGET_AFTER = 60_000 / HEARTBEAT_INTERVAL_MS;
/** For so many heartbeats after a change nobody relies on what is known of the others. */
const SETTLING = 5;
/** A node that does not name its rooms is asked again after so many heartbeats. */
const ASK_AGAIN_AFTER = 15;
/** Rooms that are named in one message, of about 16 KB, and the pause before the next. */
const ROOMS_AT_ONCE = 1_000;
const ROOMS_PAUSE_MS = 10;
/** Nodes that were asked at once, as Redis was away, name their rooms at different times. */
const SPREAD_MS = 2_000;
/** A broker that stays down is worth a line so often. */
const WARNING_INTERVAL_MS = 60_000;

/** What a node does about the news of its rooms. */
export interface NewsHandlers {
  entries(roomId: number, entries: readonly Entry[]): void;
  deleted(roomId: number): void;
  /** Another node has the room up to this number. */
  number(roomId: number, number: number): void;
  /** The number up to which this node has a room; undefined if it does not look at it. */
  numberOf(roomId: number): number | undefined;
  /** Another node has found that the log went back. */
  moved(): void;
}

/**
 * The other nodes of the installation, and the rooms that they look at. A message is published only if another node
 * looks at its room, or may look.
 *
 * A node announces a room on the room's channel when it begins to look and when it ends; those that look at it
 * answer. It names all its rooms only to those that ask: that have not heard of it before, or not lately, or not by
 * its present name, which it changes whenever something may have been lost.
 */
export interface Peers {
  /** Whether this node hears its own heartbeats. */
  readonly isUp: boolean;
  /** Whether this node hears what others store: false for a while after something was, or may have been, lost. */
  readonly hearsAll: boolean;
  /** Resolves when this node hears of the room from now on. */
  join(roomId: number): Promise<void>;
  leave(roomId: number): Promise<void>;
  /** Publishes entries if anybody else looks at the room. */
  publish(roomId: number, entries: readonly Entry[]): void;
  /** Publishes what must not be late, whoever is known to look. */
  publishToAll(roomId: number, news: { entries: readonly Entry[] } | { deleted: true }): void;
  /** Goes on among the nodes of another installation: the log began anew. */
  moveTo(installation: string): void;
  /** Tells the others that this node ends, and closes the broker. */
  close(): Promise<void>;
}

export function createPeers({
  createBroker,
  handlers,
  logger,
  ...options
}: {
  createBroker: CreateBroker;
  /** Keeps installations apart that share one Redis, whatever its prefix. */
  installation: string;
  handlers: NewsHandlers;
  logger: Logger;
}): Peers {
  let { installation } = options;
  const node = randomBytes(6).toString('base64url');
  let session = 0;
  let name = '';
  const index = new PeerIndex();
  /** Rooms whose announcement has not come back yet, with heartbeats since: then all that listen have heard it. */
  const unheard = new Map<number, number>();
  /** Answers to the announcements of one turn, by the name of who announced. */
  const answers = new Map<string, [roomId: number, number: number][]>();
  /** Who waits to hear all rooms, and those that are hearing them at the moment, with the rooms that are left. */
  const asking = new Set<string>();
  let hearing: { readonly names: readonly string[]; readonly left: number[] } | undefined;
  let namingTimer: NodeJS.Timeout | undefined;
  let isUp = false;
  /** Heartbeats since one was heard. */
  let missed = 0;
  let settling = SETTLING;
  let downSince = performance.now();
  let warnedAt = -Infinity;
  let isWarned = false;
  let hasMetStrangers = false;

  const broker: Broker = createBroker(receive);
  rename();
  broker.onLoss(rename);
  broker.onReconnect(beat);
  for (const channel of ownChannels()) void broker.subscribe(channel);
  beat();
  const heartbeats = setInterval(() => {
    countMissed();
    warnIfDown();
    beat();
  }, HEARTBEAT_INTERVAL_MS);

  function ownChannels(): string[] {
    return [channelOfNodes(), channelOfNode(name)];
  }

  function channelOfNodes(): string {
    return `${installation}:nodes`;
  }

  function channelOf(roomId: number): string {
    return `${installation}:room:${roomId}`;
  }

  function channelOfNode(name: string): string {
    return `${installation}:node:${nodeOf(name)}`;
  }

  function publish(channel: string, news: News): void {
    broker.publish(channel, encodeNews(name, news));
  }

  function beat(): void {
    publish(channelOfNodes(), {});
  }

  /** Something may have been lost: until it hears its new name the node is down, and those who hear it ask. */
  function rename(): void {
    session += 1;
    name = `${node}.${session}`;
    missed = 0;
    stopNaming();
    if (!isUp) return;
    isUp = false;
    downSince = performance.now();
  }

  function goUp(): void {
    isUp = true;
    settling = SETTLING;
    unheard.clear();
    // What they said meanwhile was lost: each is asked as soon as it is heard.
    for (const peer of index.peers) index.remove(peer);
    if (!isWarned) return;
    isWarned = false;
    logger.info({ downMs: Math.round(performance.now() - downSince) }, 'broker is up again');
  }

  function countMissed(): void {
    missed += 1;
    settling = Math.max(settling - 1, 0);
    for (const [roomId, since] of unheard) unheard.set(roomId, since + 1);
    // They are announced in order: the first is the oldest.
    const [oldest = 0] = unheard.values();
    if (isUp && Math.max(missed, oldest) >= MISSED_MAX) rename();
    for (const peer of index.peers) {
      peer.missed += 1;
      peer.askedSince += 1;
      if (peer.missed >= FORGET_AFTER) index.remove(peer);
      else if (!index.isKnown(peer) && peer.askedSince >= ASK_AGAIN_AFTER) ask(peer);
    }
  }

  function warnIfDown(): void {
    const now = performance.now();
    // A node that has just begun to connect is not down yet.
    const isShort = now - downSince < MISSED_MAX * HEARTBEAT_INTERVAL_MS;
    if (isUp || isShort || now - warnedAt < WARNING_INTERVAL_MS) return;
    warnedAt = now;
    isWarned = true;
    const problem = broker.problem ?? new Error('the heartbeats of this node do not come back');
    logger.warn({ err: problem }, 'broker is down, polling the database');
  }

  function receive(channel: string, message: string): void {
    // It came late, from before a move.
    if (!channel.startsWith(`${installation}:`)) return;
    const sender = senderOf(message);
    const place = channel.slice(installation.length + 1);
    const roomId = place.startsWith('room:') ? Number(place.slice('room:'.length)) : undefined;
    if (sender !== undefined && nodeOf(sender) === node) {
      hearMyself(sender, roomId, message);
      return;
    }
    const news = parseNews(message);
    if (news === undefined || sender === undefined) {
      if (!hasMetStrangers) logger.warn({ channel }, 'a message of the broker is not ours');
      hasMetStrangers = true;
      return;
    }
    if (roomId !== undefined) hearOfRoom(roomId, sender, news);
    else if (news.closes) hearClose(sender);
    else if (news.moves) handlers.moved();
    else if (news.here === undefined) hearOfNode(sender, news);
    if (news.here !== undefined) hearRooms(sender, news.here, news);
  }

  function hearMyself(sender: string, roomId: number | undefined, message: string): void {
    if (sender !== name) return;
    if (roomId === undefined) {
      missed = 0;
      if (!isUp && broker.isUp) goUp();
    } else if (unheard.has(roomId) && parseNews(message)?.here !== undefined) {
      unheard.delete(roomId);
    }
  }

  /** A heartbeat, or a question. */
  function hearOfNode(sender: string, news: News): void {
    const peer = index.find(sender) ?? meet(sender);
    if (peer.missed >= MISSED_MAX) {
      // What it has announced meanwhile was not heard.
      settling = SETTLING;
      ask(peer);
    }
    peer.missed = 0;
    if (!news.asks) return;
    asking.add(sender);
    if (namingTimer === undefined) nameLater();
  }

  /** It has published all that it stored, unless the database kept it waiting. */
  function hearClose(sender: string): void {
    const peer = index.find(sender);
    if (peer !== undefined) index.remove(peer);
    settling = SETTLING;
  }

  function hearOfRoom(roomId: number, sender: string, news: News): void {
    if (!index.has(roomId)) return;
    const entries = news.entries?.filter((entry) => entry.room_id === roomId);
    if (entries !== undefined) handlers.entries(roomId, entries);
    const peer = index.find(sender);
    if (news.gone && peer !== undefined) index.setLooks(peer, roomId, false);
    if (news.deleted) handlers.deleted(roomId);
  }

  function hearRooms(sender: string, here: NonNullable<News['here']>, news: News): void {
    const peer = index.find(sender) ?? meet(sender);
    peer.askedSince = 0;
    if (news.begins) {
      index.clear(peer);
      peer.isNaming = true;
    }
    for (const [roomId, number] of here) {
      const own = index.has(roomId) ? handlers.numberOf(roomId) : undefined;
      if (own === undefined) continue;
      const isNew = !index.looks(peer, roomId);
      index.setLooks(peer, roomId, true);
      // A node that was not known to look may have missed what was stored here and not published.
      if (news.asks || (isNew && number < own)) answer(sender, roomId, own);
      handlers.number(roomId, number);
    }
    if (news.ends && peer.isNaming) index.setKnown(peer, true);
  }

  function meet(sender: string): Peer {
    const peer = index.add(sender);
    settling = SETTLING;
    ask(peer);
    return peer;
  }

  function ask(peer: Peer): void {
    peer.askedSince = 0;
    peer.isNaming = false;
    // A node that looks at nothing has no use for it: when it begins to look, it is answered.
    index.setKnown(peer, !index.hasRooms);
    if (index.hasRooms) publish(channelOfNode(peer.name), { asks: true });
  }

  function answer(asker: string, roomId: number, number: number): void {
    if (answers.size === 0) setImmediate(sendAnswers);
    const others = answers.get(asker);
    if (others === undefined) answers.set(asker, [[roomId, number]]);
    else others.push([roomId, number]);
  }

  function sendAnswers(): void {
    for (const [asker, here] of answers) publish(channelOfNode(asker), { here });
    answers.clear();
  }

  function nameLater(): void {
    namingTimer = setTimeout(nameRooms, Math.random() * SPREAD_MS);
  }

  /** Names all rooms to those that have asked by now, so many at a time. */
  function nameRooms(): void {
    const begins = hearing === undefined;
    hearing ??= { names: [...asking], left: [...index.rooms] };
    if (begins) asking.clear();
    const here = hearing.left
      .splice(-ROOMS_AT_ONCE)
      .filter((roomId) => index.has(roomId))
      .map((roomId): [number, number] => [roomId, handlers.numberOf(roomId) ?? 0]);
    const ends = hearing.left.length === 0;
    const message = encodeNews(name, { here, ...(begins && { begins }), ...(ends && { ends }) });
    for (const asker of hearing.names) broker.publish(channelOfNode(asker), message);
    namingTimer = undefined;
    if (!ends) {
      namingTimer = setTimeout(nameRooms, ROOMS_PAUSE_MS);
      return;
    }
    hearing = undefined;
    if (asking.size > 0) nameLater();
  }

  function stopNaming(): void {
    clearTimeout(namingTimer);
    namingTimer = undefined;
    hearing = undefined;
    asking.clear();
  }

  return {
    get isUp() {
      return isUp;
    },

    get hearsAll() {
      return isUp && settling === 0 && [...index.peers].every((peer) => peer.missed < MISSED_MAX);
    },

    async join(roomId) {
      index.addRoom(roomId);
      await broker.subscribe(channelOf(roomId));
      // It may have been left meanwhile.
      if (!index.has(roomId)) return;
      unheard.set(roomId, 0);
      const here: News['here'] = [[roomId, handlers.numberOf(roomId) ?? 0]];
      publish(channelOf(roomId), { here, asks: true });
    },

    async leave(roomId) {
      index.removeRoom(roomId);
      unheard.delete(roomId);
      publish(channelOf(roomId), { gone: true });
      await broker.unsubscribe(channelOf(roomId));
    },

    publish(roomId, entries) {
      // A room that this node does not look at any more may be looked at anywhere.
      const isAlone = index.count(roomId) === 0 && index.isComplete && isUp && settling === 0;
      if (!isAlone) publish(channelOf(roomId), { entries: [...entries] });
    },

    publishToAll(roomId, news) {
      publish(channelOf(roomId), 'entries' in news ? { entries: [...news.entries] } : news);
    },

    moveTo(next) {
      publish(channelOfNodes(), { moves: true });
      const before = [...ownChannels(), ...[...index.rooms].map(channelOf)];
      installation = next;
      const after = [...ownChannels(), ...[...index.rooms].map(channelOf)];
      for (const channel of after) void broker.subscribe(channel);
      for (const channel of before) void broker.unsubscribe(channel);
      rename();
    },

    async close() {
      clearInterval(heartbeats);
      stopNaming();
      publish(channelOfNodes(), { closes: true });
      await broker.close();
    },
  };
}
