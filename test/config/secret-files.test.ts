import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConfigError, loadConfig } from '../../src/config/load.js';
import { SECRETS } from '../../src/config/variables.js';

const SECRET = `${'x'.repeat(32)}ñ `;
const DATABASE_URL = 'postgres://ana:hush@db.example:5433/chat';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'nano-test-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

function file(content: string | Buffer): string {
  const path = join(folder, 'secret');
  writeFileSync(path, content);
  return path;
}

function problemsOf(env: Record<string, string>): readonly string[] {
  try {
    loadConfig(env);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

describe('a file of a secret', () => {
  it('gives the secret of tokens, without the line break at its end alone', () => {
    for (const lineBreak of ['', '\n', '\r\n']) {
      const path = file(SECRET + lineBreak);
      expect(loadConfig({ JWT_MASTER_SECRET_FILE: path }).jwtSecret).toBe(SECRET);
    }
  });

  it('gives the addresses of the services', () => {
    expect(loadConfig({ DATABASE_URL_FILE: file(`${DATABASE_URL}\n`) }).database).toEqual(
      loadConfig({ DATABASE_URL }).database,
    );
    const REDIS_URL = 'redis://:hush@pubsub:6379';
    expect(loadConfig({ REDIS_URL_FILE: file(`${REDIS_URL}\n`) }).redisUrls).toEqual([REDIS_URL]);
  });

  it('gives the password of a database by parts', () => {
    const parts = { DB_HOST: 'db', DB_NAME: 'chat', DB_USERNAME: 'ana' };
    expect(loadConfig({ ...parts, DB_PASSWORD_FILE: file('hush\n') }).database?.password).toBe(
      'hush',
    );
  });

  it('satisfies production', () => {
    const NODE_ENV = 'production';
    const JWT_MASTER_SECRET_FILE = file(SECRET);
    expect(problemsOf({ NODE_ENV, JWT_MASTER_SECRET_FILE, DATABASE_URL })).toEqual([]);
  });

  it('is checked as the variable is', () => {
    const NODE_ENV = 'production';
    const JWT_MASTER_SECRET_FILE = file('short');
    expect(problemsOf({ NODE_ENV, JWT_MASTER_SECRET_FILE, DATABASE_URL })).toEqual([
      'JWT_MASTER_SECRET must have at least 32 characters in production',
    ]);
    expect(problemsOf({ REDIS_URL_FILE: file('http://pubsub') })).toEqual([
      'REDIS_URL must be a URL that begins with redis:// or rediss://',
    ]);
  });

  it('counts as absent if its variable is empty', () => {
    expect(loadConfig({ REDIS_URL_FILE: '' })).toEqual(loadConfig({}));
    const REDIS_URL = 'redis://pubsub';
    expect(loadConfig({ REDIS_URL, REDIS_URL_FILE: ' ' }).redisUrls).toEqual([REDIS_URL]);
    expect(loadConfig({ REDIS_URL: '', REDIS_URL_FILE: file(REDIS_URL) }).redisUrls).toEqual([
      REDIS_URL,
    ]);
  });

  it.each(SECRETS)('is refused beside the variable itself: %s', (name) => {
    expect(problemsOf({ [name]: 'x', [`${name}_FILE`]: file('x') })).toContain(
      `${name}_FILE is given beside ${name}`,
    );
  });

  it.each([
    ['a missing one', () => join(folder, 'missing'), 'cannot be read: ENOENT'],
    ['a folder', () => folder, 'cannot be read: EISDIR'],
    ['an empty one', () => file('\n'), 'names an empty file'],
    [
      'one in another encoding',
      () => file(Buffer.from('señal', 'latin1')),
      'names a file that is not text in UTF-8',
    ],
  ])('is refused, not ignored: %s', (_, path, problem) => {
    const NODE_ENV = 'production';
    const env = { NODE_ENV, JWT_MASTER_SECRET_FILE: path(), DATABASE_URL };
    expect(problemsOf(env)).toEqual([`JWT_MASTER_SECRET_FILE ${problem}`]);
  });
});
