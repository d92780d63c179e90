import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { inspect } from 'node:util';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { ConfigError, loadConfig } from '../../src/config/load.js';
import { environmentSchema, SECRETS } from '../../src/config/variables.js';

const SECRET = 'x'.repeat(32);
const DATABASE_URL = 'postgres://ana:hush@db.example:5433/chat';
const PUBLIC_KEY = pem('public', 'ed25519');
const PRODUCTION = { NODE_ENV: 'production', JWT_MASTER_SECRET: SECRET, DATABASE_URL };

afterEach(() => {
  vi.restoreAllMocks();
});

function pem(half: 'public' | 'private', kind: 'ed25519' | 'x25519'): string {
  // Each has its own overload, with the same options.
  const keys = kind === 'ed25519' ? generateKeyPairSync(kind) : generateKeyPairSync(kind);
  const [key, type] =
    half === 'public' ? ([keys.publicKey, 'spki'] as const) : ([keys.privateKey, 'pkcs8'] as const);
  return String(key.export({ type, format: 'pem' }));
}

describe('the configuration', () => {
  it('needs nothing: every variable has a default', () => {
    expect(loadConfig({})).toEqual({
      production: false,
      port: 7777,
      host: undefined,
      workers: 1,
      logLevel: 'info',
      corsOrigins: '*',
      timeZone: 'UTC',
      metrics: undefined,
      tracing: undefined,
      page: true,
      jwtSecret: undefined,
      oldSecrets: [],
      publicKeys: [],
      keySetUrl: undefined,
      hasPublicKeys: false,
      audience: undefined,
      issuer: undefined,
      directRoomLevel: 0,
      database: undefined,
      directDatabase: undefined,
      replicaDatabase: undefined,
      databasePoolSize: 10,
      dataDir: './data',
      retentionDays: 0,
      migrateOnStart: true,
      redisUrls: [],
      redisSentinels: undefined,
      redisPrefix: 'nano-messaging',
      webhookUrl: undefined,
      hookUrl: undefined,
      hookFailsOpen: true,
      webhookSecrets: [],
      // The numbers of docs/PROTOCOL.md.
      limits: expect.objectContaining({
        authTimeoutMs: 10_000,
        authAttempts: 3,
        pingIntervalMs: 25_000,
        pongTimeoutMs: 10_000,
        contentCharacters: 8_000,
        frameBytes: 131_072,
        frameBytesBeforeReady: 8_192,
        bodyBytes: 131_072,
      }) as object,
      repairsGaps: true,
    });
  });

  it('takes each variable', () => {
    const config = loadConfig({
      ...PRODUCTION,
      PORT: '0',
      HOST: '127.0.0.1',
      LOG_LEVEL: 'debug',
      CORS_ORIGIN: 'HTTPS://app.example:443/, http://localhost:3000',
      TZ: 'Europe/Madrid',
      WORKERS: '4',
      METRICS_PORT: '9464',
      METRICS_HOST: '[::1]',
      PAGE: 'off',
      AUDIENCE: 'chat',
      ISSUER: 'app',
      DB_POOL_SIZE: '25',
      DATA_DIR: '/var/lib/chat',
      MIGRATE_ON_START: 'false',
      REDIS_URL: 'rediss://:hush@pubsub:6379/1',
      REDIS_PREFIX: 'mine',
      LOG_BATCHES_IN_FLIGHT: '8',
    });

    expect(config).toMatchObject({
      production: true,
      port: 0,
      host: '127.0.0.1',
      logLevel: 'debug',
      corsOrigins: ['https://app.example', 'http://localhost:3000'],
      timeZone: 'Europe/Madrid',
      workers: 4,
      metrics: { port: 9464, host: '::1' },
      page: false,
      jwtSecret: SECRET,
      audience: 'chat',
      issuer: 'app',
      databasePoolSize: 25,
      dataDir: '/var/lib/chat',
      migrateOnStart: false,
      redisUrls: ['rediss://:hush@pubsub:6379/1'],
      redisPrefix: 'mine',
      limits: { logBatchesInFlight: 8 },
    });
  });

  it('counts an empty variable as absent', () => {
    const empty = Object.fromEntries(
      Object.keys(environmentSchema.shape).map((name) => [name, '']),
    );

    expect(loadConfig(empty)).toEqual(loadConfig({}));
  });

  it('ignores unknown variables', () => {
    expect(loadConfig({ PATH: '/bin', port: '1', npm_config_port: 'x' })).toEqual(loadConfig({}));
  });

  it('is frozen', () => {
    const config = loadConfig({}) as { port: number; limits: { logBatchesInFlight: number } };

    expect(() => (config.port = 1)).toThrow(TypeError);
    expect(() => (config.limits.logBatchesInFlight = 1)).toThrow(TypeError);
  });

  it('ignores white space around a value, and a value of white space', () => {
    expect(loadConfig({ PORT: '7777 ', AUDIENCE: '\tchat\n', HOST: ' ' })).toMatchObject({
      port: 7777,
      audience: 'chat',
      host: undefined,
    });
  });

  it.each(['true', 'TRUE', '1'])('reads MIGRATE_ON_START=%s as true', (value) => {
    expect(loadConfig({ MIGRATE_ON_START: value }).migrateOnStart).toBe(true);
  });

  it.each(['false', 'False', '0'])('reads MIGRATE_ON_START=%s as false', (value) => {
    expect(loadConfig({ MIGRATE_ON_START: value }).migrateOnStart).toBe(false);
  });
});

