import { z } from 'zod';
import { MAX_INTEGER, textSchema } from '../protocol/values.js';
import type { Report, ReportedMessage } from '../store/reports.js';
import { nextMeta, reportContent, reportListContent } from './answers.js';
import { cursorOf } from './cursor.js';
import { encodeMessage, messagePath } from './messages.js';
import { pageOf } from './pages.js';
import { route, type Route } from './route.js';
import { numberFrom } from './validate.js';

/** docs/HTTP-API.md promises these. A page of the longest messages is some megabytes. */
const REASON_CHARACTERS = 500;
const DEFAULT_PAGE = 50;
const MAX_PAGE = 100;

const reportId = numberFrom(1, MAX_INTEGER);

const range = z.object({
  limit: numberFrom(1, MAX_PAGE).default(DEFAULT_PAGE),
  cursor: cursorOf(z.tuple([reportId])).optional(),
});

const put = route({
  method: 'POST',
  path: '/rooms/:id/messages/:seq/report',
  access: 'token',
  about: {
    name: 'reportMessage',
    tag: 'Messages',
    summary: 'Reports a message to the application',
    who: 'the permission `r`',
    body: { reason: 'This is spam.' },
    statuses: [200, 201],
    content: reportContent,
    errors: ['FORBIDDEN', 'NOT_FOUND', 'NO_SUCH_MESSAGE', { code: 'DELETED', status: 404 }],
  },
  params: messagePath,
  body: z.strictObject({ reason: textSchema('', REASON_CHARACTERS).nullish() }),
  async handle({ caller, params: { id: roomId, seq }, body, gone }, { actions }) {
    const message = { roomId, seq, reason: body.reason ?? null };
    const { report, created } = await actions.reports.put(caller, message, gone);
    return { content: encode(report), status: created ? 201 : 200 };
  },
});

const list = route({
  method: 'GET',
  path: '/reports',
  access: 'server',
  about: {
    name: 'listReports',
    tag: 'Messages',
    summary: 'Lists the reported messages, the oldest report first',
    who: 'the application, by a server token',
    content: reportListContent,
    meta: nextMeta,
  },
  query: range,
  async handle({ caller, query: { limit, cursor } }, { actions }) {
    const part = { after: cursor?.[0] ?? 0, limit: limit + 1 };
    const found = await actions.reports.list(caller, part);
    return pageOf(found, { limit }, encodeListed, ({ id }) => [id]);
  },
});

const close = route({
  method: 'DELETE',
  path: '/reports/:report',
  access: 'server',
  about: {
    name: 'closeReport',
    tag: 'Messages',
    summary: 'Closes a report',
    who: 'the application, by a server token',
    content: reportContent,
    errors: ['NOT_FOUND'],
  },
  params: z.object({ report: reportId }),
  async handle({ params }, { actions }) {
    return { content: encode(await actions.reports.close(params.report)) };
  },
});

export const reportRoutes: readonly Route[] = [put, list, close];

function encode({ id, roomId, seq, reporter, reason, createdAt }: Report): object {
  return { id, room_id: roomId, seq, reporter, reason, createdAt };
}

/** A report in a list, with its message. */
function encodeListed({ roomUUID, message, ...report }: ReportedMessage): object {
  return {
    ...encode(report),
    room_uuid: roomUUID,
    message: message && encodeMessage(message),
  };
}
