import { toChatError } from '../../errors.js';
import type { CommandSession, Handler, Handlers } from './command.js';

/** The first token: READY, or BADAUTH, which counts. */
export function authenticate(session: CommandSession, content: string): void {
  try {
    session.identify(session.context.verify(content));
    session.status('READY');
  } catch (error) {
    session.refuse('BADAUTH', toChatError(error).detail);
  }
}

/** A later token; a bad one changes nothing. */
function refresh(session: CommandSession, content: string): void {
  try {
    session.identify(session.context.verify(content));
  } catch (error) {
    session.status('BADAUTH', { reason: toChatError(error).detail });
    return;
  }
  session.status('READY');
  session.subscriptions.recheck();
}

/**
 * To verify a token takes as long as to decode many messages: behind a promise the inbox gives other sockets a turn.
 * The first token needs none, as the third bad one is the last.
 */
const later: Handler<'token'> = {
  handle(session, { content }) {
    refresh(session, content);
    return Promise.resolve();
  },
  handleMalformed(session, { problem }) {
    session.status('BADAUTH', { reason: problem });
  },
};

export const token: Handlers<'token'> = {
  greeting: {
    handle(session, { content }) {
      authenticate(session, content);
    },
    handleMalformed(session, { problem }) {
      session.refuse('BADAUTH', problem);
    },
  },
  lobby: later,
  room: later,
};
