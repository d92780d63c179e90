import { z } from 'zod';
import { uuidSchema } from '../protocol/values.js';
import { actingAs } from './acting.js';
import { NOTIFY_LEVELS } from '../store/read-markers.js';
import { notifyContent, readContent } from './answers.js';
import { route, type Route } from './route.js';
import { flag, numberFrom, roomPath } from './validate.js';

const range = z
  .strictObject({
    upto: numberFrom(0, Number.MAX_SAFE_INTEGER),
    back: flag.nullish(),
    emitter: uuidSchema.nullish(),
  })
  .transform(({ upto, back, emitter }) => ({ emitter, range: { upto, isBack: back ?? false } }));

const move = route({
  method: 'PUT',
  path: '/rooms/:id/read',
  access: 'token',
  about: {
    name: 'moveReadMarker',
    tag: 'Messages',
    summary: 'Moves the read marker of the caller',
    who: 'the permission `r`',
    body: { upto: 3 },
    content: readContent,
    errors: ['FORBIDDEN', 'NOT_FOUND'],
  },
  params: roomPath,
  body: range,
  async handle({ caller, params, body: { emitter, range } }, { actions }) {
    const reader = actingAs(caller, emitter);
    return { content: { upto: await actions.readMarkers.move(reader, params.id, range) } };
  },
});

const notify = route({
  method: 'PUT',
  path: '/rooms/:id/notify',
  access: 'token',
  about: {
    name: 'setNotifyLevel',
    tag: 'Messages',
    summary: 'Sets which messages the caller wants to be notified of',
    who: 'the permission `r`',
    body: { level: 'mentions' },
    content: notifyContent,
    errors: ['FORBIDDEN', 'NOT_FOUND'],
  },
  params: roomPath,
  body: z.strictObject({
    level: z.enum(NOTIFY_LEVELS, 'must be all, mentions or none'),
    emitter: uuidSchema.nullish(),
  }),
  async handle({ caller, params, body: { level, emitter } }, { actions }) {
    await actions.readMarkers.notify(actingAs(caller, emitter), params.id, level);
    return { content: { level } };
  },
});

export const readMarkerRoutes: readonly Route[] = [move, notify];
