import { z } from 'zod';
import { MAX_INTEGER, textProblem } from '../protocol/values.js';
import type { ListedRoom, Room, RuleWithRoom } from '../store/rooms.js';
import { encodeEach } from './pages.js';
import { route, type Route } from './route.js';
import { flag, roomPath, numberFrom } from './validate.js';

/** The width of the column (store/models/room.ts). */
const MAX_NAME_CHARACTERS = 100;
/** docs/HTTP-API.md promises these three. */
const MAX_LEVEL_ADMIN = 1_000;
const DEFAULT_MAX_RULES = 10;
const MAX_RULES = 10_000;
/** As many rooms as one query of a list passes (`LISTED_PAGE` in store/rooms.ts). */
const MAX_LIST = 1_000;

const name = z.string('must be a string').superRefine((value, context) => {
  const problem = textProblem(value, MAX_NAME_CHARACTERS);
  if (problem !== undefined) context.addIssue(problem);
});

const newRoom = z
  .strictObject({
    name,
    level_admin: numberFrom(0, MAX_LEVEL_ADMIN),
    type: z.enum(['group', 'user2user'], 'must be group or user2user'),
    max_entity_rules: numberFrom(1, MAX_RULES).nullish(),
  })
  .transform(({ level_admin: levelAdmin, max_entity_rules: maxRules, ...room }) => ({
    ...room,
    levelAdmin,
    maxEntityRules: maxRules ?? DEFAULT_MAX_RULES,
  }));

const filter = z.object({
  limit: numberFrom(1, MAX_LIST).default(MAX_LIST),
  offset: numberFrom(0, MAX_INTEGER).default(0),
  accepted: flag.optional(),
});

const create = route({
  method: 'POST',
  path: '/rooms',
  access: 'token',
  body: newRoom,
  async handle({ caller, body }, { actions }) {
    return { content: { room: encodeRoom(await actions.rooms.create(caller, body)) } };
  },
});

const list = route({
  method: 'GET',
  path: '/rooms',
  access: 'token',
  query: filter,
  async handle({ caller, query, gone }, { actions }) {
    const rules = await actions.rooms.list(caller, query, gone);
    return { content: rules.map(encodeRuleWithRoom) };
  },
});

const listAll = route({
  method: 'GET',
  path: '/rooms/all',
  access: 'token',
  handle: ({ caller, gone }, { actions }) => ({
    pages: encodeEach(actions.rooms.listAll(caller, gone), encodeRoom),
  }),
});

const remove = route({
  method: 'DELETE',
  path: '/rooms/:id',
  access: 'token',
  params: roomPath,
  async handle({ caller, params }, { actions }) {
    await actions.rooms.remove(caller, params.id);
    return { content: {} };
  },
});

export const roomRoutes: readonly Route[] = [create, list, listAll, remove];

/** A room in an answer. */
function encodeRoom(room: Room | ListedRoom): object {
  const { id, uuid, name, type, levelAdmin, entityOwner, maxEntityRules } = room;
  const { createdAt, updatedAt } = room;
  return {
    id,
    uuid,
    name,
    type,
    level_admin: levelAdmin,
    entity_owner: entityOwner,
    max_entity_rules: maxEntityRules,
    createdAt,
    updatedAt,
  };
}

/** A rule in a list of rooms, with the fields of its room. */
function encodeRuleWithRoom(rule: RuleWithRoom): object {
  const { id, uuid, name, type, levelAdmin, entityOwner } = rule;
  const { roomId, entityUUID, level, permissions, accepted, createdAt, updatedAt } = rule;
  return {
    id,
    uuid,
    name,
    type,
    level_admin: levelAdmin,
    entity_owner: entityOwner,
    room_id: roomId,
    entity_UUID: entityUUID,
    level,
    permissions,
    accepted,
    createdAt,
    updatedAt,
  };
}
