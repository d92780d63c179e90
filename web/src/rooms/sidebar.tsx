import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import type { RoomRow } from '../../../src/client/index.js';
import { titleOf, useChat } from '../chat-context.js';
import { useRested } from '../hooks.js';
import { t } from '../i18n/text.js';
import { Icon, IconButton } from '../ui/icon.js';
import { Account } from './account.js';
import { NewRoomDialog } from './new-room-dialog.js';
import { RoomListView } from './room-list-view.js';
import { SearchResults } from './search-results.js';

interface Props {
  readonly roomId: number | undefined;
  /** The room that is searched; all of them if it is undefined. */
  readonly scope: RoomRow | undefined;
  readonly onScope: (scope: RoomRow | undefined) => void;
  readonly onSignOut: () => void;
}

/** A search is begun when the user rests. */
const REST_MS = 250;
/** The server takes no more. */
const MOST_CHARACTERS = 200;

/** The rooms, the search over all of them, and who one is. */
export function Sidebar({ roomId, scope, onScope, onSignOut }: Props) {
  const { rooms } = useChat();
  const [text, setText] = useState('');
  const [isNew, setIsNew] = useState(false);
  const query = useRested(text.trim(), REST_MS);
  const input = useRef<HTMLInputElement>(null);

  useLayoutEffect(() => {
    if (scope !== undefined) input.current?.focus();
  }, [scope]);

  function clear(): void {
    setText('');
    onScope(undefined);
  }

  return (
    <section class="sidebar" aria-label={t('rooms.label')}>
      <header class="sidebar-head">
        <Account onSignOut={onSignOut} />
        <IconButton
          icon="plus"
          label={t('rooms.new')}
          onClick={() => {
            setIsNew(true);
          }}
        />
      </header>
      <search class="search-box">
        <Icon name="search" />
        <input
          ref={input}
          class="input"
          type="search"
          maxLength={MOST_CHARACTERS}
          aria-label={t('search.label')}
          placeholder={t(scope === undefined ? 'search.placeholder' : 'search.inRoom')}
          value={text}
          onInput={(event) => {
            setText(event.currentTarget.value);
          }}
          onKeyDown={(event) => {
            if (event.key === 'Escape') clear();
          }}
        />
      </search>
      {scope !== undefined && (
        <div class="search-scope">
          {t('search.scope', { room: titleOf(scope) })}
          <IconButton
            icon="close"
            label={t('search.everywhere')}
            onClick={() => {
              onScope(undefined);
              input.current?.focus();
            }}
          />
        </div>
      )}
      {text.trim() === '' || query === '' ? (
        <RoomListView roomId={roomId} />
      ) : (
        <SearchResults
          key={`${scope?.id ?? ''} ${query}`}
          query={query}
          roomId={scope?.id}
          onOpen={clear}
        />
      )}
      {isNew && (
        <NewRoomDialog
          onClose={() => {
            setIsNew(false);
          }}
          onCreated={(id) => {
            rooms.refresh(id);
          }}
        />
      )}
    </section>
  );
}
