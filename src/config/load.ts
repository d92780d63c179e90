import { isIP } from 'node:net';
import { IANAZone } from 'luxon';
import { z } from 'zod';
import { ConfigError } from './config-error.js';
import { parseOrigins, type Origins } from './origins.js';
import {
  parseDatabaseUrl,
  parseRedisUrl,
  type DatabaseAddress,
  type Parsed,
} from './service-urls.js';

export { ConfigError } from './config-error.js';
export { loadEnvFile } from './env-file.js';
export type { DatabaseAddress } from './service-urls.js';

/** The secret of the proof of concept's example file: everybody knows it. */
const WELL_KNOWN_SECRET = 'NOTASECRETANYMORE';
/** RFC 7518 section 3.2: a key for HS256 has at least 256 bits. */
const MIN_SECRET_CHARACTERS = 32;
const DEFAULT_POSTGRES_PORT = 5432;

const count = (fallback: number, { min = 1, max = 2_147_483_647 } = {}) =>
  z
    .string()
    .regex(/^\d+$/, 'must be a whole number')
    .transform(Number)
    .refine((value) => value >= min && value <= max, `must be from ${min} to ${max}`)
    .default(fallback);

/** What a stream buffers before it asks to be waited for, at most (Node 22): a smaller cap would never be waited for. */
const MIN_OUTBOX_BYTES = 65_536;

/**
 * Bytes of a character as an encoder like Python's `json.dumps` sends it: two escapes, if it is beyond the basic
 * plane. A legal message must not be too large for its frame.
 */
const ESCAPED_CHARACTER_BYTES = 12;
/** Of UTF-8. */
const MAX_CHARACTER_BYTES = 4;
/** What stands around a message's content: keys, and a `ref` of 64 such characters. */
const ENVELOPE_BYTES = 1_024;

const port = (fallback: number) =>
  z
    .string()
    .regex(/^\d{1,5}$/, 'must be a port number')
    .transform(Number)
    .refine((value) => value <= 65_535, 'must be at most 65535')
    .default(fallback);

/** Of words that are the same in upper and lower case. */
const oneOf = <const T extends string>(words: readonly T[], problem: string) =>
  z.string().toLowerCase().pipe(z.enum(words, problem));

const flag = (fallback: boolean) =>
  oneOf(['true', 'false', '1', '0'], 'must be true or false')
    .transform((value) => value === 'true' || value === '1')
    .default(fallback);

/** A URL of a service; the value may hold a password, and is not repeated. */
const url = <T>(parse: (text: string) => Parsed<T>) =>
  z.string().transform((text, context) => {
    const parsed = parse(text);
    if ('value' in parsed) return parsed.value;
    context.addIssue(parsed.problem);
    return z.NEVER;
  });

/** An address of IPv6 may stand in brackets, as in a URL. */
const host = z.string().transform((text) => text.replace(/^\[(.*)\]$/, '$1'));

const isHost = (text: string): boolean => isIP(text) !== 0 || /^[a-z0-9_][\w.-]*$/i.test(text);

