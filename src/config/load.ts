import type { z } from 'zod';
import { ConfigError } from './config-error.js';
import { readSecretFiles, type Given } from './secret-files.js';
import { isNameOfMaster, MAX_PORT, type DatabaseAddress } from './service-urls.js';
import { environmentSchema, LIMITS, SECRETS } from './variables.js';

export { ConfigError } from './config-error.js';
export { loadEnvFile } from './env-file.js';
export type { DatabaseAddress } from './service-urls.js';

/** The secret in the example file of the proof of concept: everybody knows it. */
const WELL_KNOWN_SECRET = 'NOTASECRETANYMORE';
/** RFC 7518 section 3.2: a key for HS256 has at least 256 bits. */
const MIN_SECRET_CHARACTERS = 32;

/**
 * Bytes of a character beyond the basic plane as an encoder like Python's `json.dumps` sends it: two escapes. A legal
 * message must fit into its frame.
 */
const ESCAPED_CHARACTER_BYTES = 12;
/** The longest character of UTF-8. */
const MAX_CHARACTER_BYTES = 4;
/** The same for data, which counts in bytes of UTF-8: a character of two bytes is an escape of six. */
const ESCAPED_DATA_FACTOR = 3;
/** The keys of a message, a `ref` of 64 escaped characters, and 20 UUIDs of mentions. */
const ENVELOPE_BYTES = 2_048;

/** Variables whose white space may be meant. */
const PASSWORDS = new Set(['JWT_MASTER_SECRET', 'DB_PASSWORD']);

/** Variables with what an application's tokens are verified with. */
const KEYS = ['JWT_MASTER_SECRET', 'JWT_PUBLIC_KEY', 'JWKS_URL'] as const;

/** Parts of a database's address that DATABASE_URL makes needless. */
const DATABASE_PARTS = new Set(['DB_HOST', 'DB_PORT', 'DB_NAME', 'DB_USERNAME', 'DB_PASSWORD']);

/** Those of the same database beside DATABASE_POOLED. */
const URLS_WITHOUT_OPTIONS = [
  'DATABASE_URL',
  'DATABASE_DIRECT_URL',
  'DATABASE_REPLICA_URL',
] as const;

type CamelCase<Name extends string> = Name extends `${infer Word}_${infer Rest}`
  ? `${Lowercase<Word>}${Capitalize<CamelCase<Rest>>}`
  : Lowercase<Name>;

/** Each row of `LIMITS` under its name in camel case: AUTH_TIMEOUT_MS is `authTimeoutMs`. */
export type Limits = {
  readonly [Name in keyof typeof LIMITS.shape as CamelCase<Name>]: z.infer<typeof LIMITS>[Name];
};

export type Config = ReturnType<typeof toConfig>;

type Environment = z.infer<typeof environmentSchema>;

/**
 * Makes a configuration of the environment. An empty variable counts as absent, and white space around a value is
 * dropped. Variables that are unknown or not used are ignored.
 * Reads the files of NAME_FILE variables.
 * @throws {ConfigError} with all problems at once
 */
export function loadConfig(env: Given): Config {
  const secrets = readSecretFiles(normalise(env), SECRETS);
  const given = withoutUnused(normalise(secrets.given));
  const result = environmentSchema.safeParse(given);
  const problems = [...secrets.problems];
  if (!result.success) {
    problems.push(
      ...result.error.issues.map((issue) => `${issue.path.join('.')} ${issue.message}`),
    );
  }
  // Checked even if a variable is wrong by itself, so that all problems are reported at once.
  problems.push(
    ...problemsOfDatabase(given),
    ...problemsOfRedis(given),
    ...problemsOfSecrets(given),
    ...problemsOfContent(given),
    ...problemsOfProduction(given),
    ...problemsOfMetrics(given),
    ...problemsOfHooks(given),
    ...problemsOfWorkers(given),
  );
  if (!result.success || problems.length > 0) throw new ConfigError(problems);
  return toConfig(result.data);
}

function normalise(env: Given): Given {
  return Object.fromEntries(
    Object.entries(env)
      .map(([name, value]) => [name, PASSWORDS.has(name) ? value : value?.trim()] as const)
      .filter(([, value]) => value !== ''),
  );
}

