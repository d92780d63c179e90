import { expect, it } from 'vitest';
import { change } from '../../../src/chat/v2/change.js';
import type { CommandSession } from '../../../src/chat/v2/command.js';
import { ChatError } from '../../../src/errors.js';
import { deferred } from '../../harness/deferred.js';

it('a change that was answered too early keeps those behind it waiting until it is made or not', async () => {
  const made = deferred();
  const answers: unknown[] = [];
  const session = {
    context: { actions: { messages: { edit: () => made.promise } } },
    withinDeadline(_cameAt: number, work: () => Promise<unknown>) {
      void work();
      return Promise.reject(new ChatError('UNAVAILABLE'));
    },
    fail(error: ChatError, { ref }: { ref: string }) {
      answers.push([error.code, ref]);
    },
  } as unknown as CommandSession;

  let isOver = false;
  const edit = { type: 'edit', roomId: 1, target: 1, content: 'x', ref: 'e' } as const;
  const changing = change(session, edit, 0).then(() => {
    isOver = true;
  });
  await new Promise(setImmediate);
  expect(answers).toEqual([['UNAVAILABLE', 'e']]);
  expect(isOver).toBe(false);

  made.resolve();
  await changing;
  expect(answers).toHaveLength(1);
});
