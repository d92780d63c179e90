import type { ChatError, ExceededRate } from '../errors.js';

/** The headers that tell a caller of a rate, for pages to read. */
export const RATE_HEADERS = ['RateLimit-Limit', 'RateLimit-Remaining', 'RateLimit-Reset'] as const;

/** The headers of an error: when to come back, and the limit that was exceeded. */
export function limitHeaders({ retryAfterMs, rate }: ChatError): Record<string, string> {
  return {
    ...(retryAfterMs !== undefined && { 'Retry-After': seconds(retryAfterMs) }),
    ...(rate !== undefined && rateHeaders(rate, 0)),
  };
}

/** The headers of a rate, of which `remaining` is left. */
export function rateHeaders(
  { limit, resetMs }: ExceededRate,
  remaining: number,
): Record<string, string> {
  const values = [String(limit), String(remaining), seconds(resetMs)];
  return Object.fromEntries(RATE_HEADERS.map((name, index) => [name, values[index] ?? '']));
}

function seconds(ms: number): string {
  return String(Math.ceil(ms / 1_000));
}