/** Drops the parts of a database's address if they are not used: Kubernetes sets DB_PORT for a service named db. */
function withoutUnused(given: Given): Given {
  const isByParts = given['DATABASE_URL'] === undefined && given['DB_HOST'] !== undefined;
  if (isByParts) return given;
  return Object.fromEntries(Object.entries(given).filter(([name]) => !DATABASE_PARTS.has(name)));
}

/** Whether a variable is given. If only its file is, of no use, its problem is told already. */
function isGiven(env: Given, name: string): boolean {
  const hasFile = SECRETS.includes(name) && env[`${name}_FILE`] !== undefined;
  return env[name] !== undefined || hasFile;
}

function problemsOfDatabase(env: Given): string[] {
  const problems: string[] = [];
  const missing = ['DB_NAME', 'DB_USERNAME'].filter((name) => env[name] === undefined);
  if (env['DB_HOST'] !== undefined && missing.length > 0) {
    problems.push(`${missing.join(' and ')} must be given beside DB_HOST`);
  }
  if (env['DATABASE_REPLICA_URL'] !== undefined && isEmbedded(env)) {
    problems.push('DATABASE_REPLICA_URL must stand beside DATABASE_URL (or DB_HOST)');
  }
  const isPooled = environmentSchema.shape.DATABASE_POOLED.safeParse(env['DATABASE_POOLED']).data;
  if (isPooled === true) {
    if (isEmbedded(env)) {
      problems.push('DATABASE_URL (or DB_HOST) must be given beside DATABASE_POOLED');
    }
    // A pooler refuses them or, worse, ignores them; past it they would hold for migrations alone.
    const withOptions = URLS_WITHOUT_OPTIONS.filter(
      (name) => environmentSchema.shape[name].safeParse(env[name]).data?.options !== undefined,
    );
    problems.push(
      ...withOptions.map((name) => `${name} must have no options beside DATABASE_POOLED`),
    );
  } else if (isPooled === false && env['DATABASE_DIRECT_URL'] !== undefined) {
    problems.push('DATABASE_DIRECT_URL must stand beside DATABASE_POOLED=true');
  }
  return problems;
}

function isEmbedded(env: Given): boolean {
  return !isGiven(env, 'DATABASE_URL') && !isGiven(env, 'DB_HOST');
}

function problemsOfRedis(env: Given): string[] {
  const problems: string[] = [];
  if (env['REDIS_URL'] !== undefined && env['REDIS_URLS'] !== undefined) {
    problems.push('REDIS_URL and REDIS_URLS must not both be given');
  }
  if (env['REDIS_SENTINELS'] === undefined) return problems;
  if (env['REDIS_URLS'] !== undefined) {
    problems.push('REDIS_SENTINELS and REDIS_URLS must not both be given');
  } else if (!isGiven(env, 'REDIS_URL')) {
    problems.push('REDIS_URL must name the master beside REDIS_SENTINELS: redis://mymaster');
  }
  const url = environmentSchema.shape.REDIS_URL.safeParse(env['REDIS_URL']).data;
  if (url !== undefined && !isNameOfMaster(url)) {
    problems.push('REDIS_URL must have the name of the master for its host, and no port or path');
  }
  return problems;
}

/** A line break is that of a file's last line: the application that signs the tokens does not have it. */
function problemsOfSecrets(env: Given): string[] {
  return [...PASSWORDS]
    .filter((name) => /^[\r\n]|[\r\n]$/.test(env[name] ?? ''))
    .map((name) => `${name} begins or ends with a line break`);
}

