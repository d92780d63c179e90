import { useRef } from 'preact/hooks';
import { useChat } from '../chat-context.js';
import { useEvents } from '../hooks.js';
import { t, tCount } from '../i18n/text.js';
import type { Unsent } from '../room/unsent.js';

/** What the button says: it and the line keep their places while the client tries again and again. */
const ACTIONS = {
  offline: 'state.retry',
  connecting: 'state.connecting',
  stopped: 'state.reload',
} as const;

/** A line that says what is wrong with the connection; nothing if all is well. */
export function Connection() {
  const { chat, unsent } = useChat();
  useEvents(chat, 'state');
  useEvents(unsent, 'change');
  const { state } = chat;
  // As the page is loaded, nothing is wrong yet: all below would jump twice.
  const isFirst = useRef(true);
  isFirst.current &&= state === 'connecting';
  return (
    <div class="connection" role="status">
      {state !== 'online' && !isFirst.current && (
        <p>
          <span>
            {t(state === 'stopped' ? 'state.stopped' : 'state.offline')}{' '}
            {waitingText(unsent.commands)}
          </span>
          <button
            class="link-button"
            type="button"
            onClick={() => {
              if (state === 'stopped') location.reload();
              else chat.reconnect();
            }}
          >
            {t(ACTIONS[state])}
          </button>
        </p>
      )}
    </div>
  );
}

/** What waits for the connection. */
function waitingText(commands: Unsent['commands']): string {
  if (commands.length === 0) return '';
  const areMessages = commands.every(({ type }) => type === 'message');
  return tCount(areMessages ? 'state.waiting' : 'state.changes', commands.length);
}
