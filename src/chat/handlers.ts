import type { Command, CommandType, Malformed } from '../protocol/commands.js';
import type { CloseReason } from '../protocol/close-codes.js';
import type { QueryWord } from '../protocol/events.js';

/** `greeting` until the token is accepted; `lobby` without a room; `room` with one. */
export type State = 'greeting' | 'lobby' | 'room';

export type Input = Command | Malformed;

/** What a session does for the commands of its client. */
interface Session {
  authenticate(input: Input): void;
  refresh(input: Input): void;
  selectRoom(input: Input): Promise<void>;
  say(input: Input): Promise<void> | void;
  query(word: QueryWord): void;
  refuse(word: 'TOKEN?'): void;
  close(reason: CloseReason): void;
}

/** One answer to one command; what it returns ends before the next command is handled. */
type Handler = (session: Session, input: Input) => Promise<void> | void;

/**
 * A token takes as long to verify as many messages to take in: behind a promise the inbox lets others have a turn.
 * Before READY there are few: the third bad one is the last.
 */
const refresh: Handler = (session, input) => {
  session.refresh(input);
  return Promise.resolve();
};

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
    token: refresh,
    select_room: (session, input) => session.selectRoom(input),
    message: (session) => {
      session.query('SELECTROOM?');
    },
    quit: (session) => {
      session.close('NORMAL');
    },
  },
  room: {
    token: refresh,
    select_room: (session, input) => session.selectRoom(input),
    message: (session, input) => session.say(input),
    quit: (session) => {
      session.close('NORMAL');
    },
  },
};
