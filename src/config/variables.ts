import { z } from 'zod';
import {
  count,
  databaseHost,
  fetchedUrl,
  flag,
  folder,
  host,
  httpUrl,
  MAX_COUNT,
  oldSecrets,
  oneOf,
  origins,
  port,
  portNumber,
  publicKeys,
  redisUrls,
  sentinels,
  share,
  timeZone,
  trustedProxies,
  url,
  webhookSecrets,
} from './schemas.js';
import { DEFAULT_POSTGRES_PORT, parseDatabaseUrl, parseRedisUrl } from './service-urls.js';

/**
 * A stream of Node 22 says that it is full at 64 KiB (`getDefaultHighWaterMark`, 16 KiB in Node 20). A smaller cap
 * would be passed before the stream says so.
 */
const MIN_OUTBOX_BYTES = 65_536;

/** Some wait for twice as long, and no timer for longer than MAX_COUNT: it would end at once. */
const MAX_STORE_TIMEOUT_MS = Math.floor(MAX_COUNT / 2);
/** Its timer is that of SHUTDOWN_TIMEOUT_MS, too. */
const MAX_DRAIN_SECONDS = 3_600;

/** Marks a row that may come from a file: NAME_FILE holds its path. A public key is none, but is a file, too. */
const SECRET = { secret: true };

/** How the process runs, listens and logs. */
const PROCESS = z.object({
  NODE_ENV: oneOf(['development', 'production', 'test'], 'must be production, development or test')
    .default('development')
    .describe(
      'production, development or test; production refuses to start without a secret of 32 characters and a database, and logs JSON',
    ),
  // No well-known service has it, and no rights are needed for it.
  PORT: port(7777).describe('Port to listen on; 0: any that is free'),
  HOST: host.optional().describe('Address to listen on; none: every interface'),
  // Each has 22 connections to Postgres by default, and 100 MB: more cores than that are better used by more machines.
  WORKERS: count(1, { max: 64 }).describe(
    'Processes that share the port, for a machine with several cores: one a core, which Postgres and Redis may need as well. Each is a node, so every limit, pool and number "of a node" is its own; DATABASE_URL and REDIS_URL must be given. 1: a single process',
  ),
  LOG_LEVEL: oneOf(
    ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'],
    'is not a level of pino',
  )
    .default('info')
    .describe('fatal, error, warn, info, debug, trace or silent'),
  CORS_ORIGIN: origins
    .default('*')
    .describe(
      'Origins whose pages may call the server, as https://app.example, divided by commas; *: any',
    ),
  TRUSTED_PROXIES: trustedProxies
    .optional()
    .describe(
      'Proxies whose X-Forwarded-For tells the address of a client: addresses and networks (10.0.0.0/8, loopback, linklocal, uniquelocal), divided by commas, or how many there are on the way; none: the address of the connection counts, so that all clients behind a proxy are one',
    ),
  PAGE: oneOf(['on', 'off'], 'must be on or off')
    .default('on')
    .describe('off: the chat page, /docs, /client.js and /dev/token are not served'),
  TZ: timeZone
    .default('UTC')
    .describe('Time zone in which the days of the history begin (IANA name)'),
  METRICS_PORT: portNumber
    .optional()
    .describe(
      'Port of /metrics, for Prometheus (docs/OPERATIONS.md), of the first of WORKERS, and the next ports of the others; 0: any that is free; none: nothing is measured',
    ),
  // Whoever may read them learns how many users chat when.
  METRICS_HOST: host
    .default('127.0.0.1')
    .describe('Address of /metrics; 0.0.0.0: every interface, which no firewall should leave open'),
  OTEL_EXPORTER_OTLP_ENDPOINT: httpUrl
    .optional()
    .describe(
      'URL of a collector of OpenTelemetry, for traces over OTLP/HTTP: the spans go to v1/traces below it (docs/OPERATIONS.md); none: nothing is traced',
    ),
  OTEL_SERVICE_NAME: z.string().default('nano-messaging').describe('Name of the service in traces'),
  OTEL_TRACES_SAMPLER_ARG: share(1).describe(
    'Share of the entries that are traced, 0 to 1, the same on all nodes',
  ),
});

