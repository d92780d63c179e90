import { createHmac, generateKeyPairSync } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ana, expectError, HttpLab, statusesOf } from '../harness/http-lab.js';
import { SECRET } from '../harness/node.js';
import { secondsFromNow, sign } from '../harness/tokens.js';

let lab: HttpLab;

beforeAll(async () => {
  lab = await HttpLab.open();
});
afterEach(() => lab.bystanders.expectServed());
afterAll(() => lab.close());

function base64url(value: unknown): string {
  return Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString(
    'base64url',
  );
}

/** A forged token: any header, any payload, and a signature, by default the HMAC with the secret. */
function forge(header: unknown, payload: unknown, signature?: string): string {
  const signed = `${base64url(header)}.${base64url(payload)}`;
  const hmac = createHmac('sha256', SECRET).update(signed).digest('base64url');
  return `${signed}.${signature ?? hmac}`;
}

describe('the token', () => {
  const HS256 = { alg: 'HS256', typ: 'JWT' };
  const claims = {
    userUUID: ana.userUUID,
    entityUUID: ana.entityUUID,
    levelOnEntity: 999,
    exp: secondsFromNow(600),
  };
  const good = forge(HS256, claims);
  const [goodHeader = '', goodPayload = '', goodSignature = ''] = good.split('.');
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString();

  it('is accepted if it is forged without a fault', async () => {
    expect((await lab.call('GET', '/test/token', { token: good })).status).toBe(200);
  });

  it.each([
    ['expired', forge(HS256, { ...claims, exp: secondsFromNow(-60) })],
    ['expired long before the epoch', forge(HS256, { ...claims, exp: -1e300 })],
    ['not valid yet', forge(HS256, { ...claims, nbf: secondsFromNow(60) })],
    ['not signed: alg none, no signature', forge({ alg: 'none' }, claims, '')],
    ['not signed: alg none, a signature', forge({ alg: 'none' }, claims)],
    ['not signed: alg None', forge({ alg: 'None' }, claims, '')],
    ['not signed: alg HS256, no signature', forge(HS256, claims, '')],
    ['of an unknown alg', forge({ alg: 'HS1024' }, claims)],
    ['of no alg', forge({ typ: 'JWT' }, claims)],
    ['of a list as alg', forge({ alg: ['HS256'] }, claims)],
    ['with an extension that is critical', forge({ ...HS256, b64: true, crit: ['b64'] }, claims)],
    ['RS256 with the secret as HMAC key', forge({ alg: 'RS256', typ: 'JWT' }, claims)],
    ['RS256 with a key of its own', sign(claims, privateKey as never, { algorithm: 'RS256' })],
    ['HS256 with a public key as secret', sign(claims, pem)],
    ['signed with another secret', sign(claims, `${SECRET}!`)],
    ['signed with the example of the proof of concept', sign(claims, 'NOTASECRETANYMORE')],
    ['a header and a payload', `${goodHeader}.${goodPayload}`],
    ['a header and a payload and a dot', `${goodHeader}.${goodPayload}.`],
    ['the first half', good.slice(0, good.length / 2)],
    ['the second half', good.slice(good.length / 2)],
    ['a signature that lacks its end', good.slice(0, -4)],
    ['a token and more', `${good}.${goodSignature}`],
    ['two dots', '..'],
    ['one word', 'token'],
    ['another payload under the signature', `${goodHeader}.${base64url({})}.${goodSignature}`],
    ['a header that is not JSON', forge('{', claims)],
    ['a header that is null', forge('null', claims)],
    ['a payload that is not JSON', forge(HS256, '{')],
    ['a payload that is text', forge(HS256, '"admin"')],
    ['a payload that is null', forge(HS256, 'null')],
    ['a payload that is a list', forge(HS256, '[]')],
    ['a payload that is a number', forge(HS256, '1')],
    ['without claims', forge(HS256, {})],
    ['without userUUID', forge(HS256, { ...claims, userUUID: undefined })],
    ['without entityUUID', forge(HS256, { ...claims, entityUUID: undefined })],
    ['with a word as userUUID', forge(HS256, { ...claims, userUUID: 'ana' })],
    ['with a number as userUUID', forge(HS256, { ...claims, userUUID: 1 })],
    ['with a userUUID and SQL', forge(HS256, { ...claims, userUUID: `${ana.userUUID}' OR 1=1` })],
    ['with an empty entityUUID', forge(HS256, { ...claims, entityUUID: '' })],
    ['with claims in __proto__', forge(HS256, `{"__proto__":${JSON.stringify(claims)}}`)],
    ['with a word as level', forge(HS256, { ...claims, levelOnEntity: 'admin' })],
    ['with a list as level', forge(HS256, { ...claims, levelOnEntity: [999] })],
    ['with text as exp', forge(HS256, { ...claims, exp: String(claims.exp) })],
    ['with null as exp', forge(HS256, { ...claims, exp: null })],
    ['with 8 KB of nothing', `${goodHeader}.${'A'.repeat(8_000)}.${goodSignature}`],
  ])('%s is 401, on every route', async (_what, token) => {
    for (const [method, path] of lab.routes()) {
      expectError(await lab.call(method, path, { token, body: {} }), 'UNAUTHORIZED');
    }
  });

  it.each([
    ['empty', ''],
    ['Bearer alone', 'Bearer'],
    ['Bearer and a space', 'Bearer '],
    ['a token without Bearer', good],
    ['Bearer and the token without a space', `Bearer${good}`],
    ['Bearer and two tokens', `Bearer ${good} ${good}`],
    ['two of them in one', `Bearer ${good}, Bearer ${good}`],
    ['Bearer and null', 'Bearer null'],
    ['Bearer and quotes', `Bearer "${good}"`],
    ['Basic', `Basic ${Buffer.from('ana:secret').toString('base64')}`],
    ['Basic and a good token', `Basic ${good}`],
    ['Token', `Token ${good}`],
    ['of Latin-1', 'Bearer \u00e9\u00ff'],
  ])('in a header that is %s is 401', async (_what, authorization) => {
    for (const [method, path] of lab.routes()) {
      const answer = await lab.call(method, path, { token: null, headers: { authorization } });
      expectError(answer, 'UNAUTHORIZED');
    }
  });

  it('is 401 without the header, even if the query has it', async () => {
    for (const [method, path] of lab.routes()) {
      expectError(await lab.call(method, path, { token: null }), 'UNAUTHORIZED');
      const inQuery = `${path}?token=${good}&access_token=${good}`;
      expectError(await lab.call(method, inQuery, { token: null }), 'UNAUTHORIZED');
    }
  });

  it('is the one of the first header if there are two', async () => {
    const heard = (first: string, second: string): Promise<string> =>
      lab.exchange(
        `GET /test/token HTTP/1.1\r\nHost: x\r\nConnection: close\r\n` +
          `Authorization: ${first}\r\nAuthorization: ${second}\r\n\r\n`,
      );
    expect(statusesOf(await heard(`Bearer ${good}`, 'Bearer x'))).toEqual([200]);
    expect(statusesOf(await heard('Bearer x', `Bearer ${good}`))).toEqual([401]);
  });

  it.each([
    ['a fraction', 1.5],
    ['a fraction as text', '100.5'],
    ['beyond an integer', 1e12],
    ['far below zero', -1e300],
    ['almost infinite', 1e308],
    ['400 nines', '9'.repeat(400)],
  ])('with a level that is %s is never answered by 500', async (_what, levelOnEntity) => {
    const token = forge(HS256, { ...claims, levelOnEntity });
    const body = { name: 'a', level_admin: 0, type: 'group' };
    expect([200, 403]).toContain((await lab.call('POST', '/rooms', { token, body })).status);
    for (const path of ['/rooms', '/rooms/all', '/test/token', `/rooms/${lab.room}/messages`]) {
      expect((await lab.call('GET', path, { token })).status).toBe(200);
    }
  });
});
