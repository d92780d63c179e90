import { useState } from 'preact/hooks';
import type { Room } from '../../../src/client/index.js';
import { useChat } from '../chat-context.js';
import { t } from '../i18n/text.js';
import { useToasts } from '../ui/toasts.js';
import { LETTERS, type ChosenRole } from './permissions.js';
import { RoleSelect } from './role-select.js';

/** Lets a person or an organisation in, whatever their level. */
const LEVEL = 0;

/** Invites by an ID, with what they may do. */
export function InviteForm({ room }: { readonly room: Room }) {
  const { chat } = useChat();
  const { say, fail } = useToasts();
  const [id, setId] = useState('');
  const [role, setRole] = useState<ChosenRole>('write');

  async function submit(): Promise<void> {
    try {
      await chat.request('PUT', `/rooms/${room.id}/members`, {
        userUUID: id.trim(),
        permissions: LETTERS[role],
        level: LEVEL,
      });
      setId('');
      say(t('details.invitedToast'));
    } catch (error) {
      fail(error);
    }
  }

  return (
    <form
      class="invite"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <h3>{t('details.invite')}</h3>
      <input
        class="input mono"
        required
        autocomplete="off"
        spellcheck={false}
        aria-label={t('details.inviteId')}
        placeholder={t('details.inviteId')}
        value={id}
        onInput={(event) => {
          setId(event.currentTarget.value);
        }}
      />
      <div class="input-line">
        <RoleSelect label={t('details.role')} role={role} onChange={setRole} />
        <button class="button primary" type="submit">
          {t('details.inviteSubmit')}
        </button>
      </div>
    </form>
  );
}
