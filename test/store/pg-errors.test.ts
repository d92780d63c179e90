import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import { connectDatabase, type Database } from '../../src/store/connect.js';
import { isUnavailable } from '../../src/store/pg-errors.js';
import { openPostgres, QUIET, type StoreHost } from '../harness/store-hosts.js';

const UUID = '11111111-2222-3333-4444-555555555555';

/** The meaning of an error of Postgres, or of the network to it. */
describe('a database is', () => {
  let host: StoreHost;

  beforeAll(async () => {
    host = await openPostgres();
  });
  afterAll(() => host.close());

  const failures = [
    ['its connection is ended by an operator', 'SELECT pg_terminate_backend(pg_backend_pid())'],
    ['it is shutting down', raise('57P01')],
    ['it is starting up', raise('57P03')],
    ['its statement is cancelled', raise('57014')],
    ['it has no memory left', raise('53200')],
    ['its disk is full', raise('53100')],
    ['it has too many connections', raise('53300')],
    ['the connection has failed', raise('08006')],
    ['two transactions wait for each other', raise('40P01')],
    ['a lock times out', raise('55P03')],
    ['a file cannot be read', raise('58030')],
    ['its data is corrupted', raise('XX001')],
    [
      'it cannot be written to',
      'DO $$ BEGIN SET LOCAL transaction_read_only = on; CREATE TABLE t (); END $$',
    ],
  ];

  it.each(failures)('unavailable if %s', async (_, statement) => {
    expect(await errorOf(host.database, statement)).toMatchObject({ code: 'UNAVAILABLE' });
  });

  it.each(failures)('unavailable for an append if %s', async (_, statement) => {
    const run = host.database.runAppend({ name: '', text: statement }, []);
    await expect(run).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });

  it.each(failures)('unavailable for a transaction in which %s', async (_, statement) => {
    const { sequelize } = host.database;
    await expect(
      sequelize.transaction((transaction) => sequelize.query(statement, { transaction })),
    ).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect(await sequelize.query('SELECT 1')).toBeDefined();
  });

  it('unavailable if nothing listens', async () => {
    const nowhere = await connectDatabase(
      loadConfig({ DATABASE_URL: 'postgres://ana:hush@127.0.0.1:1/chat' }),
      QUIET,
    );

    const error = await errorOf(nowhere, 'SELECT 1');
    await nowhere.close();

    expect(error).toMatchObject({ code: 'UNAVAILABLE' });
  });

  it.each([
    ['the statement is wrong', 'SELEC 1'],
    ['a table is missing', 'SELECT * FROM nothing'],
    ['a value is malformed', `SELECT 'x'::int`],
    ['a value is out of range', `SELECT 99999999999::int`],
    [
      'a key is there already',
      `INSERT INTO "SequelizeMeta" (name) SELECT name FROM "SequelizeMeta"`,
    ],
    [
      'a reference leads nowhere',
      `INSERT INTO room_permissions VALUES (2147483647, '${UUID}', 0, 'r', false, now(), now())`,
    ],
  ])('available if %s', async (_, statement) => {
    expect(await errorOf(host.database, statement)).not.toHaveProperty('code', 'UNAVAILABLE');
  });

  it('not to blame for any other error', () => {
    for (const error of [new Error('57P01'), new TypeError('x'), { code: '57P01' }, null, 'x']) {
      expect(isUnavailable(error)).toBe(false);
    }
  });
});

function raise(sqlState: string): string {
  return `DO $$ BEGIN RAISE EXCEPTION 'made up' USING ERRCODE = '${sqlState}'; END $$`;
}

async function errorOf({ sequelize }: Database, statement: string): Promise<unknown> {
  try {
    await sequelize.query(statement);
  } catch (error) {
    return error;
  }
  throw new Error(`no error: ${statement}`);
}
