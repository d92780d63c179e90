import { enteringRule, may, type Caller } from '../access/permissions.js';
import { ChatError } from '../errors.js';
import type { Feed } from '../feeds/feed.js';
import type { SessionContext } from './context.js';

/**
 * The feed of a room that a caller enters, if nothing has to be read or written first.
 * @param after the client has every entry up to this one
 */
export function enterWithoutWaiting(
  { hub }: SessionContext,
  caller: Caller,
  roomId: number,
  after = 0,
): Feed | undefined {
  const feed = hub.active(roomId);
  if (feed === undefined || after > feed.position) return undefined;
  const { access } = feed;
  const isAdmitted = may(caller, access, 'r') && enteringRule(caller, access)?.accepted !== false;
  return isAdmitted ? feed : undefined;
}

/**
 * The feed of a room that a caller enters, once the rule that admits them is accepted.
 * @throws {ChatError} NOT_FOUND, FORBIDDEN, UNAVAILABLE
 */
export async function enter(
  { hub, actions }: SessionContext,
  caller: Caller,
  roomId: number,
  after = 0,
): Promise<Feed> {
  const feed = await hub.open(roomId);
  if (feed === undefined) throw new ChatError('NOT_FOUND');
  // This node may not have heard yet of a right that another node granted, or of an entry that the client has
  // received from another node.
  const isAhead = !may(caller, feed.access, 'r') || after > feed.position;
  if (isAhead) await feed.refresh();
  if (!may(caller, feed.access, 'r')) throw new ChatError('FORBIDDEN');
  const rule = enteringRule(caller, feed.access);
  // Entering is consent.
  if (rule?.accepted === false) await actions.members.accept(caller, roomId, rule);
  // The feed may have been closed meanwhile.
  const entered = await hub.open(roomId);
  if (entered === undefined) throw new ChatError('NOT_FOUND');
  return entered;
}
