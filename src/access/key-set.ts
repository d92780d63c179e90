import { createPublicKey, type JsonWebKey } from 'node:crypto';
import { z } from 'zod';
import { algorithmOf, type PublicKey } from '../config/public-keys.js';
import type { Logger } from '../logger.js';

/** An unknown `kid` has the set fetched again at most so often: anybody may send one. */
const LEAST_INTERVAL_MS = 60_000;
/** The same until a set was had: nobody can sign in without it. */
const LEAST_INTERVAL_AT_FIRST_MS = 1_000;
/** A set is fetched anew so often, so that a key that was withdrawn does not verify for ever, not even one more token. */
const FETCH_INTERVAL_MS = 600_000;
/** Somebody waits for it. */
const TIMEOUT_MS = 4_000;
/** Some dozens of keys with certificates. */
const MAX_BYTES = 262_144;
const MAX_KEYS = 100;

const setSchema = z.object({ keys: z.array(z.unknown()).max(MAX_KEYS) });

/** The members of a JSON Web Key (RFC 7517) that say what it is for. Some encoders write null for one that is missing. */
const purposeSchema = z.object({
  kid: z.string().nullish(),
  use: z.literal('sig').nullish(),
  // oxlint-disable-next-line id-match -- a member of a JSON Web Key
  key_ops: z
    .array(z.string())
    .refine((uses) => uses.includes('verify'))
    .nullish(),
  alg: z.string().nullish(),
});

/** The keys at a URL (JWKS), as they were last fetched. */
export interface KeySet {
  readonly keys: readonly PublicKey[];
  /**
   * Fetches the set again for a token whose key is not in it; resolves when that is done, or has failed. Undefined if the
   * last attempt began less than a minute ago, or a second as long as there is no set.
   */
  refresh(): Promise<void> | undefined;
  /** Fetches it no more by itself. */
  close(): void;
}

/**
 * Fetches the set for the first time, and from then on at intervals. While its source is down, the keys stay as they were.
 */
export async function openKeySet(url: URL, logger: Logger): Promise<KeySet> {
  let keys: readonly PublicKey[] = [];
  let triedAt = -Infinity;
  let fetching: Promise<void> | undefined;
  let isDown = false;

  function start(): Promise<void> {
    triedAt = performance.now();
    fetching ??= fetchKeys(url)
      .then(
        (fetched) => {
          keys = fetched;
          if (isDown) logger.info({ keys: keys.length }, 'JWKS_URL answers again');
          isDown = false;
        },
        (error: unknown) => {
          if (!isDown)
            logger.warn({ err: error }, 'fetching JWKS_URL failed, its keys stay as they were');
          isDown = true;
        },
      )
      .finally(() => {
        fetching = undefined;
      });
    return fetching;
  }

  await start();
  const timer = setInterval(() => void start(), FETCH_INTERVAL_MS);
  return {
    get keys() {
      return keys;
    },
    refresh() {
      const least = keys.length === 0 ? LEAST_INTERVAL_AT_FIRST_MS : LEAST_INTERVAL_MS;
      return fetching ?? (performance.now() - triedAt >= least ? start() : undefined);
    },
    close() {
      clearInterval(timer);
    },
  };
}

async function fetchKeys(url: URL): Promise<readonly PublicKey[]> {
  const response = await fetch(url, {
    headers: { accept: 'application/jwk-set+json, application/json' },
    redirect: 'error',
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  if (!response.ok) {
    await response.body?.cancel();
    throw new Error(`status ${response.status}`);
  }
  const { keys } = setSchema.parse(JSON.parse(await textOf(response)));
  const usable = keys.flatMap((key) => publicKeyOf(key) ?? []);
  if (usable.length === 0) throw new Error('the set has no key for RS256, ES256 or EdDSA');
  return usable;
}

async function textOf({ body }: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body ?? []) {
    bytes += chunk.length;
    if (bytes > MAX_BYTES) throw new Error(`the set has more than ${MAX_BYTES} bytes`);
    chunks.push(chunk);
  }
  // Trimmed of a byte order mark.
  return Buffer.concat(chunks).toString().trim();
}

/**
 * The key for verifying; undefined if it is of another kind, for something else, or malformed: RFC 7517 section 5 has one
 * such key ignored, not the set.
 */
function publicKeyOf(jwk: unknown): PublicKey | undefined {
  const { data: purpose } = purposeSchema.safeParse(jwk);
  if (purpose === undefined) return undefined;
  try {
    const key = createPublicKey({ key: jwk as JsonWebKey, format: 'jwk' });
    const algorithm = algorithmOf(key);
    if (algorithm === undefined || (purpose.alg ?? algorithm) !== algorithm) return undefined;
    return { id: purpose.kid ?? undefined, algorithm, key };
  } catch {
    // A kind of key that Node does not know, or half a key.
    return undefined;
  }
}
