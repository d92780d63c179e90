import { isIP } from 'node:net';
import type { Context, Middleware } from 'koa';
import type { DevUsers } from '../actions/dev-users.js';

/** What `ownPage` adds to `ctx.state`. */
export interface OwnPageState {
  devUsers: DevUsers;
}

/**
 * Lets requests of the server's own page through, while there are development users, and sets `ctx.state.devUsers`. To all
 * others the path is one that is not served.
 */
export function ownPage(devUsers: DevUsers | undefined): Middleware<OwnPageState> {
  return (ctx, next) => {
    if (devUsers === undefined || !isLocalName(ctx.hostname) || !isOwnOrigin(ctx)) return;
    ctx.state.devUsers = devUsers;
    return next();
  };
}

/**
 * Whether a host is this machine's, or an address. Any other name may lead a page of the internet here, with an origin that
 * equals the host (DNS rebinding).
 */
function isLocalName(hostname: string): boolean {
  const name = hostname.replace(/^\[(.*)\]$/, '$1');
  return name === 'localhost' || name.endsWith('.localhost') || isIP(name) !== 0;
}

/** Browsers send the origin with a POST, and with each request to another origin. */
function isOwnOrigin(ctx: Context): boolean {
  const origin = ctx.get('Origin');
  return origin === '' || (URL.canParse(origin) && new URL(origin).host === ctx.host);
}
