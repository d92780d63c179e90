import { z } from 'zod';
import { command } from './command.js';
import { sizeOf, type Load, type Size } from './sizing.js';

function number(least: number, most: number) {
  return z
    .string('must be given')
    .regex(/^\d+(\.\d+)?$/, 'must be a number')
    .transform(Number)
    .refine((given) => given >= least && given <= most, `must be from ${least} to ${most}`);
}

/** All people, and some. */
const MOST_USERS = 10_000_000_000;

/** A part, from 0 to 1. */
const share = number(0, 1);

export default command({
  help: `usage: nano-messaging size --users NUMBER [OPTIONS]

Prints what an installation needs: nodes, memory, Postgres, disk, Redis and bandwidth, by what was measured
(docs/OPERATIONS.md, Sizing). Rates are those of the busiest minute.

  --users                  people who use it
  --online                 the part of them that is online at the busiest time (default: 0.05)
  --rooms-per-user         rooms that each of them is in (default: 8)
  --members-per-room       people in each room (default: 8)
  --messages-per-user-day  messages that each sends a day (default: 40)
  --changes-per-message    reactions, edits and deletions for each message (default: 0.2)
  --message-bytes          the length of a message (default: 70)
  --peak                   the busiest minute has so many times the messages of an average one (default: 4)
  --connects-per-hour      how often a client that is online connects anew (default: 4)
  --days                   for which messages are kept (default: 365)
  --cpu                    the part of a core that a node uses at the busiest time (default: 0.5)
  --sockets-per-node       at most (default: 10000); both also while one node is lost
  --json                   prints the numbers alone, in bytes and seconds

Examples:
  nano-messaging size --users 20000
  nano-messaging size --users 1000000 --online 0.05 --rooms-per-user 8 --messages-per-user-day 40 --json
`,
  options: {
    users: { type: 'string' },
    online: { type: 'string' },
    'rooms-per-user': { type: 'string' },
    'members-per-room': { type: 'string' },
    'messages-per-user-day': { type: 'string' },
    'changes-per-message': { type: 'string' },
    'message-bytes': { type: 'string' },
    peak: { type: 'string' },
    'connects-per-hour': { type: 'string' },
    days: { type: 'string' },
    cpu: { type: 'string' },
    'sockets-per-node': { type: 'string' },
    json: { type: 'boolean' },
  },
  // Those that are left out are assumptions about a chat at work, not measurements.
  input: z.object({
    users: number(1, MOST_USERS),
    online: share.default(0.05),
    'rooms-per-user': number(1, 10_000).default(8),
    'members-per-room': number(1, 10_000).default(8),
    'messages-per-user-day': number(0, 100_000).default(40),
    'changes-per-message': number(0, 100).default(0.2),
    'message-bytes': number(1, 32_000).default(70),
    peak: number(1, 1_440).default(4),
    'connects-per-hour': number(0, 3_600).default(4),
    days: number(0, 36_500).default(365),
    cpu: number(0.01, 1).default(0.5),
    // As many as may come back at once by default (SOCKETS_BEFORE_READY).
    'sockets-per-node': number(1, 1_000_000).default(10_000),
    json: z.boolean().default(false),
  }),
  run({ json, ...given }) {
    const load: Load = {
      users: given.users,
      online: given.online,
      roomsPerUser: given['rooms-per-user'],
      membersPerRoom: given['members-per-room'],
      messagesPerUserDay: given['messages-per-user-day'],
      changesPerMessage: given['changes-per-message'],
      messageBytes: given['message-bytes'],
      peak: given.peak,
      connectsPerHour: given['connects-per-hour'],
      days: given.days,
      cpu: given.cpu,
      socketsPerNode: given['sockets-per-node'],
    };
    const size = sizeOf(load);
    process.stdout.write(json ? `${JSON.stringify({ load, size })}\n` : tableOf(load, size));
    return Promise.resolve();
  },
});

function tableOf({ days, cpu }: Load, size: Size): string {
  const rows = [
    [
      'nodes',
      `${count(size.nodes)}, each a process with at most ${cpu} of a core in use, also while one is lost`,
    ],
    ['cores that they use', size.cores.toFixed(2)],
    ['memory a node', `${bytes(size.memoryBytesPerNode)}, while one is lost`],
    ['sockets', count(size.sockets)],
    ['until those of a lost node are back', `${size.secondsToComeBack.toFixed(1)} s`],
    ['messages', `${rate(size.messagesPerSecond)}, ${rate(size.deliveriesPerSecond)} to sockets`],
    ['Postgres connections', count(size.postgresConnections)],
    ['Postgres cores in use', size.postgresCores.toFixed(2)],
    [
      `disk after ${count(days)} days`,
      `${bytes(size.diskBytes)}, ${count(size.messageDiskBytes)} B a message`,
    ],
    ['WAL a day', `${bytes(size.walBytesPerDay)}, at most`],
    [
      'Redis',
      `${rate(size.redisPublishedPerSecond)} published, ${rate(size.redisDeliveredPerSecond)} delivered, ${bytes(size.redisBytesPerSecond)}/s`,
    ],
    ['bandwidth to clients', `${bytes(size.outBytesPerSecond)}/s`],
    ['bandwidth from clients', `${bytes(size.inBytesPerSecond)}/s`],
  ] as const;
  const width = Math.max(...rows.map(([name]) => name.length));
  const lines = rows.map(([name, text]) => `${name.padEnd(width)}  ${text}`);
  return `${[...lines, ...warningsOf(size)].join('\n')}\n`;
}

/** The default of `max_connections`, without those that are kept for a superuser. */
const POSTGRES_CONNECTIONS = 97;

function warningsOf({ postgresConnections, postgresCores }: Size): string[] {
  return [
    ...(postgresConnections > POSTGRES_CONNECTIONS
      ? [
          '',
          `More connections than the ${POSTGRES_CONNECTIONS} of a Postgres by default: raise max_connections, lower DB_POOL_SIZE and`,
          'LOG_BATCHES_IN_FLIGHT (9 a node at least), or put PgBouncer in front (DATABASE_POOLED).',
        ]
      : []),
    ...(postgresCores > 1
      ? ['', 'All messages go to one Postgres: measure it with this load before you rely on it.']
      : []),
  ];
}

function count(number: number): string {
  return Math.round(number).toLocaleString('en');
}

function rate(perSecond: number): string {
  return `${perSecond < 10 ? perSecond.toFixed(1) : count(perSecond)}/s`;
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

function bytes(number: number): string {
  let unit = 0;
  let left = number;
  while (left >= 1_024 && unit < UNITS.length - 1) {
    left /= 1_024;
    unit += 1;
  }
  return `${left < 10 ? left.toFixed(1) : count(left)} ${UNITS[unit]}`;
}
