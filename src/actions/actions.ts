import type { Hub } from '../feeds/hub.js';
import type { Store } from '../store/store.js';
import { createMemberActions, type MemberActions } from './members.js';
import { createMessageActions, type MessageActions } from './messages.js';
import { createRoomActions, type RoomActions } from './rooms.js';

/**
 * The use cases of a node, for REST and sockets alike: each checks what its caller may do, stores the change, and
 * publishes it to the feeds.
 */
export interface Actions {
  readonly rooms: RoomActions;
  readonly members: MemberActions;
  readonly messages: MessageActions;
}

/** What the use cases work on. */
export interface ActionContext {
  readonly store: Store;
  readonly hub: Pick<Hub, 'publish' | 'publishDeletion'>;
}

export function createActions({ store, hub }: ActionContext): Actions {
  return {
    rooms: createRoomActions({ rooms: store.rooms, hub }),
    members: createMemberActions({ rules: store.rules, hub }),
    messages: createMessageActions({ ...store, hub }),
  };
}
