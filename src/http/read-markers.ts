import { z } from 'zod';
import { uuidSchema } from '../protocol/values.js';
import { actingAs } from './acting.js';
import { readContent } from './answers.js';
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

export const readMarkerRoutes: readonly Route[] = [move];