/** Each variable of the environment; .env.example lists them with what they mean. */
export const environmentSchema = z.object({
  NODE_ENV: oneOf(
    ['development', 'production', 'test'],
    'must be production, development or test',
  ).default('development'),
  PORT: port(7777),
  HOST: host.refine(isHost, 'must be an address, or a name, of this machine').optional(),
  LOG_LEVEL: oneOf(
    ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'],
    'is not a level of pino',
  ).default('info'),
  CORS_ORIGIN: z
    .string()
    .transform((text, context) => {
      const origins = parseOrigins(text);
      if (origins !== undefined) return origins;
      context.addIssue('must be *, or origins like https://app.example, divided by commas');
      return z.NEVER;
    })
    .default('*'),
  TZ: z
    .string()
    .refine((zone) => IANAZone.isValidZone(zone), 'is not an IANA time zone')
    .default('UTC'),

  JWT_MASTER_SECRET: z.string().optional(),
  AUDIENCE: z.string().optional(),
  ISSUER: z.string().optional(),

  DATABASE_URL: url(parseDatabaseUrl).optional(),
  DB_HOST: host
    .refine(
      (text) => isHost(text) || text.startsWith('/'),
      'must be a name, an address, or the folder of a socket',
    )
    .optional(),
  DB_PORT: port(DEFAULT_POSTGRES_PORT),
  DB_NAME: z.string().optional(),
  DB_USERNAME: z.string().optional(),
  DB_PASSWORD: z.string().optional(),
  DB_POOL_SIZE: count(10, { max: 1000 }),
  DATA_DIR: z
    .string()
    .refine((path) => !/^~|\$[a-z_{]/i.test(path), 'must be a path: ~ and $ are for shells alone')
    .default('./data'),
  MIGRATE_ON_START: flag(true),

  REDIS_URL: url(parseRedisUrl).optional(),
  REDIS_PREFIX: z.string().default('nano-messaging'),

  AUTH_TIMEOUT_MS: count(10_000),
  AUTH_ATTEMPTS: count(3),
  PING_INTERVAL_MS: count(25_000),
  PONG_TIMEOUT_MS: count(10_000),
  CONTENT_CHARACTERS: count(8_000),
  FRAME_BYTES: count(131_072),
  FRAME_BYTES_BEFORE_READY: count(8_192),
  BODY_BYTES: count(131_072),
  INBOX_FRAMES: count(128, { max: 10_000 }),
  OUTBOX_BYTES: count(1_048_576, { min: MIN_OUTBOX_BYTES }),
  OUTBOX_TOTAL_BYTES: count(268_435_456, { min: MIN_OUTBOX_BYTES }),
  SEND_TIMEOUT_MS: count(60_000),
  STORE_TIMEOUT_MS: count(5_000),
  LOG_BATCHES_IN_FLIGHT: count(4, { max: 64 }),
  LOG_QUEUE_ENTRIES: count(20_000),
  LOG_QUEUE_BYTES: count(33_554_432),
  POLL_INTERVAL_MS: count(10_000),
  POLL_INTERVAL_BROKER_DOWN_MS: count(250),
  SHUTDOWN_TIMEOUT_MS: count(8_000),

  NANO_TEST_NO_GAP_REPAIR: flag(false),
});

/** What one socket, one request or one queue may use; docs/PROTOCOL.md explains those of the wire. */
export interface Limits {
  readonly authTimeoutMs: number;
  readonly authAttempts: number;
  readonly pingIntervalMs: number;
  readonly pongTimeoutMs: number;
  readonly contentCharacters: number;
  readonly frameBytes: number;
  readonly frameBytesBeforeReady: number;
  readonly bodyBytes: number;
  /** Frames of one socket that may wait before it is no longer read. */
  readonly inboxFrames: number;
  /** Bytes that may wait for one socket before it only keeps its place in the log. */
  readonly outboxBytes: number;
  /** Bytes that may wait for all sockets together before those that hold the most are closed. */
  readonly outboxTotalBytes: number;
  /** How long a socket may take none of the bytes that wait for it. */
  readonly sendTimeoutMs: number;
  /** How long a command waits for the store, the database may be silent, and a connection of its pools be waited for. */
  readonly storeTimeoutMs: number;
  /** Statements that store messages at the same time, at most: more than two only where some hang. */
  readonly logBatchesInFlight: number;
  readonly logQueueEntries: number;
  readonly logQueueBytes: number;
  readonly pollIntervalMs: number;
  readonly pollIntervalBrokerDownMs: number;
  readonly shutdownTimeoutMs: number;
}

export interface Config {
  readonly production: boolean;
  readonly port: number;
  /** Undefined: every interface. */
  readonly host: string | undefined;
  readonly logLevel: string;
  /** Whose pages may use REST and the socket. */
  readonly corsOrigins: Origins;
  /** IANA name of the zone in which days of the history begin. */
  readonly timeZone: string;
  /** Undefined: the one in `dataDir` (access/secret.ts). */
  readonly jwtSecret: string | undefined;
  readonly audience: string | undefined;
  readonly issuer: string | undefined;
  /** Undefined: embedded in `dataDir`. */
  readonly database: DatabaseAddress | undefined;
  readonly databasePoolSize: number;
  readonly dataDir: string;
  readonly migrateOnStart: boolean;
  /** Undefined: the in-process broker. */
  readonly redisUrl: string | undefined;
  readonly redisPrefix: string;
  readonly limits: Limits;
  /** Only ever false to show that the proof can fail: then a feed skips what it has missed. */
  readonly repairsGaps: boolean;
}

type Environment = z.infer<typeof environmentSchema>;

type Given = Readonly<Record<string, string | undefined>>;

/** What is taken as it is: white space may be meant. */
const SECRETS = new Set(['JWT_MASTER_SECRET', 'DB_PASSWORD']);

/**
 * Reads the environment; an empty variable counts as absent, and white space around one does not count. One that is
 * not ours, or not used, is ignored.
 * @throws {ConfigError} with all problems at once
 */
export function loadConfig(env: Given): Config {
  const given = used(
    Object.fromEntries(
      Object.entries(env)
        .map(([name, value]) => [name, SECRETS.has(name) ? value : value?.trim()] as const)
        .filter(([, value]) => value !== ''),
    ),
  );
  const result = environmentSchema.safeParse(given);
  const problems = result.success
    ? []
    : result.error.issues.map((issue) => `${issue.path.join('.')} ${issue.message}`);
  // The rules between variables are asked even when one of them is wrong: all problems at once.
  problems.push(...problemsBetween(given));
  if (!result.success || problems.length > 0) throw new ConfigError(problems);
  return toConfig(result.data);
}

/** Without the parts of a database's address that nobody asks for: Kubernetes sets DB_PORT for a service named db. */
function used(given: Given): Given {
  const isByParts = given['DATABASE_URL'] === undefined && given['DB_HOST'] !== undefined;
  const isUnused = (name: string): boolean =>
    !isByParts && ['DB_HOST', 'DB_PORT', 'DB_NAME', 'DB_USERNAME', 'DB_PASSWORD'].includes(name);
  return Object.fromEntries(Object.entries(given).filter(([name]) => !isUnused(name)));
}

function problemsBetween(env: Given): string[] {
  const problems: string[] = [];
  const partial = ['DB_NAME', 'DB_USERNAME'].filter((name) => env[name] === undefined);
  if (env['DB_HOST'] !== undefined && partial.length > 0) {
    problems.push(`${partial.join(' and ')} must be given beside DB_HOST`);
  }
  problems.push(...secretsWithLineBreaks(env), ...tooSmallForContent(env));
  if (env['NODE_ENV']?.toLowerCase() !== 'production') return problems;
  const secret = env['JWT_MASTER_SECRET'];
  if (secret === undefined) {
    problems.push('JWT_MASTER_SECRET must be given in production');
  } else if (secret === WELL_KNOWN_SECRET) {
    problems.push('JWT_MASTER_SECRET is the example that everybody knows');
  } else if (secret.length < MIN_SECRET_CHARACTERS) {
    problems.push(
      `JWT_MASTER_SECRET must have at least ${MIN_SECRET_CHARACTERS} characters in production`,
    );
  }
  if (env['DATABASE_URL'] === undefined && env['DB_HOST'] === undefined) {
    problems.push('DATABASE_URL (or DB_HOST, DB_NAME, DB_USERNAME) must be given in production');
  }
  return problems;
}

/** That of a file's last line, which whoever signs tokens does not have. */
function secretsWithLineBreaks(env: Given): string[] {
  return [...SECRETS]
    .filter((name) => /^[\r\n]|[\r\n]$/.test(env[name] ?? ''))
    .map((name) => `${name} begins or ends with a line break`);
}

function tooSmallForContent(env: Given): string[] {
  const limitOf = (name: keyof typeof environmentSchema.shape) =>
    environmentSchema.shape[name].safeParse(env[name]).data;
  const characters = limitOf('CONTENT_CHARACTERS');
  if (typeof characters !== 'number') return [];
  const escaped = characters * ESCAPED_CHARACTER_BYTES + ENVELOPE_BYTES;
  const least = {
    FRAME_BYTES: escaped,
    BODY_BYTES: escaped,
    LOG_QUEUE_BYTES: characters * MAX_CHARACTER_BYTES,
  };
  return Object.entries(least)
    .filter(([name, bytes]) => Number(limitOf(name as keyof typeof least) ?? bytes) < bytes)
    .map(
      ([name, bytes]) => `${name} must be at least ${bytes}, for ${characters} CONTENT_CHARACTERS`,
    );
}

function toConfig(env: Environment): Config {
  return Object.freeze({
    production: env.NODE_ENV === 'production',
    port: env.PORT,
    host: env.HOST,
    logLevel: env.LOG_LEVEL,
    corsOrigins: env.CORS_ORIGIN,
    timeZone: env.TZ,
    jwtSecret: env.JWT_MASTER_SECRET,
    audience: env.AUDIENCE,
    issuer: env.ISSUER,
    database: databaseAddress(env),
    databasePoolSize: env.DB_POOL_SIZE,
    dataDir: env.DATA_DIR,
    migrateOnStart: env.MIGRATE_ON_START,
    redisUrl: env.REDIS_URL,
    redisPrefix: env.REDIS_PREFIX,
    limits: Object.freeze({
      authTimeoutMs: env.AUTH_TIMEOUT_MS,
      authAttempts: env.AUTH_ATTEMPTS,
      pingIntervalMs: env.PING_INTERVAL_MS,
      pongTimeoutMs: env.PONG_TIMEOUT_MS,
      contentCharacters: env.CONTENT_CHARACTERS,
      frameBytes: env.FRAME_BYTES,
      frameBytesBeforeReady: env.FRAME_BYTES_BEFORE_READY,
      bodyBytes: env.BODY_BYTES,
      inboxFrames: env.INBOX_FRAMES,
      outboxBytes: env.OUTBOX_BYTES,
      outboxTotalBytes: env.OUTBOX_TOTAL_BYTES,
      sendTimeoutMs: env.SEND_TIMEOUT_MS,
      storeTimeoutMs: env.STORE_TIMEOUT_MS,
      logBatchesInFlight: env.LOG_BATCHES_IN_FLIGHT,
      logQueueEntries: env.LOG_QUEUE_ENTRIES,
      logQueueBytes: env.LOG_QUEUE_BYTES,
      pollIntervalMs: env.POLL_INTERVAL_MS,
      pollIntervalBrokerDownMs: env.POLL_INTERVAL_BROKER_DOWN_MS,
      shutdownTimeoutMs: env.SHUTDOWN_TIMEOUT_MS,
    }),
    repairsGaps: !env.NANO_TEST_NO_GAP_REPAIR,
  });
}

function databaseAddress(env: Environment): DatabaseAddress | undefined {
  if (env.DATABASE_URL !== undefined) return env.DATABASE_URL;
  if (env.DB_HOST === undefined) return undefined;
  return {
    host: env.DB_HOST,
    port: env.DB_PORT,
    database: env.DB_NAME ?? '',
    username: env.DB_USERNAME ?? '',
    password: env.DB_PASSWORD,
    ssl: false,
  };
}
