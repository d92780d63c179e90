import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { beforeAll, expect, it } from 'vitest';
import { STOPS } from '../../src/client/connection.js';
import { CLOSE_CODES } from '../../src/protocol/close-codes.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** What a page pays for the library: 8 KiB. */
const MOST_BYTES = 8_192;
let bundle: string;

beforeAll(() => {
  const folder = mkdtempSync(join(tmpdir(), 'nano-test-'));
  execFileSync(process.execPath, ['scripts/bundle-client.mjs', folder], { cwd: ROOT });
  bundle = readFileSync(join(folder, 'client.js'), 'utf8');
  rmSync(folder, { recursive: true });
});

it('the bundle for pages is at most 8 KiB, minified and gzipped', () => {
  expect(gzipSync(bundle, { level: 9 }).length).toBeLessThanOrEqual(MOST_BYTES);
});

it('the bundle imports nothing, and exports what the library exports', async () => {
  expect(bundle).not.toMatch(/\bimport\b/);
  const bundled: object = await import(`data:text/javascript,${encodeURIComponent(bundle)}`);
  const library: object = await import('../../src/client/index.js');
  expect(Object.keys(bundled).toSorted()).toEqual(Object.keys(library).toSorted());
});

it('the client stops behind the close codes of the protocol that forbid to reconnect', () => {
  const forbidden = Object.entries(CLOSE_CODES).filter(([, { reconnect }]) => !reconnect);
  const own = Object.entries(STOPS).filter(([, reason]) => reason !== 'PROTOCOL');
  expect(own.map(([code, reason]) => [reason, Number(code)])).toEqual(
    forbidden.map(([reason, { code }]) => [reason, code]),
  );
});
