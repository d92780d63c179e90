import { ChatError } from '../../errors.js';
import type { Commands } from '../../protocol/v2/commands.js';
import type { Identity } from '../../access/token.js';
import { verify } from '../verify.js';
import type { CommandSession } from './command.js';

type Token = Pick<Commands['token'], 'content' | 'ref'>;

/** The first token: READY, or BADAUTH, which counts. */
export function authenticate(
  session: CommandSession,
  { content, ref }: Token,
): Promise<void> | void {
  return verify(
    session,
    content,
    (identity) => {
      session.accept(identity, ref);
    },
    (error) => {
      session.refuse(error, { ref });
    },
  );
}

/** A later token of the same user: READY, or BADAUTH, and nothing has changed then. */
export function refresh(session: CommandSession, { content, ref }: Token): Promise<void> | void {
  function accept(identity: Identity): void {
    if (identity.userUUID !== session.identity.userUUID) {
      throw new ChatError('UNAUTHORIZED', { detail: 'the token is of another user' });
    }
    session.accept(identity, ref);
    session.subscriptions.recheck();
  }
  return verify(session, content, accept, (error) => {
    session.fail(error, { ref });
  });
}
