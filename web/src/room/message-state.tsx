import type { Message, Room } from '../../../src/client/index.js';
import { useChat } from '../chat-context.js';
import { t } from '../i18n/text.js';
import { Icon, type IconName } from '../ui/icon.js';

interface Props {
  readonly room: Room;
  readonly message: Message;
}

/** How far an own message has come: it waits, is sent, or was read by somebody. */
export function MessageState({ room, message: { seq } }: Props) {
  const { chat } = useChat();
  let icon: IconName = 'check';
  let label = t('message.sent');
  if (seq === undefined) {
    icon = 'clock';
    label = t(chat.state === 'online' ? 'message.sending' : 'message.waiting');
  } else if ([...room.readers.values()].some((upto) => upto >= seq)) {
    icon = 'checks';
    label = t('message.read');
  }
  return (
    <span class={`message-state ${icon}`} title={label}>
      <Icon name={icon} />
      <span class="visually-hidden">{label}</span>
    </span>
  );
}
