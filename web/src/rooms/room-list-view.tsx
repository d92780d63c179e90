import { useRef } from 'preact/hooks';
import { useChat } from '../chat-context.js';
import { useEvents } from '../hooks.js';
import { t } from '../i18n/text.js';
import { useToasts } from '../ui/toasts.js';
import { RoomItem } from './room-item.js';

const NEAR_END_PX = 400;
const SKELETONS = [0, 1, 2, 3, 4, 5];

/** The user's rooms, those with the newest messages first. */
export function RoomListView({ roomId }: { readonly roomId: number | undefined }) {
  const { chat, rooms } = useChat();
  const { fail } = useToasts();
  const isLoading = useRef(false);
  useEvents(rooms, 'change');
  // While it is offline, nobody is known to be online.
  useEvents(chat, 'users', 'state');

  function scrolled({ scrollHeight, scrollTop, clientHeight }: HTMLElement): void {
    const isNearEnd = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
    if (!isNearEnd || !rooms.hasMore || isLoading.current) return;
    isLoading.current = true;
    rooms
      .loadMore()
      .catch(fail)
      .finally(() => {
        isLoading.current = false;
      });
  }

  if (!rooms.isLoaded) {
    return (
      <div class="room-list" aria-busy="true">
        {SKELETONS.map((key) => (
          <div key={key} class="skeleton-room" />
        ))}
      </div>
    );
  }
  if (rooms.items.length === 0) {
    return (
      <div class="empty">
        <h2>{t('rooms.empty')}</h2>
        <p>{t('rooms.emptyHint')}</p>
      </div>
    );
  }
  return (
    <nav
      class="room-list"
      aria-label={t('rooms.label')}
      onScroll={(event) => {
        scrolled(event.currentTarget);
      }}
    >
      <ul>
        {rooms.items.map((row) => (
          <RoomItem key={row.id} row={row} isCurrent={row.id === roomId} />
        ))}
      </ul>
    </nav>
  );
}
