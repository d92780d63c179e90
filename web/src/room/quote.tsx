import { useEffect, useState } from 'preact/hooks';
import type { Message, Room } from '../../../src/client/index.js';
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
  const [changes, setChanges] = useState(0);
  const { phase } = room;

  useEffect(
    () =>
      room.on('entry', (type, { target }) => {
        // Nothing of what was deleted, or erased with its user, stays.
        if (target === seq || type === 'erase') setChanges((count) => count + 1);
      }),
    [room, seq],
  );

  // Again once the room is joined again: what it missed may have changed the message.
  useEffect(() => {
    if (isHeld || phase !== 'joined') return undefined;
    let isCurrent = true;
    room.read({ after: seq - 1, before: seq + 1 }).then(
      ({ messages }) => {
        if (isCurrent) setMessage(messages[0] ?? 'gone');
      },
      () => {
        // It stays as it was until there is another occasion.
      },
    );
    return () => {
      isCurrent = false;
    };
  }, [seq, isHeld, changes, phase]);
  return message;
}