describe('a pooler', () => {
  it('is at DATABASE_URL or DB_HOST, and passed by DATABASE_DIRECT_URL', () => {
    const direct = 'postgres://ana:hush@db.example/chat';
    const byUrl = { DATABASE_URL, DATABASE_POOLED: 'true', DATABASE_DIRECT_URL: direct };
    const byParts = { DB_HOST: 'db', DB_NAME: 'chat', DB_USERNAME: 'ana', DATABASE_POOLED: '1' };

    expect(loadConfig(byUrl)).toMatchObject({
      database: { host: 'db.example', port: 5433, isPooled: true },
      directDatabase: { host: 'db.example', port: 5432 },
    });
    expect(loadConfig(byParts).database).toMatchObject({ host: 'db', isPooled: true });
    expect(loadConfig({ DATABASE_URL }).database).not.toHaveProperty('isPooled');
  });

  it.each([
    [{ DATABASE_POOLED: 'true' }, 'DATABASE_URL (or DB_HOST) must be given beside DATABASE_POOLED'],
    [
      { DATABASE_POOLED: 'true', DATABASE_URL: `${DATABASE_URL}?options=-c%20search_path%3Da` },
      'DATABASE_URL must have no options beside DATABASE_POOLED',
    ],
    ...(['DATABASE_DIRECT_URL', 'DATABASE_REPLICA_URL'] as const).map(
      (name): [Record<string, string>, string] => [
        {
          DATABASE_POOLED: 'true',
          DATABASE_URL,
          [name]: `${DATABASE_URL}?options=-c%20search_path%3Da`,
        },
        `${name} must have no options beside DATABASE_POOLED`,
      ],
    ),
    [
      { DATABASE_DIRECT_URL: DATABASE_URL },
      'DATABASE_DIRECT_URL must stand beside DATABASE_POOLED=true',
    ],
    [{ DATABASE_POOLED: 'perhaps' }, 'DATABASE_POOLED must be true or false'],
  ])('is refused: %j', (given, problem) => {
    expect(problemsOf(given)).toEqual([problem]);
  });
});

describe('several Redis', () => {
  it('are divided by commas', () => {
    const urls = ['redis://one:6379', 'rediss://:hush@two:6379'];

    expect(loadConfig({ REDIS_URLS: urls.join(', ') }).redisUrls).toEqual(urls);
  });

  it.each([
    [
      { REDIS_URLS: 'redis://one', REDIS_URL: 'redis://two' },
      'REDIS_URL and REDIS_URLS must not both be given',
    ],
    [{ REDIS_URLS: 'redis://one,redis://one' }, 'REDIS_URLS names a Redis twice'],
    [
      { REDIS_URLS: 'redis://one,http://two' },
      'REDIS_URLS (number 2) must be a URL that begins with redis:// or rediss://',
    ],
  ])('are refused: %j', (given, problem) => {
    expect(problemsOf(given)).toEqual([problem]);
  });
});

describe('the address to listen on', () => {
  it.each([
    ['127.0.0.1', '127.0.0.1'],
    ['::1', '::1'],
    ['[::1]', '::1'],
    ['localhost', 'localhost'],
    ['chat.example.', 'chat.example.'],
  ])('is accepted: HOST=%s', (given, host) => {
    expect(loadConfig({ HOST: given }).host).toBe(host);
  });

  it.each(['http://localhost', 'localhost:7777', '[::1]:7777', '*', 'a b', '/run/chat.sock', '[]'])(
    'is refused: HOST=%s',
    (given) => {
      expect(problemsOf({ HOST: given })).toEqual([
        'HOST must be an address, or a name, of this machine',
      ]);
    },
  );
});

