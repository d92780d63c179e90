import { setMaxListeners } from 'node:events';
import type { SignedPost } from '../hooks/signed-post.js';
import type { Logger } from '../logger.js';
import type { Observer } from '../observer.js';
import type { Log } from '../store/log.js';
import { isUnavailable } from '../store/pg-errors.js';
import type { Recipients } from '../store/recipients.js';
import type { LeasedRoom, WebhookCursors } from '../store/webhook-cursors.js';
import { Circuit } from './circuit.js';
import { retryDelay } from './retry.js';
import { takeTurn, type Step, type TurnContext, type TurnEnd } from './webhook-turn.js';

/** Rooms whose events a node posts at the same time: a receiver that takes 100 ms an event gets 160 a second of each node. */
const MAX_ROOMS = 16;
/** Rooms that a node keeps in mind while none has its turn; the sweep finds the others. */
const MAX_WOKEN = 10_000;
/** How often a node looks for rooms that are due: those to be tried again, and those of a node that was killed. */
const CHECK_INTERVAL_MS = 2_000;
/** After all rooms were compared with their cursors; nobody waits for it unless a node was killed. */
const SWEEP_INTERVAL_MS = 10_000;
/** Comparing takes a twentieth of a core of Postgres at most, as storing words does (message-words.ts). */
const REST_FACTOR = 19;

/** Posts what happens in rooms to WEBHOOK_URL: at least once, in order in each room. Nodes share the rooms. */
export interface Webhooks {
  /** This node has stored something in a room. */
  wake(roomId: number): void;
  /** Ends what is running, and leaves the rooms to other nodes. */
  close(): Promise<void>;
}

