import { createHmac, generateKeyPairSync } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { bearerToken, createVerifier } from '../../src/access/token.js';

const SECRET = 'a secret of these tests, with more than 64 characters, so that HS512 likes it too';
const USER = '11111111-2222-3333-4444-555555555555';
const ENTITY = 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee';
const CLAIMS = { userUUID: USER, entityUUID: ENTITY, levelOnEntity: 7 };
/** Seconds since the epoch; the clock of these tests stands still. */
const NOW = 1_800_000_000;

const verify = createVerifier({ secrets: [SECRET] });

afterEach(() => {
  vi.useRealTimers();
});

describe('a token', () => {
  it.each(['HS256', 'HS384', 'HS512'] as const)('is accepted with %s', (algorithm) => {
    const identity = verify(jwt.sign(CLAIMS, SECRET, { algorithm, noTimestamp: true }));

    expect(identity).toEqual({ ...CLAIMS, isServer: false, profile: {}, claims: CLAIMS });
  });

  it.each([
    [true, true],
    [false, false],
    ['true', false],
    [1, false],
    [null, false],
    [[true], false],
    [undefined, false],
  ])('is of the application itself if its claim server is true: %j', (claim, isServer) => {
    const token = jwt.sign({ ...CLAIMS, server: claim }, SECRET, { noTimestamp: true });

    expect(verify(token)).toMatchObject({ ...CLAIMS, isServer });
  });

  it('is nobody, if it is of the application and names no user', () => {
    const nobody = '00000000-0000-0000-0000-000000000000';

    expect(verify(jwt.sign({ server: true }, SECRET))).toMatchObject({
      userUUID: nobody,
      entityUUID: nobody,
      levelOnEntity: 0,
      isServer: true,
    });
    expectRefused(jwt.sign({ server: true, userUUID: 'ana' }, SECRET));
    expectRefused(jwt.sign({ server: 'true' }, SECRET));
  });

  it('is refused with another secret, and without one', () => {
    expectRefused(jwt.sign(CLAIMS, 'another secret'), 'invalid signature');
    expectRefused(handmade({ alg: 'HS256' }, CLAIMS, ''));
  });

  it.each(['none', 'None', 'NONE', 'nOnE'])('is refused with the algorithm %s', (alg) => {
    const [header, payload] = handmade({ alg, typ: 'JWT' }, CLAIMS).split('.');

    for (const signature of ['', 'AAAA']) expectRefused(`${header}.${payload}.${signature}`);
    expectRefused(`${header}.${payload}`);
  });

  it('is refused if a library made it unsigned', () => {
    expectRefused(jwt.sign(CLAIMS, null, { algorithm: 'none' }));
  });

  it.each(['RS256', 'RS512', 'ES256', 'PS256', 'HS1', 'hs256', '', 'constructor', '__proto__'])(
    'is refused if its header names %s, though the secret has signed it',
    (alg) => {
      expectRefused(handmade({ alg, typ: 'JWT' }, CLAIMS));
    },
  );

  it('is refused with an asymmetric key, though that is the secret', () => {
    const { privateKey, publicKey } = generateKeyPairSync('rsa', {
      modulusLength: 2048,
      publicKeyEncoding: { type: 'spki', format: 'pem' },
      privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    });
    const token = jwt.sign(CLAIMS, privateKey, { algorithm: 'RS256' });

    for (const secret of [publicKey, privateKey, SECRET]) {
      expect(() => createVerifier({ secrets: [secret] })(token)).toThrow(
        expect.objectContaining({ code: 'UNAUTHORIZED' }),
      );
    }
    // A server whose secret is an RSA key accepts no token signed with its public half either.
    expect(() =>
      createVerifier({ secrets: [privateKey] })(handmade({ alg: 'HS256' }, CLAIMS, publicKey)),
    ).toThrow(expect.objectContaining({ code: 'UNAUTHORIZED' }));
  });

  it.each([
    ['an extension', ['b64']],
    ['one of its own', ['exp']],
    ['an empty list', []],
    ['null', null],
    ['a word', 'b64'],
    ['false', false],
  ])('is refused with crit in its header: %s', (_, crit) => {
    const header = { alg: 'HS256', typ: 'JWT', b64: true, exp: NOW, crit };

    expectRefused(handmade(header, CLAIMS), "the token's header has crit");
    expect(verify(handmade({ ...header, crit: undefined }, CLAIMS))).toMatchObject(CLAIMS);
  });

  it('is refused once a byte of it is changed', () => {
    const [header = '', payload = '', signature = ''] = jwt.sign(CLAIMS, SECRET).split('.');
    const other = encode({ ...CLAIMS, levelOnEntity: 999 });

    expectRefused(`${header}.${other}.${signature}`);
    expectRefused(`${encode({ alg: 'HS512', typ: 'JWT' })}.${payload}.${signature}`);
    expectRefused(`${header}.${payload}.${signature.toLowerCase()}`);
  });

  it.each([
    ['an empty text', ''],
    ['a blank', ' '],
    ['a word', 'token'],
    ['one dot', '.'],
    ['two dots', '..'],
    ['three dots', '...'],
    ['no JSON', 'a.b.c'],
    ['a header that is no JSON', `${Buffer.from('{').toString('base64url')}.e30.AAAA`],
    ['NUL', '\0'],
    ['a lone surrogate', '\ud800.\ud800.\ud800'],
    ['a long text', 'x'.repeat(8_000)],
  ])('is refused if it is %s', (_, token) => {
    expectRefused(token);
  });

  it('is refused if a part of it is missing', () => {
    const token = jwt.sign(CLAIMS, SECRET);
    const [header, payload] = token.split('.');

    for (let length = 1; length < token.length; length += 1) expectRefused(token.slice(0, length));
    expectRefused(`${header}.${payload}`);
    expectRefused(`${token}.more`);
    expectRefused(`Bearer ${token}`);
  });

  it.each([
    ['a text', 'just a text'],
    ['a text that is JSON of a text', '"text"'],
    ['a number', '42'],
    ['null', 'null'],
    ['a list', '[1]'],
    ['true', 'true'],
    ['half an object', '{"userUUID":'],
    ['nothing', ''],
  ])('is refused if its payload is %s', (_, payload) => {
    for (const typ of ['JWT', 'other']) expectRefused(handmade({ alg: 'HS256', typ }, payload));
  });
});

