import { readFileSync } from 'node:fs';
import { parse as parseConnectionString } from 'pg-connection-string';

/** The port that IANA has registered for PostgreSQL. */
export const DEFAULT_POSTGRES_PORT = 5432;
/** A port has 16 bits. */
export const MAX_PORT = 65_535;

/** How to reach a Postgres server. */
export interface DatabaseAddress {
  /** A name, an address, or the folder of a Unix socket. */
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly username: string;
  readonly password: string | undefined;
  /** As `pg` takes it: false, or options of node:tls. */
  readonly ssl: boolean | object;
  /** Settings for each connection, as on the command line of Postgres: `-c search_path=chat`. */
  readonly options?: string | undefined;
  readonly applicationName?: string | undefined;
  readonly connectTimeoutMs?: number | undefined;
  /** A pooler like PgBouncer answers there, and lends a connection for one transaction at a time. */
  readonly isPooled?: boolean;
}

/** The value of a URL, or the reason that it cannot be used: a sentence without its subject that never holds a value. */
export type Parsed<T> = { readonly value: T } | { readonly problem: string };

/** The options of a URL that are supported. `must` ends the sentence about a bad value; undefined: any value is fine. */
type Options = Readonly<
  Record<string, { readonly pattern: RegExp; readonly must: string } | undefined>
>;

const SEVERAL_HOSTS = 'names several hosts: one is supported';

/**
 * The options that are passed on to `pg`. libpq has more, which `pg` ignores; timeouts of statements are the server's own
 * business.
 */
const DATABASE_OPTIONS: Options = {
  user: undefined,
  password: undefined,
  host: { pattern: /^[^,]*$/, must: 'one host' },
  port: { pattern: /^\d{1,5}$/, must: 'a port number' },
  options: undefined,
  application_name: undefined,
  fallback_application_name: undefined,
  client_encoding: { pattern: /^utf-?8$/i, must: 'UTF8' },
  connect_timeout: { pattern: /^[1-9]\d{0,5}$/, must: 'seconds, from 1' },
  ssl: { pattern: /^(true|false|1|0|no-verify)$/, must: 'true, false or no-verify' },
  sslmode: {
    // `pg` never falls back to a connection without TLS, as prefer and allow promise.
    pattern: /^(disable|require|verify-ca|verify-full|no-verify)$/,
    must: 'disable, require, verify-ca, verify-full or no-verify',
  },
  sslcert: undefined,
  sslkey: undefined,
  sslrootcert: undefined,
  uselibpqcompat: { pattern: /^(true|false)$/, must: 'true or false' },
};

