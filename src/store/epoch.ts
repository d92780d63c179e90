import { randomUUID } from 'node:crypto';
import { ChatError } from '../errors.js';
import type { Logger } from '../logger.js';
import type { Database } from './connect.js';
import { reachDatabase, type ReachOptions } from './reach.js';
import { onClient, plain, type RunStatement, type Statement } from './prepared.js';

/**
 * The identity of the log. A log that went back (a restored dump, a failover that lost commits) gives the same seqs to
 * other entries: it counts as another log, and gets another uuid.
 *
 * The uuid also separates chats that share one Redis: a copy of a database gets its own.
 */
export interface Epoch {
  /** As this node last read it. */
  readonly uuid: string;
  /** Reads the uuid again. Each new connection does so as well. */
  confirm(): Promise<void>;
  /**
   * Gives the log a new uuid, unless another node has done so. To be called if a room's log ends before an entry that
   * this node has seen.
   */
  renew(): Promise<void>;
  /** The listener is called when the uuid has changed: all seqs known so far mean nothing any more. */
  onChange(listener: () => void): void;
}

/**
 * What identifies the database that answers: its cluster, the timeline, which each failover raises, and its oid (a copy
 * in the same cluster has another). The timeline is that of the WAL being written; the one of the last checkpoint lags
 * behind a promotion by minutes. A standby has none, and can't be written to anyway.
 */
const HERE = `here AS (
    SELECT system_identifier::text, oid::bigint AS database_oid,
      CASE WHEN NOT pg_is_in_recovery()
        THEN ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END AS timeline
    FROM pg_control_system(), pg_database WHERE datname = current_database())`;

const READ: Statement = {
  name: 'read_epoch',
  text: `WITH ${HERE}
    SELECT log_epoch.uuid, (log_epoch.system_identifier, log_epoch.timeline, log_epoch.database_oid)
      IS NOT DISTINCT FROM (here.system_identifier, here.timeline, here.database_oid) AS is_here
    FROM here LEFT JOIN log_epoch ON true`,
};

/** Changes nothing if another node was faster: then the uuid is no longer the one that was read ($2). */
const REPLACE: Statement = {
  name: 'replace_epoch',
  text: `WITH ${HERE}
    INSERT INTO log_epoch (uuid, system_identifier, timeline, database_oid, "createdAt", "updatedAt")
    SELECT $1::uuid, system_identifier, timeline, database_oid, now(), now() FROM here
    ON CONFLICT (id) DO UPDATE SET uuid = excluded.uuid, system_identifier = excluded.system_identifier,
      timeline = excluded.timeline, database_oid = excluded.database_oid, "updatedAt" = excluded."updatedAt"
    WHERE log_epoch.uuid = $2::uuid`,
};

/**
 * Reads the epoch of a migrated database. The log gets a new uuid if it has none or was last written in another
 * database.
 * @throws {StartError} if the database does not answer, or can't be written to
 */
export async function openEpoch(database: Database, logger: Logger): Promise<Epoch> {
  const run = plain(database.rooms);
  const listeners: (() => void)[] = [];
  // First on a connection of its own, which waits for a database that can't be written to yet, or throws a StartError.
  await reachDatabase(database.address, { logger }, (client) => currentUuid(onClient(client)));
  let uuid = await currentUuid(run);

  /** @returns whether there is another uuid than at the time of the call */
  async function hasChanged(run: RunStatement): Promise<boolean> {
    const before = uuid;
    const current = await currentUuid(run);
    // Another call was faster, and this one may have read an older uuid.
    if (uuid !== before) return true;
    if (current === uuid) return false;
    logger.error(
      { epoch: current, before: uuid },
      'the log went back: all sessions leave their rooms',
    );
    uuid = current;
    for (const listener of listeners) listener();
    return true;
  }

  database.onConnect(async (client) => {
    if (!(await hasChanged(onClient(client)))) return;
    // The query that waits for this connection was made for the log as it was before.
    throw new ChatError('UNAVAILABLE', { detail: 'the log went back' });
  });

  return {
    get uuid() {
      return uuid;
    },
    async confirm() {
      await hasChanged(run);
    },
    async renew() {
      await run(REPLACE, [randomUUID(), uuid]);
      await hasChanged(run);
    },
    onChange(listener) {
      listeners.push(listener);
    },
  };
}

/**
 * Gives the log a new uuid; nodes that run notice it. For a database that was restored in place.
 * @throws {StartError} if the database does not answer in time, or can't be written to
 */
export function replaceEpoch(
  { address }: Pick<Database, 'address'>,
  options: ReachOptions,
): Promise<string> {
  return reachDatabase(address, options, async (client) => {
    const run = onClient(client);
    await run(REPLACE, [randomUUID(), await currentUuid(run)]);
    return currentUuid(run);
  });
}

/** Reads the log's uuid, after giving it a new one if it has none or was last written in another database. */
async function currentUuid(run: RunStatement): Promise<string> {
  const { uuid, is_here } = await read(run);
  if (uuid !== null && is_here) return uuid;
  const replacement = randomUUID();
  await run(REPLACE, [replacement, uuid]);
  return (await read(run)).uuid ?? replacement;
}

async function read(run: RunStatement): Promise<{ uuid: string | null; is_here: boolean }> {
  const [row] = await run(READ, []);
  return row as { uuid: string | null; is_here: boolean };
}
