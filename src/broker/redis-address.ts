import type { RedisOptions } from 'ioredis';

/**
 * The address and the user in a URL of Redis. The rest is left out: ioredis would select the database in the path, which
 * pub/sub ignores, and take each name of the query for an option.
 */
export function addressOf(
  url: string,
): Pick<RedisOptions, 'host' | 'port' | 'username' | 'password' | 'family' | 'tls'> {
  const { protocol, hostname, port, username, password, searchParams } = new URL(url);
  const family = Number(searchParams.get('family'));
  return {
    host: hostname.replace(/^\[|\]$/g, '') || 'localhost',
    ...(port !== '' && { port: Number(port) }),
    ...(username !== '' && { username: decodeURIComponent(username) }),
    ...(password !== '' && { password: decodeURIComponent(password) }),
    ...((family === 4 || family === 6) && { family }),
    ...(protocol === 'rediss:' && { tls: {} }),
  };
}
