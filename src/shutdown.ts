import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import type { Chat } from './chat/upgrade.js';
import type { Hub } from './feeds/hub.js';
import type { Connections } from './http/connections.js';
import type { Logger } from './logger.js';
import type { Log } from './store/log.js';

/** The parts of a node that have to end. */
export interface RunningNode {
  readonly chat: Chat;
  readonly log: Log;
  readonly connections: Connections;
  readonly hub: Hub;
  /** Stops what runs at intervals; resolves when none of it runs any more. */
  readonly stopTasks: () => Promise<void>;
  readonly database: { close(): Promise<unknown> };
}

/**
 * The share of `drainMs` in which a node serves on while load balancers notice by its probe that it goes down: of the 10 s
 * of docker-compose.scale.yml more than the 2 s that the HAProxy of deploy/ needs (two checks, one a second), and of the
 * 30 s of deploy/k8s what its nodes need to lead nothing here any more.
 */
const NOTICE_SHARE = 1 / 3;

/**
 * Ends the parts of a node one after the other. If `drainMs` is not 0, it serves on for a third of that, and then closes
 * sockets evenly over the rest; it accepts no connections from then on, or else from now on. Never rejects, and resolves
 * before `drainMs` and `timeoutMs` are up.
 */
export async function shutDownNode(
  { chat, log, connections, hub, stopTasks, database }: RunningNode,
  { drainMs, timeoutMs }: { readonly drainMs: number; readonly timeoutMs: number },
  logger: Logger,
): Promise<void> {
  const { server } = connections;
  const noticeMs = server.listening ? drainMs * NOTICE_SHARE : 0;
  if (noticeMs > 0) await delay(noticeMs);
  const closed = server.listening ? once(server, 'close') : Promise.resolve();
  server.close();
  if (drainMs > 0) await chat.drain(drainMs - noticeMs);
  // The shares are a trade-off, not a measurement: messages have the most, as they may be lost otherwise, and sockets
  // as long as their clients have to answer a close frame (2 s of 8 s). The last tenth is left for a busy machine.
  const parts: readonly ShutdownPart[] = [
    {
      name: 'messages in flight',
      until: 0.4,
      async end() {
        await chat.quiesce();
        await log.close();
      },
    },
    {
      name: 'sockets',
      until: 0.65,
      end: () => chat.close(),
      abandon: () => {
        chat.terminate();
      },
    },
    {
      name: 'requests in flight',
      until: 0.75,
      end() {
        connections.finish();
        return closed;
      },
      abandon: () => {
        connections.cut();
      },
    },
    { name: 'rooms', until: 0.8, end: () => Promise.all([hub.close(), stopTasks()]) },
    { name: 'database', until: 0.9, end: () => database.close() },
  ];
  await shutDown(parts, timeoutMs, logger);
}

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
