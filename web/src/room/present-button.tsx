import type { Message } from '../../../src/client/index.js';
import { useChat } from '../chat-context.js';
import { t, tCount } from '../i18n/text.js';
import { Icon } from '../ui/icon.js';

interface Props {
  /** The last ones of the room. */
  readonly messages: readonly Message[];
  /** Number of the last message that is visible. */
  readonly upto: number | undefined;
  readonly onClick: () => void;
}

/** More is not worth counting: the list of rooms does not either. */
const MOST_COUNTED = 100;

/** Leads back to the newest message, and says how many there are below. */
export function PresentButton({ messages, upto = Infinity, onClick }: Props) {
  const { userUUID } = useChat().session;
  const count = messages
    .slice(-MOST_COUNTED)
    .filter(({ seq = 0, emitter }) => seq > upto && emitter !== userUUID).length;
  // Those between are not loaded.
  const isMore = count === MOST_COUNTED || upto + 1 < (messages[0]?.seq ?? 0);
  const shown = isMore ? `${Math.min(count, MOST_COUNTED - 1)}+` : count;
  return (
    <button
      class="present-button"
      type="button"
      aria-label={
        count === 0 ? t('room.toPresent') : tCount('room.toPresentNew', count, { count: shown })
      }
      title={t('room.toPresent')}
      onClick={onClick}
    >
      <Icon name="down" />
      {count > 0 && (
        <span class="badge" aria-hidden>
          {shown}
        </span>
      )}
    </button>
  );
}
