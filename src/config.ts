import { IANAZone } from 'luxon';
import { parse as parseConnectionString } from 'pg-connection-string';
import { z } from 'zod';

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
/** What stands around a message's content: keys, and a `ref` of 64 such characters. */
const ENVELOPE_BYTES = 1_024;

const port = (fallback: number) =>
  z
    .string()
    .regex(/^\d{1,5}$/, 'must be a port number')
    .transform(Number)
    .refine((value) => value <= 65_535, 'must be at most 65535')
    .default(fallback);

const flag = (fallback: boolean) =>
  z
    .enum(['true', 'false', '1', '0'], 'must be true or false')
    .transform((value) => value === 'true' || value === '1')
    .default(fallback);

const url = (protocols: readonly string[]) =>
  z.string().refine((value) => URL.canParse(value) && protocols.includes(new URL(value).protocol), {
    // The value may hold a password: it is not repeated.
    error: `must be a URL that begins with ${protocols.map((protocol) => `${protocol}//`).join(' or ')}`,
    abort: true,
  });

/**
 * The address in a URL, as `pg` reads it: sslmode, sslrootcert and the like in its query. Undefined where it
 * can't be read: a wrong escape, a port that is none, a certificate that is not there.
 */
function parseDatabaseUrl(value: string): DatabaseAddress | undefined {
  let parsed: ReturnType<typeof parseConnectionString>;
  try {
    parsed = parseConnectionString(value);
  } catch {
    return undefined;
  }
  const username = parsed.user || 'postgres';
  const portNumber = Number(parsed.port || DEFAULT_POSTGRES_PORT);
  if (!Number.isInteger(portNumber) || portNumber < 1 || portNumber > 65_535) return undefined;
  return {
    host: parsed.host || 'localhost',
    port: portNumber,
    database: parsed.database || username,
    username,
    password: parsed.password || undefined,
    ssl: typeof parsed.ssl === 'string' ? parsed.ssl === 'true' : (parsed.ssl ?? false),
  };
}

/** Each variable of the environment; .env.example lists them with what they mean. */
export const environmentSchema = z.object({
  NODE_ENV: z.string().default('development'),
  PORT: port(7777),
  HOST: z.string().optional(),
  LOG_LEVEL: z
    .enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'], 'is not a level of pino')
    .default('info'),
  CORS_ORIGIN: z.string().default('*'),
  TZ: z
    .string()
    .refine((zone) => IANAZone.isValidZone(zone), 'is not an IANA time zone')
    .default('UTC'),

  JWT_MASTER_SECRET: z.string().optional(),
  AUDIENCE: z.string().optional(),
  ISSUER: z.string().optional(),

  DATABASE_URL: url(['postgres:', 'postgresql:'])
    .refine((value) => parseDatabaseUrl(value) !== undefined, 'cannot be read')
    .optional(),
  DB_HOST: z.string().optional(),
  DB_PORT: port(DEFAULT_POSTGRES_PORT),
  DB_NAME: z.string().optional(),
  DB_USERNAME: z.string().optional(),
  DB_PASSWORD: z.string().optional(),
  DB_POOL_SIZE: count(10, { max: 1000 }),
  DATA_DIR: z.string().default('./data'),
  MIGRATE_ON_START: flag(true),

  REDIS_URL: url(['redis:', 'rediss:']).optional(),
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
  LOG_FLIGHTS: count(4, { max: 64 }),
  LOG_QUEUE_ENTRIES: count(20_000),
  LOG_QUEUE_BYTES: count(33_554_432),
  POLL_INTERVAL_MS: count(10_000),
  POLL_INTERVAL_BROKER_DOWN_MS: count(250),
  SHUTDOWN_TIMEOUT_MS: count(8_000),

  NANO_TEST_NO_GAP_REPAIR: flag(false),
});

/** How to reach a Postgres server. */
export interface DatabaseAddress {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly username: string;
  readonly password: string | undefined;
  /** As `pg` takes it: false, or options of node:tls. */
  readonly ssl: boolean | object;
}

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
  readonly logFlights: number;
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
  readonly corsOrigin: string;
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

/** The environment cannot be used; each problem is a line for the operator, without any value. */
export class ConfigError extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(`The configuration cannot be used:\n${problems.map((line) => `  ${line}`).join('\n')}`);
    this.name = 'ConfigError';
    this.problems = problems;
  }
}

/**
 * Reads `.env` of the working directory into `process.env`, where there is one; what the environment has
 * already stays as it is.
 */
export function loadEnvFile(): void {
  try {
    process.loadEnvFile();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

type Environment = z.infer<typeof environmentSchema>;

/**
 * Reads the environment; an empty variable counts as absent, one that is not ours is ignored.
 * @throws {ConfigError} with all problems at once
 */
export function loadConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''));
  const result = environmentSchema.safeParse(given);
  const problems = result.success
    ? []
    : result.error.issues.map((issue) => `${issue.path.join('.')} ${issue.message}`);
  // The rules between variables are asked even when one of them is wrong: all problems at once.
  problems.push(...problemsBetween(given));
  if (!result.success || problems.length > 0) throw new ConfigError(problems);
  return toConfig(result.data);
}

function problemsBetween(env: Readonly<Record<string, string | undefined>>): string[] {
  const problems: string[] = [];
  const secret = env['JWT_MASTER_SECRET'];
  const partial = ['DB_NAME', 'DB_USERNAME'].filter((name) => env[name] === undefined);
  if (env['DATABASE_URL'] === undefined && env['DB_HOST'] !== undefined && partial.length > 0) {
    problems.push(`${partial.join(' and ')} must be given beside DB_HOST`);
  }
  problems.push(...tooSmallForContent(env));
  if (env['NODE_ENV'] !== 'production') return problems;
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

function tooSmallForContent(env: Readonly<Record<string, string | undefined>>): string[] {
  const limitOf = (name: 'CONTENT_CHARACTERS' | 'FRAME_BYTES' | 'BODY_BYTES') =>
    environmentSchema.shape[name].safeParse(env[name]).data;
  const characters = limitOf('CONTENT_CHARACTERS');
  if (characters === undefined) return [];
  const least = characters * ESCAPED_CHARACTER_BYTES + ENVELOPE_BYTES;
  return (['FRAME_BYTES', 'BODY_BYTES'] as const)
    .filter((name) => (limitOf(name) ?? least) < least)
    .map((name) => `${name} must be at least ${least}, for ${characters} CONTENT_CHARACTERS`);
}

function toConfig(env: Environment): Config {
  return Object.freeze({
    production: env.NODE_ENV === 'production',
    port: env.PORT,
    host: env.HOST,
    logLevel: env.LOG_LEVEL,
    corsOrigin: env.CORS_ORIGIN,
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
      logFlights: env.LOG_FLIGHTS,
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
  if (env.DATABASE_URL !== undefined) return parseDatabaseUrl(env.DATABASE_URL);
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