describe('the time of a token', () => {
  it.each([
    ['in the future', NOW + 60],
    ['past, but within the leeway', NOW - 4],
  ])('exp: %s is accepted', (_, exp) => {
    vi.useFakeTimers({ now: NOW * 1000 });

    expect(verify(handmade({ alg: 'HS256' }, { ...CLAIMS, exp })).expiresAt).toBe((exp + 5) * 1000);
  });

  it.each([
    ['past, and just beyond the leeway', NOW - 5],
    ['long past', NOW - 3600],
    ['0', 0],
    ['negative', -1],
  ])('exp: %s is refused', (_, exp) => {
    vi.useFakeTimers({ now: NOW * 1000 });

    expectRefused(handmade({ alg: 'HS256' }, { ...CLAIMS, exp }), 'jwt expired');
  });

  it('is accepted until expiresAt, and not from then on', () => {
    vi.useFakeTimers({ now: NOW * 1000 });
    const token = handmade({ alg: 'HS256' }, { ...CLAIMS, exp: NOW });
    const { expiresAt = 0 } = verify(token);

    vi.setSystemTime(expiresAt - 1);
    expect(verify(token).userUUID).toBe(USER);
    vi.setSystemTime(expiresAt);
    expectRefused(token, 'jwt expired');
  });

  it.each([
    ['past', NOW - 60],
    ['in the future, but within the leeway', NOW + 5],
  ])('nbf: %s is accepted', (_, nbf) => {
    vi.useFakeTimers({ now: NOW * 1000 });

    expect(verify(handmade({ alg: 'HS256' }, { ...CLAIMS, nbf })).userUUID).toBe(USER);
  });

  it('nbf: in the future, beyond the leeway, is refused', () => {
    vi.useFakeTimers({ now: NOW * 1000 });

    expectRefused(handmade({ alg: 'HS256' }, { ...CLAIMS, nbf: NOW + 6 }), 'jwt not active');
  });

  it.each([`${NOW + 60}`, '', null, true, [NOW + 60], { $gt: 0 }])('exp: %j is refused', (exp) => {
    vi.useFakeTimers({ now: NOW * 1000 });

    expectRefused(handmade({ alg: 'HS256' }, { ...CLAIMS, exp }));
  });

  it('nbf: a text is refused', () => {
    expectRefused(handmade({ alg: 'HS256' }, { ...CLAIMS, nbf: '0' }), 'invalid nbf value');
  });

  it('never ends without exp', () => {
    expect(verify(handmade({ alg: 'HS256' }, { ...CLAIMS, iat: 0 })).expiresAt).toBeUndefined();
  });
});