describe('the trusted proxies', () => {
  it.each([
    ['2', 2],
    ['10.0.0.0/8, ::1,loopback', ['10.0.0.0/8', '::1', 'loopback']],
  ])('are read: TRUSTED_PROXIES=%s', (given, proxies) => {
    expect(loadConfig({ TRUSTED_PROXIES: given }).trustedProxies).toEqual(proxies);
  });

  it.each(['proxy.example', '10.0.0.0/33', '10.0.0.1,', '-1', 'true'])(
    'are refused: TRUSTED_PROXIES=%s',
    (given) => {
      expect(problemsOf({ TRUSTED_PROXIES: given })).toEqual([
        'TRUSTED_PROXIES must be a number, or addresses and networks like 10.0.0.0/8, divided by commas',
      ]);
    },
  );
});

describe('the folder of the data', () => {
  it.each(['/var/lib/chat', './data', '../~data', 'C:\\chat', 'price$1'])(
    'is accepted: %s',
    (path) => {
      expect(loadConfig({ DATA_DIR: path }).dataDir).toBe(path);
    },
  );

  it.each(['~', '~/chat', '~ana/chat', '$HOME/chat', '${HOME}/chat', '"/chat"', "'./chat'"])(
    'is refused if only a shell understands it: %s',
    (path) => {
      expect(problemsOf({ DATA_DIR: path })).toEqual([
        'DATA_DIR must be a path: only shells expand ~ and $, and take quotes away',
      ]);
    },
  );
});

describe('the origins', () => {
  it.each(['app.example', 'https://app.example/chat', 'https://*.example', '*,null'])(
    'are refused: CORS_ORIGIN=%s',
    (given) => {
      expect(problemsOf({ CORS_ORIGIN: given })).toEqual([
        'CORS_ORIGIN must be *, or origins like https://app.example, divided by commas',
      ]);
    },
  );
});

