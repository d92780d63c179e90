import { useEffect, useRef, useState } from 'preact/hooks';
import { ChatError, type RoomRow } from '../../../src/client/index.js';
import { useChat } from '../chat-context.js';
import { useEvents } from '../hooks.js';

interface Known {
  readonly row: RoomRow | undefined;
  /** Whether it is known that to open the room accepts no invitation. */
  readonly canOpen: boolean;
}

/** The row of a room: that of the list, or one that is asked for, as the list has its first pages only. */
export function useRoomRow(roomId: number | undefined): Known {
  const { chat, rooms } = useChat();
  const [asked, setAsked] = useState<{ readonly roomId: number; readonly row?: RoomRow }>();
  const openedId = useRef<number | undefined>(undefined);
  useEvents(chat, 'state');
  const listed = rooms.items.find(({ id }) => id === roomId);
  const isAsked = asked !== undefined && asked.roomId === roomId;
  const row = listed ?? (isAsked ? asked.row : undefined);
  const isUnknown = rooms.isLoaded && row === undefined && !isAsked && openedId.current !== roomId;

  useEffect(() => {
    if (roomId === undefined || !isUnknown) return undefined;
    let isCurrent = true;
    chat.request<RoomRow>('GET', `/rooms/${roomId}`).then(
      ({ content }) => {
        if (isCurrent) setAsked({ roomId, row: content });
      },
      (error: unknown) => {
        const isPassing = error instanceof ChatError && error.reason === 'OFFLINE';
        if (isCurrent && !isPassing) setAsked({ roomId });
      },
    );
    return () => {
      isCurrent = false;
    };
  }, [roomId, isUnknown, chat.state]);

  // A room that is open stays so: it says itself that the user was put out.
  const canOpen = rooms.isLoaded && row?.accepted !== false && !isUnknown;
  if (canOpen) openedId.current = roomId;
  return { row, canOpen };
}
