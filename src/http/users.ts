import { z } from 'zod';
import { listSchema, uuidSchema } from '../protocol/values.js';
import { erasureContent, userListContent, userMessageLine } from './answers.js';
import type { UserMessage } from '../store/user-messages.js';
import { encodeEach } from './pages.js';
import { route, type Route } from './route.js';

/** docs/HTTP-API.md promises it; as many UUIDs as fit into a path easily. */
const MAX_USERS = 100;

const PROBLEM = `must be 1 to ${MAX_USERS} UUIDs, divided by commas`;

const uuidList = listSchema(uuidSchema, { max: MAX_USERS, problem: PROBLEM, tooLong: PROBLEM });

const asked = z.object({
  ids: z.string(PROBLEM).transform((text, context) => {
    const uuids = uuidList.safeParse(text.split(','));
    if (uuids.success) return uuids.data;
    context.addIssue(PROBLEM);
    return z.NEVER;
  }),
});

const find = route({
  method: 'GET',
  path: '/users',
  access: 'token',
  about: {
    name: 'findUsers',
    tag: 'Users',
    summary: 'Names and pictures of users',
    who: 'any',
    content: userListContent,
  },
  query: asked,
  async handle({ query }, { actions }) {
    return { content: await actions.users.find(query.ids) };
  },
});

const erase = route({
  method: 'DELETE',
  path: '/users/:uuid/messages',
  access: 'server',
  about: {
    name: 'eraseMessages',
    tag: 'Users',
    summary: 'Erases all that a user has written',
    who: 'the application, by a server token',
    statuses: [200, 202],
    content: erasureContent,
  },
  params: z.object({ uuid: uuidSchema }),
  async handle({ caller, params }, { actions }) {
    const erasure = await actions.users.erase(caller, params.uuid);
    return { content: erasure, status: erasure.finishedAt === null ? 202 : 200 };
  },
});

const readErasure = route({
  method: 'GET',
  path: '/users/:uuid/erasure',
  access: 'server',
  about: {
    name: 'getErasure',
    tag: 'Users',
    summary: 'How far the erasure of a user is',
    who: 'the application, by a server token',
    content: erasureContent,
    errors: ['NOT_FOUND'],
  },
  params: z.object({ uuid: uuidSchema }),
  async handle({ params }, { actions }) {
    return { content: await actions.users.erasureOf(params.uuid) };
  },
});

const readMessages = route({
  method: 'GET',
  path: '/users/:uuid/messages',
  access: 'server',
  about: {
    name: 'exportMessages',
    tag: 'Users',
    summary: 'All that a user has written, as lines of JSON',
    who: 'the application, by a server token',
    line: userMessageLine,
  },
  params: z.object({ uuid: uuidSchema }),
  handle: ({ caller, params, gone }, { actions }) => ({
    lines: encodeEach(actions.users.messagesOf(caller, params.uuid, gone), encodeUserMessage),
  }),
});

export const userRoutes: readonly Route[] = [find, readMessages, erase, readErasure];

/** A message as a line; what it does not have is left out. */
function encodeUserMessage(message: UserMessage): object {
  const { roomId, roomUUID, seq, ref, content, createdAt } = message;
  const { data, replyTo, mentions, editedAt } = message;
  return {
    room_id: roomId,
    room_uuid: roomUUID,
    seq,
    ...(ref !== null && { ref }),
    content,
    ...(data !== null && { data: JSON.parse(data) as object }),
    ...(replyTo !== null && { reply_to: replyTo }),
    ...(mentions !== null && { mentions }),
    createdAt,
    ...(editedAt !== null && { edited_at: editedAt }),
  };
}