/** The longest message must fit into a frame, a body and the log's queue. */
function problemsOfContent(env: Given): string[] {
  const limitOf = (name: keyof typeof LIMITS.shape) => LIMITS.shape[name].safeParse(env[name]).data;
  const characters = limitOf('CONTENT_CHARACTERS');
  const dataBytes = limitOf('DATA_BYTES');
  if (characters === undefined || dataBytes === undefined) return [];
  const escaped =
    characters * ESCAPED_CHARACTER_BYTES + dataBytes * ESCAPED_DATA_FACTOR + ENVELOPE_BYTES;
  const least = {
    FRAME_BYTES: escaped,
    BODY_BYTES: escaped,
    LOG_QUEUE_BYTES: characters * MAX_CHARACTER_BYTES + dataBytes,
  };
  return Object.entries(least)
    .filter(([name, bytes]) => (limitOf(name as keyof typeof least) ?? bytes) < bytes)
    .map(
      ([name, bytes]) =>
        `${name} must be at least ${bytes}, for ${characters} CONTENT_CHARACTERS and ${dataBytes} DATA_BYTES`,
    );
}

function problemsOfProduction(env: Given): string[] {
  if (env['NODE_ENV']?.toLowerCase() !== 'production') return [];
  const problems: string[] = [];
  const secret = env['JWT_MASTER_SECRET'];
  if (!KEYS.some((name) => isGiven(env, name))) {
    problems.push('JWT_MASTER_SECRET (or JWT_PUBLIC_KEY, or JWKS_URL) must be given in production');
  } else if (secret === WELL_KNOWN_SECRET) {
    problems.push('JWT_MASTER_SECRET is the example that everybody knows');
  } else if (secret !== undefined && secret.length < MIN_SECRET_CHARACTERS) {
    problems.push(
      `JWT_MASTER_SECRET must have at least ${MIN_SECRET_CHARACTERS} characters in production`,
    );
  }
  const old = environmentSchema.shape.JWT_OLD_SECRETS.safeParse(env['JWT_OLD_SECRETS']).data ?? [];
  if (old.some((each) => each === WELL_KNOWN_SECRET || each.length < MIN_SECRET_CHARACTERS)) {
    problems.push(
      `JWT_OLD_SECRETS must have at least ${MIN_SECRET_CHARACTERS} characters each in production`,
    );
  }
  if (isEmbedded(env)) {
    problems.push('DATABASE_URL (or DB_HOST, DB_NAME, DB_USERNAME) must be given in production');
  }
  return problems;
}

function problemsOfMetrics({ PORT, METRICS_PORT, WORKERS }: Given): string[] {
  const { shape } = environmentSchema;
  const first = shape.METRICS_PORT.safeParse(METRICS_PORT).data;
  const port = shape.PORT.safeParse(PORT).data;
  if (first === undefined || first === 0 || port === undefined) return [];
  const last = first + (shape.WORKERS.safeParse(WORKERS).data ?? 1) - 1;
  if (last > MAX_PORT) return ['METRICS_PORT must leave a port to each of the WORKERS'];
  if (port < first || port > last) return [];
  return first === last
    ? ['METRICS_PORT must be another port than PORT']
    : [`METRICS_PORT to ${last}, a port for each of the WORKERS, must not contain PORT`];
}

/** Workers hear each other through Redis alone, and the embedded database has one process. */
function problemsOfWorkers(env: Given): string[] {
  const workers = environmentSchema.shape.WORKERS.safeParse(env['WORKERS']).data ?? 1;
  if (workers === 1) return [];
  const problems: string[] = [];
  if (isEmbedded(env)) {
    problems.push('DATABASE_URL (or DB_HOST) must be given beside WORKERS above 1');
  }
  if (!isGiven(env, 'REDIS_URL') && !isGiven(env, 'REDIS_URLS')) {
    problems.push('REDIS_URL (or REDIS_URLS) must be given beside WORKERS above 1');
  }
  return problems;
}

/** Variables with a URL whose requests are signed. */
const SIGNED_URLS = ['WEBHOOK_URL', 'HOOK_URL'] as const;

function problemsOfHooks(env: Given): string[] {
  if (isGiven(env, 'WEBHOOK_SECRET')) return [];
  return SIGNED_URLS.filter((name) => env[name] !== undefined).map(
    (name) => `WEBHOOK_SECRET must be given beside ${name}`,
  );
}

