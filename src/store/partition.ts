import { setTimeout as delay } from 'node:timers/promises';
import { QueryTypes, Sequelize, type Transaction } from 'sequelize';
import type { DatabaseAddress } from '../config/load.js';
import { lockKey } from './advisory-locks.js';
import { sequelizeOptions } from './connect.js';
import { isLockTimeout } from './pg-errors.js';
import { runningTransactions, TableLocks, type OnWaiting } from './table-locks.js';
import {
  fingerprintOf,
  pairIndexes,
  readDependents,
  readShape,
  type TableShape,
} from './table-shape.js';

/** Why the log is not partitioned. Its message is for the operator. */
export class PartitionRefusal extends Error {
  override readonly name = 'PartitionRefusal';
}

interface Options {
  /** Called after each batch with the number of entries that are copied, and of all, as Postgres estimates it. */
  readonly onProgress?: (copied: number, total: number) => void;
  readonly onWaiting?: OnWaiting;
}

/**
 * A plan for any room locks each partition, and Postgres has 64 locks a connection by default. Measured
 * (docs/OPERATIONS.md): with 64 a batch of messages takes twice as long as with one, with 256 eight times.
 */
export const MAX_PARTITIONS = 64;
/** Entries of one batch, which has the locks of their rooms: as many as an append stores at most. */
const BATCH_ENTRIES = 1_000;
/** A batch has locked rooms already when it waits for the next one: as long as append_batch waits in that case. */
const ROOM_LOCK_TIMEOUT_MS = 100;
/** Between two attempts to lock rooms that a longer transaction has locked: that one ends soon, or soon enough. */
const ROOM_LOCK_PAUSE_MS = 100;
/** Attempts before it is told what they wait for: one transaction takes a second or less. */
const TELLING_ATTEMPTS = 10;
/** After a batch it rests for as long as the batch took, so that Postgres loses half a core to it at most. */
const REST_FACTOR = 1;

const LOG = 'messages';
/** The copy, which becomes `messages`. */
const COPY = 'messages_partitioned';
/** One row: how far the entries are copied. */
const COPIED = 'messages_copied';
const MIRROR = 'mirror_messages';

/** All that the copy was made like, and the triggers that keep it so. */
const SHAPE = fingerprintOf(LOG);

/** The last of the next entries beyond the place $1, $2, and the rooms of all of them. */
const FIND_BATCH = `SELECT max(room_id) AS "roomId", (array_agg(seq ORDER BY room_id DESC, seq DESC))[1] AS seq,
    array_agg(DISTINCT room_id) AS rooms, count(*) AS entries
  FROM (
    SELECT room_id, seq FROM messages WHERE (room_id, seq) > ($1::integer, $2::bigint)
    ORDER BY room_id, seq LIMIT ${BATCH_ENTRIES}
  ) AS next HAVING count(*) > 0`;

/** Whoever changes a log has locked one of these. No other log is changed: carry-over is kept out. */
const LOCK_LOGS = [
  'SELECT FROM rooms WHERE id = ANY ($1::integer[]) ORDER BY id FOR NO KEY UPDATE',
  // After the rooms: of one that was deleted while it was waited for, this is there.
  'SELECT FROM deleted_rooms WHERE room_id = ANY ($1::integer[]) ORDER BY room_id FOR UPDATE',
] as const;

/** The place up to which all is copied, and the number of entries on the way to it. */
interface Place {
  readonly roomId: number;
  readonly seq: number;
  readonly entries: number;
}

/** Before all entries. */
const BEGINNING: Place = { roomId: -(2 ** 31), seq: 0, entries: 0 };

/**
 * Makes `messages` a table of so many partitions, by hash of the room, while nodes use it: a copy, which triggers keep the
 * same, takes its place in the end. What is done is kept if it is ended at any moment, and the next call goes on.
 * @returns the number of entries that were copied; undefined if `messages` has as many partitions already
 * @throws {PartitionRefusal} before anything is changed: if the table belongs to another role, has other partitions, or
 *   dependents that a copy would lack, or another process partitions or carries over; later, if somebody has changed the table or the copy meanwhile
 */
export async function partitionMessages(
  address: DatabaseAddress,
  partitions: number,
  options: Options = {},
): Promise<number | undefined> {
  // One connection keeps others out, the other one works.
  const sequelize = new Sequelize({ ...sequelizeOptions(address), pool: { max: 2 } });
  try {
    return await sequelize.transaction(async (transaction) => {
      await sequelize.query('SET LOCAL idle_in_transaction_session_timeout = 0', { transaction });
      await keepOthersOut(sequelize, transaction);
      return await new Partitioning(sequelize, partitions, options).run();
    });
  } finally {
    await sequelize.close();
  }
}

