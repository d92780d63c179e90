import { randomUUID } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { SECRET } from './node.js';

/** A user of the tests, with a token that is valid for an hour. */
export interface Person {
  readonly userUUID: string;
  readonly entityUUID: string;
  readonly levelOnEntity: number;
  readonly isServer: boolean;
  readonly token: string;
}

/** By default a new user of a new entity at level 0; `claims` are laid over the token's own. */
export function person(
  given: Partial<Omit<Person, 'token' | 'isServer'>> = {},
  claims: Readonly<Record<string, unknown>> = {},
): Person {
  const identity = {
    userUUID: given.userUUID ?? randomUUID(),
    entityUUID: given.entityUUID ?? randomUUID(),
    levelOnEntity: given.levelOnEntity ?? 0,
  };
  const isServer = claims['server'] === true;
  return {
    ...identity,
    isServer,
    token: sign({ ...identity, exp: secondsFromNow(3600), ...claims }),
  };
}

export function sign(claims: object, secret = SECRET, options: jwt.SignOptions = {}): string {
  return jwt.sign(claims, secret, options);
}

export function secondsFromNow(seconds: number): number {
  return Math.floor(Date.now() / 1000) + seconds;
}
