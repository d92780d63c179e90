import type { Limits } from '../config/load.js';
import { withDeadline } from '../deadline.js';
import type { Logger } from '../logger.js';
import type { Epoch } from '../store/epoch.js';
import type { Log } from '../store/log.js';
import type { Feed } from './feed.js';

/** What a comparison finds, and no other node has told of so long after, was lost on its way. */
const TOLD_WITHIN_MS = 1_000;
/** For so long after something was lost, or a node did not say that it ends, more may be. */
const ALERT_MS = 60_000;
/** Comparisons that follow each other at once leave the database twice the time that each takes, up to this. */
const PAUSE_MAX_MS = 1_000;

/** A head that nobody has told of yet. */
interface UntoldHead {
  readonly head: number;
  readonly foundAt: number;
  isLost: boolean;
}

/** Compares the numbers of all feeds with the log: what the broker did not bring is found by it. */
export interface HeadPoll {
  /** Resolves when a comparison is through that began after the call. */
  compare(): Promise<void>;
  /** Something was not read that a comparison comes back to: one is due. */
  readonly readFailed: (error: unknown) => void;
  /** Resolves when nothing is compared any more. */
  close(): Promise<void>;
}

/**
 * Compares seldom while all goes well; often while messages of other nodes may not be heard, and for a minute after one
 * was not.
 */
export function createHeadPoll({
  log,
  epoch,
  activeFeeds,
  onDeleted,
  hearsAll,
  limits,
  logger,
}: {
  log: Log;
  epoch: Epoch;
  activeFeeds: () => readonly Feed[];
  /** The room is not there any more. */
  onDeleted: (feed: Feed) => void;
  /** Whether messages of all other nodes are heard, as far as is known. */
  hearsAll: () => boolean;
  limits: Pick<Limits, 'storeTimeoutMs' | 'pollIntervalMs' | 'pollIntervalBrokerDownMs'>;
  logger: Logger;
}): HeadPoll {
  const untold = new Map<Feed, UntoldHead>();
  let comparing: Promise<void> | undefined;
  let comparedAt = -Infinity;
  let pauseMs = 0;
  let lostAt = -Infinity;
  /** What could not be read since a comparison succeeded. */
  let failedReads = 0;
  let closed = false;

  // Looks often whether a comparison is due: something may be lost at any time.
  const timer = setInterval(
    () => {
      const now = performance.now();
      countLost(now);
      const isUrgent = !hearsAll() || now - lostAt < ALERT_MS;
      if (now - comparedAt >= (isUrgent ? pauseMs : limits.pollIntervalMs)) void start();
    },
    Math.min(limits.pollIntervalMs, limits.pollIntervalBrokerDownMs),
  );

  /** One comparison at a time: what is found while one runs, it may have read past. */
  function compare(): Promise<void> {
    return comparing === undefined ? start() : comparing.then(start);
  }

  /** Begins a comparison, unless one has just begun. */
  function start(): Promise<void> {
    if (closed) return Promise.resolve();
    comparing ??= withDeadline(limits.storeTimeoutMs, compareHeads)
      .then(readAgain, readFailed)
      .finally(() => {
        comparing = undefined;
      });
    return comparing;
  }

  /** A line an outage; what could not be read is read with the next comparison, as soon as the timer looks. */
  function readFailed(error: unknown): void {
    if (failedReads === 0) logger.warn({ err: error }, 'the log could not be read');
    failedReads += 1;
    comparedAt = -Infinity;
  }

  function readAgain(): void {
    if (failedReads > 0) logger.info({ failedReads }, 'the log is read again');
    failedReads = 0;
  }

  async function compareHeads(): Promise<void> {
    comparedAt = performance.now();
    await epoch.confirm();
    const feeds = activeFeeds();
    keepUntold(feeds);
    if (feeds.length === 0) return;
    // Before the query: what is appended meanwhile may be beyond its snapshot.
    const numbers = feeds.map((feed) => feed.position);
    const heads = await log.heads(feeds.map((feed) => feed.roomId));
    for (const [at, feed] of feeds.entries()) {
      const head = heads.get(feed.roomId);
      const number = numbers[at] ?? 0;
      // It ended with its epoch, which must not be changed again.
      if (feed.endedBy === 'LOG_RESET') continue;
      if (head === undefined) {
        onDeleted(feed);
      } else if (head < number) {
        logger.error({ room: feed.roomId, head, number }, 'the head of a room is below its feed');
        await epoch.renew();
        return;
      } else if (await isOverwritten(feed)) {
        logger.error({ room: feed.roomId, head, number }, 'the log has other entries than a feed');
        await epoch.renew();
        return;
      } else {
        expectTold(feed, head);
        feed.headIs(head);
        feed.goOn();
      }
    }
    pauseMs = Math.min(2 * (performance.now() - comparedAt), PAUSE_MAX_MS);
  }

  /** Others may have brought the log beyond the feed's number before its head was compared. */
  async function isOverwritten(feed: Feed): Promise<boolean> {
    if (feed.doubted === undefined) return false;
    const { seq, madeAt } = feed.doubted;
    const [entry] = await log.read(feed.roomId, { after: seq - 1, upTo: seq, limit: 1 });
    if (entry !== undefined && entry.createdAt !== madeAt) return true;
    feed.endDoubt();
    return false;
  }

  function expectTold(feed: Feed, head: number): void {
    const known = untold.get(feed)?.head ?? 0;
    if (head <= feed.announcedHead || head <= known) return;
    untold.set(feed, { head, foundAt: performance.now(), isLost: false });
  }

  /** A feed that was closed meanwhile is told of nothing any more. */
  function keepUntold(feeds: readonly Feed[]): void {
    if (untold.size === 0) return;
    const active = new Set(feeds);
    for (const feed of untold.keys()) if (!active.has(feed)) untold.delete(feed);
  }

  /** What is told after all was on its way. */
  function countLost(now: number): void {
    for (const [feed, found] of untold) {
      if (feed.announcedHead >= found.head) {
        untold.delete(feed);
      } else if (!found.isLost && now - found.foundAt >= TOLD_WITHIN_MS) {
        found.isLost = true;
        lostAt = now;
      }
    }
  }

  return {
    compare,
    readFailed,
    async close() {
      clearInterval(timer);
      closed = true;
      await comparing;
    },
  };
}
