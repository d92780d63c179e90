import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { Message, RoomRow } from '../../../src/client/index.js';
import { titleOf, useChat } from '../chat-context.js';
import { useEvents } from '../hooks.js';
import { hasText, t } from '../i18n/text.js';
import { navigate, type Route } from '../route.js';
import type { VirtualListHandle } from '../timeline/virtual-list.js';
import { Icon } from '../ui/icon.js';
import { Composer } from './composer.js';
import { Details } from './details.js';
import { Header } from './header.js';
import { openRoom } from './open-rooms.js';
import { RoomTimeline } from './room-timeline.js';
import { TypingLine } from './typing-line.js';
import { useStart } from './use-start.js';

interface Props {
  readonly roomId: number;
  /** With the number of the message to show; the last ones if it has none. */
  readonly route: Route;
  readonly onSearch: (row: RoomRow) => void;
}

/** What the composer is about, beside a new message. */
export interface Intent {
  readonly kind: 'reply' | 'edit';
  readonly message: Message;
}

/** One room: who is in it, what they say, and where one writes. */
export function RoomScreen({ roomId, route, onSearch }: Props) {
  const { chat, rooms } = useChat();
  const room = useMemo(() => openRoom(chat, roomId), [chat, roomId]);
  const isClosed = room.phase === 'closed';
  useEffect(() => {
    // The user was let in again.
    if (!isClosed) openRoom(chat, roomId);
  }, [isClosed]);
  const [intent, setIntent] = useState<Intent>();
  const [hasDetails, setHasDetails] = useState(false);
  const list = useRef<VirtualListHandle>(null);
  useEvents(room, 'change', 'access', 'closed');
  useEvents(chat, 'users');
  const start = useStart(room, route.seq !== undefined);
  const row = rooms.items.find(({ id }) => id === roomId);
  const title = row === undefined ? '' : titleOf(row);

  useEffect(() => {
    // It may be beyond the pages of the list.
    if (rooms.isLoaded && row === undefined) rooms.refresh(roomId);
  }, [rooms.isLoaded]);

  function toPresent(): void {
    start.leave();
    navigate({ roomId }, { replace: true });
    list.current?.scrollToEnd();
  }

  if (isClosed) {
    const key = `room.closed.${room.closed ?? ''}`;
    return (
      <div class="room">
        <Header room={room} row={row} />
        <div class="empty" role="alert">
          <Icon name="exit" />
          <h2>{t(hasText(key) ? key : 'room.closed.other')}</h2>
          <p>{t('room.closedHint')}</p>
        </div>
      </div>
    );
  }

  return (
    <>
      <div class="room">
        <Header
          room={room}
          row={row}
          hasDetails={hasDetails}
          onSearch={onSearch}
          onDetails={() => {
            setHasDetails(!hasDetails);
          }}
        />
        <RoomTimeline
          room={room}
          list={list}
          title={title}
          route={route}
          start={start}
          onPresent={toPresent}
          onIntent={setIntent}
        />
        <TypingLine room={room} />
        {room.permissions.includes('w') || room.phase === 'joining' ? (
          <Composer room={room} intent={intent} onIntent={setIntent} onSent={toPresent} />
        ) : (
          <p class="read-only">{t('room.readOnly')}</p>
        )}
      </div>
      {hasDetails && row !== undefined && (
        <Details
          room={room}
          row={row}
          onClose={() => {
            setHasDetails(false);
          }}
        />
      )}
    </>
  );
}
