import { expect, it } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import { plainUrls } from '../../src/config/plain-urls.js';

const WEBHOOK_SECRET = `whsec_${Buffer.alloc(32, 1).toString('base64')}`;

/** The variables that are told of, if all URLs are the same. */
function told(url: string): string[] {
  const urls = { JWKS_URL: url, HOOK_URL: url, WEBHOOK_URL: url };
  return plainUrls(loadConfig({ ...urls, WEBHOOK_SECRET }));
}

it.each([
  'http://app.example/x',
  'HTTP://APP.EXAMPLE',
  'http://203.0.113.7',
  'http://[2001:db8::7]',
])('URLs of plain http are those at %s', (url) => {
  expect(told(url)).toEqual(['JWKS_URL', 'HOOK_URL', 'WEBHOOK_URL']);
});

it.each([
  'https://app.example',
  'http://localhost:3000',
  'http://127.0.0.1:3000',
  'http://[::1]:3000',
  'http://app:3000',
  'http://10.1.2.3',
  'http://192.168.1.2',
  'http://[fd00::7]',
  'http://host.docker.internal:3000',
  'http://app.chat.svc.cluster.local',
  'http://app.chat.svc',
])('nothing is told of %s', (url) => {
  expect(told(url)).toEqual([]);
});
