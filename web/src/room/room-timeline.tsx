import type { RefObject } from 'preact';
import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import type { Room } from '../../../src/client/index.js';
import { useChat } from '../chat-context.js';
import { t } from '../i18n/text.js';
import type { Route } from '../route.js';
import type { Key } from '../timeline/heights.js';
import { keyOf, placementOf } from '../timeline/timeline-model.js';
import { VirtualList, type Visible, type VirtualListHandle } from '../timeline/virtual-list.js';
import { useToasts } from '../ui/toasts.js';
import { Announcer } from './announcer.js';
import { MessageRow } from './message-row.js';
import { MessagesSkeleton } from './messages-skeleton.js';
import { PresentButton } from './present-button.js';
import type { Intent } from './room-screen.js';
import { usePast } from './use-past.js';
import { useReading } from './use-reading.js';
import type { Start } from './use-start.js';

interface Props {
  readonly room: Room;
  readonly list: RefObject<VirtualListHandle | null>;
  readonly title: string;
  /** With the number of the message to show; the last ones if it has none. */
  readonly route: Route;
  readonly start: Start;
  readonly onPresent: () => void;
  readonly onIntent: (intent: Intent) => void;
}

/** Rows from either end at which more are loaded. */
const NEAR_ROWS = 20;
/** Pages grow while one scrolls on, up to what the server gives. */
const FIRST_PAGE = 50;
const MOST_PAGE = 1_000;
/** Before what could not be loaded is asked for again. */
const RETRY_MS = 3_000;

/** The messages of a room: the last ones, or those around one of them. */
export function RoomTimeline(props: Props) {
  const { room, list, title, route, start, onPresent, onIntent } = props;
  const { seq } = route;
  const { userUUID } = useChat().session;
  const { fail } = useToasts();
  const visible = useRef<Visible | undefined>(undefined);
  const failedAt = useRef(-Infinity);
  /** Not its place: that is another one once messages above it come or go. */
  const [active, setActive] = useState<Key>();
  const [isAtEnd, setIsAtEnd] = useState(true);

  const { past, isComing } = usePast(
    room,
    { seq: seq ?? start.seq, isLinked: seq !== undefined },
    onPresent,
  );
  const messages = past?.messages ?? room.messages;
  const hasOlder = past?.hasOlder ?? room.hasOlder;
  const isPresent = past?.isAtPresent ?? true;
  const isLoading = isComing || (messages.length === 0 && hasOlder);
  const { unreadSeq, seen } = useReading({ room, messages, isPresent, isLoading, hasOlder });
  const startAt = seq ?? (start.isLeft ? undefined : unreadSeq);

  function loadFailed(error: unknown): void {
    failedAt.current = performance.now();
    fail(error);
  }

  function loadAround({ first, last }: Visible): void {
    if (messages.length === 0 || performance.now() - failedAt.current < RETRY_MS) return;
    const limit = Math.min(MOST_PAGE, Math.max(FIRST_PAGE, messages.length));
    if (first < NEAR_ROWS && hasOlder) (past ?? room).loadOlder(limit).catch(loadFailed);
    if (last > messages.length - NEAR_ROWS && !isPresent) past?.loadNewer().catch(loadFailed);
  }

  function onVisible(now: Visible): void {
    visible.current = now;
    setIsAtEnd(now.isAtEnd);
    loadAround(now);
    seen(now);
  }

  const target = seq === undefined ? undefined : messages.find((message) => message.seq === seq);
  // Not once it is painted: the user may have scrolled elsewhere before that.
  useLayoutEffect(() => {
    if (target !== undefined) list.current?.scrollTo(keyOf(target, userUUID));
    // At each visit: the same link may be followed again.
  }, [route, target === undefined]);

  /** The arrows go from message to message. */
  function onKeyDown(event: KeyboardEvent, index: number): void {
    if (event.key !== 'ArrowUp' && event.key !== 'ArrowDown') return;
    // A question about a message is in the dialog of its row.
    if ((event.target as HTMLElement).closest('dialog') !== null) return;
    const from = index === -1 ? (visible.current?.last ?? 0) + 1 : index;
    const to = from + (event.key === 'ArrowUp' ? -1 : 1);
    const next = messages[to];
    if (next === undefined) return;
    event.preventDefault();
    setActive(keyOf(next, userUUID));
    list.current?.focus(to);
  }

  if (isLoading) return <MessagesSkeleton />;
  if (messages.length === 0) {
    return <Empty hadFocus={active !== undefined} />;
  }
  return (
    <div class="timeline-frame">
      <VirtualList
        key={past?.seq ?? 'present'}
        handle={list}
        label={t('room.messages', { room: title })}
        items={messages}
        keyOf={(message) => keyOf(message, userUUID)}
        startAt={startAt}
        head={<p>{hasOlder ? t('room.loading') : t('room.beginning', { room: title })}</p>}
        onVisible={onVisible}
        onKeyDown={onKeyDown}
        row={(message, index) => {
          const key = keyOf(message, userUUID);
          return (
            <MessageRow
              key={key}
              room={room}
              message={message}
              index={index}
              count={messages.length}
              placement={placementOf(messages, index, unreadSeq)}
              isActive={key === active}
              isTarget={message === target}
              onActive={(isActive) => {
                setActive(isActive ? key : undefined);
              }}
              onIntent={onIntent}
            />
          );
        }}
      />
      {(!isAtEnd || !isPresent) && (
        <PresentButton
          messages={room.messages}
          upto={messages[visible.current?.last ?? 0]?.seq}
          onClick={onPresent}
        />
      )}
      <Announcer room={room} />
    </div>
  );
}

/** @param hadFocus whether the last message, which is gone, had the focus: then this takes it */
function Empty({ hadFocus }: { readonly hadFocus: boolean }) {
  const box = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    if (hadFocus && document.activeElement === document.body) box.current?.focus();
  }, []);
  return (
    <div class="timeline-frame">
      <div ref={box} class="empty" tabIndex={-1}>
        <h2>{t('room.empty')}</h2>
        <p>{t('room.emptyHint')}</p>
      </div>
    </div>
  );
}
