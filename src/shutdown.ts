import type { Logger } from './logger.js';

/** A part of a node that is to end. */
export interface ShutdownPart {
  /** As the log names it. */
  readonly name: string;
  /** When it is waited for no longer: a share of the time for the whole, counted from the beginning of the whole. */
  readonly until: number;
  /** Begins its end, and resolves when it has ended. */
  readonly end: () => Promise<unknown>;
  /** Called if it did not end in time: cuts what can be cut. */
  readonly abandon?: () => void;
}

/**
 * Ends the parts of a node, one after the other. Each has its time, however late those before it were, and whatever
 * hangs or fails is said, and left behind: it never rejects, and resolves before the time is up.
 */
export async function shutDown(
  parts: readonly ShutdownPart[],
  timeoutMs: number,
  logger: Logger,
): Promise<void> {
  const begin = performance.now();
  for (const { name, until, end, abandon } of parts) {
    const leftMs = Math.max(0, begin + until * timeoutMs - performance.now());
    try {
      if (await endsWithin(leftMs, end)) continue;
      logger.warn(
        { part: name, ms: Math.round(performance.now() - begin) },
        'shutdown goes on without',
      );
    } catch (error) {
      logger.error({ err: error, part: name }, 'shutdown failed');
    }
    abandon?.();
  }
}

async function endsWithin(ms: number, end: () => Promise<unknown>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const timeIsUp = new Promise<false>((resolve) => {
    timer = setTimeout(resolve, ms, false);
  });
  try {
    return await Promise.race([end().then(() => true), timeIsUp]);
  } finally {
    clearTimeout(timer);
  }
}
