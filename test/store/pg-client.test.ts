import { describe, expect, it, onTestFinished } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import { StartError } from '../../src/errors.js';
import { connectDatabase } from '../../src/store/connect.js';
import { reachDatabase } from '../../src/store/reach.js';
import { SAYS, startFakePostgres } from '../harness/fake-postgres.js';
import { QUIET } from '../harness/store-hosts.js';

describe('a connection that is ended by an operator', () => {
  it('does not end the process, even before it is handed over', async () => {
    // In one read: the caller who waits for the connection learns of it only later.
    const server = await startFakePostgres((socket) => {
      socket.end(Buffer.concat([SAYS.authenticationOk, SAYS.readyForQuery, SAYS.terminated]));
    });
    const uncaught = catchUncaught();
    const database = await connectDatabase(loadConfig({ DATABASE_URL: server.url }), QUIET);

    const outcomes = await Promise.allSettled([
      database.ping(),
      database.runAppend({ name: 'one', text: 'SELECT 1' }, []),
    ]);

    await database.close();
    await server.close();
    expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(uncaught).toEqual([]);
  });
});

describe('an answer that pg cannot read', () => {
  it.each([
    ['at the authentication', [SAYS.authenticationGss]],
    ['later', [SAYS.authenticationOk, SAYS.readyForQuery, SAYS.halfARowDescription]],
  ])('breaks the connection, and does not end the process: %s', async (_, said) => {
    const server = await startFakePostgres((socket) => {
      socket.write(Buffer.concat(said));
    });
    const uncaught = catchUncaught();
    const config = loadConfig({ DATABASE_URL: server.url });
    const database = await connectDatabase(config, QUIET);
    const options = { patienceMs: 0, logger: QUIET };

    const outcomes = await Promise.allSettled([
      database.ping(),
      database.runAppend({ name: 'one', text: 'SELECT 1' }, []),
      reachDatabase(database.address, options, (client) => client.query('SELECT 1')),
    ]);

    await database.close();
    await server.close();
    expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
    expect(outcomes[2]).toMatchObject({ reason: expect.any(StartError) as unknown });
    expect(uncaught).toEqual([]);
  });
});

/** The errors that would have ended the process. */
function catchUncaught(): unknown[] {
  const caught: unknown[] = [];
  const others = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  process.on('uncaughtException', (error) => caught.push(error));
  onTestFinished(() => {
    process.removeAllListeners('uncaughtException');
    for (const listener of others) process.on('uncaughtException', listener);
  });
  return caught;
}
