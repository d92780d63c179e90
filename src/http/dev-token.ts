import { z } from 'zod';
import { DEV_USERS } from '../access/dev-users.js';
import { devNamesContent, devTokenContent } from './answers.js';
import { route, type Route } from './route.js';

const names = Object.keys(DEV_USERS) as (keyof typeof DEV_USERS)[];

const whoSchema = z.strictObject({
  name: z.string().toLowerCase().pipe(z.enum(names, 'must be Ana, Bruno or Carla')),
});

const WHO = 'the chat page, in development';

const list = route({
  method: 'GET',
  path: '/dev/token',
  access: 'page',
  about: {
    name: 'listDevUsers',
    tag: 'Server',
    summary: 'Names of users to try a development server with',
    who: WHO,
    content: devNamesContent,
    errors: ['NOT_FOUND'],
  },
  handle: ({ devUsers }) => ({ content: { names: devUsers.names } }),
});

const sign = route({
  method: 'POST',
  path: '/dev/token',
  access: 'page',
  about: {
    name: 'makeDevToken',
    tag: 'Server',
    summary: 'A token of one of them',
    who: WHO,
    body: { name: 'Ana' },
    content: devTokenContent,
    errors: ['NOT_FOUND', 'UNAVAILABLE'],
  },
  body: whoSchema,
  handle: async ({ body, devUsers }) => ({
    content: { token: await devUsers.tokenOf(body.name) },
  }),
});

export const devTokenRoutes: readonly Route[] = [list, sign];
