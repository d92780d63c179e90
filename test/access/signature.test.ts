import { createHmac } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createVerifier } from '../../src/access/token.js';
import { parsePublicKeys } from '../../src/config/public-keys.js';
import { createKeySigner, KEY_ALGORITHMS } from '../harness/signers.js';

const SECRETS = ['the present secret of these tests', 'the one before it', 'the first one'];
const CLAIMS = {
  userUUID: '11111111-2222-3333-4444-555555555555',
  entityUUID: 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee',
};
const signers = KEY_ALGORITHMS.map(createKeySigner);
const strangers = KEY_ALGORITHMS.map(createKeySigner);

afterEach(() => {
  vi.useRealTimers();
});

function verifierOf(
  pems: readonly string[],
  { secrets = SECRETS, ...checks }: { secrets?: string[]; audience?: string; issuer?: string } = {},
): ReturnType<typeof createVerifier> {
  const parsed = parsePublicKeys(pems.join(''));
  if (!('value' in parsed)) throw new Error(parsed.problem);
  return createVerifier({ secrets, publicKeys: () => parsed.value, ...checks });
}

const verify = verifierOf(signers.map(({ pem }) => pem));

function expectRefused(token: string, check = verify): void {
  expect(() => check(token)).toThrow(expect.objectContaining({ code: 'UNAUTHORIZED' }));
}

function handmade(header: object, key: string | undefined): string {
  const parts = [header, CLAIMS].map((part) =>
    Buffer.from(JSON.stringify(part)).toString('base64url'),
  );
  const signature =
    key === undefined ? '' : createHmac('sha256', key).update(parts.join('.')).digest('base64url');
  return [...parts, signature].join('.');
}

describe.each(signers)('a token signed by $algorithm', ({ algorithm, sign, pem }) => {
  it('is accepted with the public key, again and again', () => {
    const token = sign({ ...CLAIMS, exp: 4_000_000_000 });

    for (const _ of [1, 2]) expect(verify(token)).toMatchObject(CLAIMS);
  });

  it('is refused with the keys of others, and without keys', () => {
    expectRefused(sign(CLAIMS), verifierOf(strangers.map((stranger) => stranger.pem)));
    expectRefused(sign(CLAIMS), createVerifier({ secrets: SECRETS }));
    expectRefused(sign(CLAIMS), createVerifier({ secrets: [pem] }));
  });

  it('is refused once it is changed', () => {
    const [header, , signature] = sign(CLAIMS).split('.');
    const claims = Buffer.from(JSON.stringify({ ...CLAIMS, server: true })).toString('base64url');

    expectRefused([header, claims, signature].join('.'));
    expectRefused([header, claims, ''].join('.'));
    expectRefused([header, claims].join('.'));
  });

  it('is refused when it has expired, though it was accepted before', () => {
    vi.useFakeTimers({ toFake: ['Date'], now: 1_800_000_000_000 });
    const token = sign({ ...CLAIMS, exp: 1_800_000_060 });
    expect(verify(token).expiresAt).toBe(1_800_000_065_000);

    vi.setSystemTime(1_800_000_064_000);
    expect(verify(token)).toMatchObject(CLAIMS);
    vi.setSystemTime(1_800_000_066_000);
    expectRefused(token);
  });

  it('must have the audience and the issuer that are configured', () => {
    const strict = verifierOf([pem], { audience: 'chat', issuer: 'app' });

    expect(strict(sign({ ...CLAIMS, aud: 'chat', iss: 'app' }))).toMatchObject(CLAIMS);
    for (const claims of [{}, { aud: 'chat' }, { iss: 'app' }, { aud: 'x', iss: 'app' }]) {
      expectRefused(sign({ ...CLAIMS, ...claims }), strict);
    }
  });

  it('does not let its public key be a secret', () => {
    for (const alg of ['HS256', 'HS384', 'HS512', algorithm, 'none', 'RS512', 'ES384', 'PS256']) {
      for (const key of [pem, pem.trim(), '', undefined]) {
        expectRefused(handmade({ alg }, key));
        expectRefused(handmade({ alg }, key), verifierOf([pem], { secrets: [] }));
      }
    }
  });

  it('is not accepted by another algorithm of its kind of key', () => {
    if (algorithm !== 'RS256') return;
    for (const other of ['RS384', 'RS512'] as const) {
      const [, payload, signature] = sign(CLAIMS).split('.');
      const header = Buffer.from(JSON.stringify({ alg: other })).toString('base64url');
      expectRefused([header, payload, signature].join('.'));
    }
  });
});

describe('a secret', () => {
  it('may be one of several, while it is changed', () => {
    for (const secret of SECRETS) expect(verify(jwt.sign(CLAIMS, secret))).toMatchObject(CLAIMS);
    expectRefused(jwt.sign(CLAIMS, 'another'));
  });

  it('before the present one verifies no token that has expired', () => {
    for (const secret of SECRETS) expectRefused(jwt.sign({ ...CLAIMS, exp: 1 }, secret));
  });

  it('is not needed beside public keys, and none is accepted then', () => {
    const keysOnly = verifierOf([signers[0]?.pem ?? ''], { secrets: [] });

    expect(keysOnly(signers[0]?.sign(CLAIMS) ?? '')).toMatchObject(CLAIMS);
    expectRefused(jwt.sign(CLAIMS, SECRETS[0] ?? ''), keysOnly);
  });
});
