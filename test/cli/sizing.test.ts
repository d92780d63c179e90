import { describe, expect, it } from 'vitest';
import { COEFFICIENTS } from '../../src/cli/coefficients.js';
import { sizeOf, type Load } from '../../src/cli/sizing.js';
import { runProgram } from '../harness/process.js';

const LOAD: Load = {
  users: 1_000_000,
  online: 0.05,
  roomsPerUser: 8,
  membersPerRoom: 8,
  messagesPerUserDay: 40,
  changesPerMessage: 0,
  messageBytes: 60,
  peak: 1,
  connectsPerHour: 0,
  days: 1,
  cpu: 0.5,
  socketsPerNode: 10_000,
};

const value = (name: keyof typeof COEFFICIENTS): number => COEFFICIENTS[name].value;

/** The command, as an operator runs it. */
async function size(...args: string[]): Promise<{ code: unknown; stdout: string; stderr: string }> {
  const program = runProgram('src/cli/main.js', { args: ['size', ...args] });
  const code = await program.exited();
  return { code, stdout: program.stdout(), stderr: program.stderr() };
}

describe('the size of an installation', () => {
  it('follows from the coefficients, by hand', () => {
    const made = sizeOf(LOAD);
    const messages = 40_000_000;
    expect(made.sockets).toBe(50_000);
    expect(made.messagesPerSecond).toBeCloseTo(messages / 86_400);
    // Each goes to its sender, and to one in twenty of the seven others.
    expect(made.deliveriesPerSecond).toBeCloseTo((messages / 86_400) * 1.35);
    // Five, and one that may be lost.
    expect(made.nodes).toBe(6);
    expect(made.postgresConnections).toBe(6 * value('connections'));
    // Of the others each then has 10,000 sockets in 8 rooms, all of them different.
    expect(made.memoryBytesPerNode).toBe(
      value('nodeBytes') +
        10_000 * (value('socketBytes') + 7 * value('joinedRoomBytes') + 8 * value('openRoomBytes')),
    );
    const each = value('messageBytes') + 60 + 10 * value('wordBytes');
    expect(made.messageDiskBytes).toBeCloseTo(each);
    const standing =
      LOAD.users * (value('roomBytes') + 8 * value('memberBytes') + value('userBytes'));
    expect(made.diskBytes).toBeCloseTo(messages * each + standing, -3);
  });

  it('has two nodes at least, and one more than there are parts of a core in use', () => {
    expect(sizeOf({ ...LOAD, users: 10 }).nodes).toBe(2);
    const busy = { ...LOAD, peak: 40, socketsPerNode: 1_000_000 };
    const { cores } = sizeOf(busy);
    expect(cores).toBeGreaterThan(1);
    expect(sizeOf(busy).nodes).toBe(Math.ceil(cores / 0.5) + 1);
    expect(sizeOf({ ...busy, cpu: 1 }).nodes).toBe(Math.ceil(cores) + 1);
  });

  it.each([
    ['users', 'diskBytes'],
    ['online', 'memoryBytesPerNode'],
    ['roomsPerUser', 'memoryBytesPerNode'],
    ['membersPerRoom', 'deliveriesPerSecond'],
    ['messagesPerUserDay', 'walBytesPerDay'],
    ['changesPerMessage', 'messageDiskBytes'],
    ['messageBytes', 'outBytesPerSecond'],
    ['peak', 'cores'],
    ['connectsPerHour', 'redisPublishedPerSecond'],
    ['days', 'diskBytes'],
  ] as const)('grows with %s: %s', (of, what) => {
    // With one node's worth of sockets, so that no further node takes a part of them.
    const small = { ...LOAD, users: 100_000, connectsPerHour: 1, changesPerMessage: 0.1 };
    expect(sizeOf({ ...small, [of]: small[of] * 2 })[what]).toBeGreaterThan(sizeOf(small)[what]);
  });

  it('has a WAL between that of warm pages and that of a cold page for each room and word', () => {
    const messages = 40_000_000;
    const warm = messages * (value('walBytes') + 60 + 10 * value('wordWalBytes'));
    const cold = messages * (value('coldWalBytes') + 60 + 10 * (value('wordWalBytes') + 8_192));
    const few = sizeOf({ ...LOAD, membersPerRoom: 10_000 }).walBytesPerDay;
    const many = sizeOf({ ...LOAD, roomsPerUser: 10_000, membersPerRoom: 1 }).walBytesPerDay;
    expect(few).toBeGreaterThan(warm);
    expect(many).toBeGreaterThan(few);
    expect(many).toBeLessThan(cold);
    expect(sizeOf({ ...LOAD, messagesPerUserDay: 0 }).walBytesPerDay).toBe(0);
  });
});

describe('the command size', () => {
  it('prints a table, and what is beyond the defaults of Postgres', async () => {
    const { code, stdout } = await size('--users', '1000000', '--messages-per-user-day', '40');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^nodes +\d+, each a process/m);
    expect(stdout).toMatch(/^memory a node +[\d.]+ MiB, while one is lost$/m);
    expect(stdout).toMatch(/^WAL a day +[\d.]+ TiB, at most$/m);
    expect(stdout).toContain('More connections than the 97 of a Postgres by default');
    expect((await size('--users', '1000')).stdout).not.toContain('More connections');
  });

  it('prints the load and the size as JSON', async () => {
    const { code, stdout } = await size('--users', '20000', '--peak', '2.5', '--json');
    expect(code).toBe(0);
    const { load, size: printed } = JSON.parse(stdout) as { load: Load; size: unknown };
    expect(load).toMatchObject({ users: 20_000, online: 0.05, peak: 2.5 });
    expect(printed).toEqual(sizeOf(load));
  });

  it.each([
    [[], 'users must be given'],
    [['--users', 'many'], 'users must be a number'],
    [['--users', '0'], 'users must be from 1 to'],
    [['--users', '10', '--online', '5'], 'online must be from 0 to 1'],
    [['--users', '10', '--people', '5'], '--people'],
  ])('exits with 2 for %j, and says why', async (args, problem) => {
    const { code, stdout, stderr } = await size(...args);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toContain(problem);
  });
});
