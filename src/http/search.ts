import { z } from 'zod';
import { MAX_INTEGER, ROOM_ID_OR_UUID, textSchema, uuidSchema } from '../protocol/values.js';
import type { Place } from '../store/search.js';
import { messageListContent, nextMeta } from './answers.js';
import { cursorOf, encodeCursor, instant } from './cursor.js';
import type { Reply } from './envelope.js';
import { encodeMessage } from './messages.js';
import { route, type Route } from './route.js';
import { numberFrom, roomId } from './validate.js';

/** docs/HTTP-API.md promises these three. A sentence is enough for a search, and bounds the words of one. */
const MAX_TEXT_CHARACTERS = 200;
const DEFAULT_PAGE = 20;
const MAX_PAGE = 100;

const text = textSchema('', MAX_TEXT_CHARACTERS);

const place = z
  .tuple([instant, z.int().min(1).max(MAX_INTEGER), z.int().min(1)])
  .transform(([ms, room, seq]): Place => ({
    createdAt: new Date(ms),
    roomId: room,
    seq,
  }));

const wanted = z.object({
  q: text,
  room: z
    .union([roomId, uuidSchema], 'must be a positive integer or a UUID')
    .meta(ROOM_ID_OR_UUID)
    .optional(),
  limit: numberFrom(1, MAX_PAGE).default(DEFAULT_PAGE),
  cursor: cursorOf(place).optional(),
});

const search = route({
  method: 'GET',
  path: '/messages',
  access: 'token',
  about: {
    name: 'findMessages',
    tag: 'Messages',
    summary: 'Finds messages in the rooms that the caller may read',
    who: 'any',
    content: messageListContent,
    meta: nextMeta,
    errors: ['FORBIDDEN', 'NOT_FOUND'],
  },
  query: wanted,
  async handle({ caller, query, gone }, { actions }): Promise<Reply> {
    const { q, room, limit, cursor } = query;
    const id = typeof room === 'string' ? await actions.rooms.idOf(room) : room;
    const page = await actions.messages.search(
      caller,
      { text: q, roomId: id, limit, behind: cursor },
      gone,
    );
    return {
      content: page.messages.map(encodeMessage),
      next: page.next && nextQuery(query, page.next),
    };
  },
});

export const searchRoutes: readonly Route[] = [search];

/** The query of the next page. */
function nextQuery({ q, room, limit }: z.infer<typeof wanted>, end: Place): string {
  const cursor = encodeCursor([end.createdAt.getTime(), end.roomId, end.seq]);
  const next = new URLSearchParams({ q, limit: String(limit), cursor });
  if (room !== undefined) next.set('room', String(room));
  return `?${next.toString()}`;
}
