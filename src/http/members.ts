import { z } from 'zod';
import {
  listSchema,
  MAX_INTEGER,
  UUID_PROBLEM,
  permissionsSchema,
  uuidSchema,
} from '../protocol/values.js';
import type { PresentMember } from '../actions/members.js';
import type { RuleRow } from '../store/models/rule.js';
import { bulkContent, memberListContent, nextMeta, ruleContent } from './answers.js';
import { cursorOf } from './cursor.js';
import { pageOf } from './pages.js';
import { route, type Route } from './route.js';
import { flag, roomPath, roomId, numberFrom } from './validate.js';

/** A name of the UUID. Clients of the proof of concept send empty strings in fields that they do not use. */
const member = z
  .union([z.literal(['', null]).transform(() => undefined), uuidSchema], UUID_PROBLEM)
  .optional();

/** docs/HTTP-API.md promises both. */
const DEFAULT_PAGE = 100;
const MAX_PAGE = 1_000;

const names = { userUUID: member, entity_UUID: member, entityUUID: member };
const level = numberFrom(0, MAX_INTEGER);

/** The UUID that a rule is given by one of three names. */
function namedUUID(
  { userUUID, entity_UUID, entityUUID }: z.output<z.ZodObject<typeof names>>,
  context: z.RefinementCtx,
): string {
  const [uuid, ...others] = new Set([userUUID, entity_UUID, entityUUID].filter(Boolean));
  if (uuid !== undefined && others.length === 0) return uuid;
  context.addIssue({
    code: 'custom',
    path: ['userUUID'],
    message: 'or entity_UUID must be given, and one of them only',
  });
  return z.NEVER;
}

/** A rule as it is to be. */
export const newRule = z
  .strictObject({ ...names, permissions: permissionsSchema, level })
  .transform(({ permissions, level, ...given }, context) => ({
    entityUUID: namedUUID(given, context),
    permissions,
    level,
  }));

/** As many as a page of members. */
const MAX_BULK = 1_000;

/** One of many rules as they are to be, or without permissions as they are not to be. */
const bulkRule = z
  .strictObject({
    ...names,
    permissions: z.union(
      [z.literal(''), permissionsSchema],
      'must be letters of rwba, each once, or empty',
    ),
    level: level.default(0),
    accepted: flag.nullish(),
  })
  .transform(({ permissions, level, accepted, ...given }, context) => ({
    entityUUID: namedUUID(given, context),
    permissions,
    level,
    accepted: accepted ?? undefined,
  }));

const bulk = z.strictObject({
  members: listSchema(bulkRule, {
    max: MAX_BULK,
    problem: 'must be a list of rules',
    tooLong: `has more than ${MAX_BULK} rules`,
  }).superRefine((rules, context) => {
    const seen = new Set<string>();
    for (const [index, { entityUUID }] of rules.entries()) {
      if (seen.has(entityUUID)) {
        context.addIssue({
          code: 'custom',
          path: [index],
          message: 'is a second rule of its UUID',
        });
      }
      seen.add(entityUUID);
    }
  }),
});

const memberPath = z.object({ id: roomId, uuid: uuidSchema });

const answer = z
  .strictObject({ accepted: flag, use_parent_entity: flag.nullish() })
  .transform(({ accepted, use_parent_entity: byEntity }) => ({
    accepted,
    byEntity: byEntity ?? false,
  }));

const range = z.object({
  limit: numberFrom(1, MAX_PAGE).default(DEFAULT_PAGE),
  cursor: cursorOf(z.tuple([uuidSchema])).optional(),
});

const list = route({
  method: 'GET',
  path: '/rooms/:id/members',
  access: 'token',
  about: {
    name: 'listMembers',
    tag: 'Members',
    summary: 'Lists the rules of a room, with names',
    who: 'the permission `r`',
    content: memberListContent,
    meta: nextMeta,
    errors: ['FORBIDDEN', 'NOT_FOUND'],
  },
  params: roomPath,
  query: range,
  async handle({ caller, params, query: { limit, cursor }, gone }, { actions }) {
    const part = { behind: cursor?.[0], limit: limit + 1 };
    const found = await actions.members.list(caller, params.id, part, gone);
    return pageOf(found, { limit }, encodeMember, ({ entityUUID }) => [entityUUID]);
  },
});

