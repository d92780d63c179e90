import type { Router } from '@koa/router';
import { z } from 'zod';
import type { RoomActions } from '../actions/rooms.js';
import { textProblem } from '../protocol/text.js';
import type { AuthenticatedState } from './authenticate.js';
import { respond } from './envelope.js';
import { respondInPages, whenGone } from './pages.js';
import { flag, roomPath, validate, wholeNumber } from './validate.js';

const MAX_LEVEL_ADMIN = 1_000;
const MAX_NAME_CHARACTERS = 100;
const DEFAULT_MAX_RULES = 10;
const MAX_RULES = 10_000;
const MAX_LIST = 1_000;
/** Postgres' `integer`. */
const MAX_OFFSET = 2_147_483_647;

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
  offset: wholeNumber(0, MAX_OFFSET).default(0),
  accepted: flag.optional(),
});

/** `POST /rooms`, `GET /rooms`, `GET /rooms/all`, `DELETE /rooms/:id`. */
export function routeRooms(router: Router<AuthenticatedState>, rooms: RoomActions): void {
  router.post('/rooms', async (ctx) => {
    const wanted = validate(newRoom, ctx.request.body);
    respond(ctx, { room: await rooms.create(ctx.state.caller, wanted) });
  });

  router.get('/rooms', async (ctx) => {
    const filter = validate(list, ctx.query);
    respond(ctx, await rooms.list(ctx.state.caller, filter, whenGone(ctx)));
  });

  router.get('/rooms/all', async (ctx) => {
    await respondInPages(ctx, rooms.listAll(ctx.state.caller, whenGone(ctx)));
  });

  router.delete('/rooms/:id', async (ctx) => {
    const { id } = validate(roomPath, ctx.params);
    await rooms.remove(ctx.state.caller, id);
    respond(ctx, {});
  });
}
