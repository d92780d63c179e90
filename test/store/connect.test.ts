import pg from 'pg';
import { QueryTypes } from 'sequelize';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config.js';
import { connectDatabase } from '../../src/store/connect.js';
import { storeHosts, type StoreHost } from '../harness/store-hosts.js';

const INT8_OID = 20;

describe.each(storeHosts)('a connection to %s', (name, openHost) => {
  let host: StoreHost;

  beforeAll(async () => {
    host = await openHost();
  });
  afterAll(() => host.close());

  it('tells whether the database is embedded, and whether it answers', async () => {
    expect(host.database.embedded).toBe(name !== 'Postgres');
    await expect(host.database.ping()).resolves.toBeUndefined();
  });

  it('gives int8 as a number, and leaves pg as it is for the rest of the process', async () => {
    const [row] = await host.database.sequelize.query<{ large: unknown; text: unknown }>(
      `SELECT 9007199254740991::int8 AS large, '7'::text AS text`,
      { type: QueryTypes.SELECT },
    );

    expect(row).toEqual({ large: Number.MAX_SAFE_INTEGER, text: '7' });
    expect(pg.types.getTypeParser(INT8_OID)('7')).toBe('7');
  });

  it('keeps transactions apart that run at the same time', async () => {
    const { sequelize } = host.database;
    await sequelize.query('CREATE TABLE counters (id int, value int)');

    const outcomes = await Promise.allSettled(
      Array.from({ length: 12 }, (_, n) =>
        sequelize.transaction(async (transaction) => {
          const options = { bind: [n], transaction };
          await sequelize.query('INSERT INTO counters VALUES ($1, 0)', options);
          await sequelize.query('UPDATE counters SET value = value + 1 WHERE id = $1', options);
          if (n % 3 === 0) throw new Error('rolled back');
        }),
      ),
    );

    const rows = await sequelize.query('SELECT id, value FROM counters ORDER BY id', {
      type: QueryTypes.SELECT,
    });
    expect(rows).toEqual([1, 2, 4, 5, 7, 8, 10, 11].map((id) => ({ id, value: 1 })));
    expect(outcomes.filter(({ status }) => status === 'rejected')).toHaveLength(4);
  });
});

describe('a connection to a Postgres that is not there', () => {
  it('rejects a ping, and is closed all the same', async () => {
    const database = await connectDatabase(
      loadConfig({ DATABASE_URL: 'postgres://ana:hush@127.0.0.1:1/chat' }),
    );

    await expect(database.ping()).rejects.toThrow(/ECONNREFUSED/);
    await expect(database.close()).resolves.toBeUndefined();
  });
});