function toConfig(env: Environment) {
  return Object.freeze({
    production: env.NODE_ENV === 'production',
    port: env.PORT,
    /** Undefined: every interface. */
    host: env.HOST,
    /** Processes that share the port; 1: this one alone. */
    workers: env.WORKERS,
    logLevel: env.LOG_LEVEL,
    corsOrigins: env.CORS_ORIGIN,
    /** Undefined: none. */
    trustedProxies: env.TRUSTED_PROXIES,
    timeZone: env.TZ,
    /** Where `/metrics` is; undefined: nothing is measured. */
    metrics:
      env.METRICS_PORT === undefined
        ? undefined
        : { port: env.METRICS_PORT, host: env.METRICS_HOST },
    /** Where traces are sent to; undefined: nothing is traced. */
    tracing: env.OTEL_EXPORTER_OTLP_ENDPOINT && {
      endpoint: env.OTEL_EXPORTER_OTLP_ENDPOINT,
      serviceName: env.OTEL_SERVICE_NAME,
      ratio: env.OTEL_TRACES_SAMPLER_ARG,
    },
    page: env.PAGE === 'on',
    /** Undefined: the secret in `dataDir` (access/secret.ts), unless the application signs with keys of its own. */
    jwtSecret: env.JWT_MASTER_SECRET,
    oldSecrets: env.JWT_OLD_SECRETS ?? [],
    publicKeys: env.JWT_PUBLIC_KEY ?? [],
    /** Where more public keys are. */
    keySetUrl: env.JWKS_URL,
    hasPublicKeys: env.JWT_PUBLIC_KEY !== undefined || env.JWKS_URL !== undefined,
    audience: env.AUDIENCE,
    issuer: env.ISSUER,
    directRoomLevel: env.DIRECT_ROOM_LEVEL,
    /** Undefined: embedded in `dataDir`. */
    database: databaseAddress(env),
    /** For migrations; undefined: `database`. */
    directDatabase: env.DATABASE_DIRECT_URL,
    /** For history; undefined: `database`. */
    replicaDatabase: replicaAddress(env),
    databasePoolSize: env.DB_POOL_SIZE,
    dataDir: env.DATA_DIR,
    /** 0: nothing is deleted because it is old. */
    retentionDays: env.RETENTION_DAYS,
    migrateOnStart: env.MIGRATE_ON_START,
    /** Each carries a part of the channels; none: the in-process broker. */
    redisUrls: env.REDIS_URLS ?? (env.REDIS_URL === undefined ? [] : [env.REDIS_URL]),
    /** Those that know the one Redis of `redisUrls`; undefined: its URL has its address. */
    redisSentinels:
      env.REDIS_SENTINELS === undefined
        ? undefined
        : ({ hosts: env.REDIS_SENTINELS, password: env.REDIS_SENTINEL_PASSWORD } as const),
    redisPrefix: env.REDIS_PREFIX,
    /** Where events are posted; undefined: nowhere. */
    webhookUrl: env.WEBHOOK_URL,
    /** Who is asked before a message is stored; undefined: nobody. */
    hookUrl: env.HOOK_URL,
    /** Whether a message is stored if the hook does not answer. */
    hookFailsOpen: env.HOOK_FAIL === 'open',
    /** Each signs what is posted; some if there is a URL to post to. */
    webhookSecrets: env.WEBHOOK_SECRET ?? [],
    limits: limitsOf(env),
    /** False only to show that the proof can fail: a feed then skips the entries that it missed. */
    repairsGaps: !env.NANO_TEST_NO_GAP_REPAIR,
  });
}

function databaseAddress(env: Environment): DatabaseAddress | undefined {
  const address = env.DATABASE_URL ?? addressOfParts(env);
  return env.DATABASE_POOLED && address !== undefined ? { ...address, isPooled: true } : address;
}

function replicaAddress(env: Environment): DatabaseAddress | undefined {
  const address = env.DATABASE_REPLICA_URL;
  return env.DATABASE_POOLED && address !== undefined ? { ...address, isPooled: true } : address;
}

function addressOfParts(env: Environment): DatabaseAddress | undefined {
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

function limitsOf(env: Environment): Limits {
  const names = Object.keys(LIMITS.shape) as (keyof typeof LIMITS.shape)[];
  return Object.freeze(
    Object.fromEntries(names.map((name) => [camelCase(name), env[name]])),
  ) as Limits;
}

function camelCase(name: string): string {
  return name.toLowerCase().replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
