import type { Router } from '@koa/router';
import { z } from 'zod';
import { requireAdmin, type Rule } from '../access/permissions.js';
import { ChatError } from '../errors.js';
import { textProblem } from '../protocol/text.js';
import type { Rooms } from '../store/rooms.js';
import type { AuthenticatedState } from './authenticate.js';
import { respond } from './envelope.js';
import { respondInPages, whenGone } from './pages.js';
import { flag, roomPath, validate, wholeNumber } from './validate.js';

/** Who may create rooms (levelOnEntity), and at which level the entity's members enter them. */
const CREATOR_LEVEL = 100;
const MAX_LEVEL_ADMIN = 1_000;
const MAX_NAME_CHARACTERS = 100;
const DEFAULT_MAX_RULES = 10;
const MAX_RULES = 10_000;
const MAX_LIST = 1_000;
/** Postgres' `integer`: a rule keeps the creator's level, whatever their application gave them. */
const MAX_LEVEL = 2_147_483_647;

const name = z.string('must be a string').superRefine((value, context) => {
  const problem = textProblem(value, MAX_NAME_CHARACTERS);
  if (problem !== undefined) context.addIssue(problem);
});

const newRoom = z.strictObject({
  name,
  level_admin: wholeNumber(0, MAX_LEVEL_ADMIN),
  type: z.enum(['group', 'user2user'], 'must be group or user2user'),
  max_entity_rules: wholeNumber(1, MAX_RULES)
    .nullish()
    .transform((given) => given ?? DEFAULT_MAX_RULES),
});

const list = z.object({
  limit: wholeNumber(1, MAX_LIST).default(MAX_LIST),
  offset: wholeNumber(0, MAX_LEVEL).default(0),
  accepted: flag.optional(),
});

/** `POST /rooms`, `GET /rooms`, `GET /rooms/all`, `DELETE /rooms/:id`. */
export function routeRooms(
  router: Router<AuthenticatedState>,
  { rooms, announceDeletion }: { rooms: Rooms; announceDeletion: (roomId: number) => void },
): void {
  router.post('/rooms', async (ctx) => {
    const { caller } = ctx.state;
    const draft = validate(newRoom, ctx.request.body);
    if (caller.levelOnEntity < CREATOR_LEVEL) {
      throw new ChatError('FORBIDDEN', { detail: `this needs a level of ${CREATOR_LEVEL}` });
    }
    const entity_owner = caller.entityUUID;
    const own: Rule = {
      entity_UUID: caller.userUUID,
      level: Math.min(Math.floor(caller.levelOnEntity), MAX_LEVEL),
      permissions: 'rwa',
      accepted: true,
    };
    const rules = [own];
    if (draft.type === 'group' && entity_owner !== own.entity_UUID) {
      rules.push({
        entity_UUID: entity_owner,
        level: CREATOR_LEVEL,
        permissions: 'rw',
        accepted: true,
      });
    }
    const room = await rooms.create({ ...draft, entity_owner }, rules, caller.userUUID);
    respond(ctx, { room });
  });

  router.get('/rooms', async (ctx) => {
    const filter = validate(list, ctx.query);
    respond(ctx, await rooms.rulesOf(ctx.state.caller, filter, whenGone(ctx)));
  });

  router.get('/rooms/all', async (ctx) => {
    await respondInPages(ctx, rooms.visibleTo(ctx.state.caller, whenGone(ctx)));
  });

  router.delete('/rooms/:id', async (ctx) => {
    const { id } = validate(roomPath, ctx.params);
    const { caller } = ctx.state;
    await rooms.remove(
      id,
      caller,
      (room) => {
        requireAdmin(caller, room);
      },
      () => {
        announceDeletion(id);
      },
    );
    respond(ctx, {});
  });
}
