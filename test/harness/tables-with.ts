import { QueryTypes } from 'sequelize';
import type { StoreHost } from './store-hosts.js';

/** The tables that have a row with this text in any column; a partition is a part of its table. */
export async function tablesWith({ database }: StoreHost, text: string): Promise<string[]> {
  const { sequelize } = database;
  const tables = await sequelize.query<{ name: string }>(
    `SELECT relname AS name FROM pg_class
     WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY 1`,
    { type: QueryTypes.SELECT },
  );
  const found: string[] = [];
  for (const { name } of tables) {
    const rows = await sequelize.query(
      `SELECT 1 FROM "${name}" AS t WHERE strpos(t::text, $1) > 0 LIMIT 1`,
      { bind: [text], type: QueryTypes.SELECT },
    );
    if (rows.length > 0) found.push(name);
  }
  return found;
}
