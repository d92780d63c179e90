/**
 * Builds dist/web: the chat page of web/, and beside it the client library as a module for other pages. If nothing that
 * they are made of has changed since, it keeps them. Plain JavaScript, as nothing is built yet.
 */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

const SOURCES = ['web', 'src/client', 'src/protocol', 'scripts', 'package-lock.json'];
/** What is written last. */
const LAST = 'dist/web/client.js';

/** When a file was changed, or any below a folder, or when one was added or removed there. */
function changedAt(path) {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return 0;
  const inside = stats.isDirectory() ? readdirSync(path) : [];
  return Math.max(stats.mtimeMs, ...inside.map((name) => changedAt(join(path, name))));
}

const builtAt = statSync(LAST, { throwIfNoEntry: false })?.mtimeMs ?? 0;
if (SOURCES.some((path) => changedAt(path) > builtAt)) {
  const { build } = await import('vite');
  // Empties the folder, so it comes first.
  await build({ root: 'web', logLevel: 'warn' });
  await import('./bundle-client.mjs');
}
