import { useChat } from '../chat-context.js';
import { useEvents } from '../hooks.js';
import { t, tCount } from '../i18n/text.js';

interface Props {
  /** Messages that wait for the connection. */
  readonly waiting?: number;
}

/** A line that says what is wrong with the connection; nothing if all is well. */
export function Connection({ waiting = 0 }: Props) {
  const { chat } = useChat();
  useEvents(chat, 'state');
  const { state } = chat;
  return (
    <div class="connection" role="status">
      {state !== 'online' && (
        <p class={state}>
          <span>
            {t(`state.${state}`)} {waiting > 0 && tCount('state.waiting', waiting)}
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