const TOKENS = z.object({
  JWT_MASTER_SECRET: z
    .string()
    .optional()
    .describe(
      'Secret that your application signs its tokens with: 32 characters or more (openssl rand -base64 48), for HS256, HS384 or HS512; none, and neither JWT_PUBLIC_KEY nor JWKS_URL: a random one is made in DATA_DIR',
    )
    .meta(SECRET),
  JWT_OLD_SECRETS: oldSecrets
    .describe(
      'Up to 4 former secrets, divided by commas, whose tokens are still accepted: until the last of those has ended',
    )
    .meta(SECRET),
  JWT_PUBLIC_KEY: publicKeys
    .describe(
      'Public key of your application as PEM, or several one after the other: RSA (2048 bits or more) for RS256, P-256 for ES256, Ed25519 for EdDSA',
    )
    .meta(SECRET),
  JWKS_URL: fetchedUrl
    .optional()
    .describe(
      'URL of such keys as a JSON Web Key Set: fetched at start and every 10 minutes, and for a token with an unknown kid at most once a minute. https, unless the network is your own: who answers there decides who is who',
    ),
  AUDIENCE: z.string().optional().describe('aud that a token must have; none: it is not checked'),
  ISSUER: z.string().optional().describe('iss that a token must have; none: it is not checked'),
  // The level of a token that names none: every user may write to every other one.
  DIRECT_ROOM_LEVEL: count(0, { min: 0 }).describe(
    'levelOnEntity from which a user may open a direct room with another user',
  ),
});

const DATABASE = z
  .object({
    DATABASE_URL: url(parseDatabaseUrl)
      .optional()
      .describe(
        'postgres://USER:PASSWORD@HOST:PORT/NAME. Options: sslmode (disable, require, verify-ca, verify-full, no-verify), sslrootcert, sslcert, sslkey, host (the folder of a socket), options (-c%20search_path%3Dchat), application_name, connect_timeout. pg checks the certificate even with sslmode=require',
      )
      .meta(SECRET),
    DB_HOST: databaseHost
      .optional()
      .describe('Name, address, or folder of a socket; ignored beside DATABASE_URL'),
    DB_PORT: port(DEFAULT_POSTGRES_PORT).describe('Port beside DB_HOST'),
    DB_NAME: z.string().optional().describe('Database, required beside DB_HOST'),
    DB_USERNAME: z.string().optional().describe('User, required beside DB_HOST'),
    DB_PASSWORD: z
      .string()
      .optional()
      .describe('Password beside DB_HOST; none: none is sent')
      .meta(SECRET),
    // The size of a pool of `pg` by default. With the others a node has 22 of the 100 connections that Postgres takes
    // by default.
    DB_POOL_SIZE: count(10, { max: 1_000 }).describe(
      'Connections for REST: half of them for reading, half for changes, which wait for locked rooms. Live rooms, probes and searches have 8 more (with less than 10 for REST fewer, 4 at least), and storing messages has LOG_BATCHES_IN_FLIGHT: in all 22 a node, so that four nodes fit a Postgres of 100. Each of the WORKERS is a node. Ten nodes fit with a 2 here and 3 LOG_BATCHES_IN_FLIGHT (9 a node), or behind a pooler',
    ),
    DATABASE_POOLED: flag(false).describe(
      'true: DATABASE_URL (or DB_HOST), and DATABASE_REPLICA_URL if it is given, lead to PgBouncer, or another pooler, in transaction mode (docs/OPERATIONS.md): nothing is kept on a connection between transactions. These URLs, and DATABASE_DIRECT_URL, then have no options (ALTER ROLE ... SET search_path instead)',
    ),
    DATABASE_DIRECT_URL: url(parseDatabaseUrl)
      .optional()
      .describe(
        'Beside DATABASE_POOLED: the same database past the pooler, for what may take longer than a pooler allows: migrations, carry-over and partition; none: they go through the pooler, too, and partition is refused',
      )
      .meta(SECRET),
    DATABASE_REPLICA_URL: url(parseDatabaseUrl)
      .optional()
      .describe(
        'A streaming replica of that database, for histories: it is read if it has all entries of the room, and else the database (docs/OPERATIONS.md)',
      )
      .meta(SECRET),
    DATA_DIR: folder
      .default('./data')
      .describe('Folder of the embedded database and of the random secret'),
    // A hundred years at most: Postgres has dates as far back.
    RETENTION_DAYS: count(0, { min: 0, max: 36_500 }).describe(
      'Days after which what was written is deleted: messages, with their reactions, and all other entries of the log (docs/OPERATIONS.md); 0: never',
    ),
    MIGRATE_ON_START: flag(true).describe(
      'true: migrations run at start; false: the start is refused until `npm run migrate` has run',
    ),
  })
  .describe('Postgres, by URL or by parts; without both, one is embedded in DATA_DIR.');

