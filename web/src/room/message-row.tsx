import { useMemo, useState } from 'preact/hooks';
import type { Message, Room } from '../../../src/client/index.js';
import { nameOf, useChat } from '../chat-context.js';
import { dayName, fullDate, timeOf } from '../i18n/dates.js';
import { t } from '../i18n/text.js';
import { Linked } from '../text/linked.js';
import type { Placement } from '../timeline/timeline-model.js';
import { Avatar, hueOf } from '../ui/avatar.js';
import { MessageActions } from './message-actions.js';
import { MessageState } from './message-state.js';
import { Quote } from './quote.js';
import { Reactions } from './reactions.js';
import type { Intent } from './room-screen.js';

interface Props {
  readonly room: Room;
  readonly message: Message;
  readonly index: number;
  /** How many messages the list has. */
  readonly count: number;
  readonly placement: Placement;
  /** Whether it is the one that the keyboard is at. */
  readonly isActive: boolean;
  /** Whether the address of the page names it. */
  readonly isTarget: boolean;
  readonly onActive: (isActive: boolean) => void;
  readonly onIntent: (intent: Intent) => void;
}

/** A message: who said what, when, and what others did with it. */
export function MessageRow(props: Props) {
  const { room, message, index, count, placement, isActive, isTarget, onActive, onIntent } = props;
  const { chat, session } = useChat();
  const [isHovered, setIsHovered] = useState(false);
  const { emitter, createdAt, content, data, replyTo, editedAt } = message;
  const isOwn = emitter === session.userUUID;
  const user = chat.users.get(emitter);
  const name = nameOf(emitter, user);
  // To write a date takes longer than all else of a row.
  const date = useMemo(() => fullDate(createdAt), [createdAt]);
  const isMention = !isOwn && message.mentions.includes(session.userUUID);
  const hasActions = (isHovered || isActive) && message.seq !== undefined;

  const classes = [
    'message',
    isOwn ? 'own' : 'other',
    placement.beginsGroup && 'begins',
    placement.endsGroup && 'ends',
    isTarget && 'target',
    isMention && 'mentions-me',
    message.seq === undefined && 'unsent',
  ];
  return (
    <li
      class="row"
      data-index={index}
      aria-setsize={count}
      aria-posinset={index + 1}
      tabIndex={-1}
      aria-label={t('message.from', { name, time: date })}
      onFocusCapture={() => {
        onActive(true);
      }}
      onFocusOut={({ currentTarget, relatedTarget }) => {
        const isInside = currentTarget.contains(relatedTarget as Node | null);
        // Another window may have the focus for a while.
        if (!isInside && document.hasFocus()) onActive(false);
      }}
      onPointerEnter={(event) => {
        setIsHovered(event.pointerType === 'mouse');
      }}
      onPointerLeave={() => {
        setIsHovered(false);
      }}
    >
      {placement.beginsDay && (
        <p class="day">
          <span>{dayName(createdAt)}</span>
        </p>
      )}
      {placement.beginsUnread && (
        <p class="unread-line">
          <span>{t('room.new')}</span>
        </p>
      )}
      <article class={classes.filter(Boolean).join(' ')}>
        {!isOwn && (
          <span class="message-avatar">
            {placement.beginsGroup && <Avatar id={emitter} name={name} picture={user?.picture} />}
          </span>
        )}
        <div class="bubble-box">
          <div class="bubble">
            {placement.beginsGroup && !isOwn && (
              <p class="message-name" style={{ '--hue': hueOf(emitter) }}>
                {name}
              </p>
            )}
            {replyTo !== undefined && <Quote room={room} seq={replyTo} />}
            <div class="message-text">
              {content === '' && data !== undefined ? (
                <code class="message-data">{JSON.stringify(data, undefined, 1)}</code>
              ) : (
                <Linked text={content} />
              )}
              <span class="message-meta">
                {editedAt !== undefined && (
                  <span title={t('message.editedAt', { time: fullDate(editedAt) })}>
                    {t('message.edited')}
                  </span>
                )}
                <time dateTime={createdAt.toISOString()} title={date}>
                  {timeOf(createdAt)}
                </time>
                {isOwn && <MessageState room={room} message={message} />}
              </span>
            </div>
          </div>
          {hasActions && <MessageActions room={room} message={message} onIntent={onIntent} />}
          {message.reactions.length > 0 && <Reactions room={room} message={message} />}
        </div>
      </article>
    </li>
  );
}
