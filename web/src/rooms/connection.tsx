import { useChat } from '../chat-context.js';
import { useEvents } from '../hooks.js';
import { t, tCount } from '../i18n/text.js';
import type { Unsent } from '../room/unsent.js';

/** A line that says what is wrong with the connection; nothing if all is well. */
export function Connection() {
  const { chat, unsent } = useChat();
  useEvents(chat, 'state');
  useEvents(unsent, 'change');
  const { state } = chat;
  return (
    <div class="connection" role="status">
      {state !== 'online' && (
        <p class={state}>
          <span>
            {t(`state.${state}`)} {waitingText(unsent.commands)}
          </span>
          {state === 'offline' && (
            <button
              class="link-button"
              type="button"
              onClick={() => {
                chat.reconnect();
              }}
            >
              {t('state.retry')}
            </button>
          )}
          {state === 'stopped' && (
            <button
              class="link-button"
              type="button"
              onClick={() => {
                location.reload();
              }}
            >
              {t('state.reload')}
            </button>
          )}
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
