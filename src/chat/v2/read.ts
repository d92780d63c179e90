import type { Commands } from '../../protocol/v2/commands.js';
import type { CommandSession } from './command.js';

/**
 * Moves the read marker in a room, joined or not.
 * @throws {ChatError} as `ReadMarkerActions.move` does
 */
export async function read(
  session: CommandSession,
  { roomId, upto, isBack, ref }: Commands['read'],
  cameAt: number,
): Promise<void> {
  const { context, identity } = session;
  const { readMarkers } = context.actions;
  const at = await session.withinDeadline(cameAt, () =>
    readMarkers.move(identity, roomId, { upto, isBack }, session),
  );
  session.status('OK', { ref, roomId, upto: at });
}
