import { importContent } from './answers.js';
import { route, type Route } from './route.js';
import { roomPath } from './validate.js';

const importRoom = route({
  method: 'POST',
  path: '/rooms/:id/import',
  access: 'server',
  about: {
    name: 'importRoom',
    tag: 'Rooms',
    summary: 'Imports messages with their dates into an empty room',
    who: 'the application, by a server token',
    content: importContent,
    errors: ['NOT_FOUND'],
  },
  params: roomPath,
  upload: 'application/x-ndjson',
  async handle({ caller, params, upload }, { actions }) {
    const { count, added } = await actions.imports.importRoom(caller, params.id, upload());
    return { content: { entries: count, added } };
  },
});

export const importRoutes: readonly Route[] = [importRoom];
