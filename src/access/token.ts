import { z } from 'zod';
import { ChatError } from '../errors.js';
import { textProblem, textSchema, uuidSchema } from '../protocol/values.js';
import type { KeySet } from './key-set.js';
import { createSignatureCheck, LEEWAY_S, UnknownKeyError, type TokenKeys } from './signature.js';

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

/** The width of the column (migrations/). */
const MAX_NAME_CHARACTERS = 100;
/** The longest URL that all browsers and CDNs take. */
const MAX_PICTURE_CHARACTERS = 2_048;
/**
 * The end of the year 9999, in seconds: Date and Postgres agree on years of four digits. Dates in milliseconds are beyond
 * it.
 */
const MAX_SECONDS = 253_402_300_799;

/**
 * The `userUUID` and `entityUUID` of a server token that names none, and so the emitter of what the system does: RFC 9562's
 * Nil UUID, which is no user's.
 */
export const NIL_UUID = '00000000-0000-0000-0000-000000000000';

/** What others may see of a user. */
export const profileFields = {
  name: textSchema('', MAX_NAME_CHARACTERS),
  picture: z.string().refine(isHttpsUrl, 'must be an https URL'),
};

const claimsSchema = z.object({
  userUUID: uuidSchema,
  entityUUID: uuidSchema,
  levelOnEntity: level.nullish().transform((given) => given ?? 0),
  exp: z.number('must be a number of seconds').optional(),
  // Claims that other parties of a token may read in their own way (OpenID Connect has both): one of another form is
  // ignored, as it always was.
  name: profileFields.name.optional().catch(undefined),
  picture: profileFields.picture.optional().catch(undefined),
  iat: z.number().min(0).max(MAX_SECONDS).optional().catch(undefined),
  server: z.literal(true).optional().catch(undefined),
});

/** A token of the application's server may be nobody's. */
const serverClaimsSchema = claimsSchema.extend({
  userUUID: uuidSchema.default(NIL_UUID),
  entityUUID: uuidSchema.default(NIL_UUID),
});

function isHttpsUrl(text: string): boolean {
  return (
    /^https:\/\//i.test(text) &&
    URL.canParse(text) &&
    textProblem(text, MAX_PICTURE_CHARACTERS) === undefined
  );
}

/** What a token tells of its user, for others to see: with neither name nor picture no more than that they are a user. */
export interface Profile {
  readonly name: string | undefined;
  /** An https URL. */
  readonly picture: string | undefined;
  /** When the token was signed; undefined: it does not say. */
  readonly signedAt: Date | undefined;
}

/** The user of a token, as the application signed it. */
export interface Identity {
  readonly userUUID: string;
  readonly entityUUID: string;
  readonly levelOnEntity: number;
  /** The end of the token in milliseconds since 1970, leeway included; undefined: it never expires. */
  readonly expiresAt: number | undefined;
  /** When the token was signed (`iat`), in milliseconds since 1970; undefined: it does not say. */
  readonly issuedAt: number | undefined;
  /** Whether it is a token of the application's server: its claim `server` is `true`. No level stands for it. */
  readonly isServer: boolean;
  /** Undefined if the token is of the application's server, and has neither a name nor a picture. */
  readonly profile: Profile | undefined;
  /** All claims of the token, as they were signed. */
  readonly claims: Readonly<Record<string, unknown>>;
}

/**
 * The user of a token; a promise if its key has to be fetched first.
 * @throws {ChatError} UNAUTHORIZED, with a sentence about the problem of the token
 */
export type VerifyToken = (token: string) => Identity | Promise<Identity>;

/** A verifier that fetches the set of keys again for a token whose key is unknown. */
export function fetchingKeys(verify: (token: string) => Identity, keySet: KeySet): VerifyToken {
  return (token) => {
    try {
      return verify(token);
    } catch (error) {
      const refreshed = error instanceof UnknownKeyError ? keySet.refresh() : undefined;
      if (refreshed === undefined) throw error;
      return refreshed.then(() => verify(token));
    }
  };
}

/** Creates the function that verifies tokens. `audience` and `issuer` are checked if they are given. */
export function createVerifier(keys: TokenKeys): (token: string) => Identity {
  const check = createSignatureCheck(keys);
  return (token) => {
    const payload = check(token);
    const schema = payload['server'] === true ? serverClaimsSchema : claimsSchema;
    const claims = schema.safeParse(payload);
    if (!claims.success) {
      const [issue] = claims.error.issues;
      const claim = `${issue?.path.join('.')} ${issue?.message}`;
      throw new ChatError('UNAUTHORIZED', { detail: `the token's claim ${claim}` });
    }
    // Not by spreading the claims, which takes a tenth of the time of all this.
    const { userUUID, entityUUID, levelOnEntity, exp, iat, server } = claims.data;
    return {
      userUUID,
      entityUUID,
      levelOnEntity,
      expiresAt: exp === undefined ? undefined : (exp + LEEWAY_S) * 1000,
      issuedAt: iat === undefined ? undefined : iat * 1000,
      isServer: server === true,
      profile: profileOf(claims.data),
      claims: payload,
    };
  };
}

function profileOf({
  name,
  picture,
  iat,
  server,
}: z.output<typeof claimsSchema>): Profile | undefined {
  if (name === undefined && picture === undefined && server === true) return undefined;
  return { name, picture, signedAt: iat === undefined ? undefined : new Date(iat * 1000) };
}

/** The token of an `Authorization: Bearer` header. The case of the scheme is ignored (RFC 7235). */
export function bearerToken(header: string | undefined): string | undefined {
  return /^bearer +(\S+) *$/i.exec(header ?? '')?.[1];
}
