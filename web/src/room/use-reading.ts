import { useEffect, useRef } from 'preact/hooks';
import type { Message, Room } from '../../../src/client/index.js';
import { useChat } from '../chat-context.js';
import { useIsAttentive } from '../hooks.js';
import { firstUnread } from '../timeline/timeline-model.js';
import type { Visible } from '../timeline/virtual-list.js';

interface Options {
  readonly room: Room;
  readonly messages: readonly Message[];
  /** Whether the messages end with the newest one of the room. */
  readonly isPresent: boolean;
  readonly isLoading: boolean;
  readonly hasOlder: boolean;
}

interface Reading {
  /** Number of the message above which the line of the new ones is. */
  readonly unreadSeq: number | undefined;
  /** The user has these rows before them. */
  readonly seen: (visible: Visible) => void;
}

/** Moves the user's marker as they read, and keeps the place at which they began to. */
export function useReading(options: Options): Reading {
  const { room, messages, isPresent, isLoading, hasOlder } = options;
  const { userUUID } = useChat().session;
  const isAttentive = useIsAttentive();
  /** What was read before the messages that are new to the user; undefined if none are. */
  const marker = useRef<number | undefined>(undefined);
  const isBegun = useRef(false);
  const visible = useRef<Visible | undefined>(undefined);
  /** The number that the server was told last. */
  const told = useRef(0);

  const lastSeq = (): number => messages.findLast(({ seq }) => seq !== undefined)?.seq ?? 0;
  const unreadBeyond = (upto: number | undefined): number | undefined => {
    // If there are more than were loaded, the line would not be above the first one.
    const isWhole = !hasOlder || (messages[0]?.seq ?? 0) <= (upto ?? 0) + 1;
    return upto === undefined || !isWhole ? undefined : firstUnread(messages, upto, userUUID);
  };

  if (!isBegun.current && room.phase === 'joined' && !isLoading) {
    isBegun.current = true;
    const isUnread = firstUnread(room.messages, room.readUpto, userUUID) !== undefined;
    if (isUnread) marker.current = room.readUpto;
  }
  useEffect(() => {
    if (!isBegun.current) return;
    // What comes while they are away is new to them.
    if (!isAttentive && isPresent) marker.current = lastSeq();
    else if (isAttentive && unreadBeyond(marker.current) === undefined) marker.current = undefined;
  }, [isAttentive]);

  function markRead(): void {
    const { last = -1, isAtEnd = false } = visible.current ?? {};
    if (!isAttentive || room.phase !== 'joined') return;
    const upto = isAtEnd && isPresent ? lastSeq() : (messages[last]?.seq ?? 0);
    if (upto <= Math.max(room.readUpto, told.current)) return;
    told.current = upto;
    room.markRead(upto).catch(() => {
      told.current = 0;
    });
  }
  useEffect(markRead, [isAttentive, messages, room.phase]);

  return {
    unreadSeq: unreadBeyond(marker.current),
    seen(now) {
      visible.current = now;
      markRead();
    },
  };
}
