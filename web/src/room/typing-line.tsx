import type { Room } from '../../../src/client/index.js';
import { nameOf, useChat } from '../chat-context.js';
import { t } from '../i18n/text.js';

/** Who is writing just now. */
export function TypingLine({ room }: { readonly room: Room }) {
  const { chat } = useChat();
  const [a = '', b = ''] = room.typing.map((uuid) => nameOf(uuid, chat.users.get(uuid)));
  let text = '';
  if (room.typing.length === 1) text = t('room.typing1', { a });
  else if (room.typing.length === 2) text = t('room.typing2', { a, b });
  else if (room.typing.length > 2) text = t('room.typingMany');
  return (
    <p class="typing" aria-live="polite">
      {text !== '' && (
        <>
          <span class="dots" aria-hidden>
            <i />
            <i />
            <i />
          </span>
          {text}
        </>
      )}
    </p>
  );
}
