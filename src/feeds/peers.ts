import { randomBytes } from 'node:crypto';
import type { Broker, CreateBroker } from '../broker/broker.js';
import type { Logger } from '../logger.js';
import type { Observer } from '../observer.js';
import type { Entry } from '../store/entry.js';
import { PeerChannels } from './peer-channels.js';
import {
  encodePeerMessage,
  parsePeerMessage,
  senderOf,
  type PeerHints,
  type PeerMessage,
} from './peer-messages.js';
import { nodeOf, PeerRegistry, type Peer } from './peer-registry.js';
import { createUserEvents, type UserEventHandlers, type UserEvents } from './user-events.js';
import { createPresenceExchange } from './presence-exchange.js';
import { createRoomAnnouncer, type RoomMark } from './room-announcer.js';
import type { RoomHints } from './room-hints.js';

/**
 * How often a node publishes its heartbeat. Entries that a killed node has stored but not published are found within
 * 2 s: after MISSED_MAX intervals and a head poll.
 */
const HEARTBEAT_INTERVAL_MS = 400;
/** A peer is silent after this number of own heartbeats without one of the peer: one may be late, and one lost. */
const MISSED_MAX = 3;
/** A peer that is silent for a minute is forgotten. A trade-off: until then heads are compared often. */
const FORGET_AFTER = 60_000 / HEARTBEAT_INTERVAL_MS;
/**
 * After a change a node waits this number of heartbeats, 2 s, before it relies on its knowledge of the peers: longer
 * than a peer takes to notice that messages to it are lost (MISSED_MAX).
 */
const SETTLING = 5;
/**
 * A peer that does not announce its rooms is asked again after this number of heartbeats, 6 s: its announcements and
 * the delay before them fit in.
 */
const REQUEST_AGAIN_AFTER = 15;
/** How often a broker that stays down is logged. */
const WARNING_INTERVAL_MS = 60_000;

/** What a node does with the messages of its peers. */
export interface PeerHandlers extends UserEventHandlers {
  entries(roomId: number, entries: readonly Entry[]): void;
  deleted(roomId: number): void;
  /** A peer has announced the head of a room. */
  head(roomId: number, head: number): void;
  /** The position of this node's feed of a room; undefined if the room is not open here. */
  readonly positionOf: (roomId: number) => number | undefined;
  /** A peer has found that the log went back. */
  epochChanged(): void;
  /** Users of a peer type in a room, by the rules that the peer knows. */
  typing(roomId: number, userUUIDs: readonly string[], rulesHead: number): void;
  /** The hints of a room, if it is open on this node. */
  hintsOf(roomId: number): RoomHints | undefined;
  /** Those of all rooms that are open on this node. */
  allHints(): Iterable<RoomHints>;
}

/**
 * The other nodes of the installation, and their open rooms. An entry is published only if another node has the room
 * open, or may have.
 *
 * A node announces a room on the room's channel when it opens and when it closes it; nodes with the room open reply.
 * It announces all its rooms only to a node that requests them: one that has not heard of it before, or not lately, or
 * not by its present name. It changes its name whenever messages to it may have been lost.
 */
export interface Peers {
  /** Whether this node receives its own heartbeats. */
  readonly isUp: boolean;
  /** Whether this node receives the entries of all peers: false for a while after any may have been lost. */
  readonly receivesAll: boolean;
  /** The number of peers that are heard. */
  readonly count: number;
  /** Opens a room: resolves when this node receives its entries. */
  join(roomId: number): Promise<void>;
  leave(roomId: number): Promise<void>;
  /** Publishes entries, unless no peer has the room open. */
  publish(roomId: number, entries: readonly Entry[]): void;
  /** Publishes hints, unless no peer has the room open. */
  publishHints(roomId: number, hints: PeerHints & { readonly rulesHead: number }): void;
  /** Publishes a message that must not be late, even if no peer is known to have the room open. */
  publishToAll(
    roomId: number,
    message: { entries: readonly Entry[] } | { head: number } | { deleted: true },
  ): void;
  /** Tells all peers what users are told whatever rooms they have joined. */
  readonly userEvents: Pick<UserEvents, 'tellInvitations' | 'tellMarker' | 'tellRevocation'>;
  /** The users who are online on peers in a room that is not open here. */
  online(roomId: number): Promise<ReadonlySet<string>>;
  /** Moves to the channels of a new installation: the log has another epoch. */
  moveTo(installation: string): void;
  /** Announces the end of this node, and closes the broker. */
  close(): Promise<void>;
}

