import { toChatError } from '../../errors.js';
import { verify } from '../verify.js';
import type { CommandSession, Handler, Handlers } from './command.js';

/** The first token: READY, or BADAUTH, which counts. */
export function authenticate(session: CommandSession, content: string): Promise<void> | void {
  return verify(
    session,
    content,
    (identity) => {
      session.identify(identity);
      session.status('READY');
    },
    (error) => {
      const { code, detail } = toChatError(error);
      // The token was not looked at. Version 1 has no word for that, but a close code after which a client comes back.
      if (code === 'RATELIMITED') session.overload(error);
      else session.refuse('BADAUTH', detail);
    },
  );
}

/** A later token; a bad one changes nothing. */
function refresh(session: CommandSession, content: string): Promise<void> | void {
  return verify(
    session,
    content,
    (identity) => {
      session.identify(identity);
      session.status('READY');
      session.subscriptions.recheck();
    },
    (error) => {
      const { code, detail } = toChatError(error);
      if (code === 'RATELIMITED') session.fail(error);
      else session.status('BADAUTH', { reason: detail });
    },
  );
}

/**
 * Verifying a token takes as long as decoding many messages. So the handler returns a promise: the inbox then gives
 * other sockets a turn. The first token needs none, as the third bad one closes the socket.
 */
const later: Handler<'token'> = {
  handle(session, { content }) {
    return refresh(session, content) ?? Promise.resolve();
  },
  handleMalformed(session, { problem }) {
    session.status('BADAUTH', { reason: problem });
  },
};

export const token: Handlers<'token'> = {
  greeting: {
    handle(session, { content }) {
      return authenticate(session, content);
    },
    handleMalformed(session, { problem }) {
      session.refuse('BADAUTH', problem);
    },
  },
  lobby: later,
  room: later,
};
