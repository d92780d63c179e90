import { loadConfig } from '../../src/config/load.js';
import { createLogger } from '../../src/logger.js';
import { connectDatabase } from '../../src/store/connect.js';
import { migrate } from '../../src/store/migrate.js';

/** Runs the migrations on the database of an environment, as .env.example has it. */
export async function migrateFresh(env: Readonly<Record<string, string>>): Promise<void> {
  const logger = createLogger({ level: 'silent', production: true });
  const database = await connectDatabase(loadConfig(env), logger);
  try {
    await migrate(database, logger);
  } finally {
    await database.close();
  }
}
