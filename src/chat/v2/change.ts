import type { Commands } from '../../protocol/v2/commands.js';
import type { CommandSession } from './command.js';

type Change = Commands['edit' | 'delete' | 'reaction'];

/**
 * Changes a message of a room, joined or not. Resolves when it is known whether the change was made, which may be long
 * after UNAVAILABLE was answered: a later change of the same message must not be stored before it.
 */
export async function change(
  session: CommandSession,
  command: Change,
  cameAt: number,
): Promise<void> {
  const { roomId, ref } = command;
  let making: Promise<unknown> | undefined;
  try {
    const { seq } = await session.withinDeadline(cameAt, () => {
      const made = make(session, command);
      making = made;
      return made;
    });
    session.status('SENT', { ref, roomId, seq });
  } catch (error) {
    session.fail(error, { ref, roomId });
    await making?.catch(() => undefined);
  }
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