/** The options that are passed on to ioredis. It would take any other from the URL, too, and prefer it to the broker's. */
const REDIS_OPTIONS: Options = {
  family: { pattern: /^[046]$/, must: '0, 4 or 6' },
  db: { pattern: /^\d{1,9}$/, must: 'the number of a database' },
  path: { pattern: /^\//, must: 'the path of a socket' },
  sslrootcert: undefined,
  sslcert: undefined,
  sslkey: undefined,
};
const REDIS_TLS_OPTIONS = ['sslrootcert', 'sslcert', 'sslkey'] as const;
/** The port of a Sentinel in the documentation of Redis. */
const DEFAULT_SENTINEL_PORT = 26_379;

/** The Sentinels of a Redis: they know which of its servers is the master. */
export interface Sentinels {
  readonly hosts: readonly { readonly host: string; readonly port: number }[];
  /** Of the Sentinels themselves. */
  readonly password: string | undefined;
}

/** Parses a database's URL as `pg` does. */
export function parseDatabaseUrl(text: string): Parsed<DatabaseAddress> {
  if (!/^postgres(ql)?:\/\//i.test(text)) {
    return { problem: 'must be a URL that begins with postgres:// or postgresql://' };
  }
  const problem = problemOf(text, DATABASE_OPTIONS);
  if (problem !== undefined) return { problem };
  let parsed: ReturnType<typeof parseConnectionString>;
  try {
    // If the URL has a space, pg-connection-string encodes it as a whole, the encoded parts a second time.
    parsed = parseConnectionString(text.replaceAll(' ', '%20'));
  } catch (error) {
    const isFile = (error as NodeJS.ErrnoException).syscall !== undefined;
    return {
      problem: isFile ? 'names a certificate or key that cannot be read' : 'cannot be read',
    };
  }
  const given = parsed as Readonly<Record<string, unknown>>;
  const option = (name: string): string | undefined => (given[name] as string) || undefined;
  const username = parsed.user || 'postgres';
  const port = Number(parsed.port || DEFAULT_POSTGRES_PORT);
  if (port < 1 || port > MAX_PORT) return { problem: 'has an invalid port' };
  const seconds = option('connect_timeout');
  return {
    value: {
      host: parsed.host || 'localhost',
      port,
      database: parsed.database || username,
      username,
      password: parsed.password || undefined,
      ssl: sslOf(parsed.ssl),
      options: option('options'),
      applicationName: option('application_name') ?? option('fallback_application_name'),
      connectTimeoutMs: seconds === undefined ? undefined : Number(seconds) * 1_000,
    },
  };
}

function sslOf(ssl: unknown): boolean | object {
  if (ssl === 'no-verify') return { rejectUnauthorized: false };
  return typeof ssl === 'object' && ssl !== null ? ssl : ssl === true;
}

/** Checks a URL of Redis and normalises it: ioredis recognises rediss:// in lower case only. */
export function parseRedisUrl(text: string): Parsed<string> {
  if (!/^rediss?:\/\//i.test(text)) {
    return { problem: 'must be a URL that begins with redis:// or rediss://' };
  }
  const problem = problemOf(text, REDIS_OPTIONS);
  if (problem !== undefined) return { problem };
  if (!URL.canParse(text)) return { problem: 'cannot be read' };
  const url = new URL(text);
  if (!isDecodable(url.username) || !isDecodable(url.password) || url.hostname.includes('%')) {
    return { problem: 'cannot be read' };
  }
  if (url.port === '0') return { problem: 'has an invalid port' };
  if (!/^\/?\d{0,9}$/.test(url.pathname)) {
    return { problem: 'must have the number of a database for its path, or none' };
  }
  for (const option of REDIS_TLS_OPTIONS) {
    const path = url.searchParams.get(option);
    if (path === null) continue;
    if (url.protocol !== 'rediss:') return { problem: `option ${option} needs rediss://` };
    try {
      readFileSync(path);
    } catch {
      return { problem: 'names a certificate or key that cannot be read' };
    }
  }
  return { value: url.href };
}

/** Whether the URL of a Redis has nothing of an address but a host, which is a name that Sentinels know. */
export function isNameOfMaster(url: string): boolean {
  const { hostname, port, searchParams } = new URL(url);
  return hostname !== '' && port === '' && !searchParams.has('path') && !searchParams.has('family');
}

/** Parses the addresses of Sentinels: a name, an IPv4 address or an IPv6 address in brackets each, and a port if it is another. */
export function parseSentinels(text: string): Parsed<Sentinels['hosts']> {
  const hosts: { host: string; port: number }[] = [];
  for (const item of text.split(',')) {
    const match = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9_][\w.-]*))(?::(\d{1,5}))?$/i.exec(item.trim());
    const port = Number(match?.[3] ?? DEFAULT_SENTINEL_PORT);
    if (match === null || port < 1 || port > MAX_PORT) {
      return { problem: 'must be addresses like sentinel-1:26379, divided by commas' };
    }
    hosts.push({ host: match[1] ?? match[2] ?? '', port });
  }
  return { value: hosts };
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

/** The problem of a URL's hosts or options, if it has one. */
function problemOf(text: string, options: Options): string | undefined {
  if (text.includes('#')) return 'contains a #: write it as %23';
  const [beforeQuery = '', query = ''] = splitOnce(text, '?');
  const [, behindScheme = ''] = splitOnce(beforeQuery, '//');
  const [authority = ''] = behindScheme.split('/', 1);
  if (authority.slice(authority.lastIndexOf('@') + 1).includes(',')) return SEVERAL_HOSTS;
  const given = new Set<string>();
  for (const [name, value] of new URLSearchParams(query)) {
    if (!Object.hasOwn(options, name)) {
      // A password with a question mark in it may look like options.
      const isName = /^[a-z_]+$/i.test(name) && !query.includes('@');
      return isName ? `option ${name} is not supported` : 'has an option that is not supported';
    }
    if (given.has(name)) return `option ${name} is given twice`;
    given.add(name);
    const { pattern, must } = options[name] ?? {};
    if (pattern?.test(value) === false) return `option ${name} must be ${must}`;
  }
  return undefined;
}

function splitOnce(text: string, separator: string): string[] {
  const at = text.indexOf(separator);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + separator.length)];
}
