import { randomUUID } from 'node:crypto';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRoom } from '../harness/api.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { query } from '../harness/database.js';
import type { TestNode } from '../harness/node.js';
import { startPageLab, type PageLab } from '../harness/page-lab.js';
import { person } from '../harness/tokens.js';

const MESSAGES = 100_000;
/** Messages that are loaded, a page after the other. */
const FAR = 10_000;
/** More rows than are visible and just outside of it at any width. */
const MOST_ROWS = 100;

const ana = person({ levelOnEntity: 100 }, { name: 'Ana' });

let world: ChatWorld;
let node: TestNode;
let lab: PageLab;
let room: number;
let page: Page;

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start();
  lab = await startPageLab();
  room = await createRoom(node, ana);
  // Some of several lines: no row is as high as is guessed.
  await query(
    world.databaseUrl,
    `WITH filled AS (UPDATE rooms SET head = head + $3::int WHERE id = $1 RETURNING id, head - $3::int AS head)
     INSERT INTO messages (room_id, seq, kind, emitter, content, "createdAt", "updatedAt")
     SELECT id, head + n, 'message', $2, 'message ' || n || repeat(' and more', n % 50),
            now() - make_interval(mins => $3::int - n), now()
     FROM filled, generate_series(1, $3::int) AS n`,
    [room, randomUUID(), MESSAGES],
  );
  page = await lab.open(node, ana, { at: `/rooms/${room}` });
  await visible(`message ${MESSAGES}`).waitFor();
});
afterAll(async () => {
  await lab.clear();
  await lab.close();
  await world.close();
});

const visible = (text: string | RegExp) => page.locator('.message-text', { hasText: text }).first();

const read = <Value>(script: string): Promise<Value> => page.evaluate<Value>(script);

const LIST = `document.querySelector('.timeline')`;
const rows = (): Promise<number> => read('document.querySelectorAll(".row").length');

describe(`a room of ${MESSAGES} messages`, { timeout: 180_000 }, () => {
  it('is scrolled far back with few rows in the document, and to its end at once', async () => {
    await read(`(async () => {
      const list = ${LIST};
      const first = () => document.querySelector('.message-text').textContent.split(' ')[1];
      while (Number(first()) > ${MESSAGES - FAR}) {
        list.scrollTop = 0;
        await new Promise((then) => setTimeout(then, 20));
      }
    })()`);
    expect(await rows()).toBeLessThan(MOST_ROWS);
    await page.getByRole('button', { name: 'Jump to present' }).click();
    await visible(`message ${MESSAGES}`).waitFor();
    expect(await rows()).toBeLessThan(MOST_ROWS);
  });

  it('shows a message that a link names in its context, and leads back to the present', async () => {
    const other = await lab.open(node, ana, { at: `/rooms/${room}/50000` });
    await other.locator('.message.target', { hasText: 'message ' }).waitFor();
    expect(await other.locator('.row').count()).toBeLessThan(MOST_ROWS);
    await other.getByRole('button', { name: 'Jump to present' }).click();
    await other.locator('.message-text', { hasText: `message ${MESSAGES}` }).waitFor();
  });
});