describe('the claims of a token', () => {
  it.each(['userUUID', 'entityUUID'])('%s must be a UUID', (name) => {
    const malformed = [
      undefined,
      null,
      '',
      42,
      [USER],
      'garbage',
      `${USER}0`,
      ` ${USER}`,
      `${USER}\n`,
      USER.replaceAll('-', ''),
      `{${USER}}`,
      USER.replace('1', 'g'),
      USER.replace('1', '１'),
    ];
    for (const value of malformed) {
      expectRefused(
        handmade({ alg: 'HS256' }, { ...CLAIMS, [name]: value }),
        `the token's claim ${name} must be a UUID: hexadecimal digits, 8-4-4-4-12 of them`,
      );
    }
  });

  it('have UUIDs of any version, in lower case', () => {
    const upper = 'ABCDEF00-0000-0000-0000-00000000000F';

    const identity = verify(sign({ ...CLAIMS, userUUID: upper, entityUUID: upper }));

    expect(identity.userUUID).toBe(upper.toLowerCase());
    expect(identity.entityUUID).toBe(upper.toLowerCase());
    expect(identity.claims['userUUID']).toBe(upper);
  });

  it('may have one UUID for user and entity', () => {
    expect(verify(sign({ ...CLAIMS, entityUUID: USER })).entityUUID).toBe(USER);
  });

  it.each([
    [0, 0],
    [-1, -1],
    [99.5, 99.5],
    [1e21, 1e21],
    ['100', 100],
    ['-7', -7],
    ['+7', 7],
    ['1.5', 1.5],
    ['007', 7],
    [undefined, 0],
    [null, 0],
  ])('levelOnEntity %j is %d', (given, level) => {
    expect(verify(sign({ ...CLAIMS, levelOnEntity: given })).levelOnEntity).toBe(level);
  });

  it.each(['', ' ', 'high', '1e3', '0x10', '1,000', '١', '1 ', 'NaN', 'Infinity', true, [1], {}])(
    'levelOnEntity %j is refused',
    (given) => {
      expectRefused(
        handmade({ alg: 'HS256' }, { ...CLAIMS, levelOnEntity: given }),
        "the token's claim levelOnEntity must be a number, or a string that holds one",
      );
    },
  );

  it('levelOnEntity may not be beyond every number', () => {
    expectRefused(handmade({ alg: 'HS256' }, JSON.stringify(CLAIMS).replace('7', '1e999')));
  });

  it('are read from the token itself, never from its prototype', () => {
    const inherited = `{"__proto__":${JSON.stringify(CLAIMS)}}`;
    expectRefused(handmade({ alg: 'HS256' }, inherited));

    const own = `{"__proto__":{"levelOnEntity":999,"polluted":true},"userUUID":"${USER}","entityUUID":"${ENTITY}"}`;
    expect(verify(handmade({ alg: 'HS256' }, own)).levelOnEntity).toBe(0);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });

  it('are returned as they were signed, unknown ones included', () => {
    const claims = { ...CLAIMS, sub: 'ana', typ: 'access', roles: ['a'] };

    expect(verify(handmade({ alg: 'HS256' }, claims)).claims).toEqual(claims);
  });
});