const put = route({
  method: 'PUT',
  path: '/rooms/:id/members',
  access: 'token',
  about: {
    name: 'putMember',
    tag: 'Members',
    summary: 'Adds or changes a rule',
    who: 'an admin of the room',
    body: { userUUID: '0b6e2f7a-1c4d-4e8f-8a9b-5c6d7e8f9a0b', permissions: 'rw', level: 10 },
    statuses: [200, 201],
    content: ruleContent,
    errors: ['FORBIDDEN', 'OUTRANKED', 'TOO_MANY_RULES', 'ROOM_FULL', 'NOT_FOUND'],
  },
  params: roomPath,
  body: newRule,
  async handle({ caller, params, body }, { actions }) {
    const { rule, before } = await actions.members.put(caller, params.id, body);
    return { content: encodeRule(rule), status: before === undefined ? 201 : 200 };
  },
});

const putAll = route({
  method: 'PUT',
  path: '/rooms/:id/members/bulk',
  access: 'server',
  about: {
    name: 'putMembers',
    tag: 'Members',
    summary: 'Adds, changes and removes many rules at once',
    who: 'the application, by a server token',
    body: {
      members: [
        { userUUID: '74c141a9-9cc6-43dc-8f3d-fe81c4f9f5fe', permissions: 'rw', accepted: true },
        { userUUID: '0b6e2f7a-1c4d-4e8f-8a9b-5c6d7e8f9a0b', permissions: '' },
      ],
    },
    content: bulkContent,
    errors: ['TOO_MANY_RULES', 'ROOM_FULL', 'NOT_FOUND'],
  },
  params: roomPath,
  body: bulk,
  async handle({ caller, params, body }, { actions }) {
    const seq = await actions.members.putAll(caller, params.id, body.members);
    return { content: { seq: seq ?? null } };
  },
});

const remove = route({
  method: 'DELETE',
  path: '/rooms/:id/members/:uuid',
  access: 'token',
  about: {
    name: 'removeMember',
    tag: 'Members',
    summary: 'Removes a rule',
    who: 'an admin of the room, or the member itself',
    content: ruleContent,
    errors: ['FORBIDDEN', 'OUTRANKED', 'NOT_FOUND'],
  },
  params: memberPath,
  async handle({ caller, params }, { actions }) {
    const { rule } = await actions.members.remove(caller, params.id, params.uuid);
    return { content: encodeRule(rule) };
  },
});

const answerInvitation = route({
  method: 'PUT',
  path: '/rooms/:id/invitation',
  access: 'token',
  about: {
    name: 'answerInvitation',
    tag: 'Members',
    summary: 'Accepts or declines an invitation',
    who: 'the invited user or entity',
    body: { accepted: true },
    content: ruleContent,
    errors: ['FORBIDDEN', 'NOT_FOUND'],
  },
  params: roomPath,
  body: answer,
  async handle({ caller, params, body }, { actions }) {
    const { rule } = await actions.members.answerInvitation(caller, params.id, body);
    return { content: encodeRule(rule) };
  },
});

export const memberRoutes: readonly Route[] = [list, put, putAll, remove, answerInvitation];

/** A rule in an answer. */
function encodeRule(rule: Omit<RuleRow, 'since' | 'unblocked'>): object {
  const { roomId, entityUUID, level, permissions, accepted, createdAt, updatedAt } = rule;
  return {
    room_id: roomId,
    entity_UUID: entityUUID,
    level,
    permissions,
    accepted,
    createdAt,
    updatedAt,
  };
}

/** A rule in a list of members. */
function encodeMember(member: PresentMember): object {
  const { createdAt, updatedAt, name, picture, isOnline } = member;
  const dates = { createdAt: new Date(createdAt), updatedAt: new Date(updatedAt) };
  return { ...encodeRule({ ...member, ...dates }), name, picture, online: isOnline };
}
