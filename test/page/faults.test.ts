import { randomUUID } from 'node:crypto';
import type { Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createRoom, putRule, request } from '../harness/api.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { eventually } from '../harness/eventually.js';
import type { NodeProcess } from '../harness/node-process.js';
import { startPageLab, type PageLab } from '../harness/page-lab.js';
import { person } from '../harness/tokens.js';

const entityUUID = randomUUID();
const ana = person({ entityUUID, levelOnEntity: 100 }, { name: 'Ana' });
const bruno = person({ entityUUID, levelOnEntity: 100 }, { name: 'Bruno' });
/** Of another entity: has the rights of his own rule alone. */
const otto = person({ levelOnEntity: 100 }, { name: 'Otto' });

let world: ChatWorld;
let node: NodeProcess;
let lab: PageLab;

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.startProcess();
  lab = await startPageLab();
});
afterEach(() => lab.clear());
afterAll(async () => {
  await lab.close();
  await world.close();
});

async function say(page: Page, text: string): Promise<void> {
  const input = page.getByRole('textbox', { name: 'Message' });
  await input.fill(text);
  await input.press('Enter');
}

const message = (page: Page, text: string) => page.locator('.bubble', { hasText: text });

/** Waits until an own message is known to be stored, whether it was read already or not. */
const stored = (page: Page, text: string): Promise<void> =>
  message(page, text).locator('.check, .checks').waitFor();

async function goOffline(page: Page): Promise<void> {
  await page.context().setOffline(true);
  await page.getByText('You are offline').waitFor();
}

/** The texts that a window shows, without their times. */
async function texts(page: Page): Promise<string[]> {
  const found: string[] = await page
    .locator('.message-text')
    .evaluateAll((all: { firstChild: { textContent: string } }[]) =>
      all.map(({ firstChild }) => firstChild.textContent),
    );
  return found;
}

/** A new room, in a window of each of two users. */
async function openBoth(): Promise<{ room: number; anas: Page; brunos: Page }> {
  const room = await createRoom(node, ana);
  const at = `/rooms/${room}`;
  const [anas, brunos] = await Promise.all([
    lab.open(node, ana, { at }),
    lab.open(node, bruno, { at }),
  ]);
  await say(anas, 'hello');
  await message(brunos, 'hello').waitFor();
  return { room, anas, brunos };
}

/** Likewise, of Ana and Otto. */
async function openWithOtto(): Promise<{ room: number; anas: Page; ottos: Page }> {
  const room = await createRoom(node, ana);
  await putRule(node, ana, room, { userUUID: otto.userUUID, permissions: 'rw' });
  const body = { accepted: true };
  await request(node, 'PUT', `/rooms/${room}/invitation`, { as: otto, body });
  const at = `/rooms/${room}`;
  const [anas, ottos] = await Promise.all([
    lab.open(node, ana, { at }),
    lab.open(node, otto, { at }),
  ]);
  await say(anas, 'hello');
  await message(ottos, 'hello').waitFor();
  return { room, anas, ottos };
}

describe('a window that goes offline', () => {
  it('shows what waits, sends it when it is back, and misses nothing', async () => {
    const { anas, brunos } = await openBoth();
    await goOffline(anas);
    await say(anas, 'written offline');
    await message(anas, 'written offline').getByText('Waiting for the connection').waitFor();
    await anas.getByText('1 message is waiting').waitFor();
    await say(brunos, 'said meanwhile');
    await stored(brunos, 'said meanwhile');

    await anas.context().setOffline(false);
    await message(brunos, 'written offline').waitFor();
    await message(anas, 'said meanwhile').waitFor();
    await stored(anas, 'written offline');
    expect(await texts(anas)).toEqual(['hello', 'said meanwhile', 'written offline']);
    expect(await texts(brunos)).toEqual(await texts(anas));
  });

  it('shows that an edit waits, too', async () => {
    const { anas, brunos } = await openBoth();
    await goOffline(anas);
    await anas.getByRole('textbox', { name: 'Message' }).press('ArrowUp');
    await anas.getByText('Editing your message').waitFor();
    await say(anas, 'mended');
    await anas.getByText('1 change is waiting').waitFor();
    await anas.context().setOffline(false);
    await message(brunos, 'mended').waitFor();
    expect(await texts(brunos)).toEqual(['mended']);
  });

  it('gives the texts back that are refused, also of a tab before', async () => {
    const { room, anas, ottos } = await openWithOtto();
    const context = ottos.context();
    await goOffline(ottos);
    await say(ottos, 'one');
    await say(ottos, 'two');
    await ottos.getByText('2 messages are waiting').waitFor();
    await ottos.close();
    await putRule(node, ana, room, { userUUID: otto.userUUID, permissions: 'r' });
    await context.setOffline(false);
    const again = await context.newPage();
    await again.goto(`${node.url}/#/rooms/${room}`);
    await again.getByText('You are not allowed to do that').waitFor();
    // Both: else the second one would be stored below.
    await expect.poll(() => again.evaluate('Object.values(localStorage)')).toEqual(['one\ntwo']);
    await putRule(node, ana, room, { userUUID: otto.userUUID, permissions: 'rw' });
    const input = again.getByRole('textbox', { name: 'Message' });
    await expect.poll(() => input.inputValue()).toBe('one\ntwo');
    expect(await texts(anas)).toEqual(['hello']);
  });

  it('says why a search has no answer, and answers it once it is back', async () => {
    const { brunos } = await openBoth();
    await goOffline(brunos);
    await brunos.getByRole('searchbox').fill('hello');
    await brunos.getByRole('alert').getByText('The server does not answer').waitFor();
    expect(await brunos.getByText('Nothing found').count()).toBe(0);
    await brunos.context().setOffline(false);
    await brunos.locator('mark').first().waitFor();
  });

  it('keeps what it was to send beyond its end', async () => {
    const { room, anas, brunos } = await openBoth();
    const context = anas.context();
    await goOffline(anas);
    await say(anas, 'kept');
    await message(anas, 'kept').getByText('Waiting for the connection').waitFor();
    await anas.close();
    await context.setOffline(false);
    const again = await context.newPage();
    await again.goto(`${node.url}/#/rooms/${room}`);
    await message(brunos, 'kept').waitFor();
    await stored(again, 'kept');
    expect(await texts(again)).toEqual(['hello', 'kept']);
  });
});

