import type { Caller } from '../access/permissions.js';
import { encodeInvited, encodeRead } from '../protocol/v2/events.js';
import type { MovedMarker } from './peer-messages.js';
import type { SocketWriter } from './socket-writer.js';
import type { InvitingRule } from './user-events.js';
import { encodeFrame } from './ws-frame.js';

/** A session of version 2 that has a token, as events about its user need it. */
export interface UserSession {
  readonly identity: Caller;
  readonly writer: SocketWriter;
  /** The user's read marker was moved, which the session is being told. */
  markerMoved(roomId: number, upto: number): void;
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

  /** Tells a user's sessions, but for the one that moved it, where the user's read marker is. */
  tellMarker({ roomId, userUUID, upto }: MovedMarker, except?: UserSession): void {
    let frame: Buffer | undefined;
    for (const session of this.#byUser.get(userUUID) ?? []) {
      if (session === except) continue;
      session.markerMoved(roomId, upto);
      if (session.writer.isFull) continue;
      session.writer.add((frame ??= encodeFrame(encodeRead(roomId, userUUID, upto))));
    }
  }

  /** Tells the sessions of a user, or of an entity's members from the rule's level on, of a rule that invites them. */
  tellInvited(roomId: number, { entityUUID, level, permissions }: InvitingRule): void {
    const members = [...(this.#byEntity.get(entityUUID) ?? [])].filter(
      ({ identity }) => identity.levelOnEntity >= level,
    );
    // An entity may have the UUID of its only user.
    const invited = new Set([...(this.#byUser.get(entityUUID) ?? []), ...members]);
    if (invited.size === 0) return;
    const frame = encodeFrame(encodeInvited(roomId, entityUUID, permissions));
    for (const { writer } of invited) if (!writer.isFull) writer.add(frame);
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
