import type { Feed } from '../../feeds/feed.js';
import type { Commands } from '../../protocol/commands.js';
import { always, type CommandSession, type Handlers } from './command.js';

function roomOf({ subscriptions: { selected } }: CommandSession): Feed {
  if (selected === undefined) throw new Error('the session has no room');
  return selected;
}

/**
 * Sends a message; the next command is handled at once: a client may have many messages in flight, and they keep their
 * order. Only a message that this node does not permit yet is waited for.
 */
function send(session: CommandSession, message: Commands['message']): Promise<void> | void {
  const { context, identity, inFlight } = session;
  const { messages } = context.actions;
  const feed = roomOf(session);
  const isPermitted = feed.permits(identity);
  const sent =
    isPermitted && !session.isLate
      ? messages.send(identity, feed, message)
      : session.withinDeadline(() => messages.send(identity, feed, message));
  const { ref } = message;
  const room_id = feed.roomId;
  inFlight.add(room_id);
  sent.then(
    ({ seq }) => {
      if (ref !== undefined) session.status('SENT', { ref, room_id, seq });
      inFlight.remove(room_id);
    },
    (error: unknown) => {
      session.fail(error, { room_id, ref });
      inFlight.remove(room_id);
    },
  );
  if (!isPermitted || inFlight.size >= context.limits.inboxFrames) return inFlight.settled();
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
      const room_id = roomOf(session).roomId;
      // Behind the answers to the messages before it.
      await session.inFlight.settledIn(room_id);
      session.status('INVALID', { room_id, reason: problem, ref });
    },
  },
};
