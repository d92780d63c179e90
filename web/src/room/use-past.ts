import { useEffect, useRef, useState } from 'preact/hooks';
import { ChatError, type Room } from '../../../src/client/index.js';
import { useEvents } from '../hooks.js';
import { useToasts } from '../ui/toasts.js';
import { Past } from './past.js';

interface PastView {
  readonly past: Past | undefined;
  /** Whether it is about to be loaded. */
  readonly isComing: boolean;
}

/** Nothing to tell of. */
const NOTHING = { on: () => () => undefined };

/**
 * What is around a message that the room itself does not hold; undefined if it holds it, or if none is asked for.
 * @param seq number of the message, or of a place
 * @param isLinked whether the address of the page names it: then it must be there
 * @param failed it can't be loaded
 */
export function usePast(
  room: Room,
  { seq, isLinked }: { readonly seq: number | undefined; readonly isLinked: boolean },
  failed: () => void,
): PastView {
  const { fail } = useToasts();
  const [past, setPast] = useState<Past>();
  /** Where the message was found: it stays there, deleted or not. */
  const found = useRef<{ readonly seq: number; readonly past: Past | undefined }>(undefined);
  const isHeld = (messages: Room['messages']): boolean =>
    messages.some((message) => message.seq === seq);
  if (seq === undefined) {
    // What it was found in is closed then.
    found.current = undefined;
  } else if (past !== undefined && (past.seq === seq || isHeld(past.messages))) {
    found.current = { seq, past };
  } else if (isHeld(room.messages)) {
    found.current = { seq, past: undefined };
  }
  const place = found.current?.seq === seq ? found.current : undefined;
  const isNeeded = seq !== undefined && place === undefined;
  useEvents(past ?? NOTHING, 'change');

  useEffect(
    () =>
      room.on('reset', () => {
        // What it has may be erased.
        found.current = undefined;
        setPast(undefined);
      }),
    [room],
  );

  useEffect(() => {
    if (seq === undefined) setPast(undefined);
    if (!isNeeded) return;
    const next = new Past(room, seq);
    setPast(next);
    next
      .load()
      .then(() => {
        if (isLinked && !next.isClosed && !isHeld(next.messages))
          throw new ChatError('NO_SUCH_MESSAGE');
      })
      .catch((error: unknown) => {
        // The user is elsewhere by now.
        if (next.isClosed) return;
        fail(error);
        failed();
      });
  }, [seq, isNeeded]);

  useEffect(() => () => past?.close(), [past]);
  return { past: place?.past, isComing: isNeeded };
}
