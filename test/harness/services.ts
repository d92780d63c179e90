export { startPostgres, type Postgres } from './postgres.js';
export { startRedis, type Redis } from './redis.js';
