import { createSecretKey, type KeyObject } from 'node:crypto';
import { createVerifier as createEdDsaVerifier, TokenError } from 'fast-jwt';
import jwt from 'jsonwebtoken';
import type { KeyAlgorithm, PublicKey } from '../config/public-keys.js';
import { ChatError } from '../errors.js';

/** HMAC with a shared secret. A secret is for these alone, and a public key for the one algorithm of its kind. */
const SECRET_ALGORITHMS: jwt.Algorithm[] = ['HS256', 'HS384', 'HS512'];
const KEY_ALGORITHMS: ReadonlySet<unknown> = new Set<KeyAlgorithm>(['RS256', 'ES256', 'EdDSA']);
/** Seconds that the clocks of signer and server may differ: more than NTP leaves, less than a user would notice. */
export const LEEWAY_S = 5;
/** Verified tokens of a key of Ed25519 that are remembered: a signature takes 0.1 ms. */
const REMEMBERED_TOKENS = 1_000;

/** What tokens are verified with. */
export interface TokenKeys {
  /** The present one, and those before it that are still accepted. */
  readonly secrets: readonly string[];
  /** None by default. */
  readonly publicKeys?: () => readonly PublicKey[];
  readonly audience?: string | undefined;
  readonly issuer?: string | undefined;
}

/** No key is known for the token: there may be one by now. */
export class UnknownKeyError extends ChatError {
  constructor() {
    super('UNAUTHORIZED', { detail: 'no key is known for the token' });
  }
}

/**
 * Creates the function that returns the claims of a token with a good signature.
 * @throws {ChatError} by the function: UNAUTHORIZED, with a sentence about the problem of the token
 */
export function createSignatureCheck({
  secrets,
  publicKeys,
  audience,
  issuer,
}: TokenKeys): (token: string) => jwt.JwtPayload {
  const checks = {
    ...(audience !== undefined && { audience }),
    ...(issuer !== undefined && { issuer }),
  };
  const optionsFor = (algorithms: jwt.Algorithm[]) =>
    ({ complete: true, algorithms, clockTolerance: LEEWAY_S, ...checks }) as const;
  const bySecret = optionsFor(SECRET_ALGORITHMS);
  const byKey = { RS256: optionsFor(['RS256']), ES256: optionsFor(['ES256']) };
  // Made once: given a string, jsonwebtoken tries for each token whether it is a public key.
  const [present, ...former] = secrets.map((secret) => createSecretKey(Buffer.from(secret)));
  /** Each has a cache of its own, which goes with its key. */
  const edDsaVerifiers = new WeakMap<KeyObject, (token: string) => jwt.Jwt>();

  function edDsaVerifier(key: KeyObject): (token: string) => jwt.Jwt {
    const known = edDsaVerifiers.get(key);
    if (known !== undefined) return known;
    const verifier = createEdDsaVerifier({
      key: String(key.export({ type: 'spki', format: 'pem' })),
      algorithms: ['EdDSA'],
      complete: true,
      cache: REMEMBERED_TOKENS,
      clockTolerance: LEEWAY_S * 1000,
      ...(audience !== undefined && { allowedAud: audience }),
      ...(issuer !== undefined && { allowedIss: issuer }),
      // Otherwise a token without them would pass.
      requiredClaims: [
        ...(audience === undefined ? [] : ['aud']),
        ...(issuer === undefined ? [] : ['iss']),
      ],
    }) as (token: string) => jwt.Jwt;
    edDsaVerifiers.set(key, verifier);
    return verifier;
  }

  function verifyByKey(token: string, { key, algorithm }: PublicKey): jwt.Jwt {
    return algorithm === 'EdDSA'
      ? edDsaVerifier(key)(token)
      : jwt.verify(token, key, byKey[algorithm]);
  }

  function verifyBySecret(token: string): jwt.Jwt {
    if (present === undefined) {
      throw new ChatError('UNAUTHORIZED', { detail: 'invalid algorithm' });
    }
    return firstThatSigned([present, ...former], (key) => jwt.verify(token, key, bySecret));
  }

  function verify(token: string): jwt.Jwt {
    if (publicKeys === undefined) return verifyBySecret(token);
    const { alg, kid } = jwt.decode(token, { complete: true })?.header ?? {};
    if (!KEY_ALGORITHMS.has(alg)) return verifyBySecret(token);
    const keys = publicKeys().filter(({ algorithm }) => algorithm === alg);
    const named = keys.filter(({ id }) => id === undefined || id === kid);
    // A token without a `kid` is of the only key, if there is only one.
    const candidates = named.length === 0 && kid === undefined && keys.length === 1 ? keys : named;
    if (candidates.length === 0) throw new UnknownKeyError();
    try {
      return firstThatSigned(candidates, (key) => verifyByKey(token, key));
    } catch (error) {
      const isKnown = kid === undefined || candidates.some(({ id }) => id === kid);
      throw isOfAnotherKey(error) && !isKnown ? new UnknownKeyError() : error;
    }
  }

  return (token) => {
    const { header, payload } = asChatError(() => verify(token));
    // RFC 7515 section 4.1.11: a token with critical extensions is refused by a verifier that doesn't know them. We know none.
    if ('crit' in header) {
      throw new ChatError('UNAUTHORIZED', { detail: "the token's header has crit" });
    }
    if (typeof payload === 'string') {
      throw new ChatError('UNAUTHORIZED', { detail: 'the token has no claims' });
    }
    return payload;
  };
}

/** What `verify` returns for the first of the keys that has signed the token; its error, if that is none. */
function firstThatSigned<Key>(keys: readonly Key[], verify: (key: Key) => jwt.Jwt): jwt.Jwt {
  for (const key of keys.slice(0, -1)) {
    try {
      return verify(key);
    } catch (error) {
      if (!isOfAnotherKey(error)) throw error;
    }
  }
  return verify(keys.at(-1) as Key);
}

function isOfAnotherKey(error: unknown): boolean {
  if (error instanceof TokenError) return error.code === TokenError.codes.invalidSignature;
  return error instanceof jwt.JsonWebTokenError && error.message === 'invalid signature';
}

/** Runs `verify`; an error of a library becomes one for the client. */
function asChatError(verify: () => jwt.Jwt): jwt.Jwt {
  try {
    return verify();
  } catch (error) {
    if (error instanceof ChatError) throw error;
    // Both libraries name the check that failed, and never repeat the token. A TypeError or SyntaxError, which a truncated
    // token may cause, would tell a client nothing.
    const isNamed = error instanceof jwt.JsonWebTokenError || error instanceof TokenError;
    const detail = isNamed ? error.message : 'jwt malformed';
    throw new ChatError('UNAUTHORIZED', { detail, cause: error });
  }
}
