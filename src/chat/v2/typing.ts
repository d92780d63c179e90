import type { Feed } from '../../feeds/feed.js';
import type { Commands } from '../../protocol/v2/commands.js';
import type { CommandSession } from './command.js';

type Typing = Commands['typing'];

/**
 * Tells a room, joined or not, that the user types.
 * @throws {ChatError} NOT_FOUND; FORBIDDEN without the permission `w`; UNAVAILABLE
 */
export function type(
  session: CommandSession,
  command: Typing,
  cameAt: number,
): Promise<void> | void {
  const { context, identity } = session;
  const feed = context.hub.active(command.roomId);
  if (feed?.permits(identity)) {
    tell(session, feed, command);
    return;
  }
  return session
    .withinDeadline(cameAt, () => context.actions.messages.feedFor(identity, command.roomId))
    .then((opened) => {
      tell(session, opened, command);
    });
}

function tell(session: CommandSession, feed: Feed, { roomId, ref }: Typing): void {
  const refusal = feed.refusal(session.identity);
  if (refusal !== undefined) throw refusal;
  feed.typed(session.identity.userUUID);
  if (ref !== undefined) session.status('OK', { ref, roomId });
}
