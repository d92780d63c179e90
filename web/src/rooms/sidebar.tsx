import { useState } from 'preact/hooks';
import { useChat } from '../chat-context.js';
import { useRested } from '../hooks.js';
import { t } from '../i18n/text.js';
import { Icon, IconButton } from '../ui/icon.js';
import { Account } from './account.js';
import { NewRoomDialog } from './new-room-dialog.js';
import { RoomListView } from './room-list-view.js';
import { SearchResults } from './search-results.js';

interface Props {
  readonly roomId: number | undefined;
  readonly onSignOut: () => void;
}

/** A search is begun when the user rests. */
const REST_MS = 250;

/** The rooms, the search over all of them, and who one is. */
export function Sidebar({ roomId, onSignOut }: Props) {
  const { rooms } = useChat();
  const [text, setText] = useState('');
  const [isNew, setIsNew] = useState(false);
  const query = useRested(text.trim(), REST_MS);

  return (
    <aside class="sidebar" aria-label={t('rooms.label')}>
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
          class="input"
          type="search"
          aria-label={t('search.label')}
          placeholder={t('search.placeholder')}
          value={text}
          onInput={(event) => {
            setText(event.currentTarget.value);
          }}
          onKeyDown={(event) => {
            if (event.key === 'Escape') setText('');
          }}
        />
      </search>
      {text.trim() === '' || query === '' ? (
        <RoomListView roomId={roomId} />
      ) : (
        <SearchResults
          key={query}
          query={query}
          onOpen={() => {
            setText('');
          }}
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
    </aside>
  );
}
