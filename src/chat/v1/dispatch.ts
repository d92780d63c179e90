import { ChatError } from '../../errors.js';
import type { Commands, CommandType, Decoded, Malformed } from '../../protocol/v1/commands.js';
import type { CommandSession, Handlers, StateName } from './command.js';
import { message } from './message.js';
import { quit } from './quit.js';
import { selectRoom } from './select-room.js';
import { token } from './token.js';

/** The state machine of a session: docs/PROTOCOL.md has the same table. */
export const HANDLERS: { readonly [Type in CommandType]: Handlers<Type> } = {
  token,
  // oxlint-disable-next-line id-match -- the name of a command on the wire
  select_room: selectRoom,
  message,
  quit,
};

/** Answers one frame. */
export function dispatch(
  session: CommandSession,
  state: StateName,
  decoded: Decoded,
): Promise<void> | void {
  switch (decoded.kind) {
    case 'command':
      return handle(session, state, decoded.command.type, decoded.command);
    case 'malformed':
      return handleMalformed(session, state, decoded.malformed.type, decoded.malformed);
    case 'not-json':
      session.fail(new ChatError('BAD_JSON'));
      return;
    case 'unknown':
      if (state === 'greeting') session.refuse('TOKEN?');
      else session.query('COMMAND?');
  }
}

function handle<Type extends CommandType>(
  session: CommandSession,
  state: StateName,
  type: Type,
  command: Commands[Type],
): Promise<void> | void {
  return HANDLERS[type][state].handle(session, command);
}

function handleMalformed<Type extends CommandType>(
  session: CommandSession,
  state: StateName,
  type: Type,
  malformed: Malformed<Type>,
): Promise<void> | void {
  return HANDLERS[type][state].handleMalformed(session, malformed);
}