describe('the problems of a configuration', () => {
  it('are listed all at once, a line each', () => {
    const problems = problemsOf({
      NODE_ENV: 'production',
      PORT: 'seven',
      LOG_LEVEL: 'loud',
      TZ: 'Nowhere/Land',
      PAGE: 'maybe',
      DB_POOL_SIZE: '0',
      MIGRATE_ON_START: 'perhaps',
      REDIS_URL: 'http://pubsub',
      PING_INTERVAL_MS: '-1',
    });

    expect(problems).toEqual([
      'PORT must be a port number',
      'LOG_LEVEL is not a level of pino',
      'PAGE must be on or off',
      'TZ is not an IANA time zone',
      'DB_POOL_SIZE must be from 1 to 1000',
      'MIGRATE_ON_START must be true or false',
      'REDIS_URL must be a URL that begins with redis:// or rediss://',
      'PING_INTERVAL_MS must be a whole number',
      'JWT_MASTER_SECRET (or JWT_PUBLIC_KEY, or JWKS_URL) must be given in production',
      'DATABASE_URL (or DB_HOST, DB_NAME, DB_USERNAME) must be given in production',
    ]);
  });

  it.each(['7777', '8080'])('name a METRICS_PORT that is the PORT: %s', (METRICS_PORT) => {
    const problem = 'METRICS_PORT must be another port than PORT';
    const PORT = METRICS_PORT === '7777' ? undefined : METRICS_PORT;
    expect(problemsOf({ PORT, METRICS_PORT })).toEqual([problem]);
    expect(loadConfig({ PORT: '0', METRICS_PORT: '0' }).metrics?.port).toBe(0);
  });

  it('name ports for metrics of workers that contain the PORT, or are none', () => {
    const shared = { DATABASE_URL, REDIS_URL: 'redis://pubsub', WORKERS: '3' };
    expect(problemsOf({ ...shared, PORT: '9466', METRICS_PORT: '9464' })).toEqual([
      'METRICS_PORT to 9466, a port for each of the WORKERS, must not contain PORT',
    ]);
    expect(problemsOf({ ...shared, METRICS_PORT: '65534' })).toEqual([
      'METRICS_PORT must leave a port to each of the WORKERS',
    ]);
    expect(loadConfig({ ...shared, PORT: '9467', METRICS_PORT: '9464' }).workers).toBe(3);
    expect(loadConfig({ ...shared, METRICS_PORT: '65533' }).workers).toBe(3);
  });

  it('name what a replica goes with', () => {
    const DATABASE_REPLICA_URL = 'postgres://ana@replica/chat';
    expect(problemsOf({ DATABASE_REPLICA_URL })).toEqual([
      'DATABASE_REPLICA_URL must stand beside DATABASE_URL (or DB_HOST)',
    ]);
    const given = { DATABASE_URL, DATABASE_REPLICA_URL };
    expect(loadConfig(given).replicaDatabase).toMatchObject({ host: 'replica' });
    expect(loadConfig({ ...given, DATABASE_POOLED: 'true' }).replicaDatabase?.isPooled).toBe(true);
  });

  it('name what Sentinels go with', () => {
    const REDIS_SENTINELS = 'one:26379,two:26379';
    const name = 'REDIS_URL must have the name of the master for its host, and no port or path';
    expect(problemsOf({ REDIS_SENTINELS })).toEqual([
      'REDIS_URL must name the master beside REDIS_SENTINELS: redis://mymaster',
    ]);
    expect(problemsOf({ REDIS_SENTINELS, REDIS_URLS: 'redis://one,redis://two' })).toEqual([
      'REDIS_SENTINELS and REDIS_URLS must not both be given',
    ]);
    for (const REDIS_URL of ['redis://mymaster:6379', 'redis://', 'redis://?path=/run/redis']) {
      expect(problemsOf({ REDIS_SENTINELS, REDIS_URL })).toEqual([name]);
    }
    const REDIS_URL = 'redis://:hush@mymaster';
    expect(
      loadConfig({ REDIS_SENTINELS, REDIS_URL, REDIS_SENTINEL_PASSWORD: 'hush' }),
    ).toMatchObject({
      redisUrls: [REDIS_URL],
      redisSentinels: { hosts: [{ host: 'one' }, { host: 'two' }], password: 'hush' },
    });
  });

  it('name what workers lack to hear each other', () => {
    const database = 'DATABASE_URL (or DB_HOST) must be given beside WORKERS above 1';
    const redis = 'REDIS_URL (or REDIS_URLS) must be given beside WORKERS above 1';
    expect(problemsOf({ WORKERS: '2' })).toEqual([database, redis]);
    expect(problemsOf({ WORKERS: '2', DATABASE_URL })).toEqual([redis]);
    expect(problemsOf({ WORKERS: '2', REDIS_URL: 'redis://pubsub' })).toEqual([database]);
    expect(problemsOf({ WORKERS: 'auto' })).toEqual(['WORKERS must be a whole number']);
    expect(problemsOf({ WORKERS: '65' })).toEqual(['WORKERS must be from 1 to 64']);
    expect(loadConfig({ WORKERS: '1' }).workers).toBe(1);
    // No variable has this file.
    expect(problemsOf({ WORKERS: '2', DB_HOST_FILE: 'x' })).toEqual([database, redis]);
  });

  it('are what its message lists', () => {
    const error = errorOf({ PORT: 'x', LOG_LEVEL: 'y' });

    expect(error.message.split('\n')).toEqual([
      'The configuration cannot be used:',
      ...error.problems.map((line) => `  ${line}`),
    ]);
  });

  it.each(['x', '-1', '1.5', '1e3', '0x10', '1 2', '65536', '99999999999', '١'])(
    'are reported for PORT=%j',
    (value) => {
      expect(problemsOf({ PORT: value })).toEqual([expect.stringMatching(/^PORT /)]);
    },
  );

  it.each(['0', '-5', '1.5', 'x', '2147483648', '1e3', '65535'])(
    'are reported for OUTBOX_BYTES=%j',
    (value) => {
      expect(problemsOf({ OUTBOX_BYTES: value })).toEqual([
        expect.stringMatching(/^OUTBOX_BYTES /),
      ]);
    },
  );

  it('are reported of a time that with another one is too long for a timer', () => {
    const longest = { STORE_TIMEOUT_MS: '1073741823', SHUTDOWN_TIMEOUT_MS: '2143883647' };
    expect(loadConfig(longest).limits.storeTimeoutMs).toBe(1_073_741_823);
    expect(
      problemsOf({ STORE_TIMEOUT_MS: '1073741824', SHUTDOWN_TIMEOUT_MS: '2143883648' }),
    ).toEqual([
      'STORE_TIMEOUT_MS must be from 1 to 1073741823',
      'SHUTDOWN_TIMEOUT_MS must be from 1 to 2143883647',
    ]);
  });
});