const REDIS = z
  .object({
    REDIS_URL: url(parseRedisUrl)
      .optional()
      .describe(
        'redis:// or, for TLS, rediss://USER:PASSWORD@HOST:PORT. Options: family (0, 4 or 6), db (of no effect), path (of a socket), and for rediss:// the paths of PEM files: sslrootcert (the CA, if Node does not know it), sslcert and sslkey (if Redis wants a certificate of its clients)',
      )
      .meta(SECRET),
    REDIS_URLS: redisUrls
      .optional()
      .describe(
        'Instead of REDIS_URL: several, divided by commas, each of which carries a part of the rooms; in the same order on every node',
      )
      .meta(SECRET),
    REDIS_SENTINELS: sentinels
      .optional()
      .describe(
        'Addresses of Sentinels, as sentinel-1:26379, divided by commas. The host of REDIS_URL is then the name of their master: redis://mymaster; with rediss:// they speak TLS as well',
      ),
    REDIS_SENTINEL_PASSWORD: z
      .string()
      .optional()
      .describe('Password of the Sentinels themselves; that of Redis stands in REDIS_URL')
      .meta(SECRET),
    REDIS_PREFIX: z
      .string()
      .default('nano-messaging')
      .describe(
        'First part of the names of the channels, for an ACL of Redis: <prefix>:<uuid of the log>:...',
      ),
  })
  .describe('Redis tells the nodes of one chat what is new; none: a single process.');

const HOOKS = z
  .object({
    WEBHOOK_URL: fetchedUrl
      .optional()
      .describe(
        'URL to which each event is posted: messages, edits, deletions, members, rooms, read markers (docs/WEBHOOKS.md); none: nothing is posted',
      )
      .meta(SECRET),
    HOOK_URL: fetchedUrl
      .optional()
      .describe(
        'URL that is asked before a message or an edit is stored: it accepts, rejects or replaces it (docs/HOOKS.md); none: nobody is asked',
      )
      .meta(SECRET),
    HOOK_FAIL: oneOf(['open', 'closed'], 'must be open or closed')
      .default('open')
      .describe(
        'What becomes of a message if that URL gives no valid answer in time; open: it is stored; closed: it is refused as UNAVAILABLE',
      ),
    WEBHOOK_SECRET: webhookSecrets
      .describe(
        'Secret that these requests are signed with, as Standard Webhooks has it: whsec_ and 24 to 64 bytes in base64; two, divided by a comma, while it is changed',
      )
      .meta(SECRET),
  })
  .describe("Requests to the application's own server.");

