import type { Feed } from '../../feeds/feed.js';
import { ChatError } from '../../errors.js';
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
    .withinDeadline(cameAt, () => feedToWrite(session, command.roomId))
    .then((opened) => {
      tell(session, opened, command);
    });
}

/**
 * The feed of a room that may not be open on this node, or in which another node may have granted the right a moment ago.
 * @throws {ChatError} NOT_FOUND, UNAVAILABLE
 */
export async function feedToWrite(
  { context, identity }: CommandSession,
  roomId: number,
): Promise<Feed> {
  const feed = await context.hub.open(roomId);
  if (feed === undefined) throw new ChatError('NOT_FOUND');
  if (!feed.permits(identity)) await feed.refresh();
  return feed;
}

function tell(session: CommandSession, feed: Feed, { roomId, ref }: Typing): void {
  const refusal = feed.refusal(session.identity);
  if (refusal !== undefined) throw refusal;
  feed.typed(session.identity.userUUID);
  if (ref !== undefined) session.status('OK', { ref, roomId });
}
