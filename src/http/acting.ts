import { requireServer } from '../access/permissions.js';
import type { Identity } from '../access/token.js';

/**
 * The caller as a user: what it does is as if that user had done it, but for the rights, which are its own. Nobody says which
 * entity the user belongs to, so they are their own: the rules of the caller's entity say nothing of them.
 * @param emitter undefined or null: the user of the caller's token
 * @throws {ChatError} FORBIDDEN if one is given by a caller that is not the application's server
 */
export function actingAs(caller: Identity, emitter: string | null | undefined): Identity {
  if (emitter == null) return caller;
  requireServer(caller);
  return { ...caller, userUUID: emitter, entityUUID: emitter };
}
