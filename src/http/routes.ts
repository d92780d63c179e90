import { ChatError } from '../errors.js';
import { claimsContent } from './answers.js';
import { blockRoutes } from './blocks.js';
import { devTokenRoutes } from './dev-token.js';
import { entryRoutes } from './entries.js';
import { healthRoutes } from './health.js';
import { importRoutes } from './imports.js';
import { memberRoutes } from './members.js';
import { messageRoutes } from './messages.js';
import { myRoomRoutes } from './my-rooms.js';
import { readMarkerRoutes } from './read-markers.js';
import { reportRoutes } from './reports.js';
import { roomRoutes } from './rooms.js';
import { route, type Route } from './route.js';
import { searchRoutes } from './search.js';
import { sessionRoutes } from './sessions.js';
import { userRoutes } from './users.js';

/** Requests for the WebSocket's path that are no handshakes. */
const chat = route({
  method: 'GET',
  path: '/chat',
  access: 'open',
  about: {
    name: 'chat',
    tag: 'Server',
    summary:
      'The WebSocket, which PROTOCOL.md and /asyncapi.json describe. Without an upgrade: 426',
    who: 'anybody',
    statuses: [101],
    errors: ['UPGRADE_REQUIRED'],
  },
  handle() {
    throw new ChatError('UPGRADE_REQUIRED', { detail: 'this is a WebSocket' });
  },
});

const testToken = route({
  method: 'GET',
  path: '/test/token',
  access: 'token',
  about: {
    name: 'showToken',
    tag: 'Users',
    summary: "Shows the token's claims",
    who: 'any',
    content: claimsContent,
  },
  handle: ({ caller }) => ({ content: caller.claims }),
});

/** Every route of the server; docs/HTTP-API.md has the same. */
export const ROUTES: readonly Route[] = [
  ...healthRoutes,
  chat,
  ...roomRoutes,
  ...myRoomRoutes,
  ...importRoutes,
  ...memberRoutes,
  ...messageRoutes,
  ...reportRoutes,
  ...entryRoutes,
  ...searchRoutes,
  ...readMarkerRoutes,
  ...userRoutes,
  ...blockRoutes,
  ...sessionRoutes,
  testToken,
  ...devTokenRoutes,
];
