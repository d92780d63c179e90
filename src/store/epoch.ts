import { randomUUID } from 'node:crypto';
import { ChatError } from '../errors.js';
import type { Logger } from '../logger.js';
import type { Database } from './connect.js';
import { reachDatabase, type ReachOptions } from './reach.js';
import { onClient, plain, type RunStatement, type Statement } from './prepared.js';

/**
 * Which log this is. A log that went back (a restored dump, a failover that lost commits) gives its numbers again, to
 * other entries: it is another log, and has another uuid.
 *
 * The uuid also keeps apart the chats that share one Redis: a copy of a database has its own.
 */
export interface Epoch {
  /** The log's uuid, as this node knows it. */
  readonly uuid: string;
  /** Compares it with the database; each new connection does so by itself. */
  confirm(): Promise<void>;
  /** A room's log ends before an entry that this node has seen: the log gets a new uuid, unless it has one already. */
  renew(): Promise<void>;
  /** Called when the uuid has changed: no number from before means anything any more. */
  onChange(listener: () => void): void;
}

/**
 * The database that answers: its cluster, its place in the history of failovers, and its own number (a copy in the same
 * cluster has another). The timeline is the one that is written to: that of the last checkpoint lags behind a promotion
 * by minutes. A standby has none, and can't be written anyway.
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

/** Nothing happens if another node was faster: the uuid is not the one that was read any more. */
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
 * Reads the epoch of a migrated database, a new one if this is the log's first or it was moved here.
 * @throws {StartError} if the database does not answer, or can't be written to
 */
export async function openEpoch(database: Database, logger: Logger): Promise<Epoch> {
  const run = plain(database.rooms);
  const listeners: (() => void)[] = [];
  // Over a connection of its own first: a database that can't be written to yet is waited for, or refused with a reason.
  await reachDatabase(database.address, { logger }, (client) => currentUuid(onClient(client)));
  let uuid = await currentUuid(run);

  /** @returns whether there is another uuid than at the time of the call */
  async function hasChanged(run: RunStatement): Promise<boolean> {
    const before = uuid;
    const current = await currentUuid(run);
    // Somebody else was faster: what was read may be older than what is known.
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
    // What is to be asked on this connection was decided by what the log was before.
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
 * Gives the log a new uuid, whatever it has; nodes that run notice it. For a database that was restored in place.
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

/** The log's uuid; a new one if the database is not the one in which the log was written last. */
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
