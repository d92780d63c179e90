/** `*`: any. Else as browsers write them in `Origin`. */
export type Origins = '*' | readonly string[];

/**
 * A list of origins, divided by commas or white space, as browsers write them: in lower case, without a default port
 * and a slash at the end. Undefined where one of them is more, or less, than an origin: it would never match.
 */
export function parseOrigins(list: string): Origins | undefined {
  const items = list.split(/[\s,]+/).filter((item) => item !== '');
  if (items.length === 1 && items[0] === '*') return '*';
  const origins = items.map((item) => parseOrigin(item));
  if (origins.length === 0 || origins.includes(undefined)) return undefined;
  return [...new Set(origins as string[])];
}

function parseOrigin(text: string): string | undefined {
  // What a browser sends for a page of a file, or in a sandbox.
  if (text.toLowerCase() === 'null') return 'null';
  if (!URL.canParse(text)) return undefined;
  const { protocol, host, username, password, pathname, search, hash } = new URL(text);
  const isOrigin =
    host !== '' &&
    // The socket's address is nobody's origin.
    !/^wss?:$/.test(protocol) &&
    !host.includes('*') &&
    `${username}${password}${search}${hash}` === '' &&
    (pathname === '' || pathname === '/') &&
    // No empty query or fragment, either.
    /^[^?#@]*$/.test(text);
  // Not the URL's `origin`: that is `null` for the schemes of apps, like capacitor://localhost.
  return isOrigin ? `${protocol}//${host.toLowerCase()}` : undefined;
}

/** Whether pages of an origin may use the server. */
export function allowsOrigin(origins: Origins, origin: string): boolean {
  return origins === '*' || origins.includes(origin);
}
