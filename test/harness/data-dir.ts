import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { startEmbeddedPostgres } from '../../src/store/embedded.js';

const MODULES = fileURLToPath(new URL('../../node_modules/', import.meta.url));
const CACHE = join(MODULES, '.cache/nano-messaging');

export interface DataDir {
  readonly path: string;
  remove(): Promise<void>;
}

/** A DATA_DIR of one test with an empty database: a copy, as creating one takes seconds. */
export async function createDataDir(): Promise<DataDir> {
  const path = await mkdtemp(join(tmpdir(), 'nano-messaging-data-'));
  await copyEmbeddedTemplate(path);
  return { path, remove: () => rm(path, { recursive: true, force: true, maxRetries: 5 }) };
}

/** Puts an empty database into a folder. */
export async function copyEmbeddedTemplate(path: string): Promise<void> {
  // For its thousand files, fs.cp would take several times as long.
  await promisify(execFile)('cp', ['-R', `${await findEmbeddedTemplate()}/.`, path]);
}

/** Creates the original of every DATA_DIR once, in node_modules/.cache. */
export async function makeEmbeddedTemplate(): Promise<void> {
  const template = await findEmbeddedTemplate();
  if (existsSync(template)) return;
  await mkdir(CACHE, { recursive: true });
  const draft = await mkdtemp(join(CACHE, 'draft-'));
  await (await startEmbeddedPostgres(draft)).close();
  try {
    await rename(draft, template);
  } catch (error) {
    // Another test run has created it meanwhile.
    await rm(draft, { recursive: true });
    if (!existsSync(template)) throw error;
  }
}

async function findEmbeddedTemplate(): Promise<string> {
  const manifest = await readFile(join(MODULES, '@electric-sql/pglite/package.json'), 'utf8');
  const { version } = JSON.parse(manifest) as { version: string };
  return join(CACHE, `pglite-${version}`);
}
