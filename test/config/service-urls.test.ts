import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { addressOf } from '../../src/broker/redis-address.js';
import { parseDatabaseUrl, parseRedisUrl, parseSentinels } from '../../src/config/service-urls.js';

beforeEach(() => {
  // pg warns that `require` will check less in a later version.
  vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
});
afterEach(() => {
  vi.restoreAllMocks();
});

describe('the URL of a database', () => {
  it.each([
    ['postgres://ana:hush@db.example:5433/chat', { host: 'db.example', port: 5433 }],
    ['POSTGRESQL://ana:hush@db/chat', { host: 'db', port: 5432, database: 'chat' }],
    ['postgres://ana:hush@[::1]:5433/chat', { host: '::1', port: 5433 }],
    ['postgres://ana@%2Fvar%2Frun%2Fpostgresql/chat', { host: '/var/run/postgresql' }],
    ['postgres://ana@/chat?host=/var/run/postgresql', { host: '/var/run/postgresql' }],
    ['postgres://ana:hush@/chat?host=/run/pg&port=5433', { password: 'hush', port: 5433 }],
    ['postgres:///chat?host=::1&user=ana&password=hush', { host: '::1', username: 'ana' }],
    ['postgres://db', { host: 'db', username: 'postgres', database: 'postgres' }],
    ['postgres://ana@db/', { database: 'ana' }],
    ['postgres://ana:p%40%2F%23%25@db/chat', { password: 'p@/#%' }],
    ['postgres://ana@db/chat?options=-c%20search_path%3Dchat', { options: '-c search_path=chat' }],
    ['postgres://ana@db/chat?options=-c+search_path=chat', { options: '-c search_path=chat' }],
    [
      'postgres://ana:p%2Fw@db/chat?options=-c search_path=chat',
      { options: '-c search_path=chat', password: 'p/w' },
    ],
    ['postgres://ana@db/chat?application_name=one', { applicationName: 'one' }],
    ['postgres://ana@db/chat?fallback_application_name=two', { applicationName: 'two' }],
    ['postgres://ana@db/chat?connect_timeout=3', { connectTimeoutMs: 3_000 }],
    ['postgres://ana@db/chat?client_encoding=utf8', { database: 'chat' }],
    ['postgres://ana@db/chat?ssl=true', { ssl: true }],
    ['postgres://ana@db/chat?ssl=1', { ssl: true }],
    ['postgres://ana@db/chat?ssl=0', { ssl: false }],
    ['postgres://ana@db/chat?ssl=no-verify', { ssl: { rejectUnauthorized: false } }],
    ['postgres://ana@db/chat?sslmode=disable', { ssl: false }],
    ['postgres://ana@db/chat?sslmode=require', { ssl: {} }],
    ['postgres://ana@db/chat?sslmode=verify-ca', { ssl: {} }],
    ['postgres://ana@db/chat?sslmode=verify-full', { ssl: {} }],
    ['postgres://ana@db/chat?sslmode=no-verify', { ssl: { rejectUnauthorized: false } }],
    [
      'postgres://ana@db/chat?uselibpqcompat=true&sslmode=require',
      { ssl: { rejectUnauthorized: false } },
    ],
  ])('is parsed: %s', (url, address) => {
    expect(parseDatabaseUrl(url)).toMatchObject({ value: address });
  });

  it('reads the files of certificates and keys', () => {
    const folder = mkdtempSync(join(tmpdir(), 'nano-test-'));
    const file = join(folder, 'root.pem');
    writeFileSync(file, 'a certificate');
    const url = `postgres://ana@db/chat?sslmode=verify-full&sslrootcert=${file}`;

    expect(parseDatabaseUrl(url)).toMatchObject({ value: { ssl: { ca: 'a certificate' } } });
    rmSync(folder, { recursive: true });
    expect(parseDatabaseUrl(url)).toEqual({
      problem: 'names a certificate or key that cannot be read',
    });
  });

  it.each([
    ['mysql://ana@db/chat', 'must be a URL that begins with postgres:// or postgresql://'],
    ['postgres:db/chat', 'must be a URL that begins with postgres:// or postgresql://'],
    ['db.example/chat', 'must be a URL that begins with postgres:// or postgresql://'],
    ['postgres://one,two/chat', 'names several hosts: one is supported'],
    ['postgres://ana:a,b@one:5432,two:5433/chat', 'names several hosts: one is supported'],
    ['postgres://ana@/chat?host=one,two', 'option host must be one host'],
    ['postgres://ana@/chat?host=one&host=two', 'option host is given twice'],
    ['postgres://ana@db/chat?port=1,2', 'option port must be a port number'],
    ['postgres://ana@db/chat?port=0', 'has an invalid port'],
    ['postgres://ana@db/chat?port=65536', 'has an invalid port'],
    ['postgres://ana@db:99999/chat', 'cannot be read'],
    ['postgres://ana:hush%C3@db/chat', 'cannot be read'],
    ['postgres://ana:hush#1@db/chat', 'contains a #: write it as %23'],
    [
      'postgres://ana@db/chat?sslmode=prefer',
      'option sslmode must be disable, require, verify-ca, verify-full or no-verify',
    ],
    [
      'postgres://ana@db/chat?uselibpqcompat=true&sslmode=allow',
      'option sslmode must be disable, require, verify-ca, verify-full or no-verify',
    ],
    ['postgres://ana@db/chat?ssl=yes', 'option ssl must be true, false or no-verify'],
    ['postgres://ana@db/chat?client_encoding=latin1', 'option client_encoding must be UTF8'],
    ['postgres://ana@db/chat?connect_timeout=0', 'option connect_timeout must be seconds, from 1'],
    // Options of libpq, of other libraries, and of `pg` itself that the server sets by other means.
    ...[
      'target_session_attrs',
      'load_balance_hosts',
      'statement_timeout',
      'lock_timeout',
      'idle_in_transaction_session_timeout',
      'query_timeout',
      'channel_binding',
      'sslnegotiation',
      'sslcrl',
      'hostaddr',
      'passfile',
      'dbname',
      'database',
      'schema',
      'pgbouncer',
      'replication',
      'keepalives',
      'toString',
      '__proto__',
    ].map((name) => [`postgres://ana@db/chat?${name}=x`, `option ${name} is not supported`]),
    // An unencoded password is not repeated, though it looks like an option.
    ['postgres://ana:1?hush&more@db/chat', 'has an option that is not supported'],
  ])('is refused: %s', (url, problem) => {
    expect(parseDatabaseUrl(url)).toEqual({ problem });
  });
});

