import { useEffect, useState } from 'preact/hooks';
import { ChatError, type Message, type Room } from '../../../src/client/index.js';
import { lineOf, nameOf, useChat } from '../chat-context.js';
import { t } from '../i18n/text.js';
import { navigate } from '../route.js';
import { hueOf } from '../ui/avatar.js';

interface Props {
  readonly room: Room;
  /** Number of the message that is answered. */
  readonly seq: number;
}

/** The message that another one answers; a click leads to it. */
export function Quote({ room, seq }: Props) {
  const { chat } = useChat();
  const held = room.messages.find((message) => message.seq === seq);
  const loaded = useMessage(room, seq, held !== undefined);
  const message = held ?? loaded;
  if (message === 'gone') return <p class="quote gone">{t('message.gone')}</p>;
  const name =
    message === undefined ? '' : nameOf(message.emitter, chat.users.get(message.emitter));
  return (
    <button
      class="quote"
      type="button"
      style={{ '--hue': hueOf(message?.emitter ?? '') }}
      onClick={() => {
        navigate({ roomId: room.id, seq });
      }}
    >
      <span class="visually-hidden">{t('message.quote')}</span>
      <strong>{name}</strong>
      <span>{message === undefined ? '…' : lineOf(message)}</span>
    </button>
  );
}

/** A message that the room does not hold. */
function useMessage(room: Room, seq: number, isHeld: boolean): Message | 'gone' | undefined {
  const [message, setMessage] = useState<Message | 'gone'>();
  useEffect(() => {
    if (isHeld) return;
    room.read({ after: seq - 1, before: seq + 1 }).then(
      ({ messages }) => {
        setMessage(messages[0] ?? 'gone');
      },
      (error: unknown) => {
        // Without a connection it is asked for when it is shown again.
        if (error instanceof ChatError && error.reason !== 'OFFLINE') setMessage('gone');
      },
    );
  }, [seq, isHeld]);
  return message;
}
