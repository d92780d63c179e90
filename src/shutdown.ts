import type { Logger } from './logger.js';

/** A part of a node, in the order of shutting down. */
export interface ShutdownPart {
  /** The name in the log. */
  readonly name: string;
  /** The part is abandoned after this share of the whole time, from 0 to 1, counted from the start of the shutdown. */
  readonly until: number;
  /** Ends the part; resolves when it has ended. */
  readonly end: () => Promise<unknown>;
  /** Called if `end` failed or was late: cuts the connections that can be cut. */
  readonly abandon?: () => void;
}

/**
 * Ends the parts of a node, one after the other. A part that hangs or fails is logged and abandoned, and the parts behind
 * it still have time of their own. Never rejects, and resolves before `timeoutMs` is over.
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
        'shutdown of a part timed out',
      );
    } catch (error) {
      logger.error({ err: error, part: name }, 'shutdown of a part failed');
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
