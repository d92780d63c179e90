import { z } from 'zod';
import type { MessagePage, MessagePages } from '../actions/messages.js';
import { messageFields, type TextLimits } from '../protocol/message-fields.js';
import { refSchema, uuidSchema } from '../protocol/values.js';
import type { HistoryMessage } from '../store/history.js';
import { actingAs } from './acting.js';
import {
  deletionContent,
  messageContent,
  messageListContent,
  nextMeta,
  snapshotMeta,
} from './answers.js';
import type { Reply } from './envelope.js';
import { encodeEach, queryOf } from './pages.js';
import { periodOf, periodQuery } from './period.js';
import { route, type Route } from './route.js';
import { roomPath, numberFrom } from './validate.js';

/** docs/HTTP-API.md promises both; a page of 1,000 is read and sent piece by piece. */
const DEFAULT_PAGE = 50;
const MAX_PAGE = 1_000;

/** The number of a message. */
const messageNumber = numberFrom(1, Number.MAX_SAFE_INTEGER);

/** Schema of a path that names a message. */
export const messagePath = roomPath.extend({ seq: messageNumber });

const range = z.object({
  ...periodQuery,
  before: numberFrom(1, Number.MAX_SAFE_INTEGER).optional(),
  after: numberFrom(0, Number.MAX_SAFE_INTEGER).optional(),
  limit: numberFrom(1, MAX_PAGE).optional(),
  thread: messageNumber.optional(),
});

type Range = z.infer<typeof range>;

/** Reads the history: all messages of a period, or one page by number. */
const read = route({
  method: 'GET',
  path: '/rooms/:id/messages',
  access: 'token',
  about: {
    name: 'readHistory',
    tag: 'Messages',
    summary: 'Reads the history: a period, or a page by number',
    who: 'the permission `r`',
    content: messageListContent,
    meta: snapshotMeta.extend(nextMeta.shape),
    errors: ['FORBIDDEN', 'NOT_FOUND'],
  },
  params: roomPath,
  query: range,
  async handle({ caller, params, query, gone }, { actions, timeZone }): Promise<Reply> {
    const history = await actions.messages.openHistory(caller, params.id, gone);
    const { snapshot } = history;
    const { before, after, limit, thread } = query;
    const byNumber = [before, after, limit, thread].some((given) => given !== undefined);
    const period = periodOf(query, timeZone, { byNumber });
    if (!byNumber && period !== undefined) {
      const pages = await history.during(period);
      return pages === undefined
        ? { content: [], snapshot }
        : { pages: encodeEach(pages, encodeMessage), snapshot };
    }

    const size = limit ?? DEFAULT_PAGE;
    const page = await history.page({ before, after, limit: size, period, thread });
    const next = page.more ? nextQuery(query, page, size) : undefined;
    return page.rest === undefined
      ? { content: page.messages.map(encodeMessage), snapshot, next }
      : { pages: encodeEach(wholePage(page.messages, page.rest), encodeMessage), snapshot, next };
  },
});

const readOne = route({
  method: 'GET',
  path: '/rooms/:id/messages/:seq',
  access: 'token',
  about: {
    name: 'getMessage',
    tag: 'Messages',
    summary: 'One message',
    who: 'the permission `r`',
    content: messageContent,
    meta: snapshotMeta,
    errors: ['FORBIDDEN', 'NOT_FOUND', 'NO_SUCH_MESSAGE', { code: 'DELETED', status: 404 }],
  },
  params: messagePath,
  async handle({ caller, params, gone }, { actions }) {
    const { message, snapshot } = await actions.messages.get(caller, params.id, params.seq, gone);
    return { content: encodeMessage(message), snapshot };
  },
});

/** What a message or an edit may have, by the names of a body. */
const fieldsOf = (limits: TextLimits) => messageFields(limits, () => '');

