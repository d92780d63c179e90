import type { Caller } from '../access/permissions.js';
import type { SocketWriter } from './socket-writer.js';

/** A session of version 2 that has a token, as its user's events need it. */
export interface UserSession {
  readonly identity: Caller;
  readonly writer: SocketWriter;
}

/** The sessions of version 2 on this node by user: for events that are about a user, whatever rooms they have joined. */
export class UserSessions {
  readonly #byUser = new Map<string, Set<UserSession>>();

  /** Adds a session that has its first token. */
  add(session: UserSession): void {
    const { userUUID } = session.identity;
    const others = this.#byUser.get(userUUID);
    if (others === undefined) this.#byUser.set(userUUID, new Set([session]));
    else others.add(session);
  }

  remove(session: UserSession): void {
    const { userUUID } = session.identity;
    const sessions = this.#byUser.get(userUUID);
    if (sessions?.delete(session) && sessions.size === 0) this.#byUser.delete(userUUID);
  }

  /** Sends a frame to a user's sessions, but for one, and for those that read too slowly: such an event may be lost. */
  tell(userUUID: string, frame: () => Buffer, except?: UserSession): void {
    let built: Buffer | undefined;
    for (const session of this.#byUser.get(userUUID) ?? []) {
      if (session === except || session.writer.isFull) continue;
      session.writer.add((built ??= frame()));
    }
  }
}
