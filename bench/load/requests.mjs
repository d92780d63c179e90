import { Agent, get } from 'node:http';
import { at } from './tally.mjs';
import { newToken } from './tokens.mjs';

/**
 * Gets pages one after the other, on one connection, as one user.
 *
 * @param {number} port
 * @param {() => string} newPath
 * @param {{ count: number, warmUp: number, token?: string }} options
 * @returns {Promise<{ p50: number, p99: number }>} in milliseconds, without those of the warm-up
 */
export async function timeRequests(port, newPath, { count, warmUp, token = newToken() }) {
  const agent = new Agent({ keepAlive: true });
  const headers = { authorization: `Bearer ${token}` };
  const times = [];
  for (let i = -warmUp; i < count; i++) {
    const path = newPath();
    const start = performance.now();
    await read({ port, host: '127.0.0.1', path, headers, agent });
    if (i >= 0) times.push(performance.now() - start);
  }
  agent.destroy();
  times.sort((a, b) => a - b);
  return { p50: at(times, 0.5), p99: at(times, 0.99) };
}

/** @param {import('node:http').RequestOptions} request @returns {Promise<void>} */
function read(request) {
  return new Promise((resolve, reject) => {
    get(request, (response) => {
      response.resume();
      response.on('end', () => {
        if (response.statusCode === 200) resolve();
        else reject(new Error(`GET ${request.path}: ${response.statusCode}`));
      });
    }).on('error', reject);
  });
}
