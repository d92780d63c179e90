import type { Command, CommandType, Malformed } from '../protocol/commands.js';
import type { Session } from './session.js';

/** `greeting` until the token is accepted; `lobby` without a room; `room` with one. */
export type State = 'greeting' | 'lobby' | 'room';

export type Input = Command | Malformed;

/** One answer to one command; what it returns ends before the next command is handled. */
type Handler = (session: Session, input: Input) => Promise<void> | void;

/** docs/PROTOCOL.md has the same table. */
export const HANDLERS: Record<State, Record<CommandType, Handler>> = {
  greeting: {
    token: (session, input) => {
      session.authenticate(input);
    },
    select_room: (session) => {
      session.refuse('TOKEN?');
    },
    message: (session) => {
      session.refuse('TOKEN?');
    },
    quit: (session) => {
      session.close('NORMAL');
    },
  },
  lobby: {
    token: (session, input) => {
      session.refresh(input);
    },
    select_room: (session, input) => session.selectRoom(input),
    message: (session) => {
      session.query('SELECTROOM?');
    },
    quit: (session) => {
      session.close('NORMAL');
    },
  },
  room: {
    token: (session, input) => {
      session.refresh(input);
    },
    select_room: (session, input) => session.selectRoom(input),
    message: (session, input) => session.say(input),
    quit: (session) => {
      session.close('NORMAL');
    },
  },
};
