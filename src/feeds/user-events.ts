import type { Rule } from '../access/permissions.js';
import type { Revocation } from '../store/revocations.js';
import type { MovedMarker, PeerMessage } from './peer-messages.js';

/** About 60 KB. */
const MARKERS_A_MESSAGE = 1_000;

/** A rule, as far as it says who is invited to what. */
export type InvitingRule = Omit<Rule, 'accepted'>;

/** What a node does with what its peers tell of users. */
export interface UserEventHandlers {
  /** A user has moved a read marker on a peer. */
  markerMoved(marker: MovedMarker): void;
  /** A peer has stored a rule that invites somebody. */
  invited(roomId: number, rule: InvitingRule): void;
  /** The tokens of a user were revoked on a peer. */
  revoked(revocation: Revocation): void;
}

/** What is told to users whatever rooms they have joined, and so to all peers. */
export interface UserEvents {
  /** Tells all peers of a read marker, together with the others of this turn of the event loop. */
  tellMarker(marker: MovedMarker): void;
  /** Tells all peers of rules that invite somebody. */
  tellInvitations(roomId: number, rules: readonly InvitingRule[]): void;
  /** Tells all peers that the tokens of a user are revoked. */
  tellRevocation(revocation: Revocation): void;
  /** Takes what a peer has told. */
  receive(message: Pick<PeerMessage, 'markers' | 'invitations' | 'revoked'>): void;
}

/** @param publish sends a message to all peers */
export function createUserEvents(
  handlers: UserEventHandlers,
  publish: (message: PeerMessage) => void,
): UserEvents {
  let markers: NonNullable<PeerMessage['markers']> = [];

  function publishMarkers(): void {
    const all = markers;
    markers = [];
    for (let from = 0; from < all.length; from += MARKERS_A_MESSAGE) {
      publish({ markers: all.slice(from, from + MARKERS_A_MESSAGE) });
    }
  }

  return {
    tellMarker({ roomId, userUUID, upto, isBack }) {
      if (markers.length === 0) setImmediate(publishMarkers);
      markers.push([roomId, userUUID, upto, isBack]);
    },

    tellInvitations(roomId, rules) {
      type Invitation = NonNullable<PeerMessage['invitations']>[number];
      const invitations = rules.map(({ entityUUID, level, permissions }): Invitation => [
        roomId,
        entityUUID,
        level,
        permissions,
      ]);
      publish({ invitations });
    },

    tellRevocation({ userUUID, revokedAt }) {
      publish({ revoked: [[userUUID, revokedAt]] });
    },

    receive({ markers: moved = [], invitations = [], revoked = [] }) {
      for (const [roomId, userUUID, upto, isBack] of moved) {
        handlers.markerMoved({ roomId, userUUID, upto, isBack });
      }
      for (const [roomId, entityUUID, level, permissions] of invitations) {
        handlers.invited(roomId, { entityUUID, level, permissions });
      }
      for (const [userUUID, revokedAt] of revoked) handlers.revoked({ userUUID, revokedAt });
    },
  };
}
