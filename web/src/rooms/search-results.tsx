import { useEffect, useState } from 'preact/hooks';
import type { MessageRow, RoomRow } from '../../../src/client/index.js';
import { nameOf, titleOf, useChat } from '../chat-context.js';
import { useEvents } from '../hooks.js';
import { shortDate } from '../i18n/dates.js';
import { t, tCount } from '../i18n/text.js';
import { Marked } from '../text/marked.js';
import { sentenceOf, useToasts } from '../ui/toasts.js';
import { RoomItem } from './room-item.js';

interface Props {
  readonly query: string;
  /** Only in this room. */
  readonly roomId?: number | undefined;
  readonly onOpen: () => void;
}

interface Found {
  readonly rooms: readonly RoomRow[];
  readonly rows: readonly MessageRow[];
  readonly cursor: string | undefined;
}

const MOST_ROOMS = 5;

/** Rooms by their names, and messages by their words, the newest first. */
export function SearchResults({ query, roomId, onOpen }: Props) {
  const { chat, rooms } = useChat();
  const { fail } = useToasts();
  const [problem, setProblem] = useState<string>();
  const [found, setFound] = useState<Found>();
  useEvents(chat, 'users', 'state');

  async function roomsByName(): Promise<readonly RoomRow[]> {
    if (roomId !== undefined) return [];
    const parameters = new URLSearchParams({ q: query, limit: String(MOST_ROOMS) });
    const path = `/me/rooms?${parameters.toString()}`;
    return (await chat.request<readonly RoomRow[]>('GET', path)).content;
  }

  async function load(before?: Found): Promise<void> {
    const cursor = before?.cursor;
    const [rooms, page] = await Promise.all([
      before?.rooms ?? roomsByName(),
      // The server wants a letter or a digit.
      /[\p{L}\p{N}]/u.test(query)
        ? chat.search(query, { cursor, ...(roomId !== undefined && { roomId }) })
        : { rows: [], cursor: undefined },
    ]);
    setFound({ rooms, rows: [...(before?.rows ?? []), ...page.rows], cursor: page.cursor });
  }

  useEffect(() => {
    if (found !== undefined) return;
    load().catch((error: unknown) => {
      setProblem(sentenceOf(error));
    });
  }, [chat.state]);

  if (found === undefined && problem !== undefined) {
    return (
      <div class="empty" role="alert">
        <p>{problem}</p>
      </div>
    );
  }
  if (found === undefined) {
    return (
      <div class="room-list" aria-busy="true">
        <div class="skeleton-room" />
        <div class="skeleton-room" />
      </div>
    );
  }
  const isNothing = found.rooms.length === 0 && found.rows.length === 0;
  return (
    <div class="room-list">
      <p class="visually-hidden" role="status">
        {tCount('search.found', found.rows.length)}
      </p>
      {isNothing && (
        <div class="empty">
          <h2>{t('search.none')}</h2>
          <p>{t('search.noneHint')}</p>
        </div>
      )}
      {found.rooms.length > 0 && (
        <section aria-labelledby="found-rooms">
          <h2 id="found-rooms" class="list-title">
            {t('rooms.label')}
          </h2>
          <ul>
            {found.rooms.map((row) => (
              <RoomItem key={row.id} row={row} isCurrent={false} onOpen={onOpen} />
            ))}
          </ul>
        </section>
      )}
      {found.rows.length > 0 && (
        <section aria-labelledby="found-messages">
          <h2 id="found-messages" class="list-title">
            {t('search.messages')}
          </h2>
          <ul>
            {found.rows.map((row) => (
              <Hit
                key={`${row.room_id}/${row.seq}`}
                row={row}
                room={rooms.items.find(({ id }) => id === row.room_id)}
                query={query}
              />
            ))}
          </ul>
        </section>
      )}
      {found.cursor !== undefined && (
        <button
          class="button wide"
          type="button"
          onClick={() => {
            load(found).catch(fail);
          }}
        >
          {t('search.more')}
        </button>
      )}
    </div>
  );
}

interface HitProps {
  readonly row: MessageRow;
  readonly room: RoomRow | undefined;
  readonly query: string;
}

function Hit({ row, room, query }: HitProps) {
  const { chat } = useChat();
  const name = nameOf(row.emitter, chat.users.get(row.emitter));
  const place =
    room === undefined || room.type === 'user2user' ? name : `${name} · ${titleOf(room)}`;
  return (
    <li>
      <a class="room-item hit" href={`#/rooms/${row.room_id}/${row.seq}`}>
        <span class="room-item-text">
          <span class="room-item-line">
            <strong class="room-item-title">{place}</strong>
            <time class="room-item-time" dateTime={row.createdAt}>
              {shortDate(new Date(row.createdAt))}
            </time>
          </span>
          <span class="hit-text">
            <Marked text={row.content} query={query} />
          </span>
        </span>
      </a>
    </li>
  );
}
