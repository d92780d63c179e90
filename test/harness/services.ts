export { startPostgres } from './postgres.js';
export { startRedis } from './redis.js';
