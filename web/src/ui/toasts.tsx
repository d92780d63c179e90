import { createContext } from 'preact';
import type { ComponentChildren } from 'preact';
import { useCallback, useContext, useMemo, useState } from 'preact/hooks';
import { ChatError } from '../../../src/client/index.js';
import { hasText, t } from '../i18n/text.js';
import { IconButton } from './icon.js';

interface Toast {
  readonly id: number;
  readonly text: string;
  readonly isError: boolean;
}

interface Toasts {
  /** Says something for some seconds. */
  readonly say: (text: string) => void;
  /** Says why something did not work. */
  readonly fail: (error: unknown) => void;
}

const ToastContext = createContext<Toasts>({ say: () => undefined, fail: () => undefined });

/** Long enough to read a sentence twice. */
const SHOWN_MS = 6_000;

export function useToasts(): Toasts {
  return useContext(ToastContext);
}

/** Why something did not work, for the user. */
export function sentenceOf(error: unknown): string {
  const { reason, message } =
    error instanceof ChatError ? error : new ChatError('other', { detail: String(error) });
  const key = `error.${reason}`;
  const detail = message === reason && hasText(key) ? '' : message;
  return t(hasText(key) ? key : 'error.other', { detail });
}

let lastId = 0;

export function ToastProvider({ children }: { readonly children: ComponentChildren }) {
  const [toasts, setToasts] = useState<readonly Toast[]>([]);

  const remove = useCallback((id: number) => {
    setToasts((all) => all.filter((toast) => toast.id !== id));
  }, []);
  const value = useMemo((): Toasts => {
    const add = (text: string, isError: boolean): void => {
      const id = (lastId += 1);
      setToasts((all) => [...all.filter((toast) => toast.text !== text), { id, text, isError }]);
      setTimeout(() => {
        remove(id);
      }, SHOWN_MS);
    };
    return {
      say: (text) => {
        add(text, false);
      },
      fail: (error) => {
        add(sentenceOf(error), true);
      },
    };
  }, [remove]);

  return (
    <ToastContext.Provider value={value}>
      {children}
      <section class="toasts" aria-label={t('toast.label')} aria-live="polite">
        {toasts.map(({ id, text, isError }) => (
          <div key={id} class={`toast${isError ? ' error' : ''}`}>
            <span>{text}</span>
            <IconButton
              icon="close"
              label={t('toast.dismiss')}
              onClick={() => {
                remove(id);
              }}
            />
          </div>
        ))}
      </section>
    </ToastContext.Provider>
  );
}
