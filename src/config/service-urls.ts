import { parse as parseConnectionString } from 'pg-connection-string';

export const DEFAULT_POSTGRES_PORT = 5432;
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
}

/** A URL that cannot be used; the problem is a sentence without a subject, and without any value. */
export type Parsed<T> = { readonly value: T } | { readonly problem: string };

/** What an option of a URL has to be, as the end of a sentence; undefined: anything. */
type Options = Readonly<
  Record<string, { readonly pattern: RegExp; readonly must: string } | undefined>
>;

const SEVERAL_HOSTS = 'names several hosts: one is supported';

/** The options of `pg` that are passed on. libpq has more of them, and the server sets the timeouts of statements itself. */
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
    // `pg` never goes on without TLS where the server has none, as prefer and allow would.
    pattern: /^(disable|require|verify-ca|verify-full|no-verify)$/,
    must: 'disable, require, verify-ca, verify-full or no-verify',
  },
  sslcert: undefined,
  sslkey: undefined,
  sslrootcert: undefined,
  uselibpqcompat: { pattern: /^(true|false)$/, must: 'true or false' },
};

/** Of what ioredis reads from a URL, all of which would go before the settings of the broker. */
const REDIS_OPTIONS: Options = {
  family: { pattern: /^[046]$/, must: '0, 4 or 6' },
  db: { pattern: /^\d{1,9}$/, must: 'the number of a database' },
  path: { pattern: /^\//, must: 'the path of a socket' },
};

/** The address in a URL, as `pg` reads it. */
export function parseDatabaseUrl(text: string): Parsed<DatabaseAddress> {
  if (!/^postgres(ql)?:\/\//i.test(text)) {
    return { problem: 'must be a URL that begins with postgres:// or postgresql://' };
  }
  const problem = problemOf(text, DATABASE_OPTIONS);
  if (problem !== undefined) return { problem };
  let parsed: ReturnType<typeof parseConnectionString>;
  try {
    // `pg` would encode what is encoded already where there is a space.
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
  if (port < 1 || port > MAX_PORT) return { problem: 'has a port that is none' };
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

/** The URL as ioredis understands it: it knows rediss:// in lower case alone. */
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
  if (url.port === '0') return { problem: 'has a port that is none' };
  if (!/^\/?\d{0,9}$/.test(url.pathname)) {
    return { problem: 'must have the number of a database for its path, or none' };
  }
  return { value: url.href };
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

/** What is wrong with a URL's hosts and options; `options` are those that are known. */
function problemOf(text: string, options: Options): string | undefined {
  if (text.includes('#')) return 'has a # in it: %23 stands for one';
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
