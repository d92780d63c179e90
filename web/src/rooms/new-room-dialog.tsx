import { useState } from 'preact/hooks';
import { useChat } from '../chat-context.js';
import { t } from '../i18n/text.js';
import { navigate } from '../route.js';
import { Dialog } from '../ui/dialog.js';
import { sentenceOf } from '../ui/toasts.js';

interface Props {
  readonly onClose: () => void;
  readonly onCreated: (roomId: number) => void;
}

/** A level that nobody of the creator's organisation has by default: who is an admin is said in the room. */
const LEVEL_ADMIN = 1000;
/** More than one organisation invites by hand. */
const MOST_RULES = 1000;

/** Makes a group, or opens the direct room with somebody. */
export function NewRoomDialog({ onClose, onCreated }: Props) {
  const { chat, session } = useChat();
  const [problem, setProblem] = useState('');
  const [isGroup, setIsGroup] = useState(session.canCreateRooms);
  const [value, setValue] = useState('');
  const [isBusy, setIsBusy] = useState(false);

  async function submit(): Promise<void> {
    setIsBusy(true);
    setProblem('');
    const text = value.trim();
    const body = isGroup
      ? { name: text, type: 'group', level_admin: LEVEL_ADMIN, max_entity_rules: MOST_RULES }
      : { type: 'user2user', userUUID: text };
    try {
      const { content } = await chat.request<{ room: { id: number } }>('POST', '/rooms', body);
      onCreated(content.room.id);
      onClose();
      navigate({ roomId: content.room.id });
    } catch (error) {
      // A notice would be behind the dialog.
      setProblem(sentenceOf(error));
      setIsBusy(false);
    }
  }

  function choose(group: boolean): void {
    setIsGroup(group);
    setValue('');
  }

  return (
    <Dialog title={t('newRoom.title')} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void submit();
        }}
      >
        <fieldset class="segments">
          <legend class="visually-hidden">{t('newRoom.title')}</legend>
          {[true, false].map((group) => (
            <label key={group} class="segment">
              <input
                type="radio"
                name="kind"
                checked={isGroup === group}
                disabled={group && !session.canCreateRooms}
                onChange={() => {
                  choose(group);
                }}
              />
              <span>{t(group ? 'newRoom.group' : 'newRoom.direct')}</span>
            </label>
          ))}
        </fieldset>
        {!session.canCreateRooms && <p class="muted small">{t('newRoom.notAllowed')}</p>}
        <label class="field">
          <span>{t(isGroup ? 'newRoom.name' : 'newRoom.user')}</span>
          <input
            class={`input${isGroup ? '' : ' mono'}`}
            autofocus
            required
            maxLength={100}
            autocomplete="off"
            spellcheck={isGroup}
            aria-describedby="new-room-hint"
            value={value}
            onInput={(event) => {
              setValue(event.currentTarget.value);
            }}
          />
          <small id="new-room-hint" class="muted">
            {t(isGroup ? 'newRoom.nameHint' : 'newRoom.userHint')}
          </small>
        </label>
        <p class="problem" role="alert">
          {problem}
        </p>
        <div class="dialog-actions">
          <button class="button" type="button" onClick={onClose}>
            {t('cancel')}
          </button>
          <button class="button primary" type="submit" disabled={isBusy}>
            {t(isGroup ? 'newRoom.create' : 'newRoom.open')}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
