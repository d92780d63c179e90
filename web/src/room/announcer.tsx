import { useEffect, useState } from 'preact/hooks';
import type { Room } from '../../../src/client/index.js';
import { lineOf, nameOf, useChat } from '../chat-context.js';
import { t } from '../i18n/text.js';

/** Says new messages of others to a screen reader. */
export function Announcer({ room }: { readonly room: Room }) {
  const { chat, session } = useChat();
  const [text, setText] = useState('');
  useEffect(
    () =>
      room.on('message', (message) => {
        const { emitter } = message;
        if (emitter === session.userUUID) return;
        const name = nameOf(emitter, chat.users.get(emitter));
        setText(t('message.announce', { name, text: lineOf(message) }));
      }),
    [room],
  );
  return (
    <p class="visually-hidden" aria-live="polite">
      {text}
    </p>
  );
}
