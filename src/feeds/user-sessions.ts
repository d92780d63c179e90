import type { Caller } from '../access/permissions.js';
import type { SocketWriter } from './socket-writer.js';

/** A session of version 2 that has a token, as events about its user need it. */
export interface UserSession {
  readonly identity: Caller;
  readonly writer: SocketWriter;
}

/**
 * The sessions of version 2 on this node by user and by entity: for events that are about a user, whatever rooms they have
 * joined. Such an event may be lost: a session that reads too slowly does not get it.
 */
export class UserSessions {
  /** By session, what its token said when it was added. */
  readonly #callers = new Map<UserSession, Caller>();
  readonly #byUser = new Map<string, Set<UserSession>>();
  readonly #byEntity = new Map<string, Set<UserSession>>();

  /** Adds a session that has a token, or adds it anew with a later token. */
  add(session: UserSession): void {
    this.remove(session);
    const { identity } = session;
    this.#callers.set(session, identity);
    put(this.#byUser, identity.userUUID, session);
    put(this.#byEntity, identity.entityUUID, session);
  }

  remove(session: UserSession): void {
    const caller = this.#callers.get(session);
    if (caller === undefined) return;
    this.#callers.delete(session);
    take(this.#byUser, caller.userUUID, session);
    take(this.#byEntity, caller.entityUUID, session);
  }

  /** Sends a frame to a user's sessions, but for one. */
  tell(userUUID: string, frame: () => Buffer, except?: UserSession): void {
    let built: Buffer | undefined;
    for (const session of this.#byUser.get(userUUID) ?? []) {
      if (session === except || session.writer.isFull) continue;
      session.writer.add((built ??= frame()));
    }
  }

  /** Sends a frame to the sessions of an entity's members from a level on. */
  tellMembers(entityUUID: string, level: number, frame: () => Buffer): void {
    let built: Buffer | undefined;
    for (const session of this.#byEntity.get(entityUUID) ?? []) {
      const { userUUID, levelOnEntity } = session.identity;
      // An entity may have the UUID of its only user, who has been told.
      if (levelOnEntity < level || userUUID === entityUUID || session.writer.isFull) continue;
      session.writer.add((built ??= frame()));
    }
  }
}

function put(sessions: Map<string, Set<UserSession>>, uuid: string, session: UserSession): void {
  const others = sessions.get(uuid);
  if (others === undefined) sessions.set(uuid, new Set([session]));
  else others.add(session);
}

function take(sessions: Map<string, Set<UserSession>>, uuid: string, session: UserSession): void {
  const others = sessions.get(uuid);
  if (others?.delete(session) && others.size === 0) sessions.delete(uuid);
}
