import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { startEmbeddedPostgres } from '../../src/store/embedded.js';
import { migrateFresh } from './migrate-fresh.js';
import { SECRET } from './node.js';

const MODULES = fileURLToPath(new URL('../../node_modules/', import.meta.url));
const MIGRATIONS = fileURLToPath(new URL('../../migrations', import.meta.url));
const CACHE = join(MODULES, '.cache/nano-messaging');

export interface DataDir {
  readonly path: string;
  remove(): Promise<void>;
}

/** A DATA_DIR of one test, with an empty database in it: a copy, as making one takes seconds. */
export async function createDataDir(): Promise<DataDir> {
  return copyToTemporary(await findEmptyTemplate());
}

/** A DATA_DIR of one test, with a database as the migrations leave it. */
export async function createMigratedDataDir(): Promise<DataDir> {
  return copyToTemporary(await findMigratedTemplate());
}

/**
 * A DATA_DIR that has the secret of the tests where a server without JWT_MASTER_SECRET has its own, and no database:
 * such a server accepts the tokens of the tests, and serves /dev/token.
 */
export async function createSecretDir(): Promise<DataDir> {
  const path = await mkdtemp(join(tmpdir(), 'nano-messaging-data-'));
  await writeFile(join(path, 'jwt-secret'), SECRET);
  return { path, remove: () => rm(path, { recursive: true }) };
}

/** Puts an empty database into a folder. */
export async function copyEmptyTemplate(path: string): Promise<void> {
  await copyFolder(await findEmptyTemplate(), path);
}

/** Creates the originals of every DATA_DIR once, in node_modules/.cache. */
export async function makeEmbeddedTemplates(): Promise<void> {
  const empty = await findEmptyTemplate();
  await make(empty, async (draft) => {
    await (await startEmbeddedPostgres(draft)).close();
  });
  await make(await findMigratedTemplate(), async (draft) => {
    await copyFolder(empty, draft);
    await migrateFresh({ DATA_DIR: draft });
  });
}

async function make(template: string, fill: (draft: string) => Promise<void>): Promise<void> {
  if (existsSync(template)) return;
  await mkdir(CACHE, { recursive: true });
  const draft = await mkdtemp(join(CACHE, 'draft-'));
  await fill(draft);
  try {
    await rename(draft, template);
  } catch (error) {
    // Another test run has created it meanwhile.
    await rm(draft, { recursive: true });
    if (!existsSync(template)) throw error;
  }
}

async function copyToTemporary(template: string): Promise<DataDir> {
  const path = await mkdtemp(join(tmpdir(), 'nano-messaging-data-'));
  await copyFolder(template, path);
  return { path, remove: () => rm(path, { recursive: true, force: true, maxRetries: 5 }) };
}

async function copyFolder(from: string, to: string): Promise<void> {
  // For its thousand files, fs.cp would take several times as long.
  await promisify(execFile)('cp', ['-R', `${from}/.`, to]);
}

async function findEmptyTemplate(): Promise<string> {
  const manifest = await readFile(join(MODULES, '@electric-sql/pglite/package.json'), 'utf8');
  const { version } = JSON.parse(manifest) as { version: string };
  return join(CACHE, `pglite-${version}`);
}

/** A change of a migration makes a new one. */
async function findMigratedTemplate(): Promise<string> {
  const hash = createHash('sha256');
  for (const name of (await readdir(MIGRATIONS)).toSorted()) {
    hash.update(name).update(await readFile(join(MIGRATIONS, name)));
  }
  return `${await findEmptyTemplate()}-${hash.digest('hex').slice(0, 16)}`;
}
