import type { Limits } from '../config.js';
import type { Logger } from '../logger.js';
import type { Database } from './connect.js';
import { FairLimit } from './fair-limit.js';
import { createHistory, type History } from './history.js';
import { createLog, type Log } from './log.js';
import { defineRoom } from './models/room.js';
import { defineRule } from './models/rule.js';
import { createRooms, type Rooms } from './rooms.js';
import { createRules, type Rules } from './rules.js';

/** Queries of REST at a time that read rooms page by page, and as many that read messages, which may wait for others. */
const MAX_READERS = 4;

/** All that is kept, in domain verbs; whoever holds it knows no SQL. */
export interface Store {
  readonly rooms: Rooms;
  readonly rules: Rules;
  readonly history: History;
  readonly log: Log;
}

/** The store over an open, migrated database; it closes with the log first, then the database. */
export function createStore({
  database: { sequelize, rooms, pages, runAppend, embedded },
  limits,
  logger,
}: {
  database: Database;
  limits: Limits;
  logger: Logger;
}): Store {
  const models = { room: defineRoom(sequelize), rule: defineRule(sequelize) };
  const readers = (): FairLimit<string> => new FairLimit(MAX_READERS, limits.storeTimeoutMs);
  return {
    rooms: createRooms({ sequelize, models, readers: readers(), logger }),
    rules: createRules({ sequelize }),
    history: createHistory({ sequelize, readers: readers() }),
    log: createLog({
      rooms,
      pages,
      runAppend,
      // The embedded one runs one statement at a time: a second batch would only be a smaller one.
      limits: embedded ? { ...limits, logFlights: 1 } : limits,
      logger,
    }),
  };
}
