import { generateKeyPairSync, randomUUID, type KeyObject } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import { createSigner } from 'fast-jwt';
import jwt from 'jsonwebtoken';
import type { KeyAlgorithm } from '../../src/config/public-keys.js';

/** An application with a key pair. */
export interface Signer {
  readonly algorithm: KeyAlgorithm;
  readonly kid: string;
  /** The public key. */
  readonly pem: string;
  readonly jwk: Readonly<Record<string, unknown>>;
  readonly sign: (claims: object, header?: { kid?: string | undefined }) => string;
}

const PAIRS: Readonly<Record<KeyAlgorithm, () => { publicKey: KeyObject; privateKey: KeyObject }>> =
  {
    RS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
    ES256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    EdDSA: () => generateKeyPairSync('ed25519'),
  };

export const KEY_ALGORITHMS = Object.keys(PAIRS) as KeyAlgorithm[];

export function createKeySigner(algorithm: KeyAlgorithm): Signer {
  const { publicKey, privateKey } = PAIRS[algorithm]();
  const own = randomUUID();
  return {
    algorithm,
    kid: own,
    pem: String(publicKey.export({ type: 'spki', format: 'pem' })),
    jwk: { ...publicKey.export({ format: 'jwk' }), kid: own, use: 'sig', alg: algorithm },
    sign(claims, { kid } = { kid: own }) {
      const named = kid === undefined ? {} : { kid };
      if (algorithm !== 'EdDSA') {
        return jwt.sign(claims, privateKey, {
          algorithm,
          ...(kid !== undefined && { keyid: kid }),
        });
      }
      const key = String(privateKey.export({ type: 'pkcs8', format: 'pem' }));
      return createSigner({ key, algorithm, header: { alg: algorithm, ...named } })({ ...claims });
    },
  };
}

/** A source of keys over HTTP. */
export interface KeySource {
  readonly url: string;
  /** What it answers: keys, or a status or a text of its own. */
  answer: readonly Signer[] | number | string;
  /** Requests so far. */
  requests: number;
  close(): Promise<void>;
}

export async function startKeySource(...signers: Signer[]): Promise<KeySource> {
  const server = createServer((_, response) => {
    const { answer } = source;
    source.requests += 1;
    if (typeof answer === 'number') response.writeHead(answer).end();
    else if (typeof answer === 'string') response.end(answer);
    else response.end(JSON.stringify({ keys: answer.map(({ jwk }) => jwk) }));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const source: KeySource = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`,
    answer: signers,
    requests: 0,
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
  return source;
}