describe('the URL of Redis', () => {
  it.each([
    ['redis://pubsub', { host: 'pubsub', port: 6379, db: 0, password: null }],
    ['redis://pubsub/', { host: 'pubsub' }],
    ['redis://', { host: 'localhost', port: 6379 }],
    ['redis://pubsub:6380/1', { host: 'pubsub', port: 6380, db: 0 }],
    ['redis://pubsub?db=2', { host: 'pubsub', db: 0 }],
    ['redis://:p%40ss@pubsub', { password: 'p@ss', username: null }],
    ['redis://ana:hush@pubsub', { password: 'hush', username: 'ana' }],
    ['REDISS://:hush@pubsub:6379/1', { host: 'pubsub', tls: {} }],
    ['redis://[::1]:6380', { host: '::1', port: 6380 }],
    ['redis://pubsub?family=6', { host: 'pubsub', family: 6 }],
    ['redis://?path=/run/redis.sock', { path: '/run/redis.sock' }],
  ])('is parsed, and ioredis gets what pub/sub needs: %s', (url, options) => {
    const parsed = parseRedisUrl(url);
    const understood = 'value' in parsed ? parsed.value : '';
    const redis = new Redis({ ...addressOf(understood), lazyConnect: true });

    expect(redis.options).toMatchObject(options);
    redis.disconnect();
  });

  it('has the certificates and the key in the files that it names', () => {
    const file = fileURLToPath(import.meta.url);
    const text = readFileSync(file, 'utf8');
    const parsed = parseRedisUrl(
      `rediss://pubsub?sslrootcert=${file}&sslcert=${file}&sslkey=${file}`,
    );

    expect(addressOf('value' in parsed ? parsed.value : '').tls).toEqual({
      ca: text,
      cert: text,
      key: text,
    });
  });

  it.each([
    ['http://pubsub', 'must be a URL that begins with redis:// or rediss://'],
    ['redis:pubsub:6379', 'must be a URL that begins with redis:// or rediss://'],
    ['redis+unix:///run/redis.sock', 'must be a URL that begins with redis:// or rediss://'],
    ['/run/redis.sock', 'must be a URL that begins with redis:// or rediss://'],
    ['tcp://10.0.0.1:6379', 'must be a URL that begins with redis:// or rediss://'],
    ['redis://pubsub:6379/mychat', 'must have the number of a database for its path, or none'],
    ['redis://pubsub/1/', 'must have the number of a database for its path, or none'],
    ['redis://pubsub/-1', 'must have the number of a database for its path, or none'],
    ['redis://pubsub/1.5', 'must have the number of a database for its path, or none'],
    ['redis://pubsub/%31', 'must have the number of a database for its path, or none'],
    ['redis://pubsub/1e3', 'must have the number of a database for its path, or none'],
    ['redis://pubsub/9999999999', 'must have the number of a database for its path, or none'],
    ['redis:///run/redis.sock', 'must have the number of a database for its path, or none'],
    ['redis://pubsub:0', 'has an invalid port'],
    ['redis://pubsub:99999', 'cannot be read'],
    ['redis://%2Frun%2Fredis.sock', 'cannot be read'],
    ['redis://:hush%C3@pubsub', 'cannot be read'],
    ['redis://:%zz@pubsub', 'cannot be read'],
    ['redis://:hush#1@pubsub', 'contains a #: write it as %23'],
    ['redis://pubsub/0#chat', 'contains a #: write it as %23'],
    ['redis://one,two:6379', 'names several hosts: one is supported'],
    ['redis://:hush@one:26379,two:26379/0', 'names several hosts: one is supported'],
    ['redis://pubsub?db=mychat', 'option db must be the number of a database'],
    ['redis://pubsub?family=IPv6', 'option family must be 0, 4 or 6'],
    ['redis://?path=redis.sock', 'option path must be the path of a socket'],
    ['rediss://pubsub?sslrootcert=/nowhere', 'names a certificate or key that cannot be read'],
    ['redis://pubsub?sslkey=/dev/null', 'option sslkey needs rediss://'],
    ['redis://pubsub?family=4&family=6', 'option family is given twice'],
    ['redis://:1?hush@pubsub', 'has an option that is not supported'],
    ['redis://pubsub?hu5h', 'has an option that is not supported'],
    ...[
      'sentinels',
      'name',
      'role',
      'tls',
      'password',
      'retryStrategy',
      'enableOfflineQueue',
      'lazyConnect',
      'keyPrefix',
      'connectTimeout',
      'Connector',
      'protocol',
      'constructor',
    ].map((name) => [`redis://pubsub?${name}=x`, `option ${name} is not supported`]),
  ])('is refused: %s', (url, problem) => {
    expect(parseRedisUrl(url)).toEqual({ problem });
  });
});

