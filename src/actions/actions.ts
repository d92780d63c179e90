import type { VerifyToken } from '../access/token.js';
import type { Limits } from '../config/load.js';
import type { Hub } from '../feeds/hub.js';
import type { MessageLimits } from '../limits/message-limits.js';
import type { Logger } from '../logger.js';
import type { Erasures } from '../store/erasures.js';
import type { Revocations } from '../store/revocations.js';
import type { Store } from '../store/store.js';
import { createBlockActions, type BlockActions } from './blocks.js';
import { createImportActions, type ImportActions } from './imports.js';
import { createMemberActions, type MemberActions } from './members.js';
import { createMessageActions, type MessageActions } from './messages.js';
import { createReadMarkerActions, type ReadMarkerActions } from './read-markers.js';
import { createReportActions, type ReportActions } from './reports.js';
import { createRoomActions, type RoomActions } from './rooms.js';
import type { Screening } from './screening.js';
import { createUserActions, type UserActions } from './users.js';

/**
 * The use cases of a node, for REST and sockets alike: each checks what its caller may do, stores the change, and
 * publishes it to the feeds.
 */
export interface Actions {
  readonly rooms: RoomActions;
  readonly members: MemberActions;
  readonly messages: MessageActions;
  readonly readMarkers: ReadMarkerActions;
  readonly users: UserActions;
  readonly blocks: BlockActions;
  readonly imports: ImportActions;
  readonly reports: ReportActions;
}

/** What the use cases work on. */
export interface ActionContext {
  readonly store: Store;
  readonly hub: Pick<
    Hub,
    | 'active'
    | 'announceStored'
    | 'created'
    | 'markerMoved'
    | 'online'
    | 'open'
    | 'publish'
    | 'publishDeletion'
    | 'publishRevocation'
    | 'invite'
  >;
  readonly revocations: Pick<Revocations, 'covers' | 'revoke'>;
  readonly erasures: Pick<Erasures, 'erase' | 'find'>;
  readonly verify: VerifyToken;
  /** The `levelOnEntity` that opening a direct room takes. */
  readonly directRoomLevel: number;
  /** Undefined if nobody is asked before storing. */
  readonly screening?: Screening | undefined;
  /** Undefined if they are off. */
  readonly messageLimits?: MessageLimits | undefined;
  readonly limits: Pick<Limits, 'contentCharacters' | 'dataBytes' | 'frameBytes'>;
  readonly logger: Logger;
}

export function createActions({
  store,
  hub,
  revocations,
  erasures,
  verify,
  directRoomLevel,
  screening,
  messageLimits,
  limits,
  logger,
}: ActionContext): Actions {
  const messages = createMessageActions({ ...store, hub, limits: messageLimits, screening });
  return {
    rooms: createRoomActions({ ...store, hub, directRoomLevel }),
    members: createMemberActions({ ...store, hub }),
    messages,
    readMarkers: createReadMarkerActions({ ...store, hub }),
    users: createUserActions({ ...store, hub, revocations, erasures, verify, logger }),
    blocks: createBlockActions({ ...store, hub }),
    reports: createReportActions({ ...store, messages }),
    imports: createImportActions({ ...store, hub, limits }),
  };
}
