import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createVerifier } from '../../src/access/token.js';
import { readOrCreateSecret } from '../../src/access/secret.js';
import { runProgram } from '../harness/process.js';

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nano-test-'));
});
afterEach(() => rm(folder, { recursive: true }));

async function createToken(
  args: string[],
): Promise<{ code: number | string; token: string; stdout: string; stderr: string }> {
  const program = runProgram('src/cli/main.js', {
    args: ['token', ...args],
    cwd: folder,
  });
  const code = await program.exited();
  return {
    code,
    token: program.stdout().trim(),
    stdout: program.stdout(),
    stderr: program.stderr(),
  };
}

describe('the command token', () => {
  it('prints the token alone on stdout, with the defaults of the proof of concept', async () => {
    const { code, token, stdout, stderr } = await createToken([]);
    expect(code).toBe(0);
    expect(stdout).toBe(`${token}\n`);
    const verify = createVerifier({ secrets: [await readOrCreateSecret(join(folder, 'data'))] });
    const identity = verify(token);
    expect(identity.userUUID).toMatch(UUID);
    expect(identity.levelOnEntity).toBe(999);
    expect(identity.claims['sub']).toBe(identity.userUUID);
    const hours = ((identity.expiresAt ?? 0) - Date.now()) / 3_600_000;
    expect(hours).toBeGreaterThan(23.9);
    expect(hours).toBeLessThan(24.1);
    expect(stderr).toContain(identity.userUUID);
    const other = verify((await createToken([])).token);
    expect(other.entityUUID).toBe(identity.entityUUID);
    expect(other.userUUID).not.toBe(identity.userUUID);
  });

  it('takes user, entity, level, hours, and the secret, aud and iss of .env', async () => {
    const secret = 'a secret that stands in the file .env';
    await writeFile(
      join(folder, '.env'),
      `JWT_MASTER_SECRET="${secret}"\nAUDIENCE=chat\nISSUER=api\n`,
    );
    const user = '11111111-2222-3333-4444-555555555555';
    const entity = 'AAAAAAAA-2222-3333-4444-555555555555';
    const args = [user, '--entity', entity, '--level', '7', '--hours', '1'];
    const { token } = await createToken(args);
    const identity = createVerifier({ secrets: [secret], audience: 'chat', issuer: 'api' })(token);
    expect(identity).toMatchObject({
      userUUID: user,
      entityUUID: entity.toLowerCase(),
      levelOnEntity: 7,
    });
    expect((identity.expiresAt ?? 0) - Date.now()).toBeLessThan(3_700_000);
    expect(identity.isServer).toBe(false);
  });

  it('makes a server token with --server', async () => {
    const { token, stderr } = await createToken(['--server']);
    const verify = createVerifier({ secrets: [await readOrCreateSecret(join(folder, 'data'))] });
    expect(verify(token).isServer).toBe(true);
    expect(stderr).toMatch(/^server token: user /);
  });

  it.each([
    [['nobody'], 'user must be a UUID: hexadecimal digits, 8-4-4-4-12 of them'],
    [['--level', 'high'], 'level must be a number'],
    [['--colour', 'red'], "Unknown option '--colour'"],
    [['--level'], "Option '--level <value>' argument missing"],
    [['11111111-2222-3333-4444-555555555555', 'another'], 'unexpected argument: another'],
  ])('says what is wrong, names its help and exits with 2 for %j', async (args, problem) => {
    const { code, stdout, stderr } = await createToken(args);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toBe(`${problem}\nSee: nano-messaging token --help\n`);
  });

  it('names a configuration that cannot be used, and exits with 1', async () => {
    await writeFile(join(folder, '.env'), 'PORT=x\n');
    const { code, stdout, stderr } = await createToken([]);
    expect(code).toBe(1);
    expect(stdout).toBe('');
    expect(stderr).toContain('PORT');
    expect(stderr).not.toContain('    at ');
  });
});