describe('a server that is restarted under its windows', () => {
  it('gets what was written meanwhile, once and in order', async () => {
    const { anas, brunos } = await openBoth();
    await node.end('SIGTERM');
    await anas.getByText('You are offline').waitFor();
    await say(anas, 'one');
    await say(anas, 'two');
    node = await world.startProcess({ PORT: new URL(node.url).port });
    await message(brunos, 'two').waitFor();
    await stored(anas, 'two');
    await say(brunos, 'three');
    await message(anas, 'three').waitFor();
    expect(await texts(anas)).toEqual(['hello', 'one', 'two', 'three']);
    expect(await texts(brunos)).toEqual(await texts(anas));
  });
});

describe('a user who is banned', () => {
  it('is put out at once, sees nothing later, and comes back when let in', async () => {
    const { room, anas, brunos } = await openBoth();
    await putRule(node, ana, room, { userUUID: bruno.userUUID, permissions: 'b' });
    await say(anas, 'a secret');
    await brunos.getByText('You are not a member of this room any more.').waitFor();
    expect(await message(brunos, 'hello').count()).toBe(0);
    await stored(anas, 'a secret');
    expect(await brunos.getByText('a secret').count()).toBe(0);

    await putRule(node, ana, room, { userUUID: bruno.userUUID, permissions: 'rw' });
    await brunos.goto(`${node.url}/#/`);
    await brunos.reload();
    await brunos.getByRole('link', { name: 'Invitation' }).click();
    await brunos.getByRole('button', { name: 'Join' }).click();
    await message(brunos, 'a secret').waitFor();
    expect(await texts(brunos)).toEqual(['hello', 'a secret']);
  });
});

describe('a user who is put out and let in again at once', () => {
  it('sees the room again, and what is said in it', async () => {
    const { room, anas, ottos } = await openWithOtto();
    await putRule(node, ana, room, { userUUID: otto.userUUID, permissions: 'b' });
    await ottos.getByText('You are not a member of this room any more.').waitFor();
    await putRule(node, ana, room, { userUUID: otto.userUUID, permissions: 'rw' });
    await message(ottos, 'hello').waitFor();
    await say(anas, 'welcome back');
    await message(ottos, 'welcome back').waitFor();
    await say(ottos, 'thank you');
    await stored(ottos, 'thank you');
    expect(await texts(ottos)).toEqual(['hello', 'welcome back', 'thank you']);
  });
});

describe('a tab that was suspended', () => {
  it('shows what was said meanwhile as soon as it wakes', async () => {
    const { anas, brunos } = await openBoth();
    const tools = await brunos.context().newCDPSession(brunos);
    await tools.send('Page.setWebLifecycleState', { state: 'frozen' });
    await say(anas, 'while it slept');
    await stored(anas, 'while it slept');
    await tools.send('Page.setWebLifecycleState', { state: 'active' });
    await message(brunos, 'while it slept').waitFor();
    expect(await texts(brunos)).toEqual(['hello', 'while it slept']);
  });
});

describe('a text that looks like a program', () => {
  it('stays text, and what is no web address is no link', async () => {
    const { anas, brunos } = await openBoth();
    const attacks = [
      '<img src=x onerror="document.title=1">',
      '<script>document.title=1</script>',
      'javascript:alert(1)',
      'https://example.com/"onmouseover="document.title=1',
    ];
    for (const attack of attacks) {
      await say(anas, attack);
      await message(brunos, attack).waitFor();
    }
    await anas.getByRole('button', { name: 'Room details' }).click();
    await anas.getByRole('textbox', { name: 'Name' }).fill('<b onclick=alert(1)>');
    await anas.getByRole('button', { name: 'Rename' }).click();
    await brunos.getByRole('heading', { name: '<b onclick=alert(1)>' }).waitFor();

    const links = brunos.locator('.message-text a');
    expect(await links.count()).toBe(1);
    expect(await links.getAttribute('href')).toBe('https://example.com/');
    expect(await links.getAttribute('rel')).toBe('noopener noreferrer');
    expect(await brunos.locator('.message-text :is(img, script)').count()).toBe(0);
    await eventually(async () => {
      expect(await brunos.title()).toContain('<b onclick=alert(1)>');
    });
  });
});
