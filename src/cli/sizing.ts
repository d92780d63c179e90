import { COEFFICIENTS } from './coefficients.js';

/** What an installation is to carry. */
export interface Load {
  readonly users: number;
  /** The part of them that is online at the busiest time, from 0 to 1. */
  readonly online: number;
  readonly roomsPerUser: number;
  readonly membersPerRoom: number;
  readonly messagesPerUserDay: number;
  /** Reactions, edits and deletions for each message. */
  readonly changesPerMessage: number;
  readonly messageBytes: number;
  /** The busiest minute has so many times the messages of an average one. */
  readonly peak: number;
  /** How often a client that is online connects anew. */
  readonly connectsPerHour: number;
  readonly days: number;
  /** The part of a core that a node is to use at the busiest time, from 0 to 1. */
  readonly cpu: number;
  readonly socketsPerNode: number;
}

/** What it needs. Rates are those of the busiest minute. */
export interface Size {
  /** One of them may be lost: the others carry the load within its bounds. */
  readonly nodes: number;
  readonly cores: number;
  /** While one is lost. */
  readonly memoryBytesPerNode: number;
  readonly sockets: number;
  readonly messagesPerSecond: number;
  readonly deliveriesPerSecond: number;
  readonly postgresConnections: number;
  readonly postgresCores: number;
  readonly diskBytes: number;
  readonly messageDiskBytes: number;
  readonly walBytesPerDay: number;
  readonly redisPublishedPerSecond: number;
  readonly redisDeliveredPerSecond: number;
  readonly redisBytesPerSecond: number;
  readonly outBytesPerSecond: number;
  readonly inBytesPerSecond: number;
  /** Until the sockets of a node that was killed are back on the others, if these do nothing else. */
  readonly secondsToComeBack: number;
}

const SECONDS_A_DAY = 86_400;
const SECONDS_AN_HOUR = 3_600;
const MICROS_A_SECOND = 1_000_000;
/** Of texts with short and long words, the space included. */
const BYTES_A_WORD = 6;
/** The default of `checkpoint_timeout`: after each checkpoint, the first change of a page writes the whole page to the WAL. */
const CHECKPOINT_S = 300;
/** That of Postgres. */
const PAGE_BYTES = 8_192;
/** An assumption: the different words, of all languages, that people write within CHECKPOINT_S. */
const VOCABULARY = 50_000;
/** `HEARTBEAT_INTERVAL_MS` of feeds/peers.ts. */
const HEARTBEATS_A_SECOND = 2.5;
/** Headers of IPv4 and TCP with timestamps, of a packet for each frame, and of a TLS record. */
const PACKET_BYTES = 52 + 22;
/** Nodes that may be lost, or restarted, at a time. */
const SPARE_NODES = 1;

const value = (name: keyof typeof COEFFICIENTS): number => COEFFICIENTS[name].value;

