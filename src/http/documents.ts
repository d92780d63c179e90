import type { Router } from '@koa/router';
import { createOpenApi } from './openapi.js';
import type { TextLimits } from '../protocol/message-fields.js';
import type { Json } from './json-schemas.js';
import type { RouteState } from './route.js';

/** Serves the documents of the API, without the envelope. Each is made when it is first asked for. */
export function serveDocuments(router: Router<RouteState>, limits: TextLimits): void {
  const documents: Readonly<Record<string, (limits: TextLimits) => Json>> = {
    '/openapi.json': createOpenApi,
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
