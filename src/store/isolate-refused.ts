import { ChatError } from '../errors.js';
import type { CheckedDraft, Outcome } from './append.js';
import { isRefusalOfData, isUniqueViolation } from './pg-errors.js';

type Store = (checked: readonly CheckedDraft[]) => Promise<readonly Outcome[]>;

/**
 * Stores a batch. If the database refuses the content of a draft (a check that an operator added, say), each room is
 * tried by itself, and a room's drafts in halves, one after the other, so that only the refused drafts fail.
 */
export async function isolateRefused(
  store: Store,
  checked: readonly CheckedDraft[],
): Promise<readonly Outcome[]> {
  try {
    return await store(checked);
  } catch (error) {
    if (!isRefusalOfData(error)) throw error;
    if (checked.length === 1) return [{ outcome: 'refused', error: refused(error) }];
  }
  const outcomes = new Map<CheckedDraft, Outcome>();
  for (const part of partsOf(checked)) {
    const ofPart = await isolateRefused(store, part).catch((error: unknown) =>
      // The parts before this one may be stored, so their outcomes have to be returned.
      part.map((): Outcome => ({ outcome: 'refused', error: refused(error) })),
    );
    for (const [index, draft] of part.entries()) {
      const outcome = ofPart[index];
      if (outcome !== undefined) outcomes.set(draft, outcome);
    }
  }
  return checked.map((draft) => outcomes.get(draft) ?? { outcome: 'gone' });
}

function partsOf(checked: readonly CheckedDraft[]): CheckedDraft[][] {
  const rooms = new Map<number, CheckedDraft[]>();
  for (const one of checked) {
    const room = rooms.get(one.draft.roomId);
    if (room === undefined) rooms.set(one.draft.roomId, [one]);
    else room.push(one);
  }
  if (rooms.size > 1) return [...rooms.values()];
  const half = Math.ceil(checked.length / 2);
  return [checked.slice(0, half), checked.slice(half)];
}

/** A unique violation is no fault of the message: its seq is taken, in a log that went back. */
function refused(error: unknown): ChatError {
  if (error instanceof ChatError) return error;
  return isRefusalOfData(error) && !isUniqueViolation(error)
    ? new ChatError('INVALID', { detail: 'the database refuses this message', cause: error })
    : new ChatError('UNAVAILABLE', { cause: error });
}