export function createPeers({
  createBroker,
  installation,
  handlers,
  logger,
  observer,
}: {
  createBroker: CreateBroker;
  /** Separates installations that share one Redis and its prefix. */
  installation: string;
  handlers: PeerHandlers;
  logger: Logger;
  observer?: Observer | undefined;
}): Peers {
  const node = randomBytes(6).toString('base64url');
  let incarnation = 0;
  let name = '';
  let channels = new PeerChannels(installation);
  const registry = new PeerRegistry();
  const announcer = createRoomAnnouncer({ registry, markOf, send: publishToPeers });
  const userEvents = createUserEvents(handlers, (message) => {
    publish(channels.nodes, message);
  });
  const presence = createPresenceExchange({
    hintsOf: (roomId) => handlers.hintsOf(roomId),
    allHints: () => handlers.allHints(),
    send: (peer, message) => {
      publishToPeers([peer], message);
    },
  });
  /**
   * Rooms whose announcement has not come back yet, with heartbeats since. Once it is back, all peers have received
   * it.
   */
  const unconfirmed = new Map<number, number>();
  let isUp = false;
  /** Own heartbeats that were sent since one was received. */
  let missed = 0;
  /** When the first of these was sent, by `performance.now()`; undefined if nobody measures. */
  let sentAt: number | undefined;
  let settling = SETTLING;
  let downSince = performance.now();
  let warnedAt = -Infinity;
  let isWarned = false;
  let hasWarnedOfForeign = false;

  const broker: Broker = createBroker(receive);
  changeName();
  broker.onLoss(changeName);
  broker.onReconnect(sendHeartbeat);
  for (const channel of openChannels()) void broker.subscribe(channel);
  sendHeartbeat();
  const heartbeats = setInterval(() => {
    countMissed();
    presence.beat(isUp);
    warnIfDown();
    sendHeartbeat();
  }, HEARTBEAT_INTERVAL_MS);

  function markOf(roomId: number): RoomMark {
    const version = handlers.hintsOf(roomId)?.presence.version ?? 0;
    return [roomId, handlers.positionOf(roomId) ?? 0, version];
  }

  /** Whether no peer has a room open. If it is closed here, this node does not know which peers have it open. */
  function isAloneIn(roomId: number): boolean {
    return registry.count(roomId) === 0 && registry.isComplete && isUp && settling === 0;
  }

  function heardPeers(): Peer[] {
    return [...registry.peers].filter(({ missed }) => missed < MISSED_MAX);
  }

  /** The channels that this node receives. */
  function openChannels(): string[] {
    const ofRooms = Array.from(registry.rooms, (roomId) => channels.ofRoom(roomId));
    return [channels.nodes, channels.ofNode(name), ...ofRooms];
  }

  function publish(channel: string, message: PeerMessage): void {
    broker.publish(channel, encodePeerMessage(name, message));
  }

  function publishToPeers(names: readonly string[], message: PeerMessage): void {
    const text = encodePeerMessage(name, message);
    for (const peer of names) broker.publish(channels.ofNode(peer), text);
  }

  function sendHeartbeat(): void {
    if (observer !== undefined) sentAt ??= performance.now();
    publish(channels.nodes, {});
  }

  /**
   * Messages may have been lost. The node is down until it receives a heartbeat with its new name; peers that receive
   * it request its rooms.
   */
  function changeName(): void {
    incarnation += 1;
    name = `${node}.${incarnation}`;
    missed = 0;
    sentAt = undefined;
    announcer.stop();
    if (!isUp) return;
    isUp = false;
    downSince = performance.now();
  }

  function goUp(): void {
    isUp = true;
    settling = SETTLING;
    unconfirmed.clear();
    // Their messages meanwhile were lost: each is asked for its rooms when it is next heard.
    for (const peer of registry.peers) registry.remove(peer);
    if (!isWarned) return;
    isWarned = false;
    logger.info({ downMs: Math.round(performance.now() - downSince) }, 'broker is up again');
  }

  function countMissed(): void {
    missed += 1;
    settling = Math.max(settling - 1, 0);
    for (const [roomId, since] of unconfirmed) unconfirmed.set(roomId, since + 1);
    // Rooms are announced in order: the first is the oldest.
    const [oldest = 0] = unconfirmed.values();
    if (isUp && Math.max(missed, oldest) >= MISSED_MAX) changeName();
    for (const peer of registry.peers) {
      peer.missed += 1;
      peer.requestedSince += 1;
      if (peer.missed >= FORGET_AFTER) registry.remove(peer);
      else if (!registry.knowsAllOf(peer) && peer.requestedSince >= REQUEST_AGAIN_AFTER)
        requestRooms(peer);
    }
  }

  function warnIfDown(): void {
    const now = performance.now();
    // A node that has just begun to connect is not down yet, and the broker may be about to say why it does not answer.
    const missed = broker.problem === undefined ? 2 * MISSED_MAX : MISSED_MAX;
    const isShort = now - downSince < missed * HEARTBEAT_INTERVAL_MS;
    if (isUp || isShort || now - warnedAt < WARNING_INTERVAL_MS) return;
    warnedAt = now;
    isWarned = true;
    const problem = broker.problem ?? new Error('the heartbeats of this node do not come back');
    logger.warn({ err: problem }, 'broker is down, polling the database');
  }

  function receive(channel: string, raw: string): void {
    // A late message, from before a move.
    if (!channels.has(channel)) return;
    const sender = senderOf(raw);
    const roomId = channels.roomOf(channel);
    if (sender !== undefined && nodeOf(sender) === node) {
      receiveOwn(sender, roomId, raw);
      return;
    }
    const message = parsePeerMessage(raw);
    if (message === undefined || sender === undefined) {
      if (!hasWarnedOfForeign) logger.warn({ channel }, 'unknown message from the broker');
      hasWarnedOfForeign = true;
      return;
    }
    presence.heard(sender);
    if (roomId !== undefined) receiveForRoom(roomId, sender, message);
    else if (message.asks !== undefined) presence.asked(sender, message.asks);
    else if (message.online !== undefined) presence.listed(sender, message.online);
    else if ((message.markers ?? message.invitations ?? message.revoked) !== undefined)
      userEvents.receive(message);
    else if (message.closes) receiveClose(sender);
    else if (message.epochChanges) handlers.epochChanged();
    else if (message.rooms === undefined) receiveHeartbeat(sender, message);
    if (message.rooms !== undefined) receiveRooms(sender, message.rooms, message);
  }

  function receiveOwn(sender: string, roomId: number | undefined, raw: string): void {
    if (sender !== name) return;
    if (roomId === undefined) {
      missed = 0;
      if (sentAt !== undefined) observer?.heartbeatReturned(performance.now() - sentAt);
      sentAt = undefined;
      if (!isUp && broker.isUp) goUp();
    } else if (unconfirmed.has(roomId) && parsePeerMessage(raw)?.rooms !== undefined) {
      unconfirmed.delete(roomId);
    }
  }

  /** A heartbeat, or a request for all rooms. */
  function receiveHeartbeat(sender: string, message: PeerMessage): void {
    const peer = registry.find(sender) ?? addPeer(sender);
    if (peer.missed >= MISSED_MAX) {
      // Its announcements meanwhile were not heard.
      settling = SETTLING;
      requestRooms(peer);
    }
    peer.missed = 0;
    if (message.requests) announcer.announceAll(sender);
  }

  /** The peer has published all that it stored, unless the database kept it waiting. */
  function receiveClose(sender: string): void {
    const peer = registry.find(sender);
    if (peer !== undefined) registry.remove(peer);
    presence.ended(sender);
    settling = SETTLING;
  }

  function receiveForRoom(roomId: number, sender: string, message: PeerMessage): void {
    if (!registry.has(roomId)) return;
    const entries = message.entries?.filter((entry) => entry.roomId === roomId);
    if (entries !== undefined) handlers.entries(roomId, entries);
    const peer = registry.find(sender);
    if (message.left) {
      if (peer !== undefined) registry.setOpen(peer, roomId, false);
      presence.left(sender, roomId);
    }
    if (message.hints !== undefined) receiveHints(roomId, sender, message.hints);
    if (message.head !== undefined) handlers.head(roomId, message.head);
    if (message.deleted) handlers.deleted(roomId);
  }

  function receiveHints(
    roomId: number,
    sender: string,
    { presence: diff, typing, rulesHead }: NonNullable<PeerMessage['hints']>,
  ): void {
    if (diff !== undefined) presence.differs(sender, roomId, diff);
    if (typing !== undefined) handlers.typing(roomId, typing, rulesHead);
  }

  function receiveRooms(
    sender: string,
    rooms: NonNullable<PeerMessage['rooms']>,
    message: PeerMessage,
  ): void {
    const peer = registry.find(sender) ?? addPeer(sender);
    peer.requestedSince = 0;
    if (message.begins) {
      registry.clear(peer);
      peer.isAnnouncing = true;
    }
    for (const [roomId, head, version] of rooms) {
      const own = registry.has(roomId) ? handlers.positionOf(roomId) : undefined;
      if (own === undefined) continue;
      const isNew = !registry.hasOpen(peer, roomId);
      registry.setOpen(peer, roomId, true);
      // A peer that was not known to have the room open may have missed entries that were not published.
      if (message.requests || (isNew && head < own)) announcer.announce(sender, roomId);
      handlers.head(roomId, head);
      presence.announced(sender, roomId, version);
    }
    if (!message.ends || !peer.isAnnouncing) return;
    registry.setComplete(peer, true);
    for (const roomId of registry.rooms) {
      if (!registry.hasOpen(peer, roomId)) presence.left(sender, roomId);
    }
  }

  function addPeer(sender: string): Peer {
    const peer = registry.add(sender);
    settling = SETTLING;
    requestRooms(peer);
    return peer;
  }

  function requestRooms(peer: Peer): void {
    peer.requestedSince = 0;
    peer.isAnnouncing = false;
    // A node without open rooms needs no list: when it opens a room, it gets replies.
    registry.setComplete(peer, !registry.hasRooms);
    if (registry.hasRooms) publish(channels.ofNode(peer.name), { requests: true });
  }

  return {
    get isUp() {
      return isUp;
    },

    get receivesAll() {
      return (
        isUp && settling === 0 && [...registry.peers].every((peer) => peer.missed < MISSED_MAX)
      );
    },

    get count() {
      return heardPeers().length;
    },

    async join(roomId) {
      registry.addRoom(roomId);
      await broker.subscribe(channels.ofRoom(roomId));
      // The room may have been closed meanwhile.
      if (!registry.has(roomId)) return;
      unconfirmed.set(roomId, 0);
      publish(channels.ofRoom(roomId), { rooms: [markOf(roomId)], requests: true });
    },

    async leave(roomId) {
      registry.removeRoom(roomId);
      unconfirmed.delete(roomId);
      publish(channels.ofRoom(roomId), { left: true });
      await broker.unsubscribe(channels.ofRoom(roomId));
    },

    publish(roomId, entries) {
      if (!isAloneIn(roomId)) publish(channels.ofRoom(roomId), { entries: [...entries] });
    },

    publishHints(roomId, hints) {
      if (!isAloneIn(roomId)) publish(channels.ofRoom(roomId), { hints });
    },

    publishToAll(roomId, message) {
      publish(
        channels.ofRoom(roomId),
        'entries' in message ? { entries: [...message.entries] } : message,
      );
    },

    userEvents,

    online(roomId) {
      return presence.find(roomId, isUp ? heardPeers().map((peer) => peer.name) : []);
    },

    moveTo(next) {
      publish(channels.nodes, { epochChanges: true });
      const before = openChannels();
      channels = new PeerChannels(next);
      const after = openChannels();
      for (const channel of after) void broker.subscribe(channel);
      for (const channel of before) void broker.unsubscribe(channel);
      changeName();
    },

    async close() {
      clearInterval(heartbeats);
      announcer.stop();
      publish(channels.nodes, { closes: true });
      await broker.close();
    },
  };
}
