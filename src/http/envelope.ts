import { STATUS_CODES } from 'node:http';
import type { Context, Middleware } from 'koa';
import type { ChatError } from '../errors.js';

/** What stands beside an answer's content. */
export interface Meta {
  readonly code: number;
  readonly message: string;
  /** The error's constant word. */
  readonly reason?: string;
  readonly [key: string]: unknown;
}

/** The body of an error; its content is an empty object. */
export function errorEnvelope(error: ChatError): { meta: Meta; content: object } {
  return {
    meta: {
      ...metaOf(error.status),
      reason: error.code,
      ...(error.detail !== undefined && { detail: error.detail }),
      ...(error.errors !== undefined && { errors: error.errors }),
    },
    content: {},
  };
}

export function metaOf(status: number): Meta {
  return { code: status, message: STATUS_CODES[status] ?? '' };
}

/** Answers with content in the envelope. */
export function respond(
  ctx: Context,
  content: unknown,
  { status = 200, meta = {} }: { status?: number; meta?: Readonly<Record<string, unknown>> } = {},
): void {
  ctx.status = status;
  ctx.body = { meta: { ...metaOf(status), ...meta }, content };
}

/** Nothing is cached: answers depend on the token and on the moment. */
export const noStore: Middleware = (ctx, next) => {
  ctx.set('Cache-Control', 'no-store');
  return next();
};
