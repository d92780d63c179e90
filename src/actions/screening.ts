import type { Caller } from '../access/permissions.js';
import { ChatError, noSuchRoom } from '../errors.js';
import type { BeforeStoring, Question, Verdict } from '../hooks/before-storing.js';
import type { Destinations } from '../store/destinations.js';
import { InOrder } from './in-order.js';

/** What is about to be stored, before anybody is asked. */
type Unasked = Pick<Question, 'type' | 'message' | 'caller'> & { readonly roomId: number };

/** Asks the application's hook before messages and edits are stored. */
export interface Screening {
  /** Whether the hook is asked about what a caller sends. Not about what the application itself does. */
  covers(caller: Caller): boolean;
  /**
   * Asks the hook, and stores what it permits. Whatever one user sends to one room begins to be stored in the order of the
   * calls, in whatever order the hook answers; users do not wait for each other. A message whose ref is known is handed to
   * `store` as it is, which knows it.
   * @param settle what is known before the hook is asked, which then is not: throws if the caller may not, and returns the
   * result if nothing is to be stored
   * @throws {ChatError} NOT_FOUND; REJECTED; UNAVAILABLE, also if too many messages wait for the hook; errors of `settle`
   * and `store`
   */
  run<Result extends object>(
    unasked: Unasked,
    settle: () => Promise<Result | undefined> | undefined,
    store: (verdict: Verdict) => Promise<Result>,
  ): Promise<Result>;
}

/** Bounds of what waits for the hook: those of what waits to be stored. */
export interface ScreeningLimits {
  readonly logQueueEntries: number;
  readonly logQueueBytes: number;
}

export function createScreening({
  hook,
  destinations,
  limits: { logQueueEntries, logQueueBytes },
}: {
  hook: BeforeStoring;
  destinations: Destinations;
  limits: ScreeningLimits;
}): Screening {
  const order = new InOrder();
  let entries = 0;
  let bytes = 0;

  async function verdictOn({ type, roomId, message, caller }: Unasked): Promise<Verdict> {
    const asked = { roomId, emitter: caller.userUUID, ref: message.ref };
    const destination = await destinations.find(asked);
    if (destination === undefined) {
      throw noSuchRoom();
    }
    const { room, isKnown } = destination;
    return isKnown ? message : hook.ask({ type, room, message, caller });
  }

  return {
    covers: (caller) => !caller.isServer,

    async run(unasked, settle, store) {
      const { roomId, message, caller } = unasked;
      const size = Buffer.byteLength(message.content) + Buffer.byteLength(message.data ?? '');
      if (entries >= logQueueEntries || bytes + size > logQueueBytes) {
        throw new ChatError('UNAVAILABLE', {
          detail: 'too many messages wait for the application',
        });
      }
      entries += 1;
      bytes += size;
      try {
        return await order.run(
          `${roomId} ${caller.userUUID}`,
          async () => {
            const result = await settle();
            if (result !== undefined) return () => Promise.resolve(result);
            const verdict = await verdictOn(unasked);
            return () => store(verdict);
          },
          (begin) => begin(),
        );
      } finally {
        entries -= 1;
        bytes -= size;
      }
    },
  };
}
