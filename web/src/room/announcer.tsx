import { useEffect, useState } from 'preact/hooks';
import type { Room } from '../../../src/client/index.js';
import { nameOf, useChat } from '../chat-context.js';
import { t } from '../i18n/text.js';

/** Says new messages of others to a screen reader. */
export function Announcer({ room }: { readonly room: Room }) {
  const { chat, session } = useChat();
  const [text, setText] = useState('');
  useEffect(
    () =>
      room.on('message', ({ emitter, content }) => {
        if (emitter === session.userUUID) return;
        const name = nameOf(emitter, chat.users.get(emitter));
        setText(t('message.announce', { name, text: content }));
      }),
    [room],
  );
  return (
    <p class="visually-hidden" aria-live="polite">
      {text}
    </p>
  );
}
