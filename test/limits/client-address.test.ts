import { expect, it } from 'vitest';
import { parseTrustedProxies } from '../../src/config/trusted-proxies.js';
import { createAddressOf, networkOf, type AddressOf } from '../../src/limits/client-address.js';

const warnings: unknown[] = [];
const logger = { warn: (text: unknown) => void warnings.push(text) };

/** The address of a client whose connection and header are given; `trusted` as TRUSTED_PROXIES has it. */
function addressOf(
  trusted: string | undefined,
  remoteAddress: string | undefined,
  forwarded: string | undefined,
): string {
  const proxies = trusted === undefined ? undefined : parseTrustedProxies(trusted);
  const headers = { 'x-forwarded-for': forwarded };
  const request = { headers, socket: { remoteAddress } } as unknown;
  return createAddressOf(proxies, logger)(request as Parameters<AddressOf>[0]);
}

it.each([
  [undefined, '10.0.0.1', '203.0.113.7', '10.0.0.1'],
  ['10.0.0.0/8', '10.0.0.1', '203.0.113.7', '203.0.113.7'],
  ['10.0.0.0/8', '::ffff:10.0.0.1', '203.0.113.7', '203.0.113.7'],
  ['10.0.0.0/8', '192.0.2.1', '203.0.113.7', '192.0.2.1'],
  ['10.0.0.0/8', '10.0.0.1', '198.51.100.1, 203.0.113.7, 10.0.0.2', '203.0.113.7'],
  ['loopback, 192.0.2.1', '127.0.0.1', '203.0.113.7, 192.0.2.1', '203.0.113.7'],
  ['1', '192.0.2.1', '198.51.100.1, 203.0.113.7', '203.0.113.7'],
  ['2', '192.0.2.1', '198.51.100.1, 203.0.113.7', '198.51.100.1'],
  ['0', '192.0.2.1', '203.0.113.7', '192.0.2.1'],
  ['1', '192.0.2.1', '203.0.113.7:4711', '203.0.113.7'],
  ['1', '192.0.2.1', '[2001:db8::1]:4711', '2001:db8::1'],
  ['1', '192.0.2.1', 'unknown', '192.0.2.1'],
  ['1', '192.0.2.1', '::ffff:203.0.113.7', '203.0.113.7'],
  ['1', '192.0.2.1', '::ffff:cb00:7107', '203.0.113.7'],
  ['1', '192.0.2.1', '0:0:0:0:0:FFFF:cb00:7107', '203.0.113.7'],
  ['1', '192.0.2.1', '[0:0:0:0:0:ffff:203.0.113.7]:4711', '203.0.113.7'],
  ['1', '192.0.2.1', '::ffff:0:a', '0.0.0.10'],
  ['1', '192.0.2.1', '::cb00:7107', '::cb00:7107'],
  ['1', '192.0.2.1', 'fe80::1%eth0', 'fe80::1%eth0'],
  // A connection that has ended.
  [undefined, undefined, undefined, 'unknown'],
  ['1', undefined, undefined, 'unknown'],
  ['10.0.0.0/8', undefined, '203.0.113.7', 'unknown'],
])('with the proxies %s, a connection from %s for %s is of %s', (trusted, from, header, client) => {
  expect(addressOf(trusted, from, header)).toBe(client);
});

it('the first X-Forwarded-For is logged if no proxy is trusted', () => {
  const of = createAddressOf(undefined, logger);
  const socket = { remoteAddress: '10.0.0.1' };
  const forwarded = { headers: { 'x-forwarded-for': '203.0.113.7' }, socket };
  warnings.length = 0;
  of({ headers: {}, socket } as Parameters<AddressOf>[0]);
  expect(warnings).toEqual([]);
  for (let n = 0; n < 3; n += 1) of(forwarded as unknown as Parameters<AddressOf>[0]);
  expect(warnings).toEqual([expect.stringContaining('TRUSTED_PROXIES')]);
});

it.each([
  ['203.0.113.7', '203.0.113.7'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:0DB8:1:2::6', '2001:db8:1:2::/64'],
  ['2001:db8::6', '2001:db8:0:0::/64'],
  ['::1', '0:0:0:0::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
])('the address %s counts as %s', (address, network) => {
  expect(networkOf(address)).toBe(network);
});
