import { z } from 'zod';
import { MAX_INTEGER, UUID_PROBLEM, uuidSchema } from '../protocol/values.js';
import type { RuleRow } from '../store/models/rule.js';
import { route, type Route } from './route.js';
import { flag, roomPath, roomId, numberFrom } from './validate.js';

/** A name of the UUID. Clients of the proof of concept send empty strings in fields that they do not use. */
const member = z
  .union([z.literal(['', null]).transform(() => undefined), uuidSchema], UUID_PROBLEM)
  .optional();

const PERMISSIONS_PROBLEM = 'must be letters of rwba, each once';

const newRule = z
  .strictObject({
    userUUID: member,
    entity_UUID: member,
    entityUUID: member,
    permissions: z
      .string(PERMISSIONS_PROBLEM)
      .regex(/^[rwba]{1,4}$/, { error: PERMISSIONS_PROBLEM, abort: true })
      .refine((letters) => new Set(letters).size === letters.length, PERMISSIONS_PROBLEM),
    level: numberFrom(0, MAX_INTEGER),
  })
  .transform(({ userUUID, entity_UUID, entityUUID, ...rule }, context) => {
    const [uuid, ...others] = new Set([userUUID, entity_UUID, entityUUID].filter(Boolean));
    if (uuid !== undefined && others.length === 0) return { ...rule, entityUUID: uuid };
    context.addIssue({
      code: 'custom',
      path: ['userUUID'],
      message: 'or entity_UUID must be given, and one of them only',
    });
    return z.NEVER;
  });

const memberPath = z.object({ id: roomId, uuid: uuidSchema });

const answer = z
  .strictObject({ accepted: flag, use_parent_entity: flag.nullish() })
  .transform(({ accepted, use_parent_entity: byEntity }) => ({
    accepted,
    byEntity: byEntity ?? false,
  }));

const put = route({
  method: 'PUT',
  path: '/rooms/:id/members',
  access: 'token',
  params: roomPath,
  body: newRule,
  async handle({ caller, params, body }, { actions }) {
    const { rule, created } = await actions.members.put(caller, params.id, body);
    return { content: encodeRule(rule), status: created ? 201 : 200 };
  },
});

const remove = route({
  method: 'DELETE',
  path: '/rooms/:id/members/:uuid',
  access: 'token',
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
  params: roomPath,
  body: answer,
  async handle({ caller, params, body }, { actions }) {
    const { rule } = await actions.members.answerInvitation(caller, params.id, body);
    return { content: encodeRule(rule) };
  },
});

export const memberRoutes: readonly Route[] = [put, remove, answerInvitation];

/** A rule in an answer. */
function encodeRule(rule: RuleRow): object {
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
