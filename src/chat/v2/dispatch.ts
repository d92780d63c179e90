import { ChatError } from '../../errors.js';
import type { Command, Decoded } from '../../protocol/v2/commands.js';
import type { CommandSession, Origin } from './command.js';
import { change } from './change.js';
import { join } from './join.js';
import { send } from './message.js';
import { read } from './read.js';
import { authenticate, refresh } from './token.js';
import { type } from './typing.js';

/** What a command's answers name, and when it came, by `performance.now()`. */
type TimedOrigin = Origin & { readonly cameAt: number };

type CommandWork = () => Promise<void> | void;

/** How a command is taken, unless it is like most. */
interface Taking {
  readonly isMessage?: boolean;
  /** What to do if it is not done. */
  readonly refused?: () => void;
  /** What to do instead if its turn does not come in time. */
  readonly late?: CommandWork;
}

const MESSAGE: Taking = { isMessage: true };

/** Answers one frame; the promise is that of a first token whose key has to be fetched. */
export function dispatch(
  session: CommandSession,
  decoded: Decoded,
  cameAt: number,
): Promise<void> | void {
  switch (decoded.kind) {
    case 'command':
      if (!session.isReady) return greet(session, decoded.command);
      handle(session, decoded.command, cameAt);
      return;
    case 'malformed': {
      const code = decoded.type === 'token' ? 'UNAUTHORIZED' : 'INVALID';
      refuse(session, new ChatError(code, { detail: decoded.detail }), decoded.origin);
      return;
    }
    case 'unknown':
      refuse(session, new ChatError('UNKNOWN_COMMAND'), decoded.origin);
      return;
    case 'not-json':
      session.fail(new ChatError('BAD_JSON'), {});
      session.close('BAD_JSON');
  }
}

/** Handles a command before a token is accepted. */
function greet(session: CommandSession, command: Command): Promise<void> | void {
  const { type, ref } = command;
  if (type === 'token') return authenticate(session, command);
  if (type === 'ping') session.status('PONG', { ref });
  else if (type === 'quit') session.close('NORMAL');
  else refuse(session, tokenMissing(), { ref });
}

function handle(session: CommandSession, command: Command, cameAt: number): void {
  const { ref } = command;
  switch (command.type) {
    case 'token':
      return takeAlone(session, { ref, cameAt }, () => refresh(session, command));
    case 'join':
      for (const room of command.rooms) {
        // A room that is joined has one name, so that its commands keep their order.
        const id =
          typeof room.id === 'string' ? (session.subscriptions.idOf(room.id) ?? room.id) : room.id;
        take(
          session,
          id,
          { ref, roomId: room.givenId, cameAt },
          () => join(session, { ...room, id }, command, cameAt),
          {
            // A join that is refused leaves the room.
            refused() {
              if (typeof id === 'number') void session.leave(id);
            },
          },
        );
      }
      return;
    case 'leave': {
      const { roomId } = command;
      const leave = (): Promise<void> | undefined => {
        const reading = session.leave(roomId);
        session.status('OK', { ref, roomId });
        return reading;
      };
      return take(session, roomId, { ref, roomId, cameAt }, leave, { late: leave });
    }
    case 'message': {
      const { roomId } = command;
      const origin = { ref, roomId, cameAt };
      return take(session, roomId, origin, () => send(session, command, cameAt), MESSAGE);
    }
    case 'edit':
    case 'delete':
    case 'reaction': {
      const { roomId } = command;
      return take(session, roomId, { ref, roomId, cameAt }, () => change(session, command, cameAt));
    }
    case 'read': {
      const { roomId } = command;
      return take(session, roomId, { ref, roomId, cameAt }, () => read(session, command, cameAt));
    }
    case 'typing': {
      const { roomId } = command;
      return take(session, roomId, { ref, roomId, cameAt }, () => type(session, command, cameAt));
    }
    case 'ping':
      session.status('PONG', { ref });
      return;
    case 'quit': {
      // Even if a command before it hangs; by twice the time, everything before it is answered.
      const latest = cameAt + session.context.limits.storeTimeoutMs;
      const isTaken = session.order.takeAlone(latest, () => {
        session.close('NORMAL');
      });
      if (!isTaken) session.fail(tooManyWait(), { ref });
    }
  }
}

/** Does a command's work when it is its turn in its room. Errors are answered. */
function take(
  session: CommandSession,
  room: number | string,
  origin: TimedOrigin,
  work: CommandWork,
  { isMessage = false, refused, late }: Taking = {},
): void {
  const isTaken = session.order.take(room, isMessage, origin.cameAt, (isLate) =>
    attempt(session, origin, isLate ? (late ?? refuseWith(tooLate, refused)) : work),
  );
  if (!isTaken) void attempt(session, origin, refuseWith(tooManyWait, refused));
}

/** Does a command's work when all before it is done. Errors are answered. */
function takeAlone(session: CommandSession, origin: TimedOrigin, work: CommandWork): void {
  const isTaken = session.order.takeAlone(origin.cameAt, (isLate) =>
    attempt(session, origin, isLate ? refuseWith(tooLate) : work),
  );
  if (!isTaken) session.fail(tooManyWait(), origin);
}

function attempt(session: CommandSession, origin: Origin, work: CommandWork): Promise<void> | void {
  if (session.isClosed) return;
  try {
    return work()?.catch((error: unknown) => {
      session.fail(error, origin);
    });
  } catch (error) {
    session.fail(error, origin);
  }
}

function refuseWith(newError: () => ChatError, refused?: () => void): () => never {
  return () => {
    refused?.();
    throw newError();
  };
}

/** Refuses what was not understood; before a token is accepted, what matters is that it came too early. */
function refuse(session: CommandSession, error: ChatError, origin: Origin): void {
  if (session.isReady) session.fail(error, origin);
  else session.refuse(error.code === 'UNAUTHORIZED' ? error : tokenMissing(), origin);
}

function tokenMissing(): ChatError {
  return new ChatError('UNAUTHORIZED', { detail: 'a token must come first' });
}

function tooLate(): ChatError {
  return new ChatError('UNAVAILABLE', { detail: 'a command before it did not end in time' });
}

function tooManyWait(): ChatError {
  return new ChatError('UNAVAILABLE', { detail: 'too many commands wait' });
}
