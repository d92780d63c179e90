import { z } from 'zod';
import { route, type Route } from './route.js';
import { flag, numberFrom, roomPath } from './validate.js';

const range = z
  .strictObject({ upto: numberFrom(0, Number.MAX_SAFE_INTEGER), back: flag.nullish() })
  .transform(({ upto, back }) => ({ upto, isBack: back ?? false }));

const move = route({
  method: 'PUT',
  path: '/rooms/:id/read',
  access: 'token',
  params: roomPath,
  body: range,
  async handle({ caller, params, body }, { actions }) {
    return { content: { upto: await actions.readMarkers.move(caller, params.id, body) } };
  },
});

export const readMarkerRoutes: readonly Route[] = [move];
