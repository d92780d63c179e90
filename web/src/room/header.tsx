import type { Room, RoomRow } from '../../../src/client/index.js';
import { titleOf } from '../chat-context.js';
import { t, tCount } from '../i18n/text.js';
import { navigate } from '../route.js';
import { BackButton } from '../rooms/back-button.js';
import { Avatar } from '../ui/avatar.js';
import { IconButton } from '../ui/icon.js';

interface Props {
  readonly room: Room;
  readonly row: RoomRow | undefined;
  readonly hasDetails?: boolean;
  readonly onDetails?: () => void;
  readonly onSearch?: (row: RoomRow) => void;
}

/** The name of a room, and who is online in it. */
export function Header({ room, row, hasDetails = false, onDetails, onSearch }: Props) {
  const other = row?.with;
  const title = row === undefined ? '' : titleOf(row);
  const isOnline = other != null && room.online.has(other.userUUID);
  let status = '';
  if (other != null && room.onlineCount !== undefined) {
    status = t(isOnline ? 'room.isOnline' : 'room.isOffline');
  } else if (room.onlineCount !== undefined) {
    status = tCount('room.online', room.onlineCount);
  }
  return (
    <header class="room-head">
      <BackButton />
      {row !== undefined && (
        <Avatar
          id={other?.userUUID ?? row.uuid}
          name={title}
          picture={other?.picture}
          isOnline={isOnline}
        />
      )}
      <div class="room-head-text">
        {title !== '' && <h2 class="room-title">{title}</h2>}
        <p class="room-status">{status}</p>
      </div>
      {onSearch !== undefined && row !== undefined && (
        <IconButton
          icon="search"
          label={t('search.inRoom')}
          onClick={() => {
            onSearch({ ...row });
            // On a phone, the list with the search is another screen.
            if (matchMedia('(width <= 760px)').matches) navigate({});
          }}
        />
      )}
      {onDetails !== undefined && row !== undefined && (
        <IconButton
          icon="info"
          label={t('room.details')}
          isPressed={hasDetails}
          onClick={onDetails}
        />
      )}
    </header>
  );
}
