import { z } from 'zod';
import { uuidSchema } from '../protocol/values.js';
import { revocationContent } from './answers.js';
import { route, type Route } from './route.js';

const revoke = route({
  method: 'POST',
  path: '/sessions/revoke',
  access: 'server',
  about: {
    name: 'revokeSessions',
    tag: 'Users',
    summary: 'Closes the sockets of a user, and refuses all tokens that the user has',
    who: 'the application, by a server token',
    body: { userUUID: '74c141a9-9cc6-43dc-8f3d-fe81c4f9f5fe' },
    content: revocationContent,
  },
  body: z.strictObject({ userUUID: uuidSchema }),
  async handle({ caller, body }, { actions }) {
    const { userUUID, revokedAt } = await actions.users.revoke(caller, body.userUUID);
    return { content: { userUUID, revokedAt: new Date(revokedAt).toISOString() } };
  },
});

export const sessionRoutes: readonly Route[] = [revoke];
