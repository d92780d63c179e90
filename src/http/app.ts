import cors from '@koa/cors';
import { Router, type RouterParameterMiddleware } from '@koa/router';
import Koa, { type Context, type Middleware } from 'koa';
import helmet from 'koa-helmet';
import type { DevUsers } from '../actions/dev-users.js';
import type { RoomActions } from '../actions/rooms.js';
import type { Limits } from '../config/load.js';
import { allowsOrigin, type Origins } from '../config/origins.js';
import { withDeadline } from '../deadline.js';
import { ChatError } from '../errors.js';
import type { AddressOf } from '../limits/client-address.js';
import type { FailedTokens } from '../limits/failed-tokens.js';
import { debugLog, type Logger } from '../logger.js';
import type { Observer } from '../observer.js';
import { authenticate, type AuthenticatedState } from './authenticate.js';
import { uuidSchema } from '../protocol/values.js';
import { jsonBody } from './body.js';
import { serveDocuments } from './documents.js';
import { noStore } from './envelope.js';
import { createErrorHandler, type LoggedState } from './error-handler.js';
import { ownPage } from './own-page.js';
import { RATE_HEADERS } from './rate-headers.js';
import { limitRequests, type RequestRate } from './request-rate.js';
import { ROUTES } from './routes.js';
import { serve, type Access, type RouteState, type Services } from './route.js';

export interface AppOptions extends Services {
  readonly tokens: Pick<FailedTokens, 'verify'>;
  readonly addressOf: AddressOf;
  /** Of the requests of a user; undefined: it is not limited. */
  readonly requestRate: RequestRate | undefined;
  readonly isClosing: () => boolean;
  readonly corsOrigins: Origins;
  readonly limits: Services['limits'] &
    Pick<Limits, 'bodyBytes' | 'roomsPerSocket' | 'storeTimeoutMs'>;
  /** Undefined: nobody becomes one. */
  readonly devUsers: DevUsers | undefined;
  /** Undefined: there is none. */
  readonly page: Middleware | undefined;
  readonly logger: Logger;
  readonly observer?: Observer | undefined;
}

/** The REST side, as a Koa application: middleware in order, then the routes. */
export function createApp(options: AppOptions): Koa {
  const app = new Koa();
  // Errors after the first byte of an answer: the client went away, or the database failed during a long history. Koa
  // cuts the connection, so that no client takes half an answer for a whole one.
  app.on('error', (error: Error) => {
    options.logger.debug({ err: error }, 'response aborted');
  });
  app.use(onlyPaths);
  app.use(logRequests(options.logger, options.addressOf));
  app.use(hangUpWhen(options.isClosing));
  app.use(
    helmet({
      // Any application's page may read the answers; @koa/cors says which.
      crossOriginResourcePolicy: { policy: 'cross-origin' },
      // Without upgrade-insecure-requests: a page opened over plain HTTP may open its socket. TLS is left to the proxy
      // that terminates it.
      contentSecurityPolicy: {
        useDefaults: false,
        directives: { 'default-src': ["'self'"], 'frame-ancestors': ["'none'"] },
      },
    }),
  );
  // Before authentication: a preflight carries no token.
  app.use(allowPagesOf(options.corsOrigins));
  app.use(noStore);
  app.use(createErrorHandler(options.logger, options.observer));
  app.use(requireHttp);
  if (options.page !== undefined) app.use(options.page);

  const token = new Router<RouteState>();
  const routers: Record<Access, Router<RouteState>> = {
    open: new Router(),
    token,
    // One path may have methods for users and for the application's server.
    server: token,
    page: new Router(),
  };
  const uploads = new Router<RouteState>();
  for (const router of [routers.token, uploads]) {
    router.use(authenticate(options.tokens));
    if (options.requestRate !== undefined) {
      router.use(limitRequests(options.requestRate));
    }
    router.param('id', roomByUuid(options.actions.rooms));
  }
  for (const router of [routers.token, routers.page]) {
    router.use(readBodies(options.limits.bodyBytes));
    router.use(answerWithin(options.limits.storeTimeoutMs));
  }
  for (const route of ROUTES) {
    const router = route.upload === undefined ? routers[route.access] : uploads;
    router.register(route.path, [route.method], serve(route, options));
  }
  serveDocuments(routers.open, options.limits);
  const mount = (router: Router<RouteState>): void => {
    app.use(router.routes() as Middleware);
    app.use(router.allowedMethods() as Middleware);
  };
  mount(routers.open);
  mount(routers.token);
  mount(uploads);
  // The last one: before it every request ends that is not of the own page, whatever its method.
  app.use(ownPage(options.devUsers) as Middleware);
  mount(routers.page);
  return app;
}

