import jwt from 'jsonwebtoken';
import type { Caller } from './permissions.js';

/** The entity of these users, and of tokens of the command line by default: that of the proof of concept's script. */
export const DEV_ENTITY = '9bc91a48-f27f-4df3-b1d7-136ce4f7a5dd';

export interface DevUser extends Caller {
  readonly name: string;
}

/**
 * Users to try a development server with. All may create rooms; Ana outranks the others. Their UUIDs are random, and stay
 * as they are: their messages are theirs after a restart, too.
 */
export const DEV_USERS = {
  ana: devUser('Ana', 'e7e345b3-3e27-4c16-b337-306d02cfcb6f', 999),
  bruno: devUser('Bruno', 'd3e99298-cdf6-4e8f-bd7d-c4168894878e', 100),
  carla: devUser('Carla', 'e7f00d42-bbeb-49d2-920c-ec007bdfaf7c', 100),
} as const;

export type DevName = keyof typeof DEV_USERS;

function devUser(name: string, userUUID: string, levelOnEntity: number): DevUser {
  return { name, userUUID, entityUUID: DEV_ENTITY, levelOnEntity, isServer: false };
}

/** Makes a token of such a user. */
export type SignDevToken = (user: DevUser) => string;

/** Creates the function that signs tokens of development users, which are valid for a day. */
export function createDevTokens(options: {
  readonly secret: string;
  readonly audience: string | undefined;
  readonly issuer: string | undefined;
}): SignDevToken {
  const { secret, audience, issuer } = options;
  return ({ name, userUUID, entityUUID, levelOnEntity }) =>
    jwt.sign({ userUUID, entityUUID, levelOnEntity, name }, secret, {
      subject: userUUID,
      expiresIn: '24h',
      ...(audience !== undefined && { audience }),
      ...(issuer !== undefined && { issuer }),
    });
}
