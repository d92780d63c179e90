import { platform } from './platform.js';
import type { Json } from './wire.js';

/** A command that may not be stored yet. As JSON, it is the frame that is sent. */
export interface UnsentCommand {
  readonly type: 'message' | 'edit' | 'delete' | 'reaction';
  readonly ref: string;
  readonly room_id: number;
  readonly target?: number | undefined;
  readonly content?: string | undefined;
  readonly data?: Json | undefined;
  readonly reply_to?: number | undefined;
  readonly mentions?: readonly string[] | undefined;
  readonly emoji?: string;
  readonly on?: boolean;
}

/**
 * Keeps commands until the server has them, so that they outlive the page. Use one for each user. If it fails, commands are
 * sent all the same.
 */
export interface UnsentStorage {
  /** All that is kept, in the order in which it was put. */
  load: () => readonly UnsentCommand[] | Promise<readonly UnsentCommand[]>;
  put: (command: UnsentCommand) => unknown;
  delete: (ref: string) => unknown;
}

/**
 * Keeps commands in the browser's localStorage, each below a key of its own: several tabs may share it, as sending a
 * command twice does no harm.
 * @param name tells users apart: their `userUUID`, say
 */
export function localStorageOf(name: string): UnsentStorage {
  const prefix = `nano-messaging:${name}:`;
  let last = 0;
  return {
    load() {
      const kept = Object.entries(platform.localStorage ?? {})
        .filter(([key]) => key.startsWith(prefix))
        .flatMap(([, text]) => parsed(String(text)))
        .toSorted((one, other) => one.at - other.at);
      last = kept.at(-1)?.at ?? 0;
      return kept.map(({ command }) => command);
    },
    put(command) {
      // Not below the one before, if the clock was set back.
      last = Math.max(new Date().getTime(), last + 1);
      // It throws if it is full, or not allowed: the command is sent all the same.
      platform.localStorage?.setItem(prefix + command.ref, JSON.stringify({ at: last, command }));
    },
    delete(ref) {
      platform.localStorage?.removeItem(prefix + ref);
    },
  };
}

interface Kept {
  readonly at: number;
  readonly command: UnsentCommand;
}

/** Nothing if it is no command: anybody may write there. */
function parsed(text: string): Kept[] {
  try {
    const kept = JSON.parse(text) as Kept;
    return typeof kept.command.ref === 'string' ? [kept] : [];
  } catch {
    return [];
  }
}