/** What a load needs, by COEFFICIENTS. */
export function sizeOf(load: Load): Size {
  const rooms = (load.users * load.roomsPerUser) / load.membersPerRoom;
  const sockets = Math.ceil(load.users * load.online);
  const messagesPerDay = load.users * load.messagesPerUserDay;
  const messagesPerSecond = (messagesPerDay / SECONDS_A_DAY) * load.peak;
  const entriesPerSecond = messagesPerSecond * (1 + load.changesPerMessage);
  // The sender is online, and gets it as well.
  const othersOnline = (load.membersPerRoom - 1) * load.online;
  const deliveriesPerSecond = entriesPerSecond * (1 + othersOnline);
  const connectsPerSecond = (sockets * load.connectsPerHour) / SECONDS_AN_HOUR;
  const connectMicros =
    value('connectMicros') + value('joinMicros') * Math.max(0, load.roomsPerUser - 1);
  const coresBusy =
    (entriesPerSecond * value('messageMicros') +
      deliveriesPerSecond * value('deliveryMicros') +
      connectsPerSecond * connectMicros) /
    MICROS_A_SECOND;
  const needed = Math.max(
    1,
    Math.ceil(coresBusy / load.cpu),
    Math.ceil(sockets / load.socketsPerNode),
  );
  const nodes = needed + SPARE_NODES;

  // A room is published if another node has it open.
  const elsewhere = Math.min(nodes - 1, othersOnline * (1 - 1 / nodes));
  const published = entriesPerSecond * Math.min(1, elsewhere);
  const announced = connectsPerSecond * load.roomsPerUser;
  const heartbeats = nodes * HEARTBEATS_A_SECOND;

  return {
    nodes,
    cores: coresBusy,
    memoryBytesPerNode: memoryOf(load, { rooms, socketsPerNode: Math.ceil(sockets / needed) }),
    sockets,
    messagesPerSecond,
    deliveriesPerSecond,
    postgresConnections: nodes * value('connections'),
    postgresCores: (entriesPerSecond * value('postgresMicros')) / MICROS_A_SECOND,
    diskBytes: load.days * messagesPerDay * bytesOf(load) + standingBytes(load, rooms),
    messageDiskBytes: bytesOf(load),
    walBytesPerDay: walOf(load, { rooms, messagesPerDay }),
    redisPublishedPerSecond: published + announced + heartbeats,
    redisDeliveredPerSecond: entriesPerSecond * elsewhere + announced + heartbeats * nodes,
    redisBytesPerSecond: published * (value('publishedBytes') + load.messageBytes),
    outBytesPerSecond:
      deliveriesPerSecond * (value('frameBytes') + load.messageBytes + PACKET_BYTES),
    inBytesPerSecond: entriesPerSecond * (value('frameBytes') + load.messageBytes + PACKET_BYTES),
    secondsToComeBack: ((sockets / nodes) * connectMicros) / MICROS_A_SECOND / needed,
  };
}

/** A message on disk, with its share of changes. */
function bytesOf({ messageBytes, changesPerMessage }: Load): number {
  const words = (messageBytes / BYTES_A_WORD) * value('wordBytes');
  return value('messageBytes') + messageBytes + words + changesPerMessage * value('changeBytes');
}

/** What does not grow with messages. */
function standingBytes({ users, roomsPerUser }: Load, rooms: number): number {
  return (
    rooms * value('roomBytes') +
    users * roomsPerUser * value('memberBytes') +
    users * value('userBytes')
  );
}

function memoryOf(
  { roomsPerUser }: Load,
  { rooms, socketsPerNode }: { rooms: number; socketsPerNode: number },
): number {
  const joined = socketsPerNode * roomsPerUser;
  return (
    value('nodeBytes') +
    socketsPerNode * value('socketBytes') +
    Math.max(0, joined - socketsPerNode) * value('joinedRoomBytes') +
    // At most all of them: members of one room may be on one node.
    Math.min(rooms, joined) * value('openRoomBytes')
  );
}

/** Rooms and words that have an entry between two checkpoints are cold once each. */
function walOf(
  { messageBytes, changesPerMessage }: Load,
  { rooms, messagesPerDay }: { rooms: number; messagesPerDay: number },
): number {
  const checkpoints = SECONDS_A_DAY / CHECKPOINT_S;
  const words = messagesPerDay * (messageBytes / BYTES_A_WORD);
  const entries = messagesPerDay * (1 + changesPerMessage);
  const coldRooms = checkpoints * distinct(rooms, entries / checkpoints);
  const coldWords = checkpoints * distinct(VOCABULARY, words / checkpoints);
  return (
    entries * value('walBytes') +
    messagesPerDay * messageBytes +
    words * value('wordWalBytes') +
    coldRooms * (value('coldWalBytes') - value('walBytes')) +
    coldWords * PAGE_BYTES
  );
}

/** How many of `all` are met if one of them is met so many times, by chance. */
function distinct(all: number, times: number): number {
  return all * (1 - Math.exp(-times / all));
}
