import { ChatError } from '../../errors.js';
import type { Feed } from '../../feeds/feed.js';
import type { Commands } from '../../protocol/v2/commands.js';
import type { CommandSession } from './command.js';

type Message = Commands['message'];

/**
 * Sends a message to a room, joined or not. The next message follows at once: a client may have many in flight, and
 * they keep their order.
 * @throws {ChatError} NOT_FOUND, RATELIMITED, UNAVAILABLE
 */
export function send(
  session: CommandSession,
  message: Message,
  cameAt: number,
): Promise<void> | void {
  const { context, inFlight } = session;
  const feed = context.hub.active(message.roomId);
  if (feed === undefined || !feed.permits(session.identity)) {
    return sendAfterReading(session, message, cameAt);
  }
  context.messageLimits?.take(session.identity, message.roomId);
  const isLate = performance.now() - cameAt > context.limits.storeTimeoutMs / 2;
  store(session, feed, message, isLate ? cameAt : undefined);
  // A room that hangs may use up the window of the socket: then the others go on, one message at a time.
  if (inFlight.size >= context.limits.inboxFrames) return inFlight.settledIn(message.roomId);
}

/**
 * The room may not be open on this node, and another node may have granted the right a moment ago. If this node reads
 * of it too late, or the socket has closed, the message is not stored any more: the client was told so, and may have
 * sent others since.
 */
async function sendAfterReading(
  session: CommandSession,
  message: Message,
  cameAt: number,
): Promise<void> {
  const { messages } = session.context.actions;
  const feed = await session.withinDeadline(cameAt, () =>
    messages.feedFor(session.identity, message.roomId),
  );
  if (session.isClosed) return;
  const { context, identity } = session;
  const countedRoom = feed.permits(identity) ? feed.roomId : undefined;
  context.messageLimits?.take(identity, countedRoom);
  store(session, feed, message, cameAt);
}

/** @param cameAt if given, the message has the rest of the command's time, instead of the log's own limit */
function store(
  session: CommandSession,
  feed: Feed,
  message: Message,
  cameAt: number | undefined,
): void {
  const { identity, inFlight } = session;
  const { messages } = session.context.actions;
  const { roomId, ref } = message;
  inFlight.add(roomId);
  let appending: ReturnType<typeof messages.send> | undefined;
  const append = () => (appending = messages.send(identity, feed, message));
  const sent = cameAt === undefined ? append() : session.withinDeadline(cameAt, append);
  sent.then(
    ({ seq }) => {
      if (ref !== undefined) session.status('SENT', { ref, roomId, seq });
      inFlight.remove(roomId);
    },
    async (error: unknown) => {
      session.fail(error, { ref, roomId });
      if (!(error instanceof ChatError) || error.code === 'UNAVAILABLE') {
        // It may be stored after all: then not behind a change that came later.
        await appending?.catch(() => undefined);
        await messages.settledIn(roomId);
      }
      inFlight.remove(roomId);
    },
  );
}