describe('a frame, a body and the queue of the log', () => {
  it('have room for the longest content, however it is escaped', () => {
    expect(loadConfig({ CONTENT_CHARACTERS: '9728' }).limits.frameBytes).toBe(131_072);
    const limits = '9729 CONTENT_CHARACTERS and 4096 DATA_BYTES';
    expect(problemsOf({ CONTENT_CHARACTERS: '9729' })).toEqual([
      `FRAME_BYTES must be at least 131084, for ${limits}`,
      `BODY_BYTES must be at least 131084, for ${limits}`,
    ]);
    const given = {
      CONTENT_CHARACTERS: '100',
      DATA_BYTES: '10',
      FRAME_BYTES: '3278',
      BODY_BYTES: '3278',
      LOG_QUEUE_BYTES: '410',
    };
    expect(loadConfig(given).limits).toMatchObject({ frameBytes: 3_278, bodyBytes: 3_278 });
    const least = { FRAME_BYTES: 3_278, BODY_BYTES: 3_278, LOG_QUEUE_BYTES: 410 };
    for (const [name, bytes] of Object.entries(least)) {
      expect(problemsOf({ ...given, [name]: `${bytes - 1}` })).toEqual([
        `${name} must be at least ${bytes}, for 100 CONTENT_CHARACTERS and 10 DATA_BYTES`,
      ]);
    }
  });

  it('are not compared with a value that is not a number', () => {
    const FRAME_BYTES = '1';
    expect(problemsOf({ CONTENT_CHARACTERS: 'x', FRAME_BYTES })).toEqual([
      'CONTENT_CHARACTERS must be a whole number',
    ]);
    expect(problemsOf({ FRAME_BYTES: 'x' })).toEqual(['FRAME_BYTES must be a whole number']);
  });
});

describe('production', () => {
  it('starts with a secret of 32 characters and a database', () => {
    expect(loadConfig(PRODUCTION).production).toBe(true);
    expect(
      loadConfig({
        NODE_ENV: 'production',
        JWT_MASTER_SECRET: SECRET,
        DB_HOST: 'db',
        DB_NAME: 'chat',
        DB_USERNAME: 'ana',
      }).production,
    ).toBe(true);
  });

  it.each([
    ['no secret', { JWT_MASTER_SECRET: undefined }, 'JWT_MASTER_SECRET'],
    ['an empty secret', { JWT_MASTER_SECRET: '' }, 'JWT_MASTER_SECRET'],
    [
      'a file that no variable has',
      { JWT_MASTER_SECRET: undefined, JWKS_URL_FILE: 'x' },
      'JWT_MASTER_SECRET',
    ],
    ['a short secret', { JWT_MASTER_SECRET: 'x'.repeat(31) }, 'at least 32 characters'],
    ['the well-known secret', { JWT_MASTER_SECRET: 'NOTASECRETANYMORE' }, 'everybody knows'],
    ['a short former secret', { JWT_OLD_SECRETS: `${SECRET},short` }, 'JWT_OLD_SECRETS'],
    ['no database', { DATABASE_URL: undefined }, 'DATABASE_URL'],
    ['an empty database', { DATABASE_URL: '' }, 'DATABASE_URL'],
  ])('does not start with %s', (_, given, problem) => {
    const problems = problemsOf({ ...PRODUCTION, ...given });

    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(problem);
  });

  it.each([{ JWT_PUBLIC_KEY: PUBLIC_KEY }, { JWKS_URL: 'https://app.example/keys' }])(
    'needs no secret beside keys of the application: %j',
    (given) => {
      const config = loadConfig({ ...PRODUCTION, JWT_MASTER_SECRET: undefined, ...given });

      expect(config).toMatchObject({ jwtSecret: undefined, hasPublicKeys: true });
    },
  );

  it.each(['Production', 'PRODUCTION', ' production\n'])(
    'is recognised as NODE_ENV=%j',
    (NODE_ENV) => {
      expect(loadConfig({ ...PRODUCTION, NODE_ENV }).production).toBe(true);
      expect(problemsOf({ NODE_ENV })).toHaveLength(2);
    },
  );

  it.each(['prod', 'staging', 'live', 'production '.repeat(2)])(
    'is never mistaken for development: NODE_ENV=%j',
    (NODE_ENV) => {
      expect(problemsOf({ NODE_ENV })).toEqual([
        'NODE_ENV must be production, development or test',
      ]);
    },
  );

  it.each(['JWT_MASTER_SECRET', 'DB_PASSWORD'])(
    'keeps white space around %s, but refuses line breaks',
    (name) => {
      const parts = { DB_HOST: 'db', DB_NAME: 'chat', DB_USERNAME: 'ana' };
      const env = { ...PRODUCTION, ...parts, DATABASE_URL: undefined };
      const config = loadConfig({ ...env, [name]: ` ${SECRET} ` });

      expect([config.jwtSecret, config.database?.password]).toContain(` ${SECRET} `);
      expect(problemsOf({ ...env, [name]: `${SECRET}\n` })).toEqual([
        `${name} begins or ends with a line break`,
      ]);
    },
  );

  it('alone has these rules', () => {
    const config = loadConfig({ NODE_ENV: 'test', JWT_MASTER_SECRET: 'NOTASECRETANYMORE' });

    expect(config).toMatchObject({ production: false, jwtSecret: 'NOTASECRETANYMORE' });
  });
});

