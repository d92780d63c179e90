import { isIP } from 'node:net';
import proxyAddr from 'proxy-addr';
import type { Config } from './load.js';

const isOwnAddress = proxyAddr.compile(['loopback', 'linklocal', 'uniquelocal']);
/** Names that no public DNS has: those of services beside this one, and of zones that are kept for private networks. */
const OWN_NAME = /^[^.]+$|\.(?:internal|local|localhost|svc)$/;

/** The variables with a URL that texts or keys come from or go to without TLS, unless its host is of a private network. */
export function plainUrls({
  keySetUrl,
  hookUrl,
  webhookUrl,
}: Pick<Config, 'keySetUrl' | 'hookUrl' | 'webhookUrl'>): string[] {
  const urls = { JWKS_URL: keySetUrl, HOOK_URL: hookUrl, WEBHOOK_URL: webhookUrl };
  return Object.entries(urls)
    .filter(([, url]) => url?.protocol === 'http:' && !isOwn(url))
    .map(([name]) => name);
}

function isOwn({ hostname }: URL): boolean {
  const host = hostname.replace(/^\[(.*)\]$/, '$1');
  return isIP(host) === 0 ? OWN_NAME.test(host) : isOwnAddress(host, 0);
}
