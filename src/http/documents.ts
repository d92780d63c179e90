import type { Router } from '@koa/router';
import { createAsyncApi } from './asyncapi.js';
import { createOpenApi } from './openapi.js';
import type { CommandLimits } from '../protocol/v2/decode.js';
import type { Json } from './json-schemas.js';
import type { RouteState } from './route.js';

/** Serves the documents of the API, without the envelope. Each is made when it is first asked for. */
export function serveDocuments(router: Router<RouteState>, limits: CommandLimits): void {
  const documents: Readonly<Record<string, (limits: CommandLimits) => Json>> = {
    '/openapi.json': createOpenApi,
    '/asyncapi.json': createAsyncApi,
  };
  for (const [path, create] of Object.entries(documents)) {
    let json: string | undefined;
    router.get(path, (ctx) => {
      json ??= JSON.stringify(create(limits));
      ctx.type = 'json';
      ctx.body = json;
    });
  }
}
