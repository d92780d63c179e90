import { createSecretKey, type KeyObject } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { z } from 'zod';
import { ChatError } from '../errors.js';
import { uuidSchema } from './uuid.js';

/** HMAC with the shared secret, and nothing else: `none` and the asymmetric ones are refused. */
const ALGORITHMS: jwt.Algorithm[] = ['HS256', 'HS384', 'HS512'];
/** How far the clocks of the signer and of this machine may be apart, in seconds. */
const LEEWAY_S = 5;

const level = z.union(
  [
    z.number(),
    z
      .string()
      .regex(/^[+-]?\d+(\.\d+)?$/)
      .transform(Number),
  ],
  'must be a number, or a string that holds one',
);

const claimsSchema = z.object({
  userUUID: uuidSchema,
  entityUUID: uuidSchema,
  levelOnEntity: level.nullish().transform((given) => given ?? 0),
  exp: z.number('must be a number of seconds').optional(),
});

/** Who is calling, as their application signed it. */
export interface Identity {
  readonly userUUID: string;
  readonly entityUUID: string;
  readonly levelOnEntity: number;
  /** Milliseconds since the epoch at which the token is no longer accepted; undefined: never. */
  readonly expiresAt: number | undefined;
  /** The token's claims as they were signed. */
  readonly claims: Readonly<Record<string, unknown>>;
}

/** @throws {ChatError} UNAUTHORIZED, with a sentence that says what is wrong with the token */
export type VerifyToken = (token: string) => Identity;

/** `audience` and `issuer` are checked where they are given. */
export function createVerifier(options: {
  secret: string;
  audience?: string | undefined;
  issuer?: string | undefined;
}): VerifyToken {
  const verifyOptions: jwt.VerifyOptions & { complete: true } = {
    complete: true,
    algorithms: ALGORITHMS,
    clockTolerance: LEEWAY_S,
    ...(options.audience !== undefined && { audience: options.audience }),
    ...(options.issuer !== undefined && { issuer: options.issuer }),
  };

  // A key object once: of a string, jsonwebtoken finds out at every token that it is no public key.
  const key = createSecretKey(Buffer.from(options.secret));

  return (token) => {
    const payload = verify(token, key, verifyOptions);
    const claims = claimsSchema.safeParse(payload);
    if (!claims.success) {
      const [issue] = claims.error.issues;
      const claim = `${issue?.path.join('.')} ${issue?.message}`;
      throw new ChatError('UNAUTHORIZED', { detail: `the token's claim ${claim}` });
    }
    const { exp, ...identity } = claims.data;
    return {
      ...identity,
      expiresAt: exp === undefined ? undefined : (exp + LEEWAY_S) * 1000,
      claims: payload,
    };
  };
}

function verify(
  token: string,
  key: KeyObject,
  options: jwt.VerifyOptions & { complete: true },
): jwt.JwtPayload {
  let verified: jwt.Jwt;
  try {
    verified = jwt.verify(token, key, options);
  } catch (error) {
    // jsonwebtoken's sentences name the check that failed, never the token; a TypeError or
    // SyntaxError out of a half token says nothing to a client.
    const detail = error instanceof jwt.JsonWebTokenError ? error.message : 'jwt malformed';
    throw new ChatError('UNAUTHORIZED', { detail, cause: error });
  }
  const { header, payload } = verified;
  // RFC 7515 section 4.1.11: whoever does not know the extensions that it names refuses the token. None is known here.
  if ('crit' in header) {
    throw new ChatError('UNAUTHORIZED', { detail: "the token's header has crit" });
  }
  if (typeof payload === 'string') {
    throw new ChatError('UNAUTHORIZED', { detail: 'the token has no claims' });
  }
  return payload;
}

/** The token of an `Authorization: Bearer` header; the scheme's case is ignored (RFC 7235). */
export function bearerToken(header: string | undefined): string | undefined {
  return /^bearer +(\S+) *$/i.exec(header ?? '')?.[1];
}
