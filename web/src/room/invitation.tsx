import { ChatError, type RoomRow } from '../../../src/client/index.js';
import { titleOf, useChat } from '../chat-context.js';
import { t } from '../i18n/text.js';
import { navigate } from '../route.js';
import { BackButton } from '../rooms/back-button.js';
import { Avatar } from '../ui/avatar.js';
import { useToasts } from '../ui/toasts.js';

/** A room that the user was let into, and has not entered yet: to open it is to accept. */
export function Invitation({ row }: { readonly row: RoomRow }) {
  const { chat, rooms, session } = useChat();
  const { say, fail } = useToasts();
  const title = titleOf(row);
  const path = `/rooms/${row.id}`;

  async function accept(): Promise<void> {
    try {
      await chat.request('PUT', `${path}/invitation`, { accepted: true });
    } catch (error) {
      if (!(error instanceof ChatError && error.reason === 'NOT_FOUND')) throw error;
      // They are let in by the rule of their organisation.
      await chat.request('PUT', `${path}/invitation`, { accepted: true, use_parent_entity: true });
    }
    rooms.refresh(row.id);
  }

  async function decline(): Promise<void> {
    try {
      await chat.request('DELETE', `${path}/members/${session.userUUID}`);
    } catch (error) {
      if (!(error instanceof ChatError && error.reason === 'NOT_FOUND')) throw error;
      say(t('details.notAMember'));
      return;
    }
    navigate({});
    rooms.refresh(row.id);
  }

  return (
    <div class="room">
      <header class="room-head phone-only">
        <BackButton />
      </header>
      <div class="empty">
        <Avatar id={row.with?.userUUID ?? row.uuid} name={title} isLarge />
        <h2>{t('invitation.title', { room: title })}</h2>
        <p>{t('invitation.text')}</p>
        <div class="dialog-actions">
          <button
            class="button"
            type="button"
            onClick={() => {
              decline().catch(fail);
            }}
          >
            {t('invitation.decline')}
          </button>
          <button
            class="button primary"
            type="button"
            onClick={() => {
              accept().catch(fail);
            }}
          >
            {t('invitation.accept')}
          </button>
        </div>
      </div>
    </div>
  );
}
