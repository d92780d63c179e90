import { QueryTypes } from 'sequelize';
import type { StoreHost } from './store-hosts.js';

/** The tables that have a row with this text in any column. */
export async function tablesWith({ database }: StoreHost, text: string): Promise<string[]> {
  const { sequelize } = database;
  const tables = await sequelize.query<{ name: string }>(
    `SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' ORDER BY 1`,
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