describe('audience and issuer', () => {
  const both = createVerifier({ secrets: [SECRET], audience: 'chat', issuer: 'app' });

  it('are ignored if none is configured', () => {
    expect(verify(sign({ ...CLAIMS, aud: 'any', iss: 'any' })).userUUID).toBe(USER);
  });

  it('must be the configured ones', () => {
    expect(both(sign({ ...CLAIMS, aud: 'chat', iss: 'app' })).userUUID).toBe(USER);
    expect(both(sign({ ...CLAIMS, aud: ['other', 'chat'], iss: 'app' })).userUUID).toBe(USER);
  });

  it.each([
    ['no audience', { iss: 'app' }],
    ['another audience', { aud: 'other', iss: 'app' }],
    ['an audience that begins like it', { aud: 'chat2', iss: 'app' }],
    ['no issuer', { aud: 'chat' }],
    ['another issuer', { aud: 'chat', iss: 'other' }],
    ['an issuer in a list', { aud: 'chat', iss: ['other'] }],
  ])('are refused: %s', (_, claims) => {
    expect(() => both(handmade({ alg: 'HS256' }, { ...CLAIMS, ...claims }))).toThrow(
      expect.objectContaining({ code: 'UNAUTHORIZED' }),
    );
  });

  it('are checked independently', () => {
    const audience = createVerifier({ secrets: [SECRET], audience: 'chat' });
    const issuer = createVerifier({ secrets: [SECRET], issuer: 'app' });

    expect(audience(sign({ ...CLAIMS, aud: 'chat', iss: 'any' })).userUUID).toBe(USER);
    expect(issuer(sign({ ...CLAIMS, aud: 'any', iss: 'app' })).userUUID).toBe(USER);
    expect(() => audience(sign({ ...CLAIMS, iss: 'app' }))).toThrow('jwt audience invalid');
    expect(() => issuer(sign({ ...CLAIMS, aud: 'chat' }))).toThrow('jwt issuer invalid');
  });
});

describe('the Authorization header', () => {
  it.each([
    ['Bearer abc', 'abc'],
    ['bearer abc', 'abc'],
    ['BEARER   abc  ', 'abc'],
    ['Bearer', undefined],
    ['Bearer ', undefined],
    ['Bearer a b', undefined],
    ['Basic abc', undefined],
    ['abc', undefined],
    ['', undefined],
    [undefined, undefined],
  ])('%j has the token %j', (header, token) => {
    expect(bearerToken(header)).toBe(token);
  });
});

/** The error must be UNAUTHORIZED, without any part of the token or the secret. */
describe('the profile of a token', () => {
  const profileOf = (claims: object) =>
    verify(handmade({ alg: 'HS256' }, { ...CLAIMS, ...claims })).profile;

  it('has its name, its picture, and when it was signed', () => {
    const picture = 'https://example.com/a.png?size=64#top';

    expect(profileOf({ name: 'Ana', picture, iat: NOW })).toEqual({
      name: 'Ana',
      picture,
      signedAt: new Date(NOW * 1000),
    });
    expect(profileOf({ name: '🎈'.repeat(100) })).toEqual({ name: '🎈'.repeat(100) });
  });

  it.each([
    {},
    { iat: NOW },
    { name: '' },
    { name: 7 },
    { name: null, picture: null },
    { name: 'x'.repeat(101) },
    { name: 'a\0b' },
    { name: '\ud800' },
    { picture: 'http://example.com/a.png' },
    { picture: 'javascript:alert(1)' },
    { picture: 'https://' },
    { picture: 'https://example.com/\0' },
    { picture: `https://example.com/${'x'.repeat(2048)}` },
  ])(
    'has neither name nor picture if no claim has its form, and the token is accepted: %j',
    (claims) => {
      expect(profileOf(claims)).toMatchObject({ name: undefined, picture: undefined });
      expect(profileOf({ ...claims, server: true })).toBeUndefined();
    },
  );

  it.each([-1, NOW * 1000, 1e300, '7', null])('has no date if iat is %s', (iat) => {
    expect(profileOf({ name: 'Ana', iat })).toEqual({ name: 'Ana' });
  });
});

function expectRefused(token: string, detail = /^[ -~]{5,100}$/ as RegExp | string): void {
  let error: unknown;
  try {
    verify(token);
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toMatchObject({ code: 'UNAUTHORIZED', status: 401 });
  const said = String((error as { detail?: string }).detail);
  expect(said).toMatch(typeof detail === 'string' ? new RegExp(`^${detail}$`) : detail);
  expect(said).not.toContain(SECRET);
}

function sign(claims: object): string {
  return jwt.sign(claims, SECRET);
}

/** A token with any header and payload, always signed by HMAC-SHA256. */
function handmade(header: object, payload: object | string, secret = SECRET): string {
  const signed = `${encode(header)}.${encode(payload)}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

function encode(part: object | string): string {
  const text = typeof part === 'string' ? part : JSON.stringify(part);
  return Buffer.from(text).toString('base64url');
}