describe('the keys of tokens', () => {
  it.each([
    [{ JWT_OLD_SECRETS: 'a,,b' }, 'JWT_OLD_SECRETS must be secrets, divided by commas'],
    [{ JWT_OLD_SECRETS: 'a,b,c,d,e' }, 'JWT_OLD_SECRETS must be 4 or fewer'],
    [
      { JWT_PUBLIC_KEY: 'key.pem' },
      'JWT_PUBLIC_KEY must be a public key as PEM (-----BEGIN PUBLIC KEY)',
    ],
    [
      { JWT_PUBLIC_KEY: pem('private', 'ed25519') },
      'JWT_PUBLIC_KEY is a private key: only the application may have it',
    ],
    ...[pem('public', 'x25519'), PUBLIC_KEY.replace('MCow', 'AAAA')].map(
      (key) =>
        [
          { JWT_PUBLIC_KEY: key },
          'JWT_PUBLIC_KEY must be keys of RSA (2048 bits or more), of P-256, or Ed25519',
        ] as const,
    ),
    [{ JWKS_URL: 'ftp://a' }, 'JWKS_URL must be a URL that begins with https:// or http://'],
    [{ JWKS_URL: 'https://ana:hush@a' }, 'JWKS_URL must have no user name and no password'],
  ] as const)('are refused if they are of no use: %#', (given, problem) => {
    expect(problemsOf(given)).toEqual([problem]);
  });

  it('may be several, with escaped line breaks', () => {
    const JWT_PUBLIC_KEY = [PUBLIC_KEY, PUBLIC_KEY].join('').replaceAll('\n', String.raw`\n`);

    const { publicKeys, oldSecrets } = loadConfig({ JWT_PUBLIC_KEY, JWT_OLD_SECRETS: 'a, b' });

    expect(publicKeys.map(({ algorithm }) => algorithm)).toEqual(['EdDSA', 'EdDSA']);
    expect(oldSecrets).toEqual(['a', 'b']);
  });
});

describe('webhooks', () => {
  const WEBHOOK_URL = 'https://app.example/hooks';
  const secretOf = (bytes: number): string => `whsec_${Buffer.alloc(bytes, 1).toString('base64')}`;

  it('are off by default', () => {
    const { webhookUrl, webhookSecrets } = loadConfig({});

    expect([webhookUrl, webhookSecrets]).toEqual([undefined, []]);
  });

  it('are signed with one secret, or with two while it is changed', () => {
    const [old, next] = [secretOf(24), secretOf(64)];
    const { webhookUrl, webhookSecrets } = loadConfig({ WEBHOOK_URL, WEBHOOK_SECRET: old });

    expect(webhookUrl?.href).toBe(WEBHOOK_URL);
    expect(webhookSecrets).toEqual([old]);
    const both = loadConfig({ WEBHOOK_URL, WEBHOOK_SECRET: `${old}, ${next}` });
    expect(both.webhookSecrets).toEqual([old, next]);
  });

  it.each([
    '',
    'whsec_',
    'a secret that is no base64',
    Buffer.alloc(32).toString('base64'),
    secretOf(23),
    secretOf(65),
    `${secretOf(32)}=`,
    secretOf(32).replace('whsec_', 'WHSEC_'),
    `${secretOf(32)},`,
    [1, 2, 3].map(() => secretOf(32)).join(','),
  ])('are refused with the secret %j', (WEBHOOK_SECRET) => {
    const problems = problemsOf({ WEBHOOK_URL, WEBHOOK_SECRET });

    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(/^WEBHOOK_SECRET must be (whsec_ and 24 to 64 bytes|given beside)/);
  });

  it.each([
    ['ftp://app.example', 'WEBHOOK_URL must be a URL that begins with https:// or http://'],
    ['https://ana:hush@app.example', 'WEBHOOK_URL must have no user name and no password'],
  ])('are refused to %s', (url, problem) => {
    expect(problemsOf({ WEBHOOK_URL: url, WEBHOOK_SECRET: secretOf(32) })).toEqual([problem]);
  });
});

