import { useEffect, useState } from 'preact/hooks';
import type { Room } from '../../../src/client/index.js';
import { useEvents } from '../hooks.js';
import { navigate } from '../route.js';
import { useToasts } from '../ui/toasts.js';
import { Past } from './past.js';

/** Nothing to tell of. */
const NOTHING = { on: () => () => undefined };

/**
 * What is around a message that the room itself does not hold; undefined if it holds it, or if none is asked for.
 * @param seq number of the message
 */
export function usePast(room: Room, seq: number | undefined): Past | undefined {
  const { fail } = useToasts();
  const [past, setPast] = useState<Past>();
  const isHeld = (messages: Room['messages']): boolean =>
    messages.some((message) => message.seq === seq);
  const isShown = past !== undefined && (past.seq === seq || isHeld(past.messages));
  const isNeeded = seq !== undefined && !isShown && !isHeld(room.messages);
  useEvents(past ?? NOTHING, 'change');

  useEffect(() => {
    if (seq === undefined) setPast(undefined);
    if (!isNeeded) return;
    const next = new Past(room, seq);
    setPast(next);
    next.load().catch((error: unknown) => {
      fail(error);
      navigate({ roomId: room.id }, { replace: true });
    });
  }, [seq, isNeeded]);

  useEffect(() => () => past?.close(), [past]);
  return seq !== undefined && isShown ? past : undefined;
}
