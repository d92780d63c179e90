/**
 * The configuration of sequelize-cli (`.sequelizerc`), so that `npx sequelize db:migrate` works on the same
 * database as the server. The embedded database is opened for as long as the command runs.
 */
import type { Options } from 'sequelize';
import { loadConfig, loadEnvFile } from '../src/config/load.js';
import { sequelizeOptions } from '../src/store/connect.js';
import { startEmbeddedPostgres } from '../src/store/embedded.js';

export default async function sequelizeConfig(): Promise<Options> {
  loadEnvFile();
  const config = loadConfig(process.env);
  const address =
    config.directDatabase ??
    config.database ??
    (await startEmbeddedPostgres(config.dataDir)).address;
  return sequelizeOptions(address);
}