describe('the hook before storing', () => {
  const HOOK_URL = 'https://app.example/before-storing';
  const WEBHOOK_SECRET = `whsec_${Buffer.alloc(32, 1).toString('base64')}`;

  it('is off by default', () => {
    expect(loadConfig({}).hookUrl).toBeUndefined();
  });

  it('fails open unless told', () => {
    const env = { HOOK_URL, WEBHOOK_SECRET };
    const { hookUrl, hookFailsOpen } = loadConfig(env);

    expect([hookUrl?.href, hookFailsOpen]).toEqual([HOOK_URL, true]);
    expect(loadConfig({ ...env, HOOK_FAIL: 'closed' }).hookFailsOpen).toBe(false);
    expect(problemsOf({ ...env, HOOK_FAIL: 'ajar' })).toEqual(['HOOK_FAIL must be open or closed']);
  });

  it('is refused without a secret to sign with', () => {
    expect(problemsOf({ HOOK_URL })).toEqual(['WEBHOOK_SECRET must be given beside HOOK_URL']);
  });
});

describe('the database', () => {
  it('is that of DATABASE_URL', () => {
    expect(loadConfig({ DATABASE_URL }).database).toEqual({
      host: 'db.example',
      port: 5433,
      database: 'chat',
      username: 'ana',
      password: 'hush',
      ssl: false,
    });
  });

  it('has the defaults of Postgres for parts that DATABASE_URL leaves out', () => {
    expect(loadConfig({ DATABASE_URL: 'postgres://ana:hush@db/chat' }).database?.port).toBe(5432);
    expect(loadConfig({ DATABASE_URL: 'postgresql://db' }).database).toEqual({
      host: 'db',
      port: 5432,
      database: 'postgres',
      username: 'postgres',
      password: undefined,
      ssl: false,
    });
    expect(loadConfig({ DATABASE_URL: 'postgres:///chat' }).database?.host).toBe('localhost');
  });

  it('may have any character in its password, percent-encoded', () => {
    const password = 'p@ss:w/rd?#[%] ñ🎈';
    const url = `postgres://ana:${encodeURIComponent(password)}@db/chat`;

    expect(loadConfig({ DATABASE_URL: url }).database?.password).toBe(password);
  });

  it.each([
    ['another protocol', 'mysql://ana@db/chat'],
    ['no protocol', 'db.example/chat'],
    ['no URL', '://'],
    ['an invalid port', 'postgres://ana@db:99999/chat'],
    ['an invalid port in the query', 'postgres://ana@db/chat?port=abc'],
    ['half a character in the password', 'postgres://ana:hush%C3@db/chat'],
    ['half a character in the name', 'postgres://ana:hush@db/chat%C3'],
    ['a missing certificate', `${DATABASE_URL}?sslrootcert=/no/such/hush.pem`],
  ])('is refused with %s', (_, url) => {
    const [problem, ...others] = problemsOf({ DATABASE_URL: url });

    expect(problem).toMatch(/^DATABASE_URL /);
    expect(problem).not.toContain('hush');
    expect(others).toEqual([]);
  });

  it.each([
    ['[::1]', '::1'],
    ['/var/run/postgresql', '/var/run/postgresql'],
    ['my_db', 'my_db'],
  ])('is accepted at DB_HOST=%s', (given, host) => {
    const parts = { DB_HOST: given, DB_NAME: 'chat', DB_USERNAME: 'ana' };

    expect(loadConfig(parts).database?.host).toBe(host);
  });

  it.each(['db:5432', 'one,two', 'postgres://db', 'tcp://10.0.0.1:5432'])(
    'is refused at DB_HOST=%s',
    (given) => {
      expect(problemsOf({ DB_HOST: given, DB_NAME: 'chat', DB_USERNAME: 'ana' })).toEqual([
        'DB_HOST must be a name, an address, or the folder of a socket',
      ]);
    },
  );

  it('ignores unused parts, which Kubernetes sets for a service named db', () => {
    const links = { DB_PORT: 'tcp://10.0.0.1:5432', DB_NAME: '/chat/db' };

    expect(loadConfig({ ...links, DATABASE_URL }).database?.port).toBe(5433);
    expect(loadConfig({ ...links, DATABASE_URL, DB_HOST: 'tcp://10.0.0.1' }).database).toEqual(
      loadConfig({ DATABASE_URL }).database,
    );
    expect(loadConfig(links).database).toBeUndefined();
    expect(problemsOf({ ...links, DB_HOST: 'db', DB_USERNAME: 'ana' })).toEqual([
      'DB_PORT must be a port number',
    ]);
  });

  it('may be given in parts', () => {
    const parts = { DB_HOST: 'db', DB_NAME: 'chat', DB_USERNAME: 'ana', DB_PASSWORD: 'hush' };

    expect(loadConfig(parts).database).toEqual({
      host: 'db',
      port: 5432,
      database: 'chat',
      username: 'ana',
      password: 'hush',
      ssl: false,
    });
    expect(loadConfig({ ...parts, DB_PORT: '5433', DB_PASSWORD: '' }).database).toMatchObject({
      port: 5433,
      password: undefined,
    });
  });

  it('is that of DATABASE_URL if both are given', () => {
    const config = loadConfig({ DATABASE_URL, DB_HOST: 'other', DB_PORT: '1' });

    expect(config.database).toMatchObject({ host: 'db.example', port: 5433, database: 'chat' });
  });

  it('is refused if a part is missing beside DB_HOST, and embedded without DB_HOST', () => {
    expect(problemsOf({ DB_HOST: 'db' })).toEqual([
      'DB_NAME and DB_USERNAME must be given beside DB_HOST',
    ]);
    expect(problemsOf({ DB_HOST: 'db', DB_NAME: 'chat' })).toEqual([
      'DB_USERNAME must be given beside DB_HOST',
    ]);
    expect(loadConfig({ DB_NAME: 'chat', DB_USERNAME: 'ana' }).database).toBeUndefined();
  });
});

