import { readFileSync } from 'node:fs';
import type { RedisOptions } from 'ioredis';
import type { Sentinels } from '../config/service-urls.js';

/** A Sentinel answers within a millisecond; one that hangs is left for the next. */
const SENTINEL_TIMEOUT_MS = 1_000;
/** The wait before all Sentinels are asked again, if none of them knew a master that answers. */
const SENTINEL_RETRY_MS = 500;

/** The options of ioredis that say where a Redis is, and who connects to it. */
type AddressOptions = Pick<
  RedisOptions,
  | 'host'
  | 'port'
  | 'family'
  | 'path'
  | 'username'
  | 'password'
  | 'tls'
  | 'sentinels'
  | 'name'
  | 'sentinelPassword'
  | 'sentinelTLS'
  | 'enableTLSForSentinelMode'
  | 'sentinelCommandTimeout'
  | 'sentinelRetryStrategy'
>;

/**
 * The options of ioredis for the address and the user in a URL of Redis. The rest is left out: ioredis would select the
 * database in the path, which pub/sub ignores, and take each name of the query for an option.
 * @param sentinels know the address of the Redis; the host of the URL is then its name there
 */
export function addressOf(url: string, sentinels?: Sentinels): AddressOptions {
  const { protocol, hostname, port, username, password, searchParams } = new URL(url);
  const tls = protocol === 'rediss:' ? tlsOf(searchParams) : undefined;
  const user = {
    ...(username !== '' && { username: decodeURIComponent(username) }),
    ...(password !== '' && { password: decodeURIComponent(password) }),
    ...(tls && { tls }),
  };
  if (sentinels !== undefined) {
    return {
      ...user,
      sentinels: [...sentinels.hosts],
      name: hostname,
      ...(sentinels.password !== undefined && { sentinelPassword: sentinels.password }),
      ...(tls && { sentinelTLS: tls, enableTLSForSentinelMode: true }),
      sentinelCommandTimeout: SENTINEL_TIMEOUT_MS,
      sentinelRetryStrategy: () => SENTINEL_RETRY_MS,
    };
  }
  const path = searchParams.get('path');
  if (path !== null) return { ...user, path };
  const family = Number(searchParams.get('family'));
  return {
    ...user,
    host: hostname.replace(/^\[|\]$/g, '') || 'localhost',
    ...(port !== '' && { port: Number(port) }),
    ...((family === 4 || family === 6) && { family }),
  };
}

function tlsOf(options: URLSearchParams): NonNullable<RedisOptions['tls']> {
  const read = (name: string): string | undefined => {
    const path = options.get(name);
    return path === null ? undefined : readFileSync(path, 'utf8');
  };
  const [ca, cert, key] = ['sslrootcert', 'sslcert', 'sslkey'].map(read);
  return {
    ...(ca !== undefined && { ca }),
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
  };
}
