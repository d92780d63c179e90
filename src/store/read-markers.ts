import { QueryTypes, type Sequelize } from 'sequelize';
import { ChatError } from '../errors.js';
import { isForeignKeyViolation } from './pg-errors.js';

export interface ReadMarkers {
  /**
   * Moves the marker of a user in a room to `upto`: forwards only, unless `isBack`.
   * @returns where it is now: further on if it was, or if another device has moved it meanwhile
   * @throws {ChatError} NOT_FOUND if there is no such room
   */
  move(roomId: number, userUUID: string, upto: number, isBack: boolean): Promise<number>;
}

interface Marker {
  readonly upto: number;
}

export function createReadMarkers({ sequelize }: { sequelize: Sequelize }): ReadMarkers {
  /** @returns undefined if the marker stays */
  async function store(bind: readonly unknown[]): Promise<Marker | undefined> {
    const [moved] = await sequelize.query<Marker>(
      `INSERT INTO read_markers (room_id, user_uuid, upto) VALUES ($1, $2, $3)
       ON CONFLICT (room_id, user_uuid) DO UPDATE SET upto = excluded.upto
       WHERE read_markers.upto < excluded.upto OR ($4 AND read_markers.upto <> excluded.upto)
       RETURNING upto`,
      { bind: [...bind], type: QueryTypes.SELECT },
    );
    return moved;
  }

  return {
    async move(roomId, userUUID, upto, isBack) {
      try {
        const moved = await store([roomId, userUUID, upto, isBack]);
        if (moved !== undefined) return moved.upto;
      } catch (error) {
        if (!isForeignKeyViolation(error)) throw error;
        throw new ChatError('NOT_FOUND', { detail: 'there is no such room' });
      }
      // A statement of its own, which sees what the first one has compared with.
      const [stored] = await sequelize.query<Marker>(
        'SELECT upto FROM read_markers WHERE room_id = $1 AND user_uuid = $2',
        { bind: [roomId, userUUID], type: QueryTypes.SELECT },
      );
      return stored?.upto ?? upto;
    },
  };
}
