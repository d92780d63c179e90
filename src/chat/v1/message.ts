import type { Feed } from '../../feeds/feed.js';
import type { Commands } from '../../protocol/v1/commands.js';
import { always, type CommandSession, type Handlers } from './command.js';

function roomOf({ subscriptions: { selected } }: CommandSession): Feed {
  if (selected === undefined) throw new Error('the session has no room');
  return selected;
}

/**
 * Sends a message; the next command is handled at once: a client may have many messages in flight, and they keep their
 * order.
 */
function send(session: CommandSession, message: Commands['message']): Promise<void> | void {
  const feed = roomOf(session);
  if (!feed.permits(session.identity)) return sendAfterRefresh(session, feed, message);
  store(session, feed, message, session.isLate);
  const { context, inFlight } = session;
  if (inFlight.size >= context.limits.inboxFrames) return inFlight.settled();
}

/**
 * Another node may have granted the right a moment ago. If this node reads of it too late, or the socket has closed, the
 * message is not stored any more: the client was told so, and may have sent others since.
 */
async function sendAfterRefresh(
  session: CommandSession,
  feed: Feed,
  message: Commands['message'],
): Promise<void> {
  try {
    await session.withinDeadline(() => feed.refresh());
  } catch (error) {
    session.fail(error, { roomId: feed.roomId, ref: message.ref });
    return;
  }
  if (!session.isClosed) store(session, feed, message, true);
}

/** @param isLate whether the message has the rest of the command's time, instead of the log's own limit */
function store(
  session: CommandSession,
  feed: Feed,
  message: Commands['message'],
  isLate: boolean,
): void {
  const { identity, inFlight } = session;
  const { messages } = session.context.actions;
  const { ref } = message;
  const { roomId } = feed;
  inFlight.add(roomId);
  const sent = isLate
    ? session.withinDeadline(() => messages.send(identity, feed, message))
    : messages.send(identity, feed, message);
  sent.then(
    ({ seq }) => {
      if (ref !== undefined) session.status('SENT', { ref, roomId, seq });
      inFlight.remove(roomId);
    },
    (error: unknown) => {
      session.fail(error, { roomId, ref });
      inFlight.remove(roomId);
    },
  );
}

export const message: Handlers<'message'> = {
  greeting: always((session) => {
    session.refuse('TOKEN?');
  }),
  lobby: always((session) => {
    session.query('SELECTROOM?');
  }),
  room: {
    handle: send,
    async handleMalformed(session, { problem, ref }) {
      const { roomId } = roomOf(session);
      // Behind the answers to the messages before it.
      await session.inFlight.settledIn(roomId);
      session.status('INVALID', { roomId, reason: problem, ref });
    },
  },
};
