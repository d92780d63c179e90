import type { Sequelize } from 'sequelize';
import { importSettings, type ImportedSettings } from './import-settings.js';
import type { Room } from './models/room.js';
import type { MessageEntry } from './room-export.js';
import { roomToImport, storeImported, type ImportedRoom } from './room-import.js';
import type { ChangedRoom } from './room-settings.js';

/** What an import stores in a room. */
export interface Imports {
  /** As `roomToImport`. */
  open(roomId: number): Promise<ImportedRoom | undefined>;
  /** As `storeImported`. */
  storeEntries(roomId: number, entries: readonly MessageEntry[]): Promise<number>;
  /** As `importSettings`. */
  storeSettings(room: Room, settings: ImportedSettings): Promise<ChangedRoom[]>;
}

export function createImports({ sequelize }: { sequelize: Sequelize }): Imports {
  return {
    open: (roomId) => roomToImport(sequelize, roomId),
    storeEntries: (roomId, entries) => storeImported(sequelize, roomId, entries),
    storeSettings: (room, settings) => importSettings(sequelize, room, settings),
  };
}
