import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { Middleware } from 'koa';
import { readStaticFiles, serveStaticFiles } from './static-files.js';

/**
 * The page loads its own scripts and styles alone, and talks to this server alone. `'self'` is its WebSocket, too.
 * Pictures are those of users, from wherever their application has them.
 */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' https: data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

/** The name of each file in assets/ has a hash of its content. For a year, the longest that RFC 2616 allowed. */
const FOR_EVER = 'public, max-age=31536000, immutable';

/** Where the build writes the page: the same folder of the package, whether this file runs from src or from dist. */
function buildFolder(): string {
  const { resolve } = createRequire(import.meta.url);
  return join(dirname(resolve('nano-messaging/package.json')), 'dist/web');
}

/**
 * The chat page: `/`, what it loads, and `/client.js`, the client library for other pages; and `/docs`, which shows the
 * API's document. All of it is read now.
 * Undefined if it is not built: REST and the socket need no page.
 */
export async function readPage(folder = buildFolder()): Promise<Middleware | undefined> {
  const files = await readStaticFiles(folder);
  return files && serveStaticFiles(files, headersOf);
}

function headersOf(path: string): Readonly<Record<string, string>> {
  return {
    'Cache-Control': path.startsWith('/assets/') ? FOR_EVER : 'no-cache',
    'Content-Security-Policy': CONTENT_SECURITY_POLICY,
  };
}
