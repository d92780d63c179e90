import proxyAddr from 'proxy-addr';

/**
 * The proxies whose `X-Forwarded-For` is believed: how many there are on the way, or their addresses and networks, which may
 * be `loopback`, `linklocal` and `uniquelocal`.
 */
export type TrustedProxies = number | readonly string[];

/** @returns undefined if the text is neither a number nor such a list */
export function parseTrustedProxies(text: string): TrustedProxies | undefined {
  if (/^\d{1,2}$/.test(text)) return Number(text);
  const list = text.split(',').map((entry) => entry.trim());
  try {
    proxyAddr.compile(list);
    return list;
  } catch {
    return undefined;
  }
}
