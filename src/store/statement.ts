import type pg from 'pg';
import { QueryTypes, type Sequelize, type Transaction } from 'sequelize';

/** Runs a statement with values for `$1`, `$2`, ..., and gives its rows. */
export type RunStatement = (text: string, values: readonly unknown[]) => Promise<readonly object[]>;

/** Statements within a transaction. */
export function within(sequelize: Sequelize, transaction: Transaction): RunStatement {
  return (text, values) =>
    sequelize.query<object>(text, {
      bind: [...values],
      type: QueryTypes.SELECT,
      transaction,
    });
}

/**
 * One statement that is run very often, on connections of Sequelize's pool but past its query: Postgres parses
 * it once a connection, and nothing is done for it that only models need.
 * @param name what Postgres calls it; always for the same text. Undefined where connections share one session
 *   of the database (the embedded one): then it is parsed each time
 */
export function prepared(sequelize: Sequelize, name: string | undefined): RunStatement {
  const { connectionManager } = sequelize;
  return async (text, values) => {
    const connection = (await connectionManager.getConnection({ type: 'write' })) as pg.Client;
    try {
      const statement = { ...(name !== undefined && { name }), text, values: [...values] };
      const { rows } = await connection.query<object>(statement);
      connectionManager.releaseConnection(connection);
      return rows;
    } catch (error) {
      // It may be broken, and not know it yet. What its end has to say is of no interest.
      connectionManager.destroyConnection(connection).catch(() => undefined);
      throw error;
    }
  };
}
