import { ChatError } from '../../errors.js';
import type { Commands, Malformed } from '../../protocol/v1/commands.js';
import { enter, enterWithoutWaiting } from '../enter.js';
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
    const { context, identity } = session;
    const entered =
      reading === undefined ? enterWithoutWaiting(context, identity, roomId, after) : undefined;
    const feed =
      entered ??
      (await session.withinDeadline(async () => {
        await reading;
        return enter(context, identity, roomId, after);
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

const inSession = { handle: select, handleMalformed: refuse };

export const selectRoom: Handlers<'select_room'> = {
  greeting: always((session) => {
    session.refuse('TOKEN?');
  }),
  lobby: inSession,
  room: inSession,
};
