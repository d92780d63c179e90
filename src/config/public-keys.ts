import { createPublicKey, type KeyObject } from 'node:crypto';
import type { Parsed } from './service-urls.js';

/** What NIST SP 800-57 asks of a key of RSA. */
const MIN_RSA_BITS = 2_048;

/** The algorithms of tokens that are signed with a private key (RFC 7518, RFC 8037): one for each kind of key. */
export type KeyAlgorithm = 'RS256' | 'ES256' | 'EdDSA';

/** A key that tokens are verified with. */
export interface PublicKey {
  /** The `kid` of the tokens that it verifies; undefined: those of any. */
  readonly id: string | undefined;
  /** The only algorithm that it is for. */
  readonly algorithm: KeyAlgorithm;
  readonly key: KeyObject;
}

/** The algorithm of a public key: RSA of 2048 bits or more, P-256, or Ed25519; undefined for others. */
export function algorithmOf(key: KeyObject): KeyAlgorithm | undefined {
  const { asymmetricKeyType: kind, asymmetricKeyDetails: details = {} } = key;
  const { modulusLength = 0, namedCurve } = details;
  if (kind === 'rsa' && modulusLength >= MIN_RSA_BITS) return 'RS256';
  if (kind === 'ec' && namedCurve === 'prime256v1') return 'ES256';
  return kind === 'ed25519' ? 'EdDSA' : undefined;
}

const PEM = /-----BEGIN ([A-Z0-9 ]+)-----.+?-----END [A-Z0-9 ]+-----/gs;

/** Public keys as PEM, one after the other. */
export function parsePublicKeys(text: string): Parsed<readonly PublicKey[]> {
  // An environment file without quotes leaves the line breaks as they were escaped.
  const blocks = [...text.replaceAll(String.raw`\n`, '\n').matchAll(PEM)];
  if (blocks.length === 0)
    return { problem: 'must be a public key as PEM (-----BEGIN PUBLIC KEY)' };
  const keys: PublicKey[] = [];
  for (const [pem, label = ''] of blocks) {
    if (label.includes('PRIVATE')) {
      return { problem: 'is a private key: only the application may have it' };
    }
    const key = publicKeyOf(pem);
    const algorithm = key && algorithmOf(key);
    if (key === undefined || algorithm === undefined) {
      return { problem: 'must be keys of RSA (2048 bits or more), of P-256, or Ed25519' };
    }
    keys.push({ id: undefined, algorithm, key });
  }
  return { value: keys };
}

function publicKeyOf(pem: string): KeyObject | undefined {
  try {
    return createPublicKey(pem);
  } catch {
    return undefined;
  }
}