export const SOCKET_LIMITS = z
  .object({
    // A slow phone signs in within a few seconds; until then anybody may hold the socket open.
    AUTH_TIMEOUT_MS: count(10_000).describe('Milliseconds until the token must be accepted'),
    // An expired token and a refreshed one, with one to spare; guessing a signature takes far more.
    AUTH_ATTEMPTS: count(3).describe('`BADAUTH` and `TOKEN?` before `READY`, together'),
    // Proxies cut connections that are idle for 60 s (the default of nginx and of AWS), some for 30 s.
    PING_INTERVAL_MS: count(25_000).describe('Milliseconds between two pings of the server'),
    // A mobile network may hold packets back for some seconds when it changes cells.
    PONG_TIMEOUT_MS: count(10_000).describe(
      'Milliseconds in which a ping must be answered (WebSocket libraries do that by themselves)',
    ),
    // Three or four pages of text.
    CONTENT_CHARACTERS: count(8_000).describe('Characters of a message'),
    // Some dozens of fields about a card, a location or a file, which is stored elsewhere.
    DATA_BYTES: count(4_096).describe('Bytes of the `data` of a message, as JSON in UTF-8'),
    // The power of two above the 110,336 bytes that 8,000 characters and their data may take (`problemsOfContent`).
    FRAME_BYTES: count(131_072).describe('Bytes of a frame'),
    // A phone, a tablet, two computers, some tabs on each.
    SOCKETS_PER_USER: count(10, { min: 0 }).describe(
      'Sockets of one user on a node; 0: any number',
    ),
    // An office behind one address, or a household with all its devices.
    SOCKETS_PER_ADDRESS: count(100, { min: 0 }).describe(
      'Sockets from one address (of IPv6: one /64) on a node; 0: any number',
    ),
    // All clients of a full node may come back at once; one that waits for its token holds some 5 KB.
    SOCKETS_BEFORE_READY: count(10_000, { min: 0 }).describe(
      'Sockets of a node that are not `READY`; 0: any number',
    ),
    // Half of Node's limit for the headers of a request (`maxHeaderSize`, 16 KiB), which bounds a token over REST.
    FRAME_BYTES_BEFORE_READY: count(8_192).describe('Bytes of a frame before `READY`'),
    // A person has some dozens of rooms open for reading; a thousand would be replayed for each reconnect.
    ROOMS_PER_SOCKET: count(128, { max: 1_000 }).describe('Rooms that a socket of version 2 joins'),
    // Over a commit of 10 ms: 12,800 messages a second of one socket.
    INBOX_FRAMES: count(128, { max: 10_000 }).describe(
      'Frames of a socket that wait to be handled, and its messages on their way',
    ),
    // Some 5,000 messages of 200 bytes: a reader that is further behind is served from Postgres.
    OUTBOX_BYTES: count(1_048_576, { min: MIN_OUTBOX_BYTES }).describe(
      'Bytes that wait for a socket to read them',
    ),
    // 256 sockets with a full outbox each; half of a small container's memory (512 MiB).
    OUTBOX_TOTAL_BYTES: count(268_435_456, { min: MIN_OUTBOX_BYTES }).describe(
      'Bytes that wait for all sockets of a node to read them; what waits for several is counted once',
    ),
    // A phone in a tunnel is back by then.
    SEND_TIMEOUT_MS: count(60_000).describe(
      'Milliseconds for which a socket may take none of the bytes that wait for it, whether it answers pings or not',
    ),
    // Longer than a busy Postgres needs (lock_timeout is 2 s), and not longer than a person waits for an answer.
    STORE_TIMEOUT_MS: count(5_000, { max: MAX_STORE_TIMEOUT_MS }).describe(
      'Milliseconds for which a command waits for the store',
    ),
    // Nobody types so fast; a bot that does can wait.
    MESSAGES_PER_SECOND: count(5, { min: 0 }).describe(
      'Messages, edits, deletions and reactions a second of one user, over REST and all sockets of a node; 0: any number',
    ),
    // A few photos and texts at once, or what was written offline.
    MESSAGES_BURST: count(20).describe(
      'How many of these a user may send at once after a pause, which fills up again by MESSAGES_PER_SECOND',
    ),
    // Ten times what people can read.
    ROOM_MESSAGES_PER_SECOND: count(50, { min: 0 }).describe(
      'How many of these one room takes a second, and at once, from all sockets of a node; 0: any number',
    ),
    // As many as a node stores in 0.4 s at its fastest: bench, `durable`, 48,000 a second.
    LOG_QUEUE_ENTRIES: count(20_000).describe('Messages of a node that wait to be stored'),
    // A thousand of the longest messages (8,000 characters of 4 bytes).
    LOG_QUEUE_BYTES: count(33_554_432).describe(
      "Bytes of a node's messages that wait to be stored",
    ),
  })
  .describe(
    'Limits that a client of the socket meets: docs/PROTOCOL.md says what happens beyond each. FRAME_BYTES and BODY_BYTES are at least 12 times CONTENT_CHARACTERS, 3 times DATA_BYTES and 2048, as many encoders send an emoji as 12 bytes (\\ud83d\\ude80), LOG_QUEUE_BYTES at least 4 times CONTENT_CHARACTERS and DATA_BYTES, OUTBOX_BYTES and OUTBOX_TOTAL_BYTES at least 65536.',
  );

