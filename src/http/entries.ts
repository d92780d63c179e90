import { z } from 'zod';
import { encodeEntry } from '../protocol/v2/events.js';
import type { Entry } from '../store/entry.js';
import { entryListContent, fromMeta, nextMeta, snapshotMeta } from './answers.js';
import { encodeEach, queryOf } from './pages.js';
import { route, type Route } from './route.js';
import { numberFrom, roomPath } from './validate.js';

/** docs/HTTP-API.md promises both. */
const DEFAULT_PAGE = 100;
const MAX_PAGE = 1_000;

const range = z.object({
  after: numberFrom(0, Number.MAX_SAFE_INTEGER).default(0),
  limit: numberFrom(1, MAX_PAGE).default(DEFAULT_PAGE),
});

const read = route({
  method: 'GET',
  path: '/rooms/:id/entries',
  access: 'token',
  about: {
    name: 'readLog',
    tag: 'Messages',
    summary: 'Reads the log of a room, as version 2 of the socket sends it',
    who: 'the permission `r`',
    content: entryListContent,
    meta: snapshotMeta.extend(fromMeta.shape).extend(nextMeta.shape),
    errors: ['AHEAD', 'FORBIDDEN', 'NOT_FOUND'],
  },
  params: roomPath,
  query: range,
  async handle({ caller, params, query, gone }, { actions }) {
    const page = await actions.messages.readLog(caller, params.id, query, gone);
    const { snapshot, from, last } = page;
    return {
      pages: encodeEach(page.pages, frameOf),
      snapshot,
      from: from > query.after ? from : undefined,
      next: last < snapshot.head ? queryOf({ ...query, after: last }) : undefined,
    };
  },
});

export const entryRoutes: readonly Route[] = [read];

/** An entry as its frame over a socket of version 2. */
function frameOf(entry: Entry): object {
  return JSON.parse(encodeEntry(entry)) as object;
}
