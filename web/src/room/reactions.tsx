import type { Message, Room } from '../../../src/client/index.js';
import { tCount } from '../i18n/text.js';
import { useToasts } from '../ui/toasts.js';

interface Props {
  readonly room: Room;
  readonly message: Message;
}

/** The emojis on a message; a click puts one's own on, or takes it off. */
export function Reactions({ room, message: { seq, reactions } }: Props) {
  const { fail } = useToasts();
  return (
    <div class="reactions">
      {reactions.map(({ emoji, count, mine }) => (
        <button
          key={emoji}
          class="reaction"
          type="button"
          aria-pressed={mine}
          aria-label={tCount('message.reaction', count, { emoji })}
          onClick={() => {
            if (seq !== undefined) room.react(seq, emoji, !mine).catch(fail);
          }}
        >
          <span>{emoji}</span>
          <span>{count}</span>
        </button>
      ))}
    </div>
  );
}
