import pg from 'pg';
import { ConnectionError } from 'sequelize';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ChatError } from '../../src/errors.js';
import { createLogger, type Logger } from '../../src/logger.js';
import { Outage } from '../../src/store/outage.js';

const FAILURES = 3_000;
const LASTS_MS = 4_000;
/** The time without a failure after which an outage is over. */
const OVER_MS = 5_000;

describe('an outage of the database', () => {
  const logger: Logger = createLogger({ level: 'silent', production: true });
  const error = vi.spyOn(logger, 'error');
  const info = vi.spyOn(logger, 'info');
  const broken = new ConnectionError(new Error('the connection broke'));
  let outage: Outage;

  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['performance'] });
    error.mockClear();
    info.mockClear();
    outage = new Outage(logger);
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('is logged once at its beginning, and once at its end with the number of failures', () => {
    for (let n = 0; n < FAILURES; n += 1) {
      expect(outage.failed(broken)).toMatchObject({ code: 'UNAVAILABLE', cause: broken });
      vi.advanceTimersByTime(LASTS_MS / FAILURES);
      // Some connections may still answer.
      outage.answered();
    }
    vi.advanceTimersByTime(OVER_MS);
    outage.answered();
    outage.answered();

    expect(error.mock.calls).toEqual([[{ err: broken }, 'database unavailable']]);
    expect(info.mock.calls).toEqual([
      [{ ms: expect.any(Number) as number, failures: FAILURES }, 'database available again'],
    ]);
    outage.failed(broken);
    expect(error).toHaveBeenCalledTimes(2);
  });

  it.each([
    ['a statement that took too long', '57014'],
    ['a lock that was not free in time', '55P03'],
    ['a deadlock', '40P01'],
  ])('does not begin with %s', (_, code) => {
    const undone = Object.assign(new pg.DatabaseError('undone', 0, 'error'), { code });

    expect(outage.failed(undone)).toMatchObject({ code: 'UNAVAILABLE', cause: undone });
    expect(error).not.toHaveBeenCalled();
  });

  it('does not begin with a bug of ours or an error for a client', () => {
    const refusal = new ChatError('FORBIDDEN');
    const fault = new TypeError('a fault');

    expect([outage.failed(refusal), outage.failed(fault)]).toEqual([refusal, fault]);
    expect(error).not.toHaveBeenCalled();
  });
});
