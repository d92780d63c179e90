import { DEV_USERS, type DevName, type SignDevToken } from '../access/dev-users.js';
import { ChatError } from '../errors.js';
import type { RoomActions } from './rooms.js';

/** The first room of a development server. */
const WELCOME = {
  uuid: '06739b52-7623-47ab-9f75-ba1e87e676cc',
  // Above the level of all but Ana: the others see a room that they don't administer.
  room: { name: 'Welcome', type: 'group', levelAdmin: 900, rules: [] },
} as const;

/** Users whom anybody may become, on a server whose secret no application has. */
export interface DevUsers {
  readonly names: readonly string[];
  /**
   * A token of one of them. The first one finds a room for all of them: it is made if there is none.
   * @throws {ChatError} UNAVAILABLE
   */
  tokenOf(name: DevName): Promise<string>;
}

export function createDevUsers({
  sign,
  rooms,
}: {
  sign: SignDevToken;
  rooms: Pick<RoomActions, 'idOf' | 'put'>;
}): DevUsers {
  /** Leaves a room that was renamed as it is. */
  async function welcome(): Promise<void> {
    try {
      await rooms.idOf(WELCOME.uuid);
    } catch (error) {
      if (!(error instanceof ChatError) || error.code !== 'NOT_FOUND') throw error;
      await rooms.put(DEV_USERS.ana, WELCOME.uuid, WELCOME.room);
    }
  }

  return {
    names: Object.values(DEV_USERS).map(({ name }) => name),
    async tokenOf(name) {
      await welcome();
      return sign(DEV_USERS[name]);
    },
  };
}
