import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Actions } from '../../src/actions/actions.js';
import { createApp } from '../../src/http/app.js';
import { readPage } from '../../src/http/page.js';
import { ChatError } from '../../src/errors.js';
import { rawRequest, type RawAnswer } from '../harness/raw-request.js';
import { LIMITS, QUIET } from '../harness/store-hosts.js';

const INDEX = '<!doctype html><script type="module" src="/assets/page-Ab12.js"></script>';
const SCRIPT = `export const text = '${'¡Hola! '.repeat(1_000)}';\n`;
const PICTURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0, 255]);

/** Holds `web`, the folder that is served, and a file beside it. */
let folder: string;
let server: Server;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nano-test-'));
  await mkdir(join(folder, 'web/assets'), { recursive: true });
  await writeFile(join(folder, 'secret.js'), 'secret');
  await writeFile(join(folder, 'web/index.html'), INDEX);
  await writeFile(join(folder, 'web/client.js'), SCRIPT);
  await writeFile(join(folder, 'web/assets/page-Ab12.js'), SCRIPT);
  await writeFile(join(folder, 'web/assets/icon-Cd34.png'), PICTURE);
  server = await serve(join(folder, 'web'));
});
afterAll(async () => {
  await end(server);
  await rm(folder, { recursive: true });
});

/** The REST side with the page of a folder, and without a store. */
async function serve(path: string): Promise<Server> {
  const app = createApp({
    actions: {} as Actions,
    uploads: new WeakSet(),
    tokens: {
      verify() {
        throw new ChatError('UNAUTHORIZED');
      },
    },
    addressOf: () => '',
    requestRate: undefined,
    readiness: { missing: () => Promise.resolve([]), brokerIsUp: true },
    isClosing: () => false,
    corsOrigins: '*',
    timeZone: 'UTC',
    devUsers: undefined,
    page: await readPage(path),
    limits: LIMITS,
    logger: QUIET,
  });
  const handle = app.callback();
  const http = createServer((incoming, outgoing) => {
    void handle(incoming, outgoing);
  }).listen(0, '127.0.0.1');
  await once(http, 'listening');
  return http;
}

async function end(http: Server): Promise<void> {
  http.close();
  http.closeAllConnections();
  await once(http, 'close');
}

/** One request to the page of the tests, or to another one. */
const get = (
  path: string,
  headers: Readonly<Record<string, string>> = {},
  { method = 'GET', from = server } = {},
): Promise<RawAnswer> => {
  const url = `http://127.0.0.1:${(from.address() as AddressInfo).port}`;
  return rawRequest({ url }, path, { method, headers });
};

