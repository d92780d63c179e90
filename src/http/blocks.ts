import { z } from 'zod';
import { uuidSchema } from '../protocol/values.js';
import type { Block } from '../store/blocks.js';
import { blockContent, blockListContent, nextMeta } from './answers.js';
import { cursorOf } from './cursor.js';
import { pageOf } from './pages.js';
import { route, type Route } from './route.js';
import { numberFrom } from './validate.js';

/** docs/HTTP-API.md promises both, as of members. */
const DEFAULT_PAGE = 100;
const MAX_PAGE = 1_000;

const userPath = z.object({ uuid: uuidSchema });

const range = z.object({
  limit: numberFrom(1, MAX_PAGE).default(DEFAULT_PAGE),
  cursor: cursorOf(z.tuple([uuidSchema])).optional(),
});

const list = route({
  method: 'GET',
  path: '/blocks',
  access: 'token',
  about: {
    name: 'listBlocks',
    tag: 'Users',
    summary: 'Lists the users whom the caller blocks',
    who: 'any',
    content: blockListContent,
    meta: nextMeta,
  },
  query: range,
  async handle({ caller, query: { limit, cursor } }, { actions }) {
    const found = await actions.blocks.list(caller, { behind: cursor?.[0], limit: limit + 1 });
    return pageOf(found, { limit }, encode, ({ userUUID }) => [userUUID]);
  },
});

const get = route({
  method: 'GET',
  path: '/blocks/:uuid',
  access: 'token',
  about: {
    name: 'getBlock',
    tag: 'Users',
    summary: 'Whether the caller blocks a user',
    who: 'any',
    content: blockContent,
    errors: ['NOT_FOUND'],
  },
  params: userPath,
  async handle({ caller, params }, { actions }) {
    return { content: encode(await actions.blocks.get(caller, params.uuid)) };
  },
});

const put = route({
  method: 'PUT',
  path: '/blocks/:uuid',
  access: 'token',
  about: {
    name: 'blockUser',
    tag: 'Users',
    summary: 'Blocks a user in direct rooms',
    who: 'any',
    statuses: [200, 201],
    content: blockContent,
  },
  params: userPath,
  async handle({ caller, params }, { actions }) {
    const { block, created } = await actions.blocks.put(caller, params.uuid);
    return { content: encode(block), status: created ? 201 : 200 };
  },
});

const remove = route({
  method: 'DELETE',
  path: '/blocks/:uuid',
  access: 'token',
  about: {
    name: 'unblockUser',
    tag: 'Users',
    summary: 'Unblocks a user',
    who: 'any',
    content: blockContent,
    errors: ['NOT_FOUND'],
  },
  params: userPath,
  async handle({ caller, params }, { actions }) {
    return { content: encode(await actions.blocks.remove(caller, params.uuid)) };
  },
});

export const blockRoutes: readonly Route[] = [list, get, put, remove];

function encode({ userUUID, createdAt }: Block): object {
  return { userUUID, createdAt };
}
