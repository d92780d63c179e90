import { always, type Handlers } from './command.js';

const close = always((session) => {
  session.close('NORMAL');
});

export const quit: Handlers<'quit'> = { greeting: close, lobby: close, room: close };
