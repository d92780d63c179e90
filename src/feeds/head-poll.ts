import type { Limits } from '../config/load.js';
import { withDeadline } from '../deadline.js';
import type { Logger } from '../logger.js';
import type { Observer } from '../observer.js';
import type { Epoch } from '../store/epoch.js';
import type { Log } from '../store/log.js';
import type { Revocations } from '../store/revocations.js';
import type { Feed } from './feed.js';

/**
 * A head that a comparison found counts as lost if no peer announces it within this time, several round trips of
 * Redis.
 */
const ANNOUNCED_WITHIN_MS = 1_000;
/** After a loss more may follow: heads are compared often for a minute. */
const ALERT_MS = 60_000;
/** Comparisons in a row leave the database twice the time that each takes, up to a second. */
const PAUSE_MAX_MS = 1_000;

/** A head that no peer has announced yet. */
interface UnannouncedHead {
  readonly head: number;
  readonly foundAt: number;
  isLost: boolean;
}

/**
 * Compares the positions of all feeds with the log, and so finds entries that the broker has lost; and finds revocations of
 * tokens that it has lost.
 */
export interface HeadPoll {
  /** Resolves when a comparison that began after the call has ended. */
  compare(): Promise<void>;
  /** A read failed: makes a comparison due, which tries again. */
  readonly readFailed: (error: unknown) => void;
  /** Resolves when the last comparison has ended. */
  close(): Promise<void>;
}

/**
 * Compares seldom while all peers are heard; often while messages of a peer may be lost, and for a minute after one
 * was.
 */
export function createHeadPoll({
  log,
  epoch,
  revocations,
  activeFeeds,
  onDeleted,
  receivesAll,
  limits,
  logger,
  observer,
}: {
  log: Log;
  epoch: Epoch;
  revocations: Pick<Revocations, 'refresh'>;
  activeFeeds: () => readonly Feed[];
  /** The room no longer exists. */
  onDeleted: (feed: Feed) => void;
  /** Whether the messages of all known peers are heard. */
  receivesAll: () => boolean;
  limits: Pick<Limits, 'storeTimeoutMs' | 'pollIntervalMs' | 'pollIntervalBrokerDownMs'>;
  logger: Logger;
  observer?: Observer | undefined;
}): HeadPoll {
  const unannounced = new Map<Feed, UnannouncedHead>();
  let comparing: Promise<void> | undefined;
  let comparedAt = -Infinity;
  let pauseMs = 0;
  let lostAt = -Infinity;
  /** Failed reads since the last comparison that succeeded. */
  let failedReads = 0;
  let closed = false;

  // Checks often whether a comparison is due: a message may be lost at any time.
  const timer = setInterval(
    () => {
      const now = performance.now();
      countLost(now);
      const isUrgent = !receivesAll() || now - lostAt < ALERT_MS;
      if (now - comparedAt >= (isUrgent ? pauseMs : limits.pollIntervalMs)) void start();
    },
    Math.min(limits.pollIntervalMs, limits.pollIntervalBrokerDownMs),
  );

  /** One at a time. A comparison that runs may have read past the reason for the call, so another follows it. */
  function compare(): Promise<void> {
    return comparing === undefined ? start() : comparing.then(start);
  }

  /** Starts a comparison, unless one is running. */
  function start(): Promise<void> {
    if (closed) return Promise.resolve();
    comparing ??= withDeadline(limits.storeTimeoutMs, compareHeads)
      .then(readSucceeded, readFailed)
      .finally(() => {
        comparing = undefined;
      });
    return comparing;
  }

  /** Logs one line an outage. The next comparison, at the timer's next tick, tries again. */
  function readFailed(error: unknown): void {
    if (failedReads === 0) logger.warn({ err: error }, 'log read failed');
    failedReads += 1;
    comparedAt = -Infinity;
  }

  function readSucceeded(): void {
    if (failedReads > 0) logger.info({ failedReads }, 'log reads succeed again');
    failedReads = 0;
  }

  async function compareHeads(): Promise<void> {
    comparedAt = performance.now();
    await epoch.confirm();
    await revocations.refresh();
    const feeds = activeFeeds();
    forgetClosed(feeds);
    if (feeds.length === 0) return;
    // Taken before the query: entries that are appended meanwhile may be beyond its snapshot.
    const positions = feeds.map((feed) => feed.position);
    const heads = await log.heads(feeds.map((feed) => feed.roomId));
    let behind = 0;
    for (const [at, feed] of feeds.entries()) {
      const head = heads.get(feed.roomId);
      const position = positions[at] ?? 0;
      // The feed ended with its epoch, which must not be renewed again.
      if (feed.endedBy === 'LOG_RESET') continue;
      if (head === undefined) {
        onDeleted(feed);
      } else if (head < position) {
        logger.error(
          { room: feed.roomId, head, position },
          'the log went back: its head is below a feed',
        );
        await epoch.renew();
        return;
      } else if (await isOverwritten(feed)) {
        logger.error(
          { room: feed.roomId, head, position },
          'the log went back: it has other entries than a feed',
        );
        await epoch.renew();
        return;
      } else {
        expectAnnouncement(feed, head);
        if (head > feed.position) behind += 1;
        feed.headFound(head);
        feed.resumeCatchUp();
      }
    }
    observer?.headsCompared(behind);
    pauseMs = Math.min(2 * (performance.now() - comparedAt), PAUSE_MAX_MS);
  }

  /** Other nodes may have appended beyond the feed's position before its head was compared. */
  async function isOverwritten(feed: Feed): Promise<boolean> {
    if (feed.unverified === undefined) return false;
    const { seq, createdAt } = feed.unverified;
    const [entry] = await log.read(feed.roomId, { after: seq - 1, upTo: seq, limit: 1 });
    if (entry !== undefined && entry.createdAt !== createdAt) return true;
    feed.markVerified();
    return false;
  }

  function expectAnnouncement(feed: Feed, head: number): void {
    const known = unannounced.get(feed)?.head ?? 0;
    if (head <= feed.announcedHead || head <= known) return;
    unannounced.set(feed, { head, foundAt: performance.now(), isLost: false });
  }

  /** No peer announces heads to a closed feed. */
  function forgetClosed(feeds: readonly Feed[]): void {
    if (unannounced.size === 0) return;
    const active = new Set(feeds);
    for (const feed of unannounced.keys()) if (!active.has(feed)) unannounced.delete(feed);
  }

  /** A head that is announced after all was only late. */
  function countLost(now: number): void {
    for (const [feed, found] of unannounced) {
      if (feed.announcedHead >= found.head) {
        unannounced.delete(feed);
      } else if (!found.isLost && now - found.foundAt >= ANNOUNCED_WITHIN_MS) {
        found.isLost = true;
        observer?.headLost();
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