describe('the chat page', () => {
  it('is served at / and asked for again each time', async () => {
    const { status, headers, body } = await get('/');
    expect({ status, body: body.toString() }).toEqual({ status: 200, body: INDEX });
    expect(headers).toMatchObject({
      'content-type': 'text/html; charset=utf-8',
      'content-length': String(INDEX.length),
      'cache-control': 'no-cache',
    });
  });

  it('keeps its assets for a year', async () => {
    const script = await get('/assets/page-Ab12.js');
    expect(script.body.toString()).toBe(SCRIPT);
    expect(script.headers['content-type']).toMatch(
      /^(text|application)\/javascript; charset=utf-8$/,
    );
    const picture = await get('/assets/icon-Cd34.png', { 'accept-encoding': 'gzip' });
    expect(picture.body).toEqual(PICTURE);
    expect(picture.headers).toMatchObject({ 'content-type': 'image/png' });
    expect(picture.headers).not.toHaveProperty('content-encoding');
    for (const { headers } of [script, picture]) {
      expect(headers['cache-control']).toBe('public, max-age=31536000, immutable');
    }
  });

  it('has the client library at /client.js, for pages of other origins, too', async () => {
    const { headers, body } = await get('/client.js', { origin: 'https://app.example' });
    expect(body.toString()).toBe(SCRIPT);
    expect(headers).toMatchObject({
      'cache-control': 'no-cache',
      'access-control-allow-origin': '*',
      'cross-origin-resource-policy': 'cross-origin',
    });
  });

  it('forbids all but its own scripts and styles, its server, and pictures', async () => {
    for (const path of ['/', '/assets/page-Ab12.js', '/client.js']) {
      const { headers } = await get(path);
      expect(headers).toMatchObject({
        'content-security-policy':
          "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https: data:; " +
          "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        'x-content-type-options': 'nosniff',
        'referrer-policy': 'no-referrer',
      });
    }
    const { headers } = await get('/healthz');
    expect(headers['content-security-policy']).toBe("default-src 'self';frame-ancestors 'none'");
    expect(headers['cache-control']).toBe('no-store');
  });

  it.each([
    ['br, gzip', 'br', 200, brotliDecompressSync],
    ['gzip, deflate', 'gzip', 200, gunzipSync],
    ['br;q=0, gzip', 'gzip', 200, gunzipSync],
    ['zstd', undefined, 8_100, (bytes: Buffer) => bytes],
    ['', undefined, 8_100, (bytes: Buffer) => bytes],
  ])('is compressed as the client accepts it: %s', async (accepted, coding, bytes, decode) => {
    for (const _ of ['made', 'kept']) {
      const { headers, body } = await get('/client.js', { 'accept-encoding': accepted });
      expect(headers['content-encoding']).toBe(coding);
      expect(headers.vary).toContain('Accept-Encoding');
      expect(decode(body).toString()).toBe(SCRIPT);
      expect(body.length).toBeLessThan(bytes);
    }
  });

  it.each(['/', '/client.js', '/assets/icon-Cd34.png'])(
    'is 304 without a body if the client has it: %s',
    async (path) => {
      const first = await get(path, { 'accept-encoding': 'gzip' });
      const etag = first.headers.etag ?? '';
      const again = await get(path, { 'if-none-match': `"other", ${etag}` });
      expect(again).toMatchObject({ status: 304, headers: { etag }, body: Buffer.alloc(0) });
      expect(again.headers['cache-control']).toBe(first.headers['cache-control']);
      expect((await get(path, { 'if-none-match': '"other"' })).status).toBe(200);
    },
  );

  it('answers HEAD as GET, without the body', async () => {
    for (const path of ['/', '/client.js', '/assets/icon-Cd34.png']) {
      const { headers: expected } = await get(path);
      const { status, headers, body } = await get(path, {}, { method: 'HEAD' });
      expect({ status, body: body.length }).toEqual({ status: 200, body: 0 });
      for (const name of ['content-type', 'content-length', 'etag', 'cache-control']) {
        expect(headers[name]).toBe(expected[name]);
      }
    }
  });

  it.each([
    '/../secret.js',
    '/assets/../../secret.js',
    '/..%2fsecret.js',
    '/%2e%2e/secret.js',
    '/%2e%2e%2fsecret.js',
    '/..\\secret.js',
    '/assets/..%5c..%5csecret.js',
    '//secret.js',
    '/assets',
    '/assets/',
    '/assets/../client.js',
    '/client.js%00',
    '/client.js%00.png',
    '/%00',
    '/client.js/',
    '/CLIENT.JS',
    '/index.html',
    '/%',
  ])('has nothing else: %s is 404 in the envelope', async (path) => {
    const { status, headers, body } = await get(path);
    expect(status).toBe(404);
    expect(headers['content-type']).toBe('application/json; charset=utf-8');
    expect(JSON.parse(body.toString())).toMatchObject({ meta: { reason: 'NOT_FOUND' } });
  });

  it('is not written to', async () => {
    for (const method of ['POST', 'PUT', 'DELETE']) {
      expect((await get('/', {}, { method })).status).toBe(404);
    }
  });

  it('is 404 in the envelope if it is not built', async () => {
    const bare = await serve(join(folder, 'no-such-folder'));
    try {
      for (const path of ['/', '/client.js']) {
        const { status, body } = await get(path, {}, { from: bare });
        expect(status).toBe(404);
        expect(JSON.parse(body.toString())).toMatchObject({ meta: { reason: 'NOT_FOUND' } });
      }
    } finally {
      await end(bare);
    }
  });
});
