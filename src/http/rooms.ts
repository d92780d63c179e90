import { z } from 'zod';
import { DEFAULT_MAX_RULES } from '../actions/rooms.js';
import {
  MAX_LEVEL_ADMIN,
  MAX_RULES,
  roomData,
  roomName,
  roomType,
} from '../protocol/room-fields.js';
import { listSchema, MAX_INTEGER, uuidSchema } from '../protocol/values.js';
import type { RoomSettings } from '../store/entry.js';
import type { Room } from '../store/models/room.js';
import type { ListedRoom, RuleWithRoom } from '../store/rooms.js';
import {
  nothingContent,
  roomContent,
  roomListContent,
  ruleWithRoomListContent,
  wholeRoomContent,
} from './answers.js';
import { newRule } from './members.js';
import { encodeEach } from './pages.js';
import { route, type Route } from './route.js';
import { byField, flag, roomPath, numberFrom } from './validate.js';

/** As many as a page of members; each is an entry of one transaction. */
const MAX_PUT_RULES = 1_000;
/** As many rooms as one query of a list passes (`LISTED_PAGE` in store/rooms.ts). */
const MAX_LIST = 1_000;

const levelAdmin = numberFrom(0, MAX_LEVEL_ADMIN);
const maxRules = numberFrom(1, MAX_RULES);

const newRoom = z
  .strictObject({
    name: roomName,
    level_admin: levelAdmin,
    type: roomType,
    max_entity_rules: maxRules.nullish(),
    userUUID: z.null().optional(),
  })
  .transform(({ name, type, level_admin: levelAdmin, max_entity_rules: maxRules }) => ({
    name,
    type,
    levelAdmin,
    maxEntityRules: maxRules ?? DEFAULT_MAX_RULES,
  }));

const directRoom = z.strictObject({
  type: z.literal('user2user', 'must be user2user'),
  userUUID: uuidSchema,
});

const newSettings = {
  name: roomName.nullish(),
  data: roomData.nullish(),
  level_admin: levelAdmin.nullish(),
  max_entity_rules: maxRules.nullish(),
};

const settings = z.strictObject(newSettings).transform(settingsOf);

const wantedRoom = z
  .strictObject({
    ...newSettings,
    name: roomName,
    type: roomType,
    entity_owner: uuidSchema.nullish(),
    rules: listSchema(newRule, {
      max: MAX_PUT_RULES,
      problem: 'must be a list of rules',
      tooLong: `has more than ${MAX_PUT_RULES} rules`,
    }).nullish(),
  })
  .transform(({ type, entity_owner: entityOwner, rules, name, ...given }) => ({
    ...settingsOf(given),
    name,
    type,
    entityOwner: entityOwner ?? undefined,
    rules: rules ?? [],
  }));

const uuidPath = z.object({ uuid: uuidSchema });

const filter = z.object({
  limit: numberFrom(1, MAX_LIST).default(MAX_LIST),
  offset: numberFrom(0, MAX_INTEGER).default(0),
  accepted: flag.optional(),
});

const create = route({
  method: 'POST',
  path: '/rooms',
  access: 'token',
  about: {
    name: 'createRoom',
    tag: 'Rooms',
    summary: 'Creates a room, or opens the direct room of two users',
    who: '`levelOnEntity` of 100 or more',
    body: { name: 'general', level_admin: 900, type: 'group' },
    statuses: [200, 201],
    content: roomContent,
    errors: ['FORBIDDEN'],
  },
  body: byField('userUUID', directRoom, newRoom),
  async handle({ caller, body }, { actions }) {
    if ('userUUID' in body) {
      const { room, created } = await actions.rooms.openDirect(caller, body.userUUID);
      return { content: { room: encodeRoom(room) }, status: created ? 201 : 200 };
    }
    return { content: { room: encodeRoom(await actions.rooms.create(caller, body)) } };
  },
});

const put = route({
  method: 'PUT',
  path: '/rooms/:uuid',
  access: 'token',
  about: {
    name: 'putRoom',
    tag: 'Rooms',
    summary: 'Makes or changes a room under a uuid of the application',
    who: '`levelOnEntity` of 100 or more',
    body: {
      name: 'Order 4711',
      type: 'group',
      rules: [{ userUUID: '0b6e2f7a-1c4d-4e8f-8a9b-5c6d7e8f9a0b', permissions: 'rw', level: 0 }],
    },
    statuses: [200, 201],
    content: wholeRoomContent,
    errors: ['FORBIDDEN', 'OUTRANKED', 'TOO_MANY_RULES', 'ROOM_FULL'],
  },
  params: uuidPath,
  body: wantedRoom,
  async handle({ caller, params, body }, { actions }) {
    const { room, created } = await actions.rooms.put(caller, params.uuid, body);
    return { content: { room: encodeWhole(room) }, status: created ? 201 : 200 };
  },
});

const change = route({
  method: 'PATCH',
  path: '/rooms/:id',
  access: 'token',
  about: {
    name: 'changeRoom',
    tag: 'Rooms',
    summary: 'Changes a room',
    who: 'an admin of the room',
    body: { name: 'General', data: { topic: 'lunch' } },
    content: wholeRoomContent,
    errors: ['FORBIDDEN', 'NOT_FOUND'],
  },
  params: roomPath,
  body: settings,
  async handle({ caller, params, body }, { actions }) {
    return { content: { room: encodeWhole(await actions.rooms.change(caller, params.id, body)) } };
  },
});

const list = route({
  method: 'GET',
  path: '/rooms',
  access: 'token',
  about: {
    name: 'listRooms',
    tag: 'Rooms',
    summary: "Lists the caller's rooms, each with the caller's rule",
    who: 'any',
    content: ruleWithRoomListContent,
  },
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
  about: {
    name: 'listAllRooms',
    tag: 'Rooms',
    summary: 'Lists the rooms that the caller may read, and those of their entity',
    who: 'any',
    content: roomListContent,
  },
  handle: ({ caller, gone }, { actions }) => ({
    pages: encodeEach(actions.rooms.listAll(caller, gone), encodeRoom),
  }),
});

const remove = route({
  method: 'DELETE',
  path: '/rooms/:id',
  access: 'token',
  about: {
    name: 'deleteRoom',
    tag: 'Rooms',
    summary: 'Deletes a room with its rules and messages',
    who: 'an admin of the room',
    content: nothingContent,
    errors: ['FORBIDDEN', 'NOT_FOUND'],
  },
  params: roomPath,
  async handle({ caller, params }, { actions }) {
    await actions.rooms.remove(caller, params.id);
    return { content: {} };
  },
});

export const roomRoutes: readonly Route[] = [create, list, listAll, change, remove, put];

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

/** A room with the `data` of the application. */
function encodeWhole(room: Room): object {
  return {
    ...encodeRoom(room),
    data: room.data === null ? null : (JSON.parse(room.data) as object),
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

/** The settings that are given, by the names of the code. */
function settingsOf(given: z.output<z.ZodObject<typeof newSettings>>): Partial<RoomSettings> {
  const { name, data, level_admin: levelAdmin, max_entity_rules: maxEntityRules } = given;
  return {
    ...(name != null && { name }),
    ...(data != null && { data }),
    ...(levelAdmin != null && { levelAdmin }),
    ...(maxEntityRules != null && { maxEntityRules }),
  };
}
