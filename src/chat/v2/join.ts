import { ChatError } from '../../errors.js';
import type { Feed } from '../../feeds/feed.js';
import type { Commands, WantedRoom } from '../../protocol/v2/commands.js';
import { enter, enterWithoutWaiting } from '../enter.js';
import type { CommandSession } from './command.js';

type Options = Pick<Commands['join'], 'max' | 'ref' | 'with'>;

/** A room that a session enters. */
interface Entered {
  readonly feed: Feed;
  /** Seq at which the user's read marker is. */
  readonly read: number;
  /** Seq up to which the room's log is gone. */
  readonly horizon: number;
}

/**
 * Joins a room. If it is joined already, its place is replaced; if it is refused, it is left.
 * @throws {ChatError} TOO_MANY_ROOMS, NOT_FOUND, FORBIDDEN, AHEAD, UNAVAILABLE
 */
export function join(
  session: CommandSession,
  room: WantedRoom,
  options: Options,
  cameAt: number,
): Promise<void> | void {
  const { context, identity } = session;
  const { id, after } = room;
  if (typeof id === 'string') return joinByUuid(session, id, room, options, cameAt);
  const reading = session.leave(id);
  requireSpace(session);
  return joinLater(
    session,
    room,
    options,
    session.withinDeadline(cameAt, async () => {
      await reading;
      const find = (): Feed | Promise<Feed> =>
        enterWithoutWaiting(context, identity, id, after) ?? enter(context, identity, id, after);
      await find();
      // All sessions that join at the same time share one query.
      const { read, horizon } = await session.findMarker(id);
      // The feed may have been closed, or a revocation may have come, meanwhile.
      return { feed: await find(), read, horizon };
    }),
  );
}

async function joinByUuid(
  session: CommandSession,
  uuid: string,
  room: WantedRoom,
  options: Options,
  cameAt: number,
): Promise<void> {
  const { rooms } = session.context.actions;
  const id = await session.withinDeadline(cameAt, () => rooms.idOf(uuid));
  if (!session.isClosed) await join(session, { ...room, id }, options, cameAt);
}

async function joinLater(
  session: CommandSession,
  room: WantedRoom,
  options: Options,
  entering: Promise<Entered>,
): Promise<void> {
  const entered = await entering;
  // The socket may have closed while the room was opened.
  if (session.isClosed) return;
  requireSpace(session);
  connect(session, entered, room, options);
}

function requireSpace({ subscriptions, context: { limits } }: CommandSession): void {
  if (subscriptions.size < limits.roomsPerSocket) return;
  throw new ChatError('TOO_MANY_ROOMS', {
    detail: `a socket joins at most ${limits.roomsPerSocket} rooms`,
  });
}

/** Joins the room behind the client's last entry, or at its head if the client knows none or too old a one. */
function connect(
  session: CommandSession,
  { feed, read, horizon }: Entered,
  { after, epoch }: WantedRoom,
  { max = Infinity, with: hints, ref }: Options,
): void {
  if (epoch !== undefined && epoch !== session.context.hub.epoch) {
    throw new ChatError('AHEAD', { detail: 'the epoch of the log is another one' });
  }
  const head = feed.position;
  const isReplayed = after !== undefined && after >= horizon && head - after <= max;
  session.connect(feed, { from: isReplayed ? after : head, hints, read }, ref);
}
