import type { Limits } from '../config/load.js';
import type { Logger } from '../logger.js';
import type { Observer } from '../observer.js';
import type { Tracer } from '../tracer.js';
import { HISTORY_READERS, type Database } from './connect.js';
import { createBlocks, type Blocks } from './blocks.js';
import { createChanges, type Changes } from './changes.js';
import { FairLimit } from './fair-limit.js';
import { createDestinations, type Destinations } from './destinations.js';
import { createHistory, type History } from './history.js';
import { createImports, type Imports } from './imports.js';
import { createLog, type Log } from './log.js';
import { createMembers, type Members } from './members.js';
import { defineRoom } from './models/room.js';
import { defineRule } from './models/rule.js';
import { createReadMarkers, type ReadMarkers } from './read-markers.js';
import { createRecipients, type Recipients } from './recipients.js';
import { createReports, type Reports } from './reports.js';
import { createRoomList, type RoomList } from './room-list.js';
import { createRooms, type Rooms } from './rooms.js';
import { createRules, type Rules } from './rules.js';
import { createSearch, type Search } from './search.js';
import { createUserMessages, type UserMessages } from './user-messages.js';
import { createUsers, type Users } from './users.js';
import { createWebhookCursors, type WebhookCursors } from './webhook-cursors.js';

/**
 * Pages of rooms that are read at a time. With more, several pages arrive in one turn of the event loop. Measured with
 * five lists of 100,000 rooms at once: a probe waits 22 to 43 ms at most, with two readers 44 to 82 ms, with four 93 to
 * 146 ms.
 */
const ROOM_READERS = 1;

/** All that is stored, in domain verbs: nothing above it knows SQL. */
export interface Store {
  readonly rooms: Rooms;
  readonly roomList: RoomList;
  readonly members: Members;
  readonly rules: Rules;
  readonly blocks: Blocks;
  readonly reports: Reports;
  readonly changes: Changes;
  readonly destinations: Destinations;
  readonly history: History;
  readonly search: Search;
  readonly log: Log;
  readonly readMarkers: ReadMarkers;
  readonly users: Users;
  readonly imports: Imports;
  readonly webhookCursors: WebhookCursors;
  readonly recipients: Recipients;
  readonly userMessages: UserMessages;
}

/**
 * The store over an open, migrated database. To close it, close `log` first, then the database.
 * @param tellsWebhooks whether there is a WEBHOOK_URL
 */
export function createStore({
  database: { sequelize, rooms, pages, runSearch, runAppend, replica, connections, embedded },
  limits,
  logger,
  observer,
  tracer,
  tellsWebhooks,
}: {
  database: Database;
  limits: Limits;
  logger: Logger;
  observer?: Observer | undefined;
  tracer?: Tracer | undefined;
  tellsWebhooks?: boolean;
}): Store {
  const models = { room: defineRoom(sequelize), rule: defineRule(sequelize) };
  const readers = (tasks: number): FairLimit<string> => new FairLimit(tasks, limits.storeTimeoutMs);
  const roomReaders = readers(ROOM_READERS);
  const historyReaders = readers(HISTORY_READERS);
  return {
    rooms: createRooms({ sequelize, models, readers: roomReaders, logger }),
    roomList: createRoomList({ sequelize, readers: historyReaders }),
    members: createMembers({ sequelize, readers: roomReaders }),
    rules: createRules({ sequelize }),
    blocks: createBlocks({ sequelize }),
    reports: createReports({ sequelize }),
    changes: createChanges({ sequelize }),
    destinations: createDestinations({ sequelize: rooms }),
    readMarkers: createReadMarkers({ sequelize, tellsWebhooks }),
    webhookCursors: createWebhookCursors({ sequelize }),
    recipients: createRecipients({ sequelize }),
    users: createUsers({ sequelize }),
    imports: createImports({ sequelize }),
    userMessages: createUserMessages({ sequelize, readers: historyReaders }),
    history: createHistory({ sequelize, replica, readers: historyReaders }),
    search: createSearch({ run: runSearch, readers: readers(connections.searches) }),
    log: createLog({
      rooms,
      pages,
      pageReaders: connections.pages,
      runAppend,
      // The embedded one runs one statement at a time: two batches would only be smaller ones.
      limits: embedded ? { ...limits, logBatchesInFlight: 1 } : limits,
      logger,
      observer,
      tracer,
    }),
  };
}
