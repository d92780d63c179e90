import { enteringRule } from '../../access/permissions.js';
import { ChatError } from '../../errors.js';
import type { Feed } from '../../feeds/feed.js';
import type { Commands, Malformed } from '../../protocol/v1/commands.js';
import { always, type CommandSession, type Handlers } from './command.js';

/** Leaves the room and joins another. The same room again keeps its position, unless `after` asks for another one. */
async function select(
  session: CommandSession,
  { roomId, after }: Commands['select_room'],
): Promise<void> {
  const { subscriptions } = session;
  const isSame = subscriptions.selected?.roomId === roomId;
  const reading = isSame && after === undefined ? undefined : subscriptions.leaveSelected();
  try {
    const entered = reading === undefined ? enterWithoutWaiting(session, roomId, after) : undefined;
    const feed =
      entered ??
      (await session.withinDeadline(async () => {
        await reading;
        return enter(session, roomId, after);
      }));
    // The socket may have closed, and a revocation may have come, while the room was opened.
    if (session.isClosed) return;
    subscriptions.select(feed, after);
    session.status('CONNECTED', { roomId: feed.roomId });
  } catch (error) {
    void subscriptions.leaveSelected();
    session.fail(error, { roomId });
  }
}

function refuse(session: CommandSession, { field, problem }: Malformed<'select_room'>): void {
  void session.subscriptions.leaveSelected();
  // A room without a valid id does not exist; another field is merely wrong.
  session.fail(new ChatError(field === 'roomId' ? 'NOT_FOUND' : 'INVALID', { detail: problem }));
}

/** The room's feed, if nothing has to be read or written first. */
function enterWithoutWaiting(
  { context: { hub }, identity }: CommandSession,
  roomId: number,
  after = 0,
): Feed | undefined {
  const feed = hub.active(roomId);
  if (feed === undefined || after > feed.position) return undefined;
  return enteringRule(identity, feed.access)?.accepted === true ? feed : undefined;
}

/** The room's feed, once the caller's rule is accepted. */
async function enter(session: CommandSession, roomId: number, after = 0): Promise<Feed> {
  const { hub, actions } = session.context;
  const feed = await hub.open(roomId);
  if (feed === undefined) throw new ChatError('NOT_FOUND');
  // This node may not have heard yet of a right that another node granted, or of an entry that the client has
  // received from another node.
  const isAhead =
    enteringRule(session.identity, feed.access) === undefined || after > feed.position;
  if (isAhead) await feed.refresh();
  const rule = enteringRule(session.identity, feed.access);
  if (rule === undefined) throw new ChatError('FORBIDDEN');
  // Entering is consent.
  if (!rule.accepted) await actions.members.accept(session.identity, roomId, rule);
  // The feed may have been closed meanwhile.
  const entered = await hub.open(roomId);
  if (entered === undefined) throw new ChatError('NOT_FOUND');
  return entered;
}

const inSession = { handle: select, handleMalformed: refuse };

export const selectRoom: Handlers<'select_room'> = {
  greeting: always((session) => {
    session.refuse('TOKEN?');
  }),
  lobby: inSession,
  room: inSession,
};
