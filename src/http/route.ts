import type { RouterMiddleware } from '@koa/router';
import type { z } from 'zod';
import { requireServer } from '../access/permissions.js';
import type { Identity } from '../access/token.js';
import type { Actions } from '../actions/actions.js';
import type { DevUsers } from '../actions/dev-users.js';
import type { ErrorCode } from '../errors.js';
import type { TextLimits } from '../protocol/message-fields.js';
import type { AuthenticatedState } from './authenticate.js';
import type { LoggedState } from './error-handler.js';
import { respond, type Reply } from './envelope.js';
import type { OwnPageState } from './own-page.js';
import { whenGone } from './pages.js';
import type { Readiness } from './readiness.js';
import { uploadOf, type Uploads } from './uploads.js';
import { validate } from './validate.js';

/**
 * Who may call a route: anybody, a caller with a valid token, the application's server (by its own kind of token), or the
 * server's own page in development. What the caller may do there, the use case decides.
 */
export type Access = 'open' | 'token' | 'server' | 'page';

/** What the routes of a node work on. */
export interface Services {
  readonly actions: Actions;
  readonly readiness: Readiness;
  readonly limits: TextLimits;
  /** IANA name of the zone in which days of the history begin. */
  readonly timeZone: string;
  readonly uploads: Uploads;
}

/** A request as its route's schemas have it. */
interface RouteRequest<A extends Access, Params, Query, Body> {
  readonly caller: A extends 'token' | 'server' ? Identity : undefined;
  readonly devUsers: A extends 'page' ? DevUsers : undefined;
  readonly params: Params;
  readonly query: Query;
  readonly body: Body;
  /** The bytes of the body of a route with `upload`, as they come. */
  readonly upload: () => AsyncIterable<Buffer>;
  /** Aborted when the client has gone. */
  readonly gone: AbortSignal;
}

/** What the API's document says of a route. */
interface About {
  /** Its `operationId`. */
  readonly name: string;
  readonly tag: 'Rooms' | 'Members' | 'Messages' | 'Users' | 'Server';
  readonly summary: string;
  /** Who may call it. */
  readonly who: string;
  /** An example of a body. */
  readonly body?: object;
  /** Statuses of success; by default 200 alone. */
  readonly statuses?: readonly number[];
  /** The content of an answer, and what its `meta` has beside the outcome; no answer is parsed by these. */
  readonly content?: z.ZodType;
  /** Instead of content: a line of an answer that is lines of JSON. */
  readonly line?: z.ZodType;
  readonly meta?: z.ZodObject;
  /** Errors beyond those of every route with its access and schemas, some with another status than they have. */
  readonly errors?: readonly (ErrorCode | { readonly code: ErrorCode; readonly status: number })[];
}

/** A route as data, from which it is registered, documented and tested. */
export interface Route<
  A extends Access = Access,
  Params = unknown,
  Query = unknown,
  Body = unknown,
> {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** With parameters as `@koa/router` has them: `/rooms/:id`. */
  readonly path: string;
  readonly access: A;
  readonly about: About;
  readonly params?: z.ZodType<Params>;
  readonly query?: z.ZodType<Query>;
  /** Of a JSON object; a function if it depends on the limits of the node. */
  readonly body?: z.ZodType<Body> | ((limits: TextLimits) => z.ZodType<Body>);
  /** The media type of a body of any length that its handler reads as it comes, which may take as long as it keeps coming. */
  readonly upload?: string;
  handle(request: RouteRequest<A, Params, Query, Body>, services: Services): Reply | Promise<Reply>;
}

/** A route whose handler is typed by its access and schemas. */
export function route<A extends Access, Params = undefined, Query = undefined, Body = undefined>(
  definition: Route<A, Params, Query, Body>,
): Route {
  return definition;
}

/**
 * The parameters of a query by name, those that are given several times as lists. Not `ctx.query`: Koa 3 looks through
 * all parameters again for each, so that a request of 14 KB held the event loop for 0.1 to 0.2 s.
 */
function parametersOf(querystring: string): Record<string, string | string[]> {
  const parameters = new Map<string, string | string[]>();
  for (const [name, value] of new URLSearchParams(querystring)) {
    const earlier = parameters.get(name);
    if (Array.isArray(earlier)) earlier.push(value);
    else parameters.set(name, earlier === undefined ? value : [earlier, value]);
  }
  return Object.fromEntries(parameters);
}

/** What the middleware before a route sets, by its access. */
export type RouteState = LoggedState & AuthenticatedState & OwnPageState;

/**
 * Koa's middleware for a route: decodes, calls its handler, encodes. Behind `authenticate` or `ownPage` unless the route is
 * open.
 */
export function serve(route: Route, services: Services): RouterMiddleware<RouteState> {
  const { params, query } = route;
  const body = typeof route.body === 'function' ? route.body(services.limits) : route.body;
  return async (ctx) => {
    if (route.access === 'server') requireServer(ctx.state.caller);
    const request = {
      caller: ctx.state.caller,
      devUsers: ctx.state.devUsers,
      params: params && validate(params, ctx.params),
      query: query && validate(query, parametersOf(ctx.querystring)),
      body: body && validate(body, ctx.request.body),
      upload: () => uploadOf(ctx, route.upload ?? '', services.uploads),
      get gone() {
        return whenGone(ctx);
      },
    };
    await respond(ctx, await route.handle(request, services));
  };
}
