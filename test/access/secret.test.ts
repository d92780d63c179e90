import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readOrCreateSecret } from '../../src/access/secret.js';

describe('the secret of an installation', () => {
  let folder: string;
  let dataDir: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'nano-messaging-secret-'));
    dataDir = join(folder, 'deep', 'data');
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('has 256 bits, and differs in each folder', async () => {
    const secrets = await Promise.all(
      ['a', 'b', 'c'].map((name) => readOrCreateSecret(join(dataDir, name))),
    );

    for (const secret of secrets) expect(secret).toMatch(/^[A-Za-z0-9_-]{43}$/);
    expect(new Set(secrets).size).toBe(3);
  });

  it('is the same at each call', async () => {
    const secret = await readOrCreateSecret(dataDir);

    expect(await readOrCreateSecret(dataDir)).toBe(secret);
    expect((await readFile(join(dataDir, 'jwt-secret'), 'utf8')).trim()).toBe(secret);
  });

  it('can be read only by its owner', async () => {
    await readOrCreateSecret(dataDir);

    expect((await stat(join(dataDir, 'jwt-secret'))).mode & 0o777).toBe(0o600);
    expect((await stat(dataDir)).mode & 0o777).toBe(0o700);
  });

  it('is the same for simultaneous callers, and leaves no draft behind', async () => {
    const secrets = await Promise.all(
      Array.from({ length: 50 }, () => readOrCreateSecret(dataDir)),
    );

    expect(new Set(secrets).size).toBe(1);
    expect(await readdir(dataDir)).toEqual(['jwt-secret']);
  });

  it('is the content of its file, without surrounding space', async () => {
    await readOrCreateSecret(dataDir);
    await writeFile(join(dataDir, 'jwt-secret'), '  a secret of one’s own \r\n');

    expect(await readOrCreateSecret(dataDir)).toBe('a secret of one’s own');
  });

  it.each(['', '\n', ' \t\r\n'])('is never empty, even if the file holds %j', async (text) => {
    await readOrCreateSecret(dataDir);
    await writeFile(join(dataDir, 'jwt-secret'), text);

    await expect(readOrCreateSecret(dataDir)).rejects.toThrow(/jwt-secret is empty/);
  });

  it('is not created if the folder cannot be created', async () => {
    await writeFile(join(folder, 'deep'), 'a file');

    await expect(readOrCreateSecret(dataDir)).rejects.toMatchObject({ code: 'ENOTDIR' });
  });
});
