import { randomUUID } from 'node:crypto';
import type { Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createRoom, putRule, request } from '../harness/api.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { query } from '../harness/database.js';
import type { TestNode } from '../harness/node.js';
import { startPageLab, type PageLab } from '../harness/page-lab.js';
import { person, secondsFromNow } from '../harness/tokens.js';

const entityUUID = randomUUID();
const ana = person({ entityUUID, levelOnEntity: 100 }, { name: 'Ana' });
/** A right-to-left override, which would turn the text behind the name. */
const bruno = person({ entityUUID, levelOnEntity: 100 }, { name: 'Bru\u202Eno' });

const longName = 'Maria Fernanda Gonzalez de la Torre';
const maria = { ...person({}, { name: longName }), name: longName };

let world: ChatWorld;
let node: TestNode;
let lab: PageLab;

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start();
  lab = await startPageLab();
  // The server knows of them by that.
  await request(node, 'GET', '/me/rooms', { as: bruno });
});
afterEach(() => lab.clear());
afterAll(async () => {
  await lab.close();
  await world.close();
});

const input = (page: Page) => page.getByRole('textbox', { name: 'Message' });
const message = (page: Page, text: string) => page.locator('.bubble', { hasText: text });

/** The texts that the server has of a room. */
async function storedTexts(room: number): Promise<unknown[]> {
  const { content } = await request(node, 'GET', `/rooms/${room}/messages`, { as: ana });
  return (content as { content: unknown }[]).map((row) => row.content);
}

/** Stores a message, and returns its number. */
async function post(room: number, body: object, as = ana): Promise<number> {
  const { content } = await request(node, 'POST', `/rooms/${room}/messages`, { as, body });
  return (content as { seq: number }).seq;
}

async function openRoom(): Promise<{ room: number; page: Page }> {
  const room = await createRoom(node, ana);
  const page = await lab.open(node, ana, { at: `/rooms/${room}` });
  await page.getByText('No messages yet').first().waitFor();
  return { room, page };
}

/** Sends by the keyboard, and waits until it is stored. */
async function say(page: Page, text: string): Promise<void> {
  await input(page).fill(text);
  await input(page).press('Enter');
  await message(page, text).locator('.check, .checks').waitFor();
}

const hasFocus = (page: Page, label: string): Promise<boolean> =>
  page.evaluate(`document.activeElement.getAttribute('aria-label') === ${JSON.stringify(label)}`);

describe('the composer', () => {
  it('leaves Enter to an input method', async () => {
    const { room, page } = await openRoom();
    await input(page).fill('にほん');
    await input(page).dispatchEvent('keydown', { key: 'Enter', isComposing: true });
    // Safari ends the word before it tells of the key.
    await input(page).dispatchEvent('keydown', { key: 'Enter', keyCode: 229 });
    expect(await input(page).inputValue()).toBe('にほん');
    await say(page, '日本');
    expect(await storedTexts(room)).toEqual(['日本']);
  });

  it('sends once at a double click', async () => {
    const { room, page } = await openRoom();
    await input(page).fill('once');
    await page.getByRole('button', { name: 'Send' }).dblclick();
    await message(page, 'once').locator('.check').waitFor();
    await say(page, 'then');
    expect(await storedTexts(room)).toEqual(['once', 'then']);
  });

  it('says by how much a text is too long, and keeps it', async () => {
    const { room, page } = await openRoom();
    const long = 'x'.repeat(8_003);
    await input(page).fill(long);
    await page.getByRole('alert').getByText('3 characters too long').waitFor();
    await input(page).press('Enter');
    expect(await input(page).inputValue()).toBe(long);
    await say(page, long.slice(3));
    expect(await storedTexts(room)).toEqual([long.slice(3)]);
    expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true);
  });

  it('gives the draft back when one answers instead of editing', async () => {
    const { room, page } = await openRoom();
    await say(page, 'mine');
    await post(room, { content: 'theirs' }, bruno);
    await message(page, 'theirs').waitFor();
    await input(page).fill('a draft');
    await page.locator('.row', { hasText: 'mine' }).focus();
    await page.getByRole('button', { name: 'Edit' }).click();
    expect(await input(page).inputValue()).toBe('mine');
    await page.locator('.row', { hasText: 'theirs' }).focus();
    await page.getByRole('button', { name: 'Reply', exact: true }).click();
    await page.getByText('Replying to').waitFor();
    expect(await input(page).inputValue()).toBe('a draft');
  });

  it('shows nothing of what it answers once that is deleted', async () => {
    const { room, page } = await openRoom();
    const seq = await post(room, { content: 'a mistake' }, bruno);
    await page.locator('.row', { hasText: 'a mistake' }).focus();
    await page.getByRole('button', { name: 'Reply', exact: true }).click();
    await request(node, 'DELETE', `/rooms/${room}/messages/${seq}`, { as: bruno });
    const line = page.locator('.intent');
    await line.getByText('Deleted message').waitFor();
    expect(await line.textContent()).not.toContain('a mistake');
  });

  it('leads to what it sent, wherever one was reading', async () => {
    const { room, page } = await openRoom();
    for (let line = 1; line <= 3; line += 1) await say(page, `${line}${'\nline'.repeat(40)}`);
    await page.locator('.timeline').evaluate((list: { scrollTop: number }) => {
      list.scrollTop = 0;
    });
    await page.getByRole('button', { name: 'Jump to present' }).waitFor();
    await say(page, 'down here');
    await page.getByRole('button', { name: 'Jump to present' }).waitFor({ state: 'detached' });
    expect(await storedTexts(room)).toHaveLength(4);
  });
});

