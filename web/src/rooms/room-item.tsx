import type { RoomRow } from '../../../src/client/index.js';
import { lineOf, nameOf, titleOf, useChat } from '../chat-context.js';
import { shortDate } from '../i18n/dates.js';
import { t, tCount } from '../i18n/text.js';
import { Avatar } from '../ui/avatar.js';

interface Props {
  readonly row: RoomRow;
  readonly isCurrent: boolean;
  readonly onOpen?: () => void;
}

/** The server counts no further. */
const MOST_UNREAD = 100;

/** A room in the list. */
export function RoomItem({ row, isCurrent, onOpen }: Props) {
  const { unread, mentions, last_message: last } = row;
  const title = titleOf(row);
  const { with: other } = row;
  const isOnline = useChat().rooms.isOnline(row);
  return (
    <li>
      <a
        class="room-item"
        href={`#/rooms/${row.id}`}
        aria-current={isCurrent ? 'page' : undefined}
        onClick={onOpen}
      >
        <Avatar
          id={other?.userUUID ?? row.uuid}
          name={title}
          picture={other?.picture}
          isOnline={isOnline}
          isLarge
        />
        <span class="room-item-text">
          <span class="room-item-line">
            <strong class="room-item-title">{title}</strong>
            {last !== null && (
              <time class="room-item-time" dateTime={last.createdAt}>
                {shortDate(new Date(last.createdAt))}
              </time>
            )}
          </span>
          <span class="room-item-line">
            <span class="room-item-last">
              <LastMessage row={row} isCurrent={isCurrent} />
            </span>
            {mentions > 0 && (
              <span class="badge mention" title={tCount('rooms.mentions', mentions)}>
                @<span class="visually-hidden"> {tCount('rooms.mentions', mentions)}</span>
              </span>
            )}
            {unread > 0 && (
              <span class="badge">
                <span aria-hidden>{unread < MOST_UNREAD ? unread : '99+'}</span>
                <span class="visually-hidden">{tCount('rooms.unread', unread)}</span>
              </span>
            )}
          </span>
        </span>
      </a>
    </li>
  );
}

function LastMessage({ row, isCurrent }: Props) {
  const { chat, session, drafts } = useChat();
  const { last_message: last } = row;
  const draft = isCurrent ? '' : drafts.of(row.id);
  if (draft !== '') return <em class="draft">{t('rooms.draft', { text: draft })}</em>;
  if (!row.accepted) return <em>{t('rooms.invited')}</em>;
  if (last === null) return <em>{t('rooms.noMessages')}</em>;
  const text = lineOf(last);
  if (last.emitter === session.userUUID) return <>{t('rooms.you', { text })}</>;
  if (row.type === 'user2user') return <>{text}</>;
  const name = nameOf(last.emitter, chat.users.get(last.emitter));
  return <>{t('message.announce', { name, text })}</>;
}