export function startWebhooks({
  cursors,
  recipients,
  log,
  post,
  online,
  logger,
  observer,
}: {
  cursors: WebhookCursors;
  recipients: Recipients;
  log: Pick<Log, 'read'>;
  post: SignedPost;
  /** The users who are in a room now, on any node. */
  online: TurnContext['online'];
  logger: Logger;
  observer?: Observer | undefined;
}): Webhooks {
  const woken = new Set<number>();
  const turns = new Map<number, Promise<void>>();
  const circuit = new Circuit();
  const ending = new AbortController();
  // A listener for each post that is on its way: MAX_ROOMS, more than Node expects.
  setMaxListeners(MAX_ROOMS, ending.signal);
  /** When webhooks began; undefined: this node does not know yet. */
  let begunAt: Date | undefined;
  /** Whether rooms may be due that this node has not woken. */
  let mayBeDue = false;
  let leasing: Promise<void> | undefined;
  /** Whether the last lease failed: there is none until the next check. */
  let isResting = false;
  let pauseTimer: NodeJS.Timeout | undefined;
  let sweepTimer: NodeJS.Timeout | undefined;
  let sweeping = sweep(0);
  const checkTimer = setInterval(() => {
    isResting = false;
    lookForDue();
  }, CHECK_INTERVAL_MS);

  const context: Omit<TurnContext, 'begunAt'> = {
    cursors,
    recipients,
    log,
    post,
    online,
    ending: ending.signal,
    onAttempt({ isTaken, ms }) {
      observer?.webhookPosted(isTaken ? 'taken' : 'refused', ms);
      if (!isTaken) return;
      if (!circuit.isClosed) logger.info('webhook receiver is up again');
      circuit.succeeded();
    },
  };

  function wake(roomId: number): void {
    if (woken.size < MAX_WOKEN) woken.add(roomId);
    lease();
  }

  function lookForDue(): void {
    mayBeDue = true;
    lease();
  }

  /** Begins as many turns as are free, by one statement at a time. */
  function lease(): void {
    const since = begunAt;
    if (ending.signal.aborted || since === undefined) return;
    if (leasing !== undefined || isResting) return;
    const waitMs = circuit.waitMs(performance.now());
    if (waitMs > 0) {
      clearTimeout(pauseTimer);
      pauseTimer = setTimeout(lease, Math.ceil(waitMs));
      return;
    }
    const free = (circuit.isClosed ? MAX_ROOMS : 1) - turns.size;
    if (free <= 0) return;
    const isUp = circuit.isClosed;
    // One place is for a room that waits for longer.
    const ids = isUp ? takeFirst(mayBeDue ? free - 1 : free) : takeLast();
    if (ids.length === 0 && !mayBeDue) return;
    mayBeDue = false;
    leasing = (isUp ? cursors.lease(ids, free, [...turns.keys()]) : cursors.leaseOne(ids[0]))
      .then(
        (rooms) => {
          for (const room of rooms) beginTurn(room, since);
          if (rooms.length < free) return;
          mayBeDue = true;
          // The room that was woken was to have the one place: it is not due, or another node has it.
          if (!isUp) return;
          // Rooms that were due may have had the places of some that were woken.
          const leased = new Set(rooms.map(({ roomId }) => roomId));
          for (const id of ids) if (!leased.has(id)) woken.add(id);
        },
        (error: unknown) => {
          for (const id of ids) woken.add(id);
          isResting = true;
          logFailure(error);
        },
      )
      .finally(() => {
        leasing = undefined;
        lease();
      });
  }

  /** Rooms that were woken first, and have no turn. */
  function takeFirst(count: number): number[] {
    const ids: number[] = [];
    for (const id of woken) {
      if (ids.length === count) break;
      if (turns.has(id)) continue;
      woken.delete(id);
      ids.push(id);
    }
    return ids;
  }

  /** The room that was woken last: those before it may be what fails. No room has a turn. */
  function takeLast(): number[] {
    const last = [...woken].slice(-1);
    for (const id of last) woken.delete(id);
    return last;
  }

  function beginTurn(room: LeasedRoom, since: Date): void {
    const turn = takeTurn({ ...context, begunAt: since }, room)
      .then((end) => settle(room, end))
      .then((isLeft) => {
        if (isLeft) woken.add(room.roomId);
      }, logFailure)
      .finally(() => {
        turns.delete(room.roomId);
        lease();
      });
    turns.set(room.roomId, turn);
  }

  /** @returns whether something is left to be done at once */
  function settle(room: LeasedRoom, { state, refused }: TurnEnd): Promise<boolean> {
    if (refused === undefined) return cursors.release(room, state, undefined);
    const { step, attempt } = refused;
    const { roomId } = room;
    const { status, error: err } = attempt;
    const event = { room: roomId, id: step.event?.id, status, err };
    if (!isOfEvent(status)) {
      const wasUp = circuit.isClosed;
      circuit.failed(roomId, performance.now());
      if (!wasUp) {
        // The receiver is at fault, not the event, which is not given up for it. Others are tried before it, though.
        const attempts = Math.max(state.attempts, 1);
        const waitMs = circuit.waitMs(performance.now());
        return cursors.release(room, { ...state, attempts }, waitMs);
      }
      if (!circuit.isClosed) logger.error(event, 'webhook receiver is down');
    }
    const attempts = state.attempts + 1;
    const retryMs = retryDelay(attempts, Math.random());
    if (retryMs === undefined) return giveUp(room, step, event);
    if (attempts === 1) logger.warn(event, 'webhook was not taken, will retry');
    return cursors.release(room, { ...state, attempts }, retryMs);
  }

  async function giveUp(room: LeasedRoom, step: Step, event: object): Promise<boolean> {
    logger.error(event, 'webhook is given up');
    observer?.webhookGivenUp();
    await step.settle?.();
    return cursors.release(room, step.givenUp, undefined);
  }

  async function sweep(afterRoomId: number): Promise<void> {
    // Here again after a failure, or if another node is at it: the rooms far behind have their turn, too.
    let next = afterRoomId;
    let restMs = SWEEP_INTERVAL_MS;
    try {
      begunAt ??= await cursors.begin();
      const start = performance.now();
      const swept = await cursors.sweep(afterRoomId);
      if (swept !== undefined) next = swept.last ?? 0;
      if (typeof swept?.last === 'number') restMs = REST_FACTOR * (performance.now() - start);
      lookForDue();
    } catch (error) {
      logFailure(error);
    }
    if (ending.signal.aborted) return;
    sweepTimer = setTimeout(() => {
      sweeping = sweep(next);
    }, restMs);
  }

  /** The room's lease ends, and it is taken again. */
  function logFailure(error: unknown): void {
    const level = isUnavailable(error) ? 'debug' : 'warn';
    logger[level]({ err: error }, 'posting webhooks failed, will retry');
  }

  return {
    wake,
    async close() {
      ending.abort();
      clearInterval(checkTimer);
      clearTimeout(pauseTimer);
      clearTimeout(sweepTimer);
      await sweeping;
      await leasing;
      await Promise.all(turns.values());
    },
  };
}

/**
 * Whether a status that is not 2xx is an answer to this event: that of a receiver which is up, and does not want it. Others
 * say nothing of the event, as no answer does: errors of the receiver or of a proxy before it, redirects, and those of the
 * statuses 4xx that ask for more time.
 */
function isOfEvent(status: number | undefined): boolean {
  return status !== undefined && status >= 400 && status < 500 && status !== 408 && status !== 429;
}
