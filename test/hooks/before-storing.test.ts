import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { createBeforeStoring, HOOK_TIMEOUT_MS } from '../../src/hooks/before-storing.js';
import type { SignedPost } from '../../src/hooks/signed-post.js';
import { createLogger } from '../../src/logger.js';

const page = readFileSync(new URL('../../docs/HOOKS.md', import.meta.url), 'utf8');
const [, json = ''] = /```json\n([\s\S]*?)```/.exec(page) ?? [];
const documented = JSON.parse(json) as {
  type: 'message';
  room: { id: number; uuid: string; type: string; data: object };
  message: { content: string; data: object; reply_to: number; mentions: string[]; ref: string };
  caller: { userUUID: string; entityUUID: string; levelOnEntity: number };
};

const { type, room, message, caller } = documented;
const QUESTION = {
  type,
  room: { ...room, data: JSON.stringify(room.data) },
  message: {
    content: message.content,
    data: JSON.stringify(message.data),
    replyTo: message.reply_to,
    mentions: message.mentions,
    ref: message.ref,
  },
  caller: { ...caller, isServer: false },
};

function hookOver(post: SignedPost, failsOpen = true) {
  const limits = { contentCharacters: 8_000, dataBytes: 4_096 };
  const logger = createLogger({ level: 'silent', production: true });
  return createBeforeStoring({ post, failsOpen, limits, logger });
}

describe('the hook before storing', () => {
  it('sends the question that HOOKS.md has', async () => {
    const sent: string[] = [];
    const hook = hookOver((_, question) => {
      sent.push(question);
      return Promise.resolve({ status: 204, text: '' });
    });

    await hook.ask(QUESTION);
    await hook.ask({
      ...QUESTION,
      room: { ...QUESTION.room, data: null },
      message: { content: 'a' },
    });

    expect(sent.map((text) => JSON.parse(text) as unknown)).toEqual([
      documented,
      {
        ...documented,
        room: { id: room.id, uuid: room.uuid, type: room.type },
        message: { emitter: caller.userUUID, content: 'a' },
      },
    ]);
  });

  it('takes each answer that HOOKS.md has', async () => {
    const answers = [...page.matchAll(/^\| `(\{"action".*?\})`/gm)].map(
      ([, answer = '']) => answer,
    );
    const outcomes = answers.map((text) =>
      // If one were taken for none, this would be UNAVAILABLE.
      hookOver(() => Promise.resolve({ status: 200, text }), false)
        .ask(QUESTION)
        .catch(({ code }: { code: string }) => code),
    );

    const { content, data } = QUESTION.message;
    expect(await Promise.all(outcomes)).toEqual([
      expect.objectContaining({ content, data }),
      'REJECTED',
      { content: '...', data, isReplaced: true },
    ]);
  });

  it('asks of one who floods no more than others have turns for', async () => {
    const asked: string[] = [];
    const waiting: (() => void)[] = [];
    const hook = hookOver((_, question) => {
      asked.push((JSON.parse(question) as typeof documented).caller.userUUID);
      return new Promise((resolve) => {
        waiting.push(() => {
          resolve({ status: 204, text: '' });
        });
      });
    });
    const of = (userUUID: string): Promise<unknown> =>
      hook.ask({ ...QUESTION, caller: { ...QUESTION.caller, userUUID } });

    const flood = Array.from({ length: 100 }, () => of('flood'));
    const other = of('other');
    while (waiting.length > 0) {
      waiting.shift()?.();
      await new Promise(setImmediate);
    }
    await Promise.all([...flood, other]);

    // 32 at a time; the first that ends lets the next of the flood in, the second the other.
    expect(asked.indexOf('other')).toBeLessThan(35);
    expect(asked).toHaveLength(101);
  });

  it('is still asked if it is alive, but has more to do than it can', async () => {
    let asked = 0;
    // Each takes two thirds of its time: so the second 32 have not the time that they need.
    const hook = hookOver(
      (_, _json, signal) =>
        new Promise((resolve, reject) => {
          asked += 1;
          setTimeout(resolve, (HOOK_TIMEOUT_MS * 2) / 3, { status: 204, text: '' });
          signal?.addEventListener('abort', () => {
            reject(signal.reason as Error);
          });
        }),
    );
    await Promise.all(Array.from({ length: 60 }, () => hook.ask(QUESTION)));
    expect(asked).toBe(60);

    await hook.ask(QUESTION);
    expect(asked).toBe(61);
  });

  it('has the time that HOOKS.md promises', () => {
    expect(page).toContain(`The hook has ${HOOK_TIMEOUT_MS / 1_000} seconds.`);
  });
});
