import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import { ChatError, type Room, type RoomRow } from '../../../src/client/index.js';
import { titleOf, useChat } from '../chat-context.js';
import { useFocusReturn } from '../hooks.js';
import { t } from '../i18n/text.js';
import { navigate } from '../route.js';
import { copy } from '../text/copy.js';
import { Confirm } from '../ui/dialog.js';
import { IconButton } from '../ui/icon.js';
import { useToasts } from '../ui/toasts.js';
import { InviteForm } from './invite-form.js';
import { MemberList } from './member-list.js';
import { useMembers } from './use-members.js';

interface Props {
  readonly room: Room;
  readonly row: RoomRow;
  readonly onClose: () => void;
}

/** What a room is, and who is in it. */
export function Details({ room, row, onClose }: Props) {
  const { chat, session } = useChat();
  const { say, fail } = useToasts();
  const [asking, setAsking] = useState<'leave' | 'delete'>();
  const members = useMembers(room);
  const section = useRef<HTMLElement>(null);
  useFocusReturn();
  const isAdmin = room.permissions.includes('a');
  const path = `/rooms/${room.id}`;

  useLayoutEffect(() => {
    section.current?.focus();
  }, []);

  async function leave(): Promise<void> {
    try {
      await chat.request('DELETE', `${path}/members/${session.userUUID}`);
      navigate({});
    } catch (error) {
      const isByEntity = error instanceof ChatError && error.reason === 'NOT_FOUND';
      if (isByEntity) say(t('details.notAMember'));
      else fail(error);
    }
  }

  async function remove(): Promise<void> {
    try {
      await chat.request('DELETE', path);
      navigate({});
    } catch (error) {
      fail(error);
    }
  }

  return (
    <section
      ref={section}
      class="details"
      tabIndex={-1}
      aria-label={t('details.title')}
      onKeyDown={({ key, target }) => {
        // That of a dialog closes the dialog.
        const isInDialog = (target as HTMLElement).closest('dialog') !== null;
        if (key === 'Escape' && !isInDialog) onClose();
      }}
    >
      <header class="details-head">
        <h2>{t('details.title')}</h2>
        <IconButton icon="close" label={t('details.close')} onClick={onClose} />
      </header>
      <div class="details-body">
        {isAdmin && row.type === 'group' && <NameForm key={row.name} row={row} />}
        <div class="field">
          <span>{t('details.roomId')}</span>
          <div class="copy-line">
            <code>{row.uuid}</code>
            <IconButton
              icon="copy"
              label={t('details.copy')}
              onClick={() => {
                copy(row.uuid).then(() => {
                  say(t('details.copied'));
                }, fail);
              }}
            />
          </div>
        </div>
        {isAdmin && <InviteForm room={room} />}
        <MemberList room={room} members={members} isAdmin={isAdmin} />
        <div class="details-end">
          <button
            class="button wide"
            type="button"
            onClick={() => {
              setAsking('leave');
            }}
          >
            {t('details.leave')}
          </button>
          {isAdmin && (
            <button
              class="button danger-text wide"
              type="button"
              onClick={() => {
                setAsking('delete');
              }}
            >
              {t('details.delete')}
            </button>
          )}
        </div>
      </div>
      {asking !== undefined && (
        <Confirm
          title={t(`details.${asking}Title`)}
          text={t(`details.${asking}Text`)}
          action={t(`details.${asking}`)}
          onConfirm={() => {
            void (asking === 'leave' ? leave() : remove());
          }}
          onClose={() => {
            setAsking(undefined);
          }}
        />
      )}
    </section>
  );
}

/** Gives the room another name. */
function NameForm({ row }: { readonly row: RoomRow }) {
  const { chat } = useChat();
  const { fail } = useToasts();
  const [name, setName] = useState(titleOf(row));
  const isOther = name.trim() !== '' && name.trim() !== row.name;
  return (
    <form
      class="field"
      onSubmit={(event) => {
        event.preventDefault();
        if (!isOther) return;
        chat.request('PATCH', `/rooms/${row.id}`, { name: name.trim() }).catch(fail);
      }}
    >
      <label class="field">
        <span>{t('details.name')}</span>
        <div class="input-line">
          <input
            class="input"
            maxLength={100}
            required
            autocomplete="off"
            value={name}
            onInput={(event) => {
              setName(event.currentTarget.value);
            }}
          />
          {isOther && (
            <button class="button primary" type="submit">
              {t('details.rename')}
            </button>
          )}
        </div>
      </label>
    </form>
  );
}
