import type { IncomingMessage } from 'node:http';
import { isIP, isIPv6 } from 'node:net';
import proxyAddr from 'proxy-addr';
import type { TrustedProxies } from '../config/trusted-proxies.js';
import type { Logger } from '../logger.js';

/** The address of the client that a request came from, as the log shows it; `unknown` if its connection is gone. */
export type AddressOf = (request: IncomingMessage) => string;

/** An IPv4 address as one of IPv6 (RFC 4291 section 2.5.5.2), as Node has that of a socket. */
const DOTTED = /^::ffff:(?=\d+\.)/i;
/** The same in the one form that the URL standard has of it. */
const MAPPED = /^\[::ffff:([0-9a-f]+):([0-9a-f]+)\]$/;

const GROUPS_OF_IPV6 = 8;
/** A network of 64 bits: the least that a provider gives to a customer (RFC 6177), who may use all its addresses. */
const GROUPS_OF_CUSTOMER = 4;

/** @param trusted undefined: `X-Forwarded-For` is ignored, since anybody may send it; the first one is logged */
export function createAddressOf(
  trusted: TrustedProxies | undefined,
  logger: Pick<Logger, 'warn'>,
): AddressOf {
  const ownAddressOf: AddressOf = ({ socket }) => plain(socket.remoteAddress) ?? 'unknown';
  if (trusted === undefined) {
    let isTold = false;
    return (request) => {
      if (!isTold && request.headers['x-forwarded-for'] !== undefined) {
        isTold = true;
        logger.warn('X-Forwarded-For is ignored: behind a proxy, set TRUSTED_PROXIES');
      }
      return ownAddressOf(request);
    };
  }
  const trusts =
    typeof trusted === 'number'
      ? (_address: string, hop: number): boolean => hop < trusted
      : proxyAddr.compile([...trusted]);
  return (request) =>
    // A proxy may name what is no address, and a connection that has ended has none.
    plain(proxyAddr(request, trusts)) ?? ownAddressOf(request);
}

/** An address as it is counted: those of one customer are one. */
export function networkOf(address: string): string {
  if (!isIPv6(address)) return address;
  const [before = '', after] = address.split('::');
  const groups = before === '' ? [] : before.split(':');
  if (after !== undefined) {
    const rest = after === '' ? [] : after.split(':');
    while (groups.length + rest.length < GROUPS_OF_IPV6) groups.push('0');
    groups.push(...rest);
  }
  const network = groups.slice(0, GROUPS_OF_CUSTOMER);
  return `${network.map((group) => Number.parseInt(group, 16).toString(16)).join(':')}::/64`;
}

/** An address without a port, as some proxies add one, and IPv4 as such; undefined if it is none. */
function plain(text = ''): string | undefined {
  const address = text
    .replace(/^\[(.*)\](?::\d+)?$/, '$1')
    .replace(/^(\d+\.\d+\.\d+\.\d+):\d+$/, '$1')
    .replace(DOTTED, '');
  if (!isIPv6(address)) return isIP(address) === 0 ? undefined : address;
  return mappedBy(address) ?? address;
}

/** The IPv4 address that one of IPv6 stands for, however that is written; undefined if for none. */
function mappedBy(address: string): string | undefined {
  const url = `http://[${address}]`;
  // The standard has no zones (`fe80::1%eth0`).
  if (!URL.canParse(url)) return undefined;
  const [, high, low = ''] = MAPPED.exec(new URL(url).hostname) ?? [];
  if (high === undefined) return undefined;
  return Buffer.from(high.padStart(4, '0') + low.padStart(4, '0'), 'hex').join('.');
}
