/** A number that was measured, with what it is about. */
export interface Coefficient {
  readonly value: number;
  readonly unit: string;
  readonly of: string;
  /** What measures it again. */
  readonly source: string;
}

/** This test compares storage, connections, frames and memory with a real Postgres and a real node. */
const MEASURED = '`test/cli/coefficients.test.ts`';

/**
 * What this server needs of a machine. test/cli/coefficients.test.ts measures again what is exact or nearly so, and
 * compares CPU with bench/results.json; docs/OPERATIONS.md has the same table.
 */
export const COEFFICIENTS = {
  messageBytes: {
    value: 394,
    unit: 'B',
    of: 'a message on disk with its indexes and a `ref`, beside its text',
    source: MEASURED,
  },
  wordBytes: {
    value: 22,
    unit: 'B',
    of: 'a word of a message on disk, for the search',
    source: MEASURED,
  },
  changeBytes: {
    value: 475,
    unit: 'B',
    of: 'a reaction on disk',
    source: MEASURED,
  },
  roomBytes: { value: 740, unit: 'B', of: 'a room on disk', source: MEASURED },
  memberBytes: {
    value: 490,
    unit: 'B',
    of: 'a member of a room on disk: the rule, its entry in the log, a read marker',
    source: MEASURED,
  },
  userBytes: { value: 188, unit: 'B', of: 'a name and a picture on disk', source: MEASURED },
  walBytes: {
    value: 606,
    unit: 'B',
    of: 'WAL of a message, beside its text',
    source: MEASURED,
  },
  wordWalBytes: { value: 500, unit: 'B', of: 'WAL of a word of a message', source: MEASURED },
  coldWalBytes: {
    value: 22_500,
    unit: 'B',
    of: 'WAL of the first message of a room after a checkpoint, with whole pages',
    source: MEASURED,
  },
  connections: {
    value: 22,
    unit: 'a node',
    of: 'connections to Postgres of a node that is busy in every way, by default',
    source: MEASURED,
  },
  frameBytes: {
    value: 207,
    unit: 'B',
    of: 'a frame of version 2 with a message, beside its text',
    source: MEASURED,
  },
  publishedBytes: {
    value: 218,
    unit: 'B',
    of: 'a message between nodes through Redis, beside its text',
    source: MEASURED,
  },
  nodeBytes: {
    value: 133_000_000,
    unit: 'B',
    of: 'memory of a node without sockets, warm',
    source: MEASURED,
  },
  socketBytes: {
    value: 6_605,
    unit: 'B',
    of: 'memory of a socket in one room, idle',
    source: 'bench `connecting`, kibEach',
  },
  joinedRoomBytes: {
    value: 1_190,
    unit: 'B',
    of: 'memory of a further room of a socket in 8 of them; with 128 it is half of that (bench `many-rooms`)',
    source: MEASURED,
  },
  openRoomBytes: {
    value: 6_280,
    unit: 'B',
    of: 'memory of a room that is open on a node, with 8 members',
    source: MEASURED,
  },
  messageMicros: {
    value: 123,
    unit: 'µs',
    of: 'CPU of a node a message: read, stored, answered',
    source: 'bench `chat` and `cost`, cpuMicros: both are a message and its deliveries',
  },
  deliveryMicros: {
    value: 6.6,
    unit: 'µs',
    of: 'CPU of a node a delivery to a socket, at low rates',
    source: 'bench `chat` and `cost`, cpuMicros',
  },
  connectMicros: {
    value: 216,
    unit: 'µs',
    of: 'CPU of a node a client that connects, with its token and one room',
    source: 'bench `connecting`, cpuMicros',
  },
  joinMicros: {
    value: 95,
    unit: 'µs',
    of: 'CPU of a node a further room, with 10 missed entries',
    source: 'bench `many-rooms`, seconds of 200 clients with 128 rooms',
  },
  postgresMicros: {
    value: 204,
    unit: 'µs',
    of: 'CPU of Postgres a message that is stored alone, with 12 words',
    source: '1,000 messages, `schedstat` of all its processes, two busy cores, 2026-11-27',
  },
} as const satisfies Readonly<Record<string, Coefficient>>;
