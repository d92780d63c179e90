import type { Commands } from '../../protocol/v2/commands.js';
import type { CommandSession } from './command.js';

type Change = Commands['edit' | 'delete' | 'reaction'];

/**
 * Changes a message of a room, joined or not.
 * @throws {ChatError} as `MessageActions.edit`, `remove` and `react` do
 */
export async function change(
  session: CommandSession,
  command: Change,
  cameAt: number,
): Promise<void> {
  const { roomId, ref } = command;
  const { seq } = await session.withinDeadline(cameAt, () => make(session, command));
  session.status('SENT', { ref, roomId, seq });
}

function make(
  { context, identity }: CommandSession,
  command: Change,
): Promise<{ readonly seq: number }> {
  const { messages } = context.actions;
  switch (command.type) {
    case 'edit':
      return messages.edit(identity, command.roomId, command);
    case 'delete':
      return messages.remove(identity, command.roomId, command);
    case 'reaction':
      return messages.react(identity, command.roomId, command);
  }
}
