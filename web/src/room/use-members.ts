import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import type { Room } from '../../../src/client/index.js';
import { useChat } from '../chat-context.js';
import { useToasts } from '../ui/toasts.js';

/** A rule of a room, as `GET /rooms/:id/members` has it. */
export interface Member {
  readonly entity_UUID: string;
  readonly level: number;
  readonly permissions: string;
  readonly accepted: boolean;
  readonly name: string | null;
  readonly picture: string | null;
}

export interface Members {
  /** Undefined until they are loaded. */
  readonly rows: readonly Member[] | undefined;
  readonly hasMore: boolean;
  readonly loadMore: () => void;
}

/** The members of a room, loaded again when one of them changes. */
export function useMembers(room: Room): Members {
  const { chat } = useChat();
  const { fail } = useToasts();
  const [rows, setRows] = useState<readonly Member[]>();
  const [next, setNext] = useState<string>();
  const asked = useRef(0);

  const load = useCallback(
    async (query: string, before: readonly Member[]): Promise<void> => {
      const turn = (asked.current += 1);
      try {
        const path = `/rooms/${room.id}/members${query}`;
        const { meta, content } = await chat.request<readonly Member[]>('GET', path);
        // A later answer is younger.
        if (turn !== asked.current) return;
        setRows([...before, ...content]);
        setNext(meta.next);
      } catch (error) {
        fail(error);
      }
    },
    [chat, room],
  );

  useEffect(() => {
    void load('', []);
    return room.on('entry', (type) => {
      if (type.startsWith('member')) void load('', []);
    });
  }, [room]);

  return {
    rows,
    hasMore: next !== undefined,
    loadMore() {
      if (next !== undefined) void load(next, rows ?? []);
    },
  };
}
