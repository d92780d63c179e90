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

async function createJWT(
  args: string[],
  env: Record<string, string> = {},
): Promise<{ code: number | string; token: string; stdout: string; stderr: string }> {
  const program = runProgram('scripts/createJWT.js', { args, env, cwd: folder });
  const code = await program.exited();
  return {
    code,
    token: program.stdout().trim(),
    stdout: program.stdout(),
    stderr: program.stderr(),
  };
}

describe('createJWT', () => {
  it('prints the token alone on stdout, with the defaults of the proof of concept', async () => {
    const { code, token, stdout, stderr } = await createJWT([]);
    expect(code).toBe(0);
    expect(stdout).toBe(`${token}\n`);
    const verify = createVerifier({ secret: await readOrCreateSecret(join(folder, 'data')) });
    const identity = verify(token);
    expect(identity.userUUID).toMatch(UUID);
    expect(identity.levelOnEntity).toBe(999);
    expect(identity.claims['sub']).toBe(identity.userUUID);
    const hours = ((identity.expiresAt ?? 0) - Date.now()) / 3_600_000;
    expect(hours).toBeGreaterThan(23.9);
    expect(hours).toBeLessThan(24.1);
    expect(stderr).toContain(identity.userUUID);
    const other = verify((await createJWT([])).token);
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
    const { token } = await createJWT(args);
    const identity = createVerifier({ secret, audience: 'chat', issuer: 'api' })(token);
    expect(identity).toMatchObject({
      userUUID: user,
      entityUUID: entity.toLowerCase(),
      levelOnEntity: 7,
    });
    expect((identity.expiresAt ?? 0) - Date.now()).toBeLessThan(3_700_000);
  });

  it('explains its use with --help', async () => {
    const { code, stdout } = await createJWT(['--help']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^usage: npm run createJWT/);
  });

  it.each([
    [['nobody']],
    [['--level', 'high']],
    [['--colour', 'red']],
    [['11111111-2222-3333-4444-555555555555', 'another']],
  ])('explains its use and exits with 1 for %j', async (args) => {
    const { code, stdout, stderr } = await createJWT(args);
    expect(code).toBe(1);
    expect(stdout).toBe('');
    expect(stderr).toContain('usage: npm run createJWT');
  });
});

describe('createUUID', () => {
  it('prints a UUID alone', async () => {
    const program = runProgram('scripts/createUUID.js');
    expect(await program.exited()).toBe(0);
    expect(program.stdout().trim()).toMatch(UUID);
  });
});