describe('the focus', () => {
  it('comes back from dialogs and from the details, however they end', async () => {
    const { page } = await openRoom();
    await page.getByRole('button', { name: 'New conversation' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click();
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    expect(await hasFocus(page, 'New conversation')).toBe(true);

    await page.getByRole('button', { name: 'Room details' }).click();
    await page.getByRole('button', { name: 'Delete room' }).click();
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await page.getByRole('region', { name: 'Room details' }).waitFor();
    await page.keyboard.press('Escape');
    await page.getByRole('region', { name: 'Room details' }).waitFor({ state: 'detached' });
    expect(await hasFocus(page, 'Room details')).toBe(true);
  });
});

describe('a new conversation', () => {
  it('says within its dialog why it was refused', async () => {
    const { page } = await openRoom();
    await page.getByRole('button', { name: 'New conversation' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByText('Direct').click();
    await dialog.getByLabel('ID of the other person').fill('javascript:alert(1)');
    await dialog.getByRole('button', { name: 'Open conversation' }).click();
    const problem = dialog.getByRole('alert');
    await problem.getByText('The server does not accept that').waitFor();
    expect(await page.locator('.toast').count()).toBe(0);
  });
});

describe('a name', () => {
  it('can neither turn the text around it, nor widen the page', async () => {
    const { room, page } = await openRoom();
    const name = `\u202E${'W'.repeat(99)}`;
    await request(node, 'PATCH', `/rooms/${room}`, { as: ana, body: { name } });
    await page.getByRole('heading', { name: 'W'.repeat(99), exact: true }).waitFor();
    await putRule(node, ana, room, { userUUID: bruno.userUUID, permissions: 'rw' });
    const body = { content: 'hello' };
    await request(node, 'PUT', `/rooms/${room}/invitation`, {
      as: bruno,
      body: { accepted: true },
    });
    await request(node, 'POST', `/rooms/${room}/messages`, { as: bruno, body });
    await page.locator('.message-name', { hasText: /^Bruno$/ }).waitFor();
    await request(node, 'GET', '/me/rooms', { as: maria });
    await putRule(node, ana, room, { userUUID: maria.userUUID, permissions: 'rw' });
    await page.setViewportSize({ width: 360, height: 700 });
    await page.getByRole('button', { name: 'Room details' }).click();
    const details = page.locator('.details-body');
    await details.getByText(maria.name).waitFor();
    expect(await details.evaluate((box) => box.scrollWidth - box.clientWidth)).toBe(0);
    await page.getByRole('button', { name: 'Remove Bruno' }).click();
    await page.getByText('Remove Bruno?').waitFor();
    expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true);
  });
});

describe('a browser that keeps nothing', () => {
  it.each(['localStorage', 'sessionStorage'])('chats all the same without %s', async (name) => {
    const room = await createRoom(node, ana);
    const page = await lab.open(node, ana, { at: `/rooms/${room}` });
    await page
      .context()
      .addInitScript(
        `Object.defineProperty(window, '${name}', { get() { throw new DOMException('no', 'SecurityError'); } })`,
      );
    await page.reload();
    const field = page.getByLabel('Token (JWT)');
    if (name === 'sessionStorage') {
      await field.fill(ana.token);
      await page.getByRole('button', { name: 'Sign in' }).click();
    }
    await page.goto(`${node.url}/#/rooms/${room}`);
    await say(page, 'not kept');
    expect(await storedTexts(room)).toEqual(['not kept']);
    expect(await page.locator('.toast').count()).toBe(0);
    await page.context().setOffline(true);
    await page.getByText('You are offline').waitFor();
    await input(page).fill('unsent');
    await input(page).press('Enter');
    await page.getByText('1 message is waiting').waitFor();
    await page.locator('.account-button').click();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Sign out' }).click();
    await field.waitFor();
  });
});

describe('a link to a message that is gone', () => {
  it('says so, and shows the last messages', async () => {
    const { room, page } = await openRoom();
    await say(page, 'here');
    await page.goto(`${node.url}/#/rooms/${room}/999999`);
    await page.getByText('That message does not exist any more').waitFor();
    await message(page, 'here').waitFor();
    await page.waitForURL(`${node.url}/#/rooms/${room}`);
    expect(await message(page, 'here').count()).toBe(1);
  });
});

describe('a link to a message', () => {
  it('leads there each time that it is followed', async () => {
    const { room, page } = await openRoom();
    const seq = await post(room, { content: 'the plan' });
    for (let line = 1; line <= 30; line += 1)
      await post(room, { content: 'line\n'.repeat(4) + '.' });
    await post(room, { content: 'agreed', reply_to: seq });
    await message(page, 'agreed').waitFor();
    await page.getByRole('searchbox').fill('plan');
    const hit = page.locator('.hit');
    const quote = message(page, 'agreed').getByRole('button', { name: 'In reply to' });
    const plan = page.locator('.message-text', { hasText: 'the plan' });
    for (const link of [quote, quote, hit, hit]) {
      await page.evaluate(`(() => {
        const list = document.querySelector('.timeline');
        list.scrollTop = list.scrollHeight;
      })()`);
      await plan.waitFor({ state: 'detached' });
      await link.click();
      await plan.waitFor();
    }
    expect(page.url()).toBe(`${node.url}/#/rooms/${room}/${seq}`);
  });

  it('leaves one there when the message is deleted', async () => {
    const { room, page } = await openRoom();
    const seq = await post(room, { content: 'a mistake' });
    await message(page, 'a mistake').waitFor();
    await page.goto(`${node.url}/#/rooms/${room}/${seq}`);
    await page.locator('.message.target').waitFor();
    await request(node, 'DELETE', `/rooms/${room}/messages/${seq}`, { as: ana });
    await message(page, 'a mistake').waitFor({ state: 'detached' });
    await post(room, { content: 'said later' });
    await message(page, 'said later').waitFor();
    expect(await page.locator('.toast').count()).toBe(0);
    expect(page.url()).toBe(`${node.url}/#/rooms/${room}/${seq}`);
  });
});

describe('a quote of a message that is not among the last ones', () => {
  it('says nothing of it any more once it is deleted', async () => {
    const { room, page } = await openRoom();
    const seq = await post(room, { content: 'a secret' });
    for (let line = 1; line <= 60; line += 1) await post(room, { content: `line ${line}` });
    await post(room, { content: 'sure?', reply_to: seq });
    await page.reload();
    const quote = message(page, 'sure?').locator('.quote');
    await quote.getByText('a secret').waitFor();
    await request(node, 'DELETE', `/rooms/${room}/messages/${seq}`, { as: ana });
    await quote.getByText('Deleted message').or(page.locator('.quote.gone')).first().waitFor();
    expect(await page.getByText('a secret').count()).toBe(0);
  });
});

describe('a page on a phone', () => {
  const viewport = { width: 390, height: 844 };

  it('has the button that sends above its keyboard, however long the text is', async () => {
    const { page } = await openRoom();
    await say(page, 'answer this');
    await page.setViewportSize({ width: 360, height: 330 });
    await page.locator('.row', { hasText: 'answer this' }).focus();
    await page.getByRole('button', { name: 'Reply', exact: true }).click();
    await input(page).fill('a line\n'.repeat(30));
    const button = page.getByRole('button', { name: 'Send', exact: true });
    const { y = Infinity, height = 0 } = (await button.boundingBox()) ?? {};
    expect(y + height).toBeLessThan(330);
  });

  it('shows that it has no connection beside the list, too', async () => {
    const page = await lab.open(node, ana, { viewport });
    await page.getByRole('navigation', { name: 'Rooms' }).waitFor();
    await page.context().setOffline(true);
    await page.getByText('You are offline').waitFor();
    expect(await page.getByRole('searchbox').isVisible()).toBe(true);
  });

  it('shows that a room is opened, and the way back, before it knows anything', async () => {
    const page = await lab.open(node, ana, { viewport });
    await page.route('**/me/rooms*', () => new Promise(() => undefined));
    await page.goto(`${node.url}/#/rooms/1`);
    await page.reload();
    await page.getByRole('status', { name: 'Loading messages' }).waitFor();
    await page.getByRole('button', { name: 'Back to the rooms' }).click();
    await page.getByRole('searchbox').waitFor();
    expect(page.url()).toBe(`${node.url}/#/`);
  });
});

describe('a page of plain http', () => {
  it('copies all the same', async () => {
    const { page } = await openRoom();
    // As browsers have it if a page is neither of https nor of the same machine.
    await page.evaluate(`Object.defineProperty(navigator, 'clipboard', { value: undefined })`);
    await page.locator('.account-button').click();
    await page.getByRole('button', { name: 'Copy my ID' }).click();
    await page.getByText('others can invite you by this ID').waitFor();
    await input(page).press('ControlOrMeta+v');
    expect(await input(page).inputValue()).toBe(ana.userUUID);
  });
});

describe('signing out', () => {
  it('asks if something is not sent, and leaves nothing of the user in the browser', async () => {
    const { room, page } = await openRoom();
    await page.context().setOffline(true);
    await page.getByText('You are offline').waitFor();
    await input(page).fill('unsent');
    await input(page).press('Enter');
    await page.getByText('1 message is waiting').waitFor();
    await input(page).fill('a draft');
    await page.locator('.account-button').click();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByText('1 change is not sent yet').waitFor();
    await page.getByRole('dialog').getByRole('button', { name: 'Sign out' }).click();
    await page.getByLabel('Token (JWT)').waitFor();
    expect(await page.evaluate('localStorage.length + sessionStorage.length')).toBe(0);

    await page.context().setOffline(false);
    await page.getByLabel('Token (JWT)').fill(bruno.token);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.goto(`${node.url}/#/rooms/${room}`);
    await say(page, 'from Bruno');
    expect(await storedTexts(room)).toEqual(['from Bruno']);
  });
});

describe('a token that ends while the page is open', () => {
  it('leads to the sign-in, and back to where it was with what was written', async () => {
    const room = await createRoom(node, ana);
    // How long it takes to load the page says how long it must be accepted at least.
    const begin = performance.now();
    const first = await lab.open(node, ana, { at: `/rooms/${room}` });
    await input(first).fill('half');
    const seconds = Math.ceil((performance.now() - begin) / 1_000);
    const brief = person({ ...ana }, { name: 'Ana', exp: secondsFromNow(3 + 3 * seconds) });
    const page = await lab.open(node, brief, { at: `/rooms/${room}` });
    await input(page).fill('half a sentence');
    await page.getByText('Your token is not accepted any more').waitFor();
    await page.getByLabel('Token (JWT)').fill(ana.token);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByText('No messages yet').first().waitFor();
    expect(await input(page).inputValue()).toBe('half a sentence');
    expect(page.url()).toBe(`${node.url}/#/rooms/${room}`);
  });
});

describe('the list of 1,000 rooms', () => {
  it('is loaded as one scrolls, and a link beyond it accepts no invitation', async () => {
    const carla = person({ levelOnEntity: 100 }, { name: 'Carla' });
    const dora = person({ levelOnEntity: 100 }, { name: 'Dora' });
    const invited = await createRoom(node, carla, { name: 'Far away' });
    await putRule(node, carla, invited, { userUUID: dora.userUUID, permissions: 'r' });
    const own = await createRoom(node, dora, { name: 'Room 0' });
    await query(
      world.databaseUrl,
      `WITH made AS (
         INSERT INTO rooms (uuid, name, type, level_admin, entity_owner, max_entity_rules, head, "createdAt", "updatedAt")
         SELECT gen_random_uuid(), 'Room ' || n, type, level_admin, entity_owner, max_entity_rules, head,
                now() + n * interval '1 ms', now()
         FROM rooms, generate_series(1, 999) AS n WHERE id = $1 RETURNING id)
       INSERT INTO room_permissions (room_id, "entity_UUID", level, permissions, accepted, "createdAt", "updatedAt")
       SELECT made.id, rule."entity_UUID", rule.level, rule.permissions, rule.accepted, now(), now()
       FROM made, room_permissions AS rule WHERE rule.room_id = $1`,
      [own],
    );
    const page = await lab.open(node, dora, { at: `/rooms/${invited}` });
    await page.getByText('You are invited to Far away').waitFor();
    expect(await page.getByRole('link', { name: 'Far away' }).count()).toBe(0);

    const list = page.getByRole('navigation', { name: 'Rooms' });
    const pageSize = await list.getByRole('link').count();
    let requests = 0;
    page.on('request', (sent) => {
      if (sent.url().includes('/me/rooms')) requests += 1;
    });
    await list.evaluate((element: { scrollTop: number; scrollHeight: number }) => {
      for (let step = 0; step < 20; step += 1) element.scrollTop = element.scrollHeight - step;
    });
    await list.getByRole('link').nth(pageSize).waitFor();
    expect(requests).toBe(1);
    const { content } = await request(node, 'GET', `/rooms/${invited}`, { as: dora });
    expect(content).toMatchObject({ accepted: false });
  });
});
