import { useEffect, useLayoutEffect, useReducer, useState } from 'preact/hooks';

/** Anything of the client library that tells of its changes. */
interface Source<Name extends string> {
  on: (name: Name, listener: () => void) => () => void;
}

/** How long changes are gathered while the tab is hidden, as it has no frames then. */
const HIDDEN_MS = 200;

/** Renders a component again after events of a source: once a frame, however many there are. */
export function useEvents<Name extends string>(
  source: Source<NoInfer<Name>>,
  ...names: readonly Name[]
): void {
  const [, rerender] = useReducer((count: number) => count + 1, 0);
  useLayoutEffect(() => {
    let cancel: (() => void) | undefined;
    const changed = (): void => {
      if (cancel !== undefined) return;
      const run = (): void => {
        cancel = undefined;
        rerender(undefined);
      };
      if (document.visibilityState === 'hidden') {
        const timer = setTimeout(run, HIDDEN_MS);
        cancel = () => {
          clearTimeout(timer);
        };
      } else {
        const frame = requestAnimationFrame(run);
        cancel = () => {
          cancelAnimationFrame(frame);
        };
      }
    };
    const ends = names.map((name) => source.on(name, changed));
    // Something may have happened since it was rendered.
    rerender(undefined);
    return () => {
      for (const end of ends) end();
      cancel?.();
    };
    // The names are constant.
  }, [source]);
}

/** Gives the focus back, when the component ends, to what had it before. */
export function useFocusReturn(): void {
  useLayoutEffect(() => {
    const before = document.activeElement;
    // A button that shows only while its row has the focus is gone by then.
    const around = before?.parentElement?.closest('[tabindex]');
    return () => {
      // While a dialog is open, what is behind it takes no focus.
      queueMicrotask(() => {
        for (const element of [around, before]) {
          if (element instanceof HTMLElement) element.focus({ preventScroll: true });
        }
      });
    };
  }, []);
}

/** Whether the user can see the page, and has it before them. */
export function useIsAttentive(): boolean {
  const read = (): boolean => document.visibilityState === 'visible' && document.hasFocus();
  const [isAttentive, setIsAttentive] = useState(read);
  useEffect(() => {
    const update = (): void => {
      setIsAttentive(read());
    };
    addEventListener('focus', update);
    addEventListener('blur', update);
    document.addEventListener('visibilitychange', update);
    return () => {
      removeEventListener('focus', update);
      removeEventListener('blur', update);
      document.removeEventListener('visibilitychange', update);
    };
  }, []);
  return isAttentive;
}

/** A value once it has rested for a time. */
export function useRested<Value>(value: Value, ms: number): Value {
  const [rested, setRested] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => {
      setRested(value);
    }, ms);
    return () => {
      clearTimeout(timer);
    };
  }, [value, ms]);
  return rested;
}
