import { ChatError } from '../../errors.js';
import type { Commands } from '../../protocol/v2/commands.js';
import type { CommandSession } from './command.js';

type Token = Pick<Commands['token'], 'content' | 'ref'>;

/** The first token: READY, or BADAUTH, which counts. */
export function authenticate(session: CommandSession, { content, ref }: Token): void {
  try {
    session.accept(session.context.verify(content), ref);
  } catch (error) {
    session.refuse(error, { ref });
  }
}

/**
 * A later token of the same user.
 * @throws {ChatError} UNAUTHORIZED; nothing has changed then
 */
export function refresh(session: CommandSession, { content, ref }: Token): void {
  const identity = session.context.verify(content);
  if (identity.userUUID !== session.identity.userUUID) {
    throw new ChatError('UNAUTHORIZED', { detail: 'the token is of another user' });
  }
  session.accept(identity, ref);
  session.subscriptions.recheck();
}