/** @throws {PartitionRefusal} */
async function keepOthersOut(sequelize: Sequelize, transaction: Transaction): Promise<void> {
  for (const [lock, does] of [
    ['partition', 'partitions'],
    ['carryOver', 'carries over'],
  ] as const) {
    const [row] = await sequelize.query<{ isOurs: boolean }>(
      `SELECT pg_try_advisory_xact_lock(${lockKey(lock)}) AS "isOurs"`,
      { type: QueryTypes.SELECT, transaction },
    );
    if (row?.isOurs !== true) throw new PartitionRefusal(`another process ${does} already`);
  }
}

class Partitioning {
  readonly #sequelize: Sequelize;
  readonly #partitions: number;
  readonly #onProgress: (copied: number, total: number) => void;
  readonly #locks: TableLocks;

  constructor(sequelize: Sequelize, partitions: number, options: Options) {
    this.#sequelize = sequelize;
    this.#partitions = partitions;
    this.#onProgress = options.onProgress ?? (() => undefined);
    this.#locks = new TableLocks(sequelize, options.onWaiting ?? (() => undefined));
  }

  async run(): Promise<number | undefined> {
    const table = await this.#readTable();
    if (table.kind === 'p') return this.#requireSame(table);
    if (await this.#isBegun()) {
      await this.#requireUnchanged();
    } else {
      await this.#requireAlone();
      await this.#begin(table);
    }
    const copied = await this.#copyAll(table);
    // One that began before all was copied, and sees the database as of that moment (an export, pg_dump), would find holes
    // in the copy.
    const older = await runningTransactions(this.#sequelize, await this.#ownPids());
    await this.#sequelize.query(`VACUUM (ANALYZE) ${COPY}`);
    await this.#compare();
    await this.#locks.outlive(older);
    await this.#swap(table);
    return copied;
  }

  async #readTable(): Promise<TableShape> {
    const table = await readShape(this.#sequelize, LOG);
    if (table === undefined || !['r', 'p'].includes(table.kind)) {
      throw new PartitionRefusal('messages is no table');
    }
    if (!table.isOurs) {
      throw new PartitionRefusal(
        `messages belongs to ${table.owner}: run the command as that role, or as one that may act as it`,
      );
    }
    return table;
  }

  #requireSame({ key, partitions }: TableShape): undefined {
    if (key === 'HASH (room_id)' && partitions === this.#partitions) return undefined;
    throw new PartitionRefusal(
      `messages is partitioned already: by ${key}, into ${partitions} partitions`,
    );
  }

  /** Whether a call before this one has made the copy, with as many partitions. */
  async #isBegun(): Promise<boolean> {
    const [copy] = await this.#select<{ isOurs: boolean; partitions: number }>(
      `SELECT to_regclass('${COPIED}') IS NOT NULL AS "isOurs",
         (SELECT count(*) FROM pg_inherits WHERE inhparent = to_regclass('${COPY}')) AS partitions
       WHERE to_regclass('${COPY}') IS NOT NULL`,
    );
    if (copy === undefined) return false;
    if (!copy.isOurs) {
      throw new PartitionRefusal(`there is a table ${COPY} already, which is none of ours`);
    }
    if (copy.partitions === this.#partitions) return true;
    throw new PartitionRefusal(
      `a copy with ${copy.partitions} partitions was begun: go on with as many, or ${GIVE_UP}`,
    );
  }

