import { expect, it } from 'vitest';
import { loadConfig } from '../src/config/load.js';
import { configOfWorker } from '../src/workers.js';

it('the metrics of each worker have a port of their own, unless they take any that is free', () => {
  const portOf = (METRICS_PORT: string | undefined, worker: number): number | undefined =>
    configOfWorker(loadConfig({ METRICS_PORT }), worker).metrics?.port;

  expect([1, 2, 3].map((worker) => portOf('9464', worker))).toEqual([9464, 9465, 9466]);
  expect(portOf('0', 3)).toBe(0);
  expect(portOf(undefined, 3)).toBeUndefined();
});