const NODE_LIMITS = z
  .object({
    // A page of a chat asks some dozens of times when it opens, then rarely.
    REQUESTS_PER_SECOND: count(10, { min: 0 }).describe(
      'Requests a second of one user, on average; 0: any number',
    ),
    REQUESTS_BURST: count(100).describe(
      'How many of these a user may send at once, REQUESTS_PER_SECOND at least: they are counted in windows of REQUESTS_BURST / REQUESTS_PER_SECOND seconds',
    ),
    // An application fetches a fresh token after the first failure.
    FAILED_TOKENS_PER_MINUTE: count(10, { min: 0 }).describe(
      'Tokens a minute that may fail from one address (of IPv6: one /64), over REST and the socket; then no token from there is taken until the minute is over. 0: any number',
    ),
    // As FRAME_BYTES: a message has the same size over REST.
    BODY_BYTES: count(131_072).describe('Bytes of the body of a request'),
    // Two that work, and two that may have stalled beside them. Above 64 a node would have most of Postgres' connections.
    LOG_BATCHES_IN_FLIGHT: count(4, { max: 64 }).describe(
      'Statements in flight that store messages: two, and more only while those have stalled; one over the embedded database',
    ),
    // One query of each node. It finds entries that were lost unnoticed, which is rare.
    POLL_INTERVAL_MS: count(10_000).describe(
      'Milliseconds between two comparisons of the rooms in use with the database',
    ),
    // A quarter of a second still feels live in a chat.
    POLL_INTERVAL_BROKER_DOWN_MS: count(250).describe(
      'The same while this node or another one is not heard through Redis',
    ),
    // 0: who presses Ctrl-C waits for nobody.
    DRAIN_SECONDS: count(0, { min: 0, max: MAX_DRAIN_SECONDS }).describe(
      'Seconds after SIGTERM, before SHUTDOWN_TIMEOUT_MS begins: a third to serve on while load balancers notice, the rest to close sockets evenly; 0: all at once',
    ),
    // `docker stop` kills after 10 s.
    SHUTDOWN_TIMEOUT_MS: count(8_000, { max: MAX_COUNT - 1_000 * MAX_DRAIN_SECONDS }).describe(
      'Milliseconds that the process may take to end after SIGTERM',
    ),
  })
  .describe('Limits of a node.');

const TEST = z.object({
  NANO_TEST_NO_GAP_REPAIR: flag(false).describe(
    'For `npm run proof -- --no-gap-repair` alone: loses messages',
  ),
});

/** The limits of a socket, a request, a queue and the process; each has its key in `Limits` (load.ts). */
export const LIMITS = z.object({ ...SOCKET_LIMITS.shape, ...NODE_LIMITS.shape });

/**
 * The environment variables: a row each, with its schema, its default and its meaning. The comment above a row says
 * where its number comes from. .env.example is written from the rows (`npx vitest run test/docs/environment.test.ts
 * -u`), and a test compares the tables of the docs with them.
 */
export const environmentSchema = z.object({
  ...PROCESS.shape,
  ...TOKENS.shape,
  ...DATABASE.shape,
  ...REDIS.shape,
  ...HOOKS.shape,
  ...LIMITS.shape,
  ...TEST.shape,
});

/** The names of the rows that may come from a file. */
export const SECRETS: readonly string[] = Object.entries(environmentSchema.shape)
  .filter(([, schema]) => schema.meta()?.['secret'] === true)
  .map(([name]) => name);

/** The rows as .env.example groups them. */
export const VARIABLE_GROUPS = [
  PROCESS,
  TOKENS,
  DATABASE,
  REDIS,
  HOOKS,
  SOCKET_LIMITS,
  NODE_LIMITS,
  TEST,
] as const;
