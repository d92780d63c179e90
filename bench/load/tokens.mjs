import { createHmac, randomUUID } from 'node:crypto';

export const SECRET = 'a-secret-of-the-benchmark-that-is-long-enough';
const ENTITY = randomUUID();
const HEADER = encode({ alg: 'HS256', typ: 'JWT' });

/** A token of a new user; all are of one entity, and high enough in it to create rooms. */
export function newToken() {
  const claims = {
    userUUID: randomUUID(),
    entityUUID: ENTITY,
    levelOnEntity: 999,
    exp: Math.floor(Date.now() / 1000) + 86_400,
  };
  const signed = `${HEADER}.${encode(claims)}`;
  return `${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`;
}

/** @param {object} value */
function encode(value) {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}