  async #requireUnchanged(transaction?: Transaction): Promise<void> {
    const [begun] = await this.#select<{ isSame: boolean }>(
      `SELECT shape = ${SHAPE} AS "isSame" FROM ${COPIED}`,
      [],
      transaction,
    );
    if (begun?.isSame === true) return;
    throw new PartitionRefusal(
      `messages has got other columns, indexes, triggers or rights since the copy was begun: ${GIVE_UP}, and run the command again`,
    );
  }

  async #requireAlone(): Promise<void> {
    const dependents = await readDependents(this.#sequelize, LOG);
    if (dependents.length === 0) return;
    throw new PartitionRefusal(
      `a copy of messages would lack what is made for it; drop it first, and make it anew for the copy: ` +
        dependents.join('; '),
    );
  }

  /** Makes the copy, and the triggers that bring it all that is written from now on. */
  async #begin({
    schema,
    owner,
    tablespace,
    columns,
    parameters,
    grants,
  }: TableShape): Promise<void> {
    const copy = `${schema}.${COPY}`;
    const storage = parameters === null ? '' : ` WITH (${parameters})`;
    const partitions = Array.from(
      { length: this.#partitions },
      (_, n) =>
        `CREATE TABLE ${schema}.messages_p${n} PARTITION OF ${copy}
           FOR VALUES WITH (MODULUS ${this.#partitions}, REMAINDER ${n})${storage};`,
    );
    const triggers = [
      ['INSERT', 'NEW TABLE AS after'],
      ['UPDATE', 'OLD TABLE AS before NEW TABLE AS after'],
      ['DELETE', 'OLD TABLE AS before'],
    ].map(
      ([event, tables]) =>
        `CREATE TRIGGER mirror_${event} AFTER ${event} ON messages REFERENCING ${tables}
           FOR EACH STATEMENT EXECUTE FUNCTION ${schema}.${MIRROR}();`,
    );
    await this.#transaction(async (transaction) => {
      const run = (sql: string) => this.#sequelize.query(sql, { transaction });
      await run(`SET LOCAL ROLE ${owner}`);
      await run(
        `SELECT set_config('default_tablespace', '${tablespace.replaceAll("'", "''")}', true)`,
      );
      await run(`
        CREATE TABLE ${copy} (LIKE messages INCLUDING ALL) PARTITION BY HASH (room_id);
        ${partitions.join('\n')}
        ${grants.map((grant) => `GRANT ${grant.replace('%s', copy)};`).join('\n')}
        CREATE TABLE ${schema}.${COPIED} (room_id integer, seq bigint, entries bigint, shape text);
        -- By index alone: a plan is kept for as long as its connection, and the copy grows.
        CREATE FUNCTION ${schema}.${MIRROR}() RETURNS trigger LANGUAGE plpgsql
          SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
        BEGIN
          IF TG_OP <> 'INSERT' THEN
            DELETE FROM ${copy} AS c USING before AS b WHERE c.room_id = b.room_id AND c.seq = b.seq;
          END IF;
          IF TG_OP <> 'DELETE' THEN
            INSERT INTO ${copy} (${columns}) OVERRIDING SYSTEM VALUE SELECT ${columns} FROM after;
          END IF;
          RETURN NULL;
        END
        $$;`);
      await this.#locks.keepMaintenanceOut([LOG], transaction);
      await this.#locks.lock([LOG], 'SHARE ROW EXCLUSIVE', transaction);
      await run(triggers.join('\n'));
      await run(
        `INSERT INTO ${COPIED} VALUES (${BEGINNING.roomId}, ${BEGINNING.seq}, ${BEGINNING.entries}, ${SHAPE})`,
      );
    });
  }

  /** @returns the number of entries that were copied, by calls before this one, too */
  async #copyAll({ columns, estimate }: TableShape): Promise<number> {
    let [place = BEGINNING] = await this.#select<Place>(
      `SELECT room_id AS "roomId", seq, entries FROM ${COPIED}`,
    );
    for (;;) {
      const start = performance.now();
      const next = await this.#copyBatch(place, columns);
      if (next === undefined) return place.entries;
      place = next;
      this.#onProgress(place.entries, estimate);
      await delay(REST_FACTOR * (performance.now() - start));
    }
  }

  /** @returns the place behind the next batch, which is copied; undefined if there is none */
  async #copyBatch(from: Place, columns: string): Promise<Place | undefined> {
    const bind = [from.roomId, from.seq];
    const [batch] = await this.#select<Place & { rooms: number[] }>(FIND_BATCH, bind);
    if (batch === undefined) return undefined;
    const { rooms, ...last } = batch;
    const upTo = { ...last, entries: from.entries + last.entries };
    for (let attempts = 1; ; attempts += 1) {
      try {
        await this.#copy({ from, upTo, rooms, columns });
        return upTo;
      } catch (error) {
        if (!isLockTimeout(error)) throw error;
      }
      if (attempts % TELLING_ATTEMPTS === 0) {
        await this.#locks.tellUsers(['rooms', 'deleted_rooms']);
      }
      await delay(ROOM_LOCK_PAUSE_MS);
    }
  }

  /** Copies entries of rooms as they are while nobody changes these, and notes it. */
  async #copy({
    from,
    upTo,
    rooms,
    columns,
  }: {
    readonly from: Place;
    readonly upTo: Place;
    readonly rooms: readonly number[];
    readonly columns: string;
  }): Promise<void> {
    await this.#transaction(async (transaction) => {
      const run = (sql: string, bind?: unknown[]) =>
        this.#sequelize.query(sql, { transaction, ...(bind && { bind }) });
      // A batch that a crash of Postgres undoes is copied again.
      await run(
        `SET LOCAL lock_timeout = ${ROOM_LOCK_TIMEOUT_MS}; SET LOCAL synchronous_commit = off`,
      );
      for (const lock of LOCK_LOGS) await run(lock, [rooms]);
      // What was written since the copy was begun is there already.
      await run(
        `INSERT INTO ${COPY} (${columns}) OVERRIDING SYSTEM VALUE SELECT ${columns} FROM messages
         WHERE (room_id, seq) > ($1::integer, $2::bigint) AND (room_id, seq) <= ($3::integer, $4::bigint)
           AND room_id = ANY ($5::integer[])
         ON CONFLICT (room_id, seq) DO NOTHING`,
        [from.roomId, from.seq, upTo.roomId, upTo.seq, rooms],
      );
      await run(`UPDATE ${COPIED} SET room_id = $1, seq = $2, entries = $3`, [
        upTo.roomId,
        upTo.seq,
        upTo.entries,
      ]);
    });
  }

  /** In one statement, so that all of it is of one moment. */
  async #compare(): Promise<void> {
    const different = await this.#select<{ id: number }>(
      `SELECT coalesce(o.room_id, c.room_id) AS id
       FROM (SELECT room_id, count(*) AS entries FROM messages GROUP BY room_id) AS o
       FULL JOIN (SELECT room_id, count(*) AS entries FROM ${COPY} GROUP BY room_id) AS c USING (room_id)
       WHERE o.entries IS DISTINCT FROM c.entries ORDER BY 1 LIMIT 10`,
    );
    if (different.length === 0) return;
    throw new PartitionRefusal(
      `the copy has other entries than messages, in rooms ${different.map(({ id }) => id).join(', ')}: somebody has ` +
        `written in it, or without the triggers; ${GIVE_UP}, and run the command again`,
    );
  }

  /** The processes that hold the advisory lock. */
  async #ownPids(): Promise<number[]> {
    const rows = await this.#select<{ pid: number }>(
      `SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = ${lockKey('partition')}
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
    );
    return rows.map(({ pid }) => pid);
  }

  /** Puts the copy in the place of the table, which is dropped: texts that are deleted later would stay in it. */
  async #swap({ schema, owner }: TableShape): Promise<void> {
    await this.#transaction(async (transaction) => {
      await this.#sequelize.query(`SET LOCAL ROLE ${owner}`, { transaction });
      await this.#locks.keepMaintenanceOut([LOG, COPY], transaction);
      await this.#requireUnchanged(transaction);
      const indexes = await pairIndexes(this.#sequelize, { table: LOG, copy: COPY }, transaction);
      await this.#locks.lock([LOG, COPY], 'ACCESS EXCLUSIVE', transaction);
      // In one message to Postgres, as everybody waits.
      await this.#sequelize.query(
        `DROP TABLE messages, ${COPIED}; DROP FUNCTION ${schema}.${MIRROR}();
         ALTER TABLE ${COPY} RENAME TO messages;
         ${indexes.map(({ copy, name }) => `ALTER INDEX ${schema}.${copy} RENAME TO ${name};`).join('\n')}`,
        { transaction },
      );
    });
  }

  #transaction<T>(work: (transaction: Transaction) => Promise<T>): Promise<T> {
    return this.#sequelize.transaction(async (transaction) => {
      await this.#sequelize.query('SET LOCAL idle_in_transaction_session_timeout = 0', {
        transaction,
      });
      return work(transaction);
    });
  }

  #select<Row extends object>(
    sql: string,
    bind: readonly unknown[] = [],
    transaction?: Transaction,
  ): Promise<Row[]> {
    return this.#sequelize.query<Row>(sql, {
      type: QueryTypes.SELECT,
      ...(bind.length > 0 && { bind: [...bind] }),
      ...(transaction && { transaction }),
    });
  }
}

/** The statement that undoes what was begun: triggers first, as they write into the copy. */
const GIVE_UP = `give it up by "DROP FUNCTION ${MIRROR} CASCADE; DROP TABLE ${COPY}, ${COPIED}"`;