/** Reads the bodies of routes that have one; any other body is ignored. */
function readBodies(maxBytes: number): Middleware {
  const withBody = new Set(
    ROUTES.filter(({ body }) => body !== undefined).map(({ method, path }) => `${method} ${path}`),
  );
  const read = jsonBody(maxBytes);
  return (ctx, next) =>
    withBody.has(`${ctx.method} ${String(routeOf(ctx))}`) ? read(ctx, next) : next();
}

/** Sets the headers of CORS for pages of these origins only: a browser shows the answers to no other page. */
function allowPagesOf(origins: Origins): Middleware {
  const originOf = (ctx: Context): string => {
    if (origins === '*') return '*';
    const origin = ctx.get('Origin');
    return allowsOrigin(origins, origin) ? origin : '';
  };
  return cors({
    origin: originOf,
    exposeHeaders: ['Link', 'Retry-After', 'WWW-Authenticate', ...RATE_HEADERS],
  });
}

/** The pattern of Node's `_http_server.js`, which has sent the 100 by then. */
const CONTINUE = /(?:^|\W)100-continue(?:$|\W)/i;

/** Takes a target that is no URL (`http://[`) for `/`, as Koa's `ctx.path` would throw on it. */
const onlyPaths: Middleware = (ctx, next) => {
  if (!URL.canParse(ctx.url, 'http://localhost')) ctx.req.url = '/';
  return next();
};

/**
 * Checks what HTTP/1.1 demands of a head beyond Node's parser (RFC 9112 section 3.2, RFC 9110 section 10.1.1). Node
 * would refuse such a request without the envelope.
 */
const requireHttp: Middleware = (ctx, next) => {
  const { httpVersion, headers } = ctx.req;
  if (httpVersion !== '1.1') return next();
  if (headers.host === undefined) {
    ctx.set('Connection', 'close');
    throw new ChatError('INVALID', { detail: 'this needs the header Host' });
  }
  if (headers.expect !== undefined && !CONTINUE.test(headers.expect)) {
    throw new ChatError('EXPECTATION_FAILED', { detail: 'expect 100-continue, or nothing' });
  }
  return next();
};

/** Answers UNAVAILABLE if a request takes longer, however many queries it consists of; a later result is dropped. */
function answerWithin(ms: number): Middleware<AuthenticatedState> {
  return (_ctx, next) => withDeadline(ms, next);
}

/** Lets a path name a room by its uuid: routes have its id. */
function roomByUuid(rooms: Pick<RoomActions, 'idOf'>): RouterParameterMiddleware {
  return async (value, ctx, next) => {
    const uuid = uuidSchema.safeParse(value);
    if (uuid.success) ctx.params['id'] = String(await rooms.idOf(uuid.data));
    return next();
  };
}

/** Closes each connection after its answer while the node shuts down. */
function hangUpWhen(isClosing: () => boolean): Middleware {
  return async (ctx, next) => {
    await next();
    if (isClosing()) ctx.set('Connection', 'close');
  };
}

/** The path of the route that a request matched, even if a middleware refused it; undefined if there is none. */
function routeOf({ method, matched }: Context): unknown {
  const layers = matched as readonly { path: unknown; methods: readonly string[] }[] | undefined;
  return layers?.find(({ methods }) => methods.includes(method))?.path;
}

const HEALTH_PATHS = new Set(['/healthz', '/readyz']);

/** Logs a line a request, without headers, query and body. */
function logRequests(logger: Logger, addressOf: AddressOf): Middleware<LoggedState> {
  const debug = debugLog(logger);
  let requests = 0;
  return async (ctx, next) => {
    const startedAt = performance.now();
    requests += 1;
    const request = requests;
    ctx.state.request = request;
    // Now: a connection that has ended has none.
    ctx.state.address = addressOf(ctx.req);
    debug?.({ request, method: ctx.method, path: ctx.path }, 'request received');
    await next();
    // Probes come every few seconds.
    const level = HEALTH_PATHS.has(ctx.path) ? 'debug' : 'info';
    logger[level](
      {
        request,
        method: ctx.method,
        path: ctx.path,
        route: routeOf(ctx),
        status: ctx.status,
        ms: Math.round(performance.now() - startedAt),
        address: ctx.state.address,
        user: (ctx.state as Partial<AuthenticatedState>).caller?.userUUID,
      },
      'request',
    );
  };
}
