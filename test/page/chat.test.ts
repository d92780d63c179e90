import { randomUUID } from 'node:crypto';
import type { Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createRoom, request } from '../harness/api.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { startPageLab, type PageLab } from '../harness/page-lab.js';
import { person } from '../harness/tokens.js';

const entityUUID = randomUUID();
const ana = person({ entityUUID, levelOnEntity: 100 }, { name: 'Ana' });
const bruno = person({ entityUUID, levelOnEntity: 100 }, { name: 'Bruno' });

let world: ChatWorld;
let node: TestNode;
let lab: PageLab;
let room: number;

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start();
  lab = await startPageLab();
  room = await createRoom(node, ana);
});
afterEach(() => lab.clear());
afterAll(async () => {
  await lab.close();
  await world.close();
});

const input = (page: Page) => page.getByRole('textbox', { name: 'Message' });

async function say(page: Page, text: string): Promise<void> {
  await input(page).fill(text);
  await input(page).press('Enter');
}

/** A message that is shown, by its text. */
const message = (page: Page, text: string) => page.locator('.bubble', { hasText: text });

describe('two browsers', () => {
  it('chat: each sees what the other says, and who it is', async () => {
    const at = `/rooms/${room}`;
    const [anas, brunos] = await Promise.all([
      lab.open(node, ana, { at }),
      lab.open(node, bruno, { at }),
    ]);
    await say(anas, 'Fueled up?');
    await message(brunos, 'Fueled up?').waitFor();
    await brunos.locator('.message-name', { hasText: 'Ana' }).waitFor();
    await say(brunos, 'Ready to go');
    await message(anas, 'Ready to go').waitFor();

    const stored = await request(node, 'GET', `/rooms/${room}/messages`, { as: ana });
    expect(stored.content).toMatchObject([{ content: 'Fueled up?' }, { content: 'Ready to go' }]);
  });
});

describe('the sign-in', () => {
  it('takes a token of the application, and refuses another one with the reason', async () => {
    const page = await lab.open(node, { ...ana, token: 'no token' });
    await page.getByLabel('Token (JWT)').fill(`${ana.token}x`);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('alert').getByText('The server refuses this token').waitFor();

    await page.getByLabel('Token (JWT)').fill(ana.token);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('navigation', { name: 'Rooms' }).waitFor();
    expect(await page.getByRole('link', { name: 'a room' }).count()).toBe(1);
  });
});
