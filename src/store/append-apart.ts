import { ChatError } from '../errors.js';
import type { CheckedDraft, Outcome } from './entries.js';
import { isRefusalOfData, isUniqueViolation } from './pg-errors.js';

type Append = (checked: readonly CheckedDraft[]) => Promise<readonly Outcome[]>;

/**
 * Appends a batch. If the database refuses it for something that it holds, its rooms are tried apart, and a room's
 * drafts in halves, one after the other: what is refused fails alone.
 */
export async function appendApart(
  append: Append,
  checked: readonly CheckedDraft[],
): Promise<readonly Outcome[]> {
  try {
    return await append(checked);
  } catch (error) {
    if (!isRefusalOfData(error)) throw error;
    if (checked.length === 1) return [{ outcome: 'refused', error: refused(error) }];
  }
  const outcomes = new Map<CheckedDraft, Outcome>();
  for (const part of partsOf(checked)) {
    const ofPart = await appendApart(append, part).catch((error: unknown) =>
      // Those before it may be stored: what is known of them is told.
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
    const room = rooms.get(one.draft.room_id);
    if (room === undefined) rooms.set(one.draft.room_id, [one]);
    else room.push(one);
  }
  if (rooms.size > 1) return [...rooms.values()];
  const half = Math.ceil(checked.length / 2);
  return [checked.slice(0, half), checked.slice(half)];
}

/** A number that is taken already is no fault of the message. */
function refused(error: unknown): ChatError {
  if (error instanceof ChatError) return error;
  return isRefusalOfData(error) && !isUniqueViolation(error)
    ? new ChatError('INVALID', { detail: 'the database refuses this message', cause: error })
    : new ChatError('UNAVAILABLE', { cause: error });
}