describe('the addresses of Sentinels', () => {
  it('have a port, or that of Redis for Sentinels', () => {
    expect(parseSentinels('one:26380, two,[::1]:26381,10.0.0.1')).toEqual({
      value: [
        { host: 'one', port: 26380 },
        { host: 'two', port: 26379 },
        { host: '::1', port: 26381 },
        { host: '10.0.0.1', port: 26379 },
      ],
    });
  });

  it.each(['one,', 'one:0', 'one:99999', 'redis://one:26379', '::1', 'one two', ':26379'])(
    'are refused: %s',
    (text) => {
      expect(parseSentinels(text)).toEqual({
        problem: 'must be addresses like sentinel-1:26379, divided by commas',
      });
    },
  );

  it('go with the user, the password and TLS of the URL, whose host is the name of the master', () => {
    const sentinels = { hosts: [{ host: 'one', port: 26379 }], password: 'hush' };

    expect(addressOf('rediss://ana:of-redis@My_Master', sentinels)).toMatchObject({
      name: 'My_Master',
      sentinels: sentinels.hosts,
      sentinelPassword: 'hush',
      username: 'ana',
      password: 'of-redis',
      tls: {},
      sentinelTLS: {},
      enableTLSForSentinelMode: true,
    });
    expect(addressOf('redis://mymaster', sentinels)).not.toHaveProperty('tls');
  });
});