const post = route({
  method: 'POST',
  path: '/rooms/:id/messages',
  access: 'token',
  about: {
    name: 'sendMessage',
    tag: 'Messages',
    summary: 'Sends a message',
    who: 'the permission `w`',
    body: { content: 'Lift off', reply_to: 3, ref: 'a7' },
    statuses: [200, 201],
    content: messageContent,
    meta: snapshotMeta,
    errors: ['FORBIDDEN', 'NOT_FOUND', 'NO_SUCH_MESSAGE', 'REF_USED', 'DELETED', 'REJECTED'],
  },
  params: roomPath,
  body(limits) {
    const { message, messageOf } = fieldsOf(limits);
    return z
      .strictObject({ ...message, emitter: uuidSchema.nullish() })
      .transform(({ emitter, ...given }, issues) => ({ emitter, sent: messageOf(given, issues) }));
  },
  async handle({ caller, params, body: { emitter, sent } }, { actions }) {
    const sender = actingAs(caller, emitter);
    const { message, snapshot, isNew } = await actions.messages.post(sender, params.id, sent);
    return { content: encodeMessage(message), snapshot, status: isNew ? 201 : 200 };
  },
});

const edit = route({
  method: 'PATCH',
  path: '/rooms/:id/messages/:seq',
  access: 'token',
  about: {
    name: 'editMessage',
    tag: 'Messages',
    summary: 'Edits a message',
    who: 'the sender, with the permission `w`',
    body: { content: 'Lift-off!' },
    content: messageContent,
    meta: snapshotMeta,
    errors: ['FORBIDDEN', 'NOT_FOUND', 'NO_SUCH_MESSAGE', 'REF_USED', 'DELETED', 'REJECTED'],
  },
  params: messagePath,
  body(limits) {
    const { text, editOf } = fieldsOf(limits);
    return z
      .strictObject({ ...text, emitter: uuidSchema.nullish() })
      .transform(({ emitter, ...given }, issues) => ({ emitter, text: editOf(given, issues) }));
  },
  async handle({ caller, params: { id, seq }, body }, { actions }) {
    const editor = actingAs(caller, body.emitter);
    await actions.messages.edit(editor, id, { ...body.text, target: seq });
    const { message, snapshot } = await actions.messages.getOwn(editor, id, seq);
    return { content: encodeMessage(message), snapshot };
  },
});

/** DELETE has no body: its fields are parameters. */
const deletion = z.object({ ref: refSchema('').optional(), emitter: uuidSchema.optional() });

const remove = route({
  method: 'DELETE',
  path: '/rooms/:id/messages/:seq',
  access: 'token',
  about: {
    name: 'deleteMessage',
    tag: 'Messages',
    summary: 'Deletes a message',
    who: 'the sender, or an admin of the room',
    content: deletionContent,
    errors: ['FORBIDDEN', 'NOT_FOUND', 'NO_SUCH_MESSAGE', 'REF_USED'],
  },
  params: messagePath,
  query: deletion,
  async handle({ caller, params, query }, { actions }) {
    const wanted = { target: params.seq, ref: query.ref };
    const remover = actingAs(caller, query.emitter);
    return { content: await actions.messages.remove(remover, params.id, wanted) };
  },
});

export const messageRoutes: readonly Route[] = [read, readOne, post, edit, remove];

/** A message in an answer; its id is its seq. What it lacks is left out, so that a plain one is as in version 1. */
export function encodeMessage(message: HistoryMessage): object {
  const { roomId, seq, emitter, ref, content, createdAt, updatedAt } = message;
  const { data, replyTo, mentions, reactions, replies, rev, textSeq } = message;
  return {
    id: seq,
    room_id: roomId,
    seq,
    emitter,
    ...(ref !== null && { ref }),
    content,
    ...(data !== null && { data: JSON.parse(data) as object }),
    ...(replyTo !== null && { reply_to: replyTo }),
    ...(mentions !== null && { mentions }),
    createdAt,
    updatedAt,
    ...(textSeq !== null && { edited_at: updatedAt }),
    ...(rev !== null && { rev }),
    ...(replies > 0 && { replies }),
    ...(reactions !== null && { reactions }),
  };
}

/** A page whose first messages were read already. */
async function* wholePage(messages: MessagePage['messages'], rest: MessagePages): MessagePages {
  if (messages.length > 0) yield messages;
  yield* rest;
}

/** The query of the next page in the same direction. */
function nextQuery(asked: Range, { first, last }: MessagePage, limit: number): string {
  const onwards =
    asked.after === undefined ? { ...asked, before: first } : { ...asked, after: last };
  return queryOf({ ...onwards, limit });
}
