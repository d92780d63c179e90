import { isIP } from 'node:net';
import { IANAZone } from 'luxon';
import { z } from 'zod';
import { parseOrigins } from './origins.js';
import { parsePublicKeys } from './public-keys.js';
import { MAX_PORT, parseRedisUrl, parseSentinels, type Parsed } from './service-urls.js';
import { parseTrustedProxies } from './trusted-proxies.js';

/** The longest delay of a timer of Node, and the largest `integer` of Postgres: limits reach both. */
export const MAX_COUNT = 2_147_483_647;

/** A whole number in decimal digits. */
export const count = (fallback: number, { min = 1, max = MAX_COUNT } = {}) =>
  z
    .string()
    .regex(/^\d+$/, 'must be a whole number')
    .transform(Number)
    .refine((value) => value >= min && value <= max, `must be from ${min} to ${max}`)
    .default(fallback);

/** A number from 0 to 1. */
export const share = (fallback: number) =>
  z
    .string()
    .regex(/^\d*\.?\d+$/, 'must be a number from 0 to 1')
    .transform(Number)
    .refine((value) => value <= 1, 'must be a number from 0 to 1')
    .default(fallback);

export const portNumber = z
  .string()
  .regex(/^\d{1,5}$/, 'must be a port number')
  .transform(Number)
  .refine((value) => value <= MAX_PORT, `must be at most ${MAX_PORT}`);

export const port = (fallback: number) => portNumber.default(fallback);

/** One of some lower-case words, in any case. */
export const oneOf = <const T extends string>(words: readonly T[], problem: string) =>
  z.string().toLowerCase().pipe(z.enum(words, problem));

export const flag = (fallback: boolean) =>
  oneOf(['true', 'false', '1', '0'], 'must be true or false')
    .transform((value) => value === 'true' || value === '1')
    .default(fallback);

/** A text of a form of its own. It may hold a password, so problems never repeat it. */
export const url = <T>(parse: (text: string) => Parsed<T>) =>
  z.string().transform((text, context) => {
    const parsed = parse(text);
    if ('value' in parsed) return parsed.value;
    context.addIssue(parsed.problem);
    return z.NEVER;
  });

/** Former secrets; each is tried for a token that the present one did not sign. */
const MAX_OLD_SECRETS = 4;

export const oldSecrets = z
  .string()
  .transform((text) => text.split(',').map((secret) => secret.trim()))
  .refine((secrets) => secrets.length <= MAX_OLD_SECRETS, `must be ${MAX_OLD_SECRETS} or fewer`)
  .refine((secrets) => !secrets.includes(''), 'must be secrets, divided by commas')
  .optional();

export const publicKeys = url(parsePublicKeys).optional();

export const httpUrl = url((text) =>
  /^https?:\/\//i.test(text) && URL.canParse(text)
    ? { value: new URL(text) }
    : { problem: 'must be a URL that begins with https:// or http://' },
);

/** A URL that is asked by `fetch`, which refuses a name and a password in it. */
export const fetchedUrl = httpUrl.refine(
  ({ username, password }) => username === '' && password === '',
  'must have no user name and no password',
);

/** Standard Webhooks, "Signature scheme": a secret has 24 to 64 bytes. */
const MIN_WEBHOOK_SECRET_BYTES = 24;
const MAX_WEBHOOK_SECRET_BYTES = 64;
/** The present one and its successor. */
const MAX_WEBHOOK_SECRETS = 2;

export const webhookSecrets = z
  .string()
  .transform((text) => text.split(',').map((secret) => secret.trim()))
  .refine(
    (secrets) => secrets.length <= MAX_WEBHOOK_SECRETS && secrets.every(isWebhookSecret),
    `must be whsec_ and ${MIN_WEBHOOK_SECRET_BYTES} to ${MAX_WEBHOOK_SECRET_BYTES} bytes in base64 (echo "whsec_$(openssl rand -base64 32)"), or two of these, divided by a comma`,
  )
  .optional();

function isWebhookSecret(text: string): boolean {
  const [, base64 = ''] =
    /^whsec_((?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?)$/.exec(text) ?? [];
  const { length } = Buffer.from(base64, 'base64');
  return length >= MIN_WEBHOOK_SECRET_BYTES && length <= MAX_WEBHOOK_SECRET_BYTES;
}

/** Several URLs of Redis, divided by commas. Another Redis a URL, or a node would receive each message twice. */
export const redisUrls = z.string().transform((text, context) => {
  const urls: string[] = [];
  for (const [index, item] of text.split(',').entries()) {
    const parsed = parseRedisUrl(item.trim());
    if ('problem' in parsed) context.addIssue(`(number ${index + 1}) ${parsed.problem}`);
    else urls.push(parsed.value);
  }
  if (new Set(urls).size < urls.length) context.addIssue('names a Redis twice');
  return urls;
});

export const sentinels = url(parseSentinels);

/** An IPv6 address may stand in brackets, as in a URL. */
const unbracketed = z.string().transform((text) => text.replace(/^\[(.*)\]$/, '$1'));

const isHost = (text: string): boolean => isIP(text) !== 0 || /^[a-z0-9_][\w.-]*$/i.test(text);

export const host = unbracketed.refine(isHost, 'must be an address, or a name, of this machine');

export const databaseHost = unbracketed.refine(
  (text) => isHost(text) || text.startsWith('/'),
  'must be a name, an address, or the folder of a socket',
);

export const origins = z.string().transform((text, context) => {
  const parsed = parseOrigins(text);
  if (parsed !== undefined) return parsed;
  context.addIssue('must be *, or origins like https://app.example, divided by commas');
  return z.NEVER;
});

export const trustedProxies = z.string().transform((text, context) => {
  const parsed = parseTrustedProxies(text);
  if (parsed !== undefined) return parsed;
  context.addIssue(
    'must be a number, or addresses and networks like 10.0.0.0/8, divided by commas',
  );
  return z.NEVER;
});

export const timeZone = z
  .string()
  .refine((zone) => IANAZone.isValidZone(zone), 'is not an IANA time zone');

export const folder = z
  .string()
  .refine(
    (path) => !/^[~"']|\$[a-z_{]/i.test(path),
    'must be a path: only shells expand ~ and $, and take quotes away',
  );
