import type { Router } from '@koa/router';
import { z } from 'zod';
import { UUID_PROBLEM, uuidSchema } from '../access/uuid.js';
import type { MemberActions } from '../actions/members.js';
import type { AuthenticatedState } from './authenticate.js';
import { respond } from './envelope.js';
import { flag, roomPath, roomId, validate, wholeNumber } from './validate.js';

/** Postgres' `integer`. */
const MAX_LEVEL = 2_147_483_647;

/** Clients of the proof of concept send a field that they do not use as an empty string. */
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
    level: wholeNumber(0, MAX_LEVEL),
  })
  .transform(({ userUUID, entity_UUID, entityUUID, ...rule }, context) => {
    const [uuid, ...others] = new Set([userUUID, entity_UUID, entityUUID].filter(Boolean));
    if (uuid !== undefined && others.length === 0) return { ...rule, entity_UUID: uuid };
    context.addIssue({
      code: 'custom',
      path: ['userUUID'],
      message: 'or entity_UUID must be given, and one of them only',
    });
    return z.NEVER;
  });

const memberPath = z.object({ id: roomId, uuid: uuidSchema });

const answer = z.strictObject({
  accepted: flag,
  use_parent_entity: flag.nullish().transform((given) => given ?? false),
});

/** `PUT /rooms/:id/members`, `DELETE /rooms/:id/members/:uuid`, `PUT /rooms/:id/invitation`. */
export function routeMembers(router: Router<AuthenticatedState>, members: MemberActions): void {
  router.put('/rooms/:id/members', async (ctx) => {
    const { id } = validate(roomPath, ctx.params);
    const wanted = validate(newRule, ctx.request.body);
    const { rule, created } = await members.put(ctx.state.caller, id, wanted);
    respond(ctx, rule, { status: created ? 201 : 200 });
  });

  router.delete('/rooms/:id/members/:uuid', async (ctx) => {
    const { id, uuid } = validate(memberPath, ctx.params);
    const { rule } = await members.remove(ctx.state.caller, id, uuid);
    respond(ctx, rule);
  });

  router.put('/rooms/:id/invitation', async (ctx) => {
    const { id } = validate(roomPath, ctx.params);
    const { accepted, use_parent_entity: byEntity } = validate(answer, ctx.request.body);
    const { rule } = await members.answerInvitation(ctx.state.caller, id, { accepted, byEntity });
    respond(ctx, rule);
  });
}
