import type { Caller } from '../access/permissions.js';
import { ChatError } from '../errors.js';
import type { Hub } from '../feeds/hub.js';
import type { Block, Blocks, ChangedBlock } from '../store/blocks.js';

/** A block that was put. */
export interface PutBlock {
  readonly block: Block;
  readonly created: boolean;
}

export interface BlockActions {
  /**
   * Blocks a user: neither opens a direct room with the other, and the user writes nothing in those that they have.
   * @throws {ChatError} INVALID if it is the caller; UNAVAILABLE
   */
  put(caller: Caller, userUUID: string): Promise<PutBlock>;
  /**
   * Unblocks a user, who may do again what their rules permit.
   * @throws {ChatError} NOT_FOUND, UNAVAILABLE
   */
  remove(caller: Caller, userUUID: string): Promise<Block>;
  /** @throws {ChatError} NOT_FOUND, UNAVAILABLE */
  get(caller: Caller, userUUID: string): Promise<Block>;
  /**
   * Those whom the caller blocks, in the order of their UUIDs: those behind a UUID, the first ones if none is given.
   * @throws {ChatError} UNAVAILABLE
   */
  list(caller: Caller, range: { behind?: string | undefined; limit: number }): Promise<Block[]>;
}

export function createBlockActions({
  blocks,
  hub,
}: {
  blocks: Blocks;
  hub: Pick<Hub, 'publish'>;
}): BlockActions {
  function publish({ entries }: ChangedBlock): void {
    for (const entry of entries) void hub.publish(entry.roomId, [entry]);
  }

  return {
    async put(caller, userUUID) {
      if (userUUID === caller.userUUID) {
        const message = 'must be that of another user';
        const errors = [{ field: 'uuid', message }];
        throw new ChatError('INVALID', { detail: `uuid ${message}`, errors });
      }
      const changed = await blocks.put(caller, userUUID);
      publish(changed);
      return { block: requireBlock(changed.block), created: changed.isChanged };
    },

    async remove(caller, userUUID) {
      const changed = await blocks.remove(caller, userUUID);
      publish(changed);
      return requireBlock(changed.block);
    },

    get: async (caller, userUUID) => requireBlock(await blocks.find(caller, userUUID)),

    list: (caller, range) => blocks.page(caller, range),
  };
}

function requireBlock(block: Block | undefined): Block {
  if (block !== undefined) return block;
  throw new ChatError('NOT_FOUND', { detail: 'the caller does not block this user' });
}
