import { z } from 'zod';
import { MAX_INTEGER, textSchema } from '../protocol/values.js';
import type { RoomPlace, RoomSummary } from '../store/room-list.js';
import { nextMeta, roomSummaryContent, roomSummaryListContent } from './answers.js';
import { cursorOf, instant } from './cursor.js';
import { encodeMessage } from './messages.js';
import { pageOf } from './pages.js';
import { route, type Route } from './route.js';
import { numberFrom, roomPath } from './validate.js';

/** docs/HTTP-API.md promises these three. A page holds a message of each room. */
const DEFAULT_PAGE = 50;
const MAX_PAGE = 100;
const MAX_TEXT_CHARACTERS = 100;

const text = textSchema('', MAX_TEXT_CHARACTERS);

const place = z
  .tuple([instant, z.int().min(1).max(MAX_INTEGER)])
  .transform(([ms, id]): RoomPlace => ({ at: new Date(ms), id }));

const wanted = z.object({
  q: text.optional(),
  type: z.enum(['group', 'user2user'], 'must be group or user2user').optional(),
  limit: numberFrom(1, MAX_PAGE).default(DEFAULT_PAGE),
  cursor: cursorOf(place).optional(),
});

const list = route({
  method: 'GET',
  path: '/me/rooms',
  access: 'token',
  about: {
    name: 'listOwnRooms',
    tag: 'Rooms',
    summary: "Lists the caller's rooms, with last and unread messages",
    who: 'any',
    content: roomSummaryListContent,
    meta: nextMeta,
  },
  query: wanted,
  async handle({ caller, query, gone }, { actions }) {
    const { q, type, limit, cursor } = query;
    const filter = { text: q, type, behind: cursor, limit: limit + 1 };
    const found = await actions.rooms.listOwn(caller, filter, gone);
    return pageOf(found, { q, type, limit }, encodeSummary, ({ at, id }) => [at.getTime(), id]);
  },
});

const one = route({
  method: 'GET',
  path: '/rooms/:id',
  access: 'token',
  about: {
    name: 'getRoom',
    tag: 'Rooms',
    summary: "One of the caller's rooms, with last and unread messages",
    who: 'the permission `r`, or an invitation',
    content: roomSummaryContent,
    errors: ['FORBIDDEN', 'NOT_FOUND'],
  },
  params: roomPath,
  async handle({ caller, params, gone }, { actions }) {
    return { content: encodeSummary(await actions.rooms.get(caller, params.id, gone)) };
  },
});

export const myRoomRoutes: readonly Route[] = [list, one];

/** A room in an answer, as the caller sees it. */
function encodeSummary(room: RoomSummary): object {
  const { id, uuid, name, type, data, head, epoch, createdAt } = room;
  const { permissions, accepted, read, unread, mentions, notify, lastMessage } = room;
  return {
    id,
    uuid,
    name,
    type,
    data: data === null ? null : (JSON.parse(data) as object),
    head,
    epoch,
    createdAt,
    permissions,
    accepted,
    read,
    unread,
    mentions,
    notify,
    last_message: lastMessage && encodeMessage(lastMessage),
    ...(type === 'user2user' && { with: room.with }),
  };
}
