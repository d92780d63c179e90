/** `*` for any origin, or a list in the form of the `Origin` header. */
export type Origins = '*' | readonly string[];

/**
 * Parses a list of origins, divided by commas or white space, into the form that browsers send: lower case, no default
 * port, no slash at the end. Undefined if an item is not exactly an origin, as no `Origin` would ever match it.
 */
export function parseOrigins(list: string): Origins | undefined {
  const items = list.split(/[\s,]+/).filter((item) => item !== '');
  if (items.length === 1 && items[0] === '*') return '*';
  const origins = items.map((item) => parseOrigin(item));
  if (origins.length === 0 || origins.includes(undefined)) return undefined;
  return [...new Set(origins as string[])];
}

function parseOrigin(text: string): string | undefined {
  // The origin that a browser sends for a local file or a sandboxed frame.
  if (text.toLowerCase() === 'null') return 'null';
  if (!URL.canParse(text)) return undefined;
  const { protocol, host, username, password, pathname, search, hash } = new URL(text);
  const isOrigin =
    host !== '' &&
    // The address of a socket is never the origin of a page.
    !/^wss?:$/.test(protocol) &&
    !host.includes('*') &&
    `${username}${password}${search}${hash}` === '' &&
    (pathname === '' || pathname === '/') &&
    // An empty query or fragment leaves no trace in the parsed URL.
    /^[^?#@]*$/.test(text);
  // Not the URL's `origin`: that is `null` for the schemes of apps, like capacitor://localhost.
  return isOrigin ? `${protocol}//${host.toLowerCase()}` : undefined;
}

/** Whether pages of `origin` may call the server. */
export function allowsOrigin(origins: Origins, origin: string): boolean {
  return origins === '*' || origins.includes(origin);
}
