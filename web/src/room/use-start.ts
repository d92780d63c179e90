import { useReducer, useRef } from 'preact/hooks';
import type { Room } from '../../../src/client/index.js';
import { useChat } from '../chat-context.js';
import { firstUnread } from '../timeline/timeline-model.js';

export interface Start {
  /** Number up to which the user had read; undefined if the room opens with its last page. */
  readonly seq: number | undefined;
  /** Whether the user went to the end of the room since. */
  readonly isLeft: boolean;
  readonly leave: () => void;
}

/**
 * Where a room opens if more is unread than its last page holds: at what was read last. Of a new member, that is when
 * they were let in.
 * @param isElsewhere whether the address of the page names a message
 */
export function useStart(room: Room, isElsewhere: boolean): Start {
  const { userUUID } = useChat().session;
  const [, rerender] = useReducer((count: number) => count + 1, 0);
  const start = useRef({ isDecided: false, isLeft: false, seq: 0 }).current;
  const { messages, readUpto, hasOlder, phase } = room;

  if (!start.isDecided && phase === 'joined' && (messages.length > 0 || !hasOlder)) {
    start.isDecided = true;
    const isBeyond = hasOlder && (messages[0]?.seq ?? 0) > readUpto + 1;
    const isUnread = firstUnread(messages, readUpto, userUUID) !== undefined;
    if (!isElsewhere && isBeyond && isUnread) start.seq = readUpto;
  }
  return {
    seq: start.isLeft || start.seq === 0 ? undefined : start.seq,
    isLeft: start.isLeft,
    leave() {
      start.isLeft = true;
      rerender(undefined);
    },
  };
}
