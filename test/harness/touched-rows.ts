import { QueryTypes } from 'sequelize';
import type { StoreHost } from './store-hosts.js';

/**
 * Counts the rows of the log and of reactions that are changed or deleted from now on, by triggers.
 * @returns what gives the counts, one a transaction
 */
export async function countTouched({ database }: StoreHost): Promise<() => Promise<number[]>> {
  const { sequelize } = database;
  await sequelize.query('CREATE TABLE touched (tx bigint, rows bigint)');
  await sequelize.query(`CREATE FUNCTION count_touched() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO touched SELECT txid_current(), count(*) FROM before;
      RETURN NULL;
    END $$`);
  for (const table of ['messages', 'reactions', 'message_words']) {
    for (const event of ['UPDATE', 'DELETE']) {
      await sequelize.query(`CREATE TRIGGER count_${event} AFTER ${event} ON ${table}
        REFERENCING OLD TABLE AS before FOR EACH STATEMENT EXECUTE FUNCTION count_touched()`);
    }
  }
  return async () => {
    const rows = await sequelize.query<{ rows: number }>(
      'SELECT sum(rows)::bigint AS rows FROM touched GROUP BY tx HAVING sum(rows) > 0 ORDER BY tx',
      { type: QueryTypes.SELECT },
    );
    return rows.map((row) => row.rows);
  };
}
