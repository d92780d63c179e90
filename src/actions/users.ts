import type { Identity, Profile, VerifyToken } from '../access/token.js';
import { ChatError } from '../errors.js';
import type { Hub } from '../feeds/hub.js';
import type { Logger } from '../logger.js';
import { isUnavailable } from '../store/pg-errors.js';
import type { Erasure, Erasures } from '../store/erasures.js';
import type { Revocation, Revocations } from '../store/revocations.js';
import type { UserMessage, UserMessages } from '../store/user-messages.js';
import type { User, Users } from '../store/users.js';

/** Users whose last token a node knows again, however often it is used. Beyond them, each use costs a part of a query. */
const KNOWN_USERS = 10_000;
/** Profiles of one statement, as many as entries of one (group-commit.ts): thousands may reconnect at once. */
const MAX_BATCH = 1_000;

export interface UserActions {
  /**
   * The user of a token. If it is another token than the last one here, the name and picture that it tells are stored in
   * the background, or that there is such a user: nobody waits for it, and if it fails, the user's next token tells it
   * again.
   * @throws {ChatError} UNAUTHORIZED
   */
  signIn(token: string): Identity | Promise<Identity>;
  /**
   * Revokes all tokens that a user has, on every node: they are refused, and sockets with them are closed.
   * @param caller the application's server
   * @throws {ChatError} UNAVAILABLE
   */
  revoke(caller: Pick<Identity, 'issuedAt'>, userUUID: string): Promise<Revocation>;
  /**
   * Erases all that a user has written until now, and their name and picture: as `Erasures.erase`.
   * @param caller the application's server, whose user is the emitter of the entries
   * @throws {ChatError} UNAVAILABLE
   */
  erase(caller: Pick<Identity, 'userUUID'>, userUUID: string): Promise<Erasure>;
  /**
   * How far the erasure of a user is that was asked for last.
   * @throws {ChatError} NOT_FOUND if none ever was; UNAVAILABLE
   */
  erasureOf(userUUID: string): Promise<Erasure>;
  /**
   * All that a user has written: as `UserMessages.read`.
   * @param caller the application's server
   * @param gone aborted if the client has gone: then nothing more is read
   */
  messagesOf(
    caller: Pick<Identity, 'userUUID'>,
    userUUID: string,
    gone: AbortSignal,
  ): AsyncGenerator<readonly UserMessage[], void, undefined>;
  /**
   * The names and pictures of users; those of whom no token has told anything are left out.
   * @throws {ChatError} UNAVAILABLE
   */
  find(uuids: readonly string[]): Promise<User[]>;
}

export function createUserActions({
  users,
  userMessages,
  hub,
  revocations,
  erasures,
  verify,
  logger,
}: {
  users: Users;
  userMessages: UserMessages;
  hub: Pick<Hub, 'publishRevocation'>;
  revocations: Pick<Revocations, 'covers' | 'revoke'>;
  erasures: Pick<Erasures, 'erase' | 'find'>;
  verify: VerifyToken;
  logger: Logger;
}): UserActions {
  /** What this node has been told last, the user who has waited longest for their next token first. */
  const known = new Map<string, Profile>();
  const waiting = new Map<string, Profile>();
  let isStoring = false;

  function remember(uuid: string, profile: Profile): void {
    const before = known.get(uuid);
    if (before !== undefined && isOlder(profile, before)) return;
    // Without a name and a picture it tells nothing new of a user who is known.
    const told = isNameless(profile) ? (before ?? profile) : profile;
    known.delete(uuid);
    known.set(uuid, told);
    // Of a newer token that tells the same, another node may have heard something else in between.
    if (before !== undefined && isSame(before, told)) return;
    const [longest] = known.keys();
    if (known.size > KNOWN_USERS && longest !== undefined) known.delete(longest);
    if (isNameless(told) && waiting.has(uuid)) return;
    waiting.set(uuid, told);
    void store();
  }

  /** One statement at a time. */
  async function store(): Promise<void> {
    if (isStoring) return;
    isStoring = true;
    while (waiting.size > 0) {
      const batch = new Map([...waiting].slice(0, MAX_BATCH));
      for (const uuid of batch.keys()) waiting.delete(uuid);
      try {
        await users.remember(batch);
      } catch (error) {
        for (const uuid of batch.keys()) known.delete(uuid);
        // The store has logged an outage.
        if (!isUnavailable(error)) logger.error({ err: error }, 'storing names of users failed');
      }
    }
    isStoring = false;
  }

  function accept(identity: Identity): Identity {
    if (revocations.covers(identity)) {
      throw new ChatError('UNAUTHORIZED', { detail: 'the token was revoked' });
    }
    if (identity.profile !== undefined) remember(identity.userUUID, identity.profile);
    return identity;
  }

  return {
    signIn(token) {
      const verified = verify(token);
      return verified instanceof Promise ? verified.then(accept) : accept(verified);
    },

    async revoke(caller, userUUID) {
      const revocation = await revocations.revoke(userUUID, caller.issuedAt);
      hub.publishRevocation(revocation);
      return revocation;
    },

    messagesOf: (caller, userUUID, gone) =>
      userMessages.read(userUUID, { userUUID: caller.userUUID, gone }),

    erase: (caller, userUUID) => erasures.erase(userUUID, caller.userUUID),

    async erasureOf(userUUID) {
      const erasure = await erasures.find(userUUID);
      if (erasure !== undefined) return erasure;
      throw new ChatError('NOT_FOUND', { detail: 'nobody has asked to erase this user' });
    },

    find: (uuids) => users.find(uuids),
  };
}

function isSame(one: Profile, other: Profile): boolean {
  return (
    one.name === other.name &&
    one.picture === other.picture &&
    one.signedAt?.getTime() === other.signedAt?.getTime()
  );
}

function isNameless({ name, picture }: Profile): boolean {
  return name === undefined && picture === undefined;
}

/** Whether a profile comes of a token that was signed before the other's, which has told something. */
function isOlder({ signedAt }: Profile, other: Profile): boolean {
  if (signedAt === undefined || other.signedAt === undefined || isNameless(other)) return false;
  return signedAt < other.signedAt;
}