describe('a message about the configuration', () => {
  it('never contains a value, in whichever variable a secret is', () => {
    const secret = fc.stringMatching(/^[A-Za-z0-9]{12,40}$/).filter((text) => /\d/.test(text));
    /** A value that contains a secret by an operator's mistake. */
    const value = fc.tuple(secret, fc.nat(12)).map(([text, place]) => ({
      secret: text,
      value:
        [
          text,
          `postgres://ana:${text}@db:99999/chat`,
          `postgres://ana:${text}%C3@db/chat`,
          `postgres://ana:%${text}@db/chat`,
          `postgres://ana@db/chat?password=${text}&port=x`,
          `mysql://ana:${text}@db/chat`,
          `redis://:${text}@pubsub:99999`,
          `redis://pubsub/${text}`,
          `redis://:1?${text}&${text}@pubsub`,
          `postgres://ana:1?${text}=${text}&x@db/chat`,
          `postgres://ana@db/chat?sslmode=${text}`,
          `https://${text}@app.example`,
          `${text}\n${text}`,
        ][place] ?? text,
    }));
    const files = SECRETS.map((name) => `${name}_FILE`);
    const names = [...Object.keys(environmentSchema.shape), ...files];

    fc.assert(
      fc.property(
        fc.uniqueArray(fc.constantFrom(...names), { minLength: 1 }),
        fc.array(value, { minLength: names.length, maxLength: names.length }),
        fc.constantFrom('production', 'development'),
        (chosen, values, NODE_ENV) => {
          const given = chosen.map((name, index) => [name, values[index]?.value] as const);
          // One variable at least is always wrong.
          const env = { ...Object.fromEntries(given), NODE_ENV, PORT: values.at(-1)?.value };

          const error = errorOf(env);

          const shown = [inspect(error, { depth: 9 }), error.stack, JSON.stringify(error)].join();
          for (const { secret } of values) expect(shown).not.toContain(secret);
        },
      ),
      { numRuns: 300 },
    );
  });
});

/** The error of a configuration that can not be used. */
function errorOf(env: Record<string, string | undefined>): ConfigError {
  try {
    loadConfig(env);
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error('it can be used');
}

function problemsOf(env: Record<string, string | undefined>): readonly string[] {
  return errorOf(env).problems;
}
