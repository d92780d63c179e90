import { expect, it } from 'vitest';
import { runProgram } from '../harness/process.js';

it('createUUID prints a UUID alone', async () => {
  const program = runProgram('scripts/createUUID.js');
  expect(await program.exited()).toBe(0);
  expect(program.stdout().trim()).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
});
