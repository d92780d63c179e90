import { randomBytes } from 'node:crypto';
import { link, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const FILE = 'jwt-secret';

/**
 * Reads the secret of an installation without JWT_MASTER_SECRET from `dataDir`. The first call creates it: 256 random
 * bits (what HS256 asks for), readable by the owner only. Processes that call it at the same time get the same secret.
 */
export async function readOrCreateSecret(dataDir: string): Promise<string> {
  const path = join(dataDir, FILE);
  const existing = await readSecret(path);
  if (existing !== undefined) return existing;

  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const draft = `${path}.${randomBytes(6).toString('hex')}`;
  await writeFile(draft, `${randomBytes(32).toString('base64url')}\n`, { mode: 0o600, flag: 'wx' });
  try {
    // Unlike a rename, a link never replaces the secret that another process made meanwhile.
    await link(draft, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    await rm(draft);
  }
  const secret = await readSecret(path);
  if (secret === undefined) throw new Error(`${path} was removed while it was being created`);
  return secret;
}

async function readSecret(path: string): Promise<string | undefined> {
  try {
    const secret = (await readFile(path, 'utf8')).trim();
    if (secret === '') throw new Error(`${path} is empty: remove it, and a new secret is made`);
    return secret;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
