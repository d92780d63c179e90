import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findingsOf } from '../harness/accessibility.js';
import { createRoom } from '../harness/api.js';
import { startBrowser } from '../harness/browser.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { operations } from '../harness/documented.js';
import type { TestNode } from '../harness/node.js';
import { person } from '../harness/tokens.js';

const ana = person({ levelOnEntity: 100 }, { name: 'Ana' });

/**
 * Of Swagger UI's own markup and colours: links within buttons, a field for the body without a name, a level of headings
 * that is left out, a title outside of its main landmark, and white on light green.
 */
const FAULTS_OF_THE_VIEWER = [
  'nested-interactive',
  'label',
  'heading-order',
  'region',
  'color-contrast',
];

let world: ChatWorld;
let node: TestNode;
let browser: Browser;
/** What scripts and the Content-Security-Policy complain of. */
const problems: string[] = [];

beforeAll(async () => {
  world = await createChatWorld();
  [node, browser] = await Promise.all([world.start(), startBrowser()]);
});
afterAll(async () => {
  await browser.close();
  await world.close();
});

async function open(options: { colorScheme?: 'dark' } = {}): Promise<Page> {
  const page = await browser.newPage(options);
  page.on('pageerror', (error) => problems.push(error.message));
  page.on('console', (line) => problems.push(line.text()));
  page.on('request', (request) => {
    if (!request.url().startsWith(node.url) && !request.url().startsWith('data:')) {
      problems.push(request.url());
    }
  });
  await page.goto(`${node.url}/docs`);
  await page.locator('.opblock').first().waitFor();
  return page;
}

describe('the page of the API', () => {
  it('shows every operation of the document', async () => {
    const page = await open();
    expect(await page.locator('.opblock').count()).toBe(operations.length);
    await page.close();
    expect(problems).toEqual([]);
  });

  it('sends a request with a token, and shows the answer', async () => {
    const room = await createRoom(node, ana, { name: 'the crew' });
    const page = await open({ colorScheme: 'dark' });
    await page.getByRole('button', { name: 'Authorize' }).click();
    await page.locator('.modal-ux input').fill(ana.token);
    await page.locator('.modal-ux').getByRole('button', { name: 'Apply credentials' }).click();
    await page.locator('.modal-ux').getByRole('button', { name: 'Close' }).first().click();

    const operation = page.locator('#operations-Rooms-getRoom');
    await operation.locator('.opblock-summary-control').click();
    await operation.getByPlaceholder('id').fill(String(room));
    await operation.getByRole('button', { name: 'Execute' }).click();
    const answer = operation.locator('.live-responses-table');
    await answer.getByText('"name": "the crew"').waitFor();
    expect(await operation.locator('.request-url pre').textContent()).toBe(
      `${node.url}/rooms/${room}`,
    );

    const send = page.locator('#operations-Messages-sendMessage');
    await send.locator('.opblock-summary-control').click();
    await send.getByPlaceholder('id').fill(String(room));
    await send
      .getByRole('textbox', { name: 'body' })
      .or(send.locator('textarea'))
      .first()
      .fill('{"content": "hi"}');
    await send.getByRole('button', { name: 'Execute' }).click();
    await send.locator('.live-responses-table').getByText('"content": "hi"').waitFor();
    await page.close();
    expect(problems).toEqual([]);
  });

  it('gives axe-core nothing to find, light or dark', async () => {
    const page = await open();
    await page.locator('.opblock-summary-control').first().click();
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      expect(await findingsOf(page, FAULTS_OF_THE_VIEWER)).toEqual([]);
    }
    await page.close();
  });

  it('is off with PAGE=off, and the documents are not', async () => {
    const bare = await world.start({ PAGE: 'off' });
    const statuses = await Promise.all(
      ['/docs', '/openapi.json', '/asyncapi.json'].map(
        async (path) => (await fetch(bare.url + path)).status,
      ),
    );
    expect(statuses).toEqual([404, 200, 200]);
  });
});
