import { randomUUID } from 'node:crypto';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRoom, request } from '../harness/api.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { query } from '../harness/database.js';
import type { TestNode } from '../harness/node.js';
import { startPageLab, type PageLab } from '../harness/page-lab.js';
import { eventually } from '../harness/eventually.js';
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
  await fill(room, MESSAGES);
  await markRead(room, 2 * MESSAGES);
  page = await lab.open(node, ana, { at: `/rooms/${room}` });
  await visible(`message ${MESSAGES}`).waitFor();
});
afterAll(async () => {
  await lab.clear();
  await lab.close();
  await world.close();
});

/** Stores messages of somebody else, some of several lines: no row is as high as is guessed. */
async function fill(room: number, messages: number): Promise<void> {
  await query(
    world.databaseUrl,
    `WITH filled AS (UPDATE rooms SET head = head + $3::int WHERE id = $1 RETURNING id, head - $3::int AS head)
     INSERT INTO messages (room_id, seq, kind, emitter, content, "createdAt", "updatedAt")
     SELECT id, head + n, 'message', $2, 'message ' || n || repeat(' and more', n % 50),
            now() - make_interval(mins => $3::int - n), now()
     FROM filled, generate_series(1, $3::int) AS n`,
    [room, randomUUID(), messages],
  );
}

const visible = (text: string | RegExp) => page.locator('.message-text', { hasText: text }).first();

const read = <Value>(script: string): Promise<Value> => page.evaluate<Value>(script);

const LIST = `document.querySelector('.timeline')`;
/** What Ana has read, at most all. */
async function markRead(room: number, upto: number): Promise<void> {
  await request(node, 'PUT', `/rooms/${room}/read`, { as: ana, body: { upto } });
}

/** The first message that is wholly visible, and its distance from the top of the window in pixels. */
const FIRST_VISIBLE = `(() => {
  const edge = ${LIST}.getBoundingClientRect().top;
  const text = [...document.querySelectorAll('.message-text')]
    .find((one) => one.getBoundingClientRect().top > edge);
  return { text: text.firstChild.textContent, top: text.getBoundingClientRect().top };
})()`;
const rows = (): Promise<number> => read('document.querySelectorAll(".row").length');

describe(`a room of ${MESSAGES} messages`, () => {
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

  it('renders only the rows that come, as it is scrolled', async () => {
    // A row writes its date in each rendering.
    const counts = await read<{ rendered: number; added: number }>(`(async () => {
      const counts = { rendered: 0, added: 0 };
      const { toISOString } = Date.prototype;
      Date.prototype.toISOString = function () {
        counts.rendered += 1;
        return toISOString.call(this);
      };
      const list = ${LIST};
      const scroll = async () => {
        list.scrollTop -= 300;
        await new Promise((then) => requestAnimationFrame(() => setTimeout(then)));
      };
      // Beyond the end there is a button, so all is rendered once.
      await scroll();
      counts.rendered = 0;
      const count = (changes) => {
        for (const { addedNodes } of changes) counts.added += addedNodes.length;
      };
      const observer = new MutationObserver(count);
      observer.observe(list.querySelector('ol'), { childList: true });
      for (let step = 0; step < 20; step += 1) await scroll();
      count(observer.takeRecords());
      Date.prototype.toISOString = toISOString;
      return counts;
    })()`);
    expect(counts.added).toBeGreaterThan(MOST_ROWS / 2);
    // All of them are rendered again only if something has happened.
    expect(counts.rendered).toBeLessThan(2 * counts.added);
  });

  it('shows a message that a link names in its context, and leads back to the present', async () => {
    const other = await lab.open(node, ana, { at: `/rooms/${room}/50000` });
    await other.locator('.message.target', { hasText: 'message ' }).waitFor();
    expect(await other.locator('.row').count()).toBeLessThan(MOST_ROWS);
    await other.getByRole('button', { name: 'Jump to present' }).click();
    await other.locator('.message-text', { hasText: `message ${MESSAGES}` }).waitFor();
  });
});

describe('what a link names', () => {
  it('is shown as it is now, when it is followed again', async () => {
    const link = `/rooms/${room}/60000`;
    const other = await lab.open(node, ana, { at: link });
    const target = other.locator('.message.target .message-text');
    const [, number] = /message (\d+)/.exec((await target.textContent()) ?? '') ?? [];
    const next = other.locator('.message-text', { hasText: `message ${Number(number) + 1}` });
    await next.waitFor();
    await other.getByRole('button', { name: 'Jump to present' }).click();
    await other.locator('.message-text', { hasText: `message ${MESSAGES}` }).waitFor();
    const path = `/rooms/${room}/messages/60001`;
    expect((await request(node, 'DELETE', path, { as: ana })).status).toBe(200);

    await other.evaluate(`location.hash = '#${link}'`);

    await target.waitFor();
    expect(await next.count()).toBe(0);
  });
});

describe('a list that loads what is above', () => {
  it('leaves what is read in its place', async () => {
    const quiet = await createRoom(node, ana);
    await fill(quiet, 300);
    await markRead(quiet, 1000);
    const own = await lab.open(node, ana, { at: `/rooms/${quiet}` });
    await own.locator('.message-text', { hasText: 'message 300' }).waitFor();
    let release: (() => void) | undefined;
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    const asked = own.waitForRequest(/messages\?.*before=/);
    await own.route(/messages\?.*before=/, async (route) => {
      await released;
      await route.continue();
    });
    const height = await own.evaluate<number>(`${LIST}.scrollHeight`);
    await own.evaluate(`${LIST}.scrollTop = 300`);
    await asked;
    // Rows were measured meanwhile.
    await own.evaluate('new Promise((then) => requestAnimationFrame(() => setTimeout(then)))');
    const before = await own.evaluate<{ text: string; top: number }>(FIRST_VISIBLE);
    release?.();
    await eventually(async () => {
      expect(await own.evaluate(`${LIST}.scrollHeight`)).toBeGreaterThan(1.5 * height);
    });
    const after = await own.evaluate<{ text: string; top: number }>(FIRST_VISIBLE);
    expect(after.text).toBe(before.text);
    expect(Math.abs(after.top - before.top)).toBeLessThan(1);
  });
});

describe('a room with more unread messages than a page', () => {
  it('opens at the first one, below the line, and is read at its end', async () => {
    const busy = await createRoom(node, ana);
    const unread = async (): Promise<{ head: number; unread: number }> => {
      const { content } = await request(node, 'GET', `/rooms/${busy}`, { as: ana });
      return content as { head: number; unread: number };
    };
    const { head } = await unread();
    await fill(busy, 500);
    await markRead(busy, head + 100);

    const own = await lab.open(node, ana, { at: `/rooms/${busy}` });
    const first = own.locator('.row', { has: own.locator('.unread-line') });
    await first.waitFor();
    expect(await first.locator('.message-text').textContent()).toMatch(/^message 101 /);
    expect((await unread()).unread).toBe(100);
    // Not all that are below are loaded.
    expect(await own.locator('.present-button .badge').textContent()).toMatch(/^\d\d\+$/);

    await own.getByRole('button', { name: /jump to present/i }).click();
    await own.locator('.message-text', { hasText: 'message 500' }).waitFor();
    expect(await own.locator('.unread-line').count()).toBe(0);
    await eventually(async () => {
      expect((await unread()).unread).toBe(0);
    });
  });
});
