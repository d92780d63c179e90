import type { Identity } from '../access/token.js';
import type { SessionContext } from './context.js';

/**
 * Verifies a token, and gives the outcome to `accept` or `refuse`: at once, unless its key has to be fetched first. What
 * `accept` throws, `refuse` gets, too. A session that was closed meanwhile is told nothing.
 */
export function verify(
  session: {
    readonly context: SessionContext;
    readonly address: string;
    readonly isClosed: boolean;
  },
  token: string,
  accept: (identity: Identity) => void,
  refuse: (error: unknown) => void,
): Promise<void> | void {
  try {
    const verified = session.context.tokens.verify(token, session.address);
    if (!(verified instanceof Promise)) {
      accept(verified);
      return;
    }
    return verified
      .then((identity) => {
        if (!session.isClosed) accept(identity);
      })
      .catch((error: unknown) => {
        if (!session.isClosed) refuse(error);
      });
  } catch (error) {
    refuse(error);
  }
}
