import type { Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createRoom, putRule, request } from '../harness/api.js';
import { findingsOf } from '../harness/accessibility.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { startPageLab, type PageLab } from '../harness/page-lab.js';
import { person } from '../harness/tokens.js';

const ana = person({ levelOnEntity: 100 }, { name: 'Ana' });
const bruno = person({}, { name: 'Bruno' });
const carla = person({ levelOnEntity: 100 }, { name: 'Carla' });

let world: ChatWorld;
let node: TestNode;
let lab: PageLab;
let room: number;
let invitation: number;
/** Number of the first message of the room. */
let first: number;

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start();
  lab = await startPageLab();
  room = await createRoom(node, ana, { name: 'Launch crew' });
  await putRule(node, ana, room, { userUUID: bruno.userUUID, permissions: 'rw' });
  await request(node, 'PUT', `/rooms/${room}/invitation`, { as: bruno, body: { accepted: true } });
  const say = async (as: typeof ana, body: object): Promise<number> => {
    const { content } = await request(node, 'POST', `/rooms/${room}/messages`, { as, body });
    return (content as { seq: number }).seq;
  };
  first = await say(ana, { content: 'Fueled up? https://example.com' });
  await say(bruno, { content: 'Ready to go', reply_to: first, mentions: [ana.userUUID] });
  await say(ana, { data: { card: 7 } });
  await createRoom(node, ana, { name: 'Quiet' });
  await createRoom(node, ana, { name: 'Tunnel' });
  const news = await createRoom(node, carla, { name: 'News' });
  await putRule(node, carla, news, { userUUID: ana.userUUID, permissions: 'r' });
  await request(node, 'PUT', `/rooms/${news}/invitation`, { as: ana, body: { accepted: true } });
  const busy = await createRoom(node, carla, { name: 'Busy' });
  await putRule(node, carla, busy, { userUUID: ana.userUUID, permissions: 'r' });
  await request(node, 'PUT', `/rooms/${busy}/invitation`, { as: ana, body: { accepted: true } });
  for (let line = 1; line <= 120; line += 1) {
    const body = { content: `Line ${line}` };
    await request(node, 'POST', `/rooms/${busy}/messages`, { as: carla, body });
  }
  invitation = await createRoom(node, carla, { name: 'Invited' });
  await putRule(node, carla, invitation, { userUUID: ana.userUUID, permissions: 'r' });
});
afterEach(() => lab.clear());
afterAll(async () => {
  await lab.close();
  await world.close();
});

const openRoom = async (page: Page): Promise<void> => {
  await page.getByRole('link', { name: 'Launch crew' }).click();
  await page.locator('.bubble', { hasText: 'Ready to go' }).waitFor();
};

/** Each view, and how to come to it from the list of rooms. */
const VIEWS: Readonly<Record<string, (page: Page) => Promise<unknown>>> = {
  'the list of rooms': async () => undefined,
  'a room': openRoom,
  'the actions of a message': async (page) => {
    await openRoom(page);
    await page.locator('.row').first().focus();
    await page.getByRole('button', { name: 'React' }).click();
    await page.getByRole('group', { name: 'Choose a reaction' }).waitFor();
  },
  'a reply': async (page) => {
    await openRoom(page);
    await page.locator('.row').first().focus();
    await page.getByRole('button', { name: 'Reply', exact: true }).click();
    await page.getByText('Replying to Ana').waitFor();
  },
  'an edit': async (page) => {
    await openRoom(page);
    await page.locator('.row', { hasText: 'Fueled up?' }).first().focus();
    await page.getByRole('button', { name: 'Edit' }).click();
    await page.getByText('Editing your message').waitFor();
  },
  'a text that is too long': async (page) => {
    await openRoom(page);
    await page.getByRole('textbox', { name: 'Message' }).fill('x'.repeat(9_000));
    await page.getByText('too long').waitFor();
    await page.getByRole('textbox', { name: 'Message' }).fill('');
  },
  'the deletion of a message': async (page) => {
    await openRoom(page);
    await page.locator('.row').first().focus();
    await page.getByRole('button', { name: 'Delete' }).click();
    await page.getByRole('dialog').waitFor();
  },
  'the deletion of a room': async (page) => {
    await openRoom(page);
    await page.getByRole('button', { name: 'Room details' }).click();
    await page.getByRole('button', { name: 'Delete room' }).click();
    await page.getByRole('dialog').waitFor();
  },
  'a notice': async (page) => {
    await openRoom(page);
    await page.getByRole('button', { name: 'Room details' }).click();
    await page.getByLabel('ID of a person').fill('nobody');
    await page.getByRole('button', { name: 'Invite', exact: true }).click();
    await page.locator('.toast.error').waitFor();
  },
  'a room without messages': async (page) => {
    await page.getByRole('link', { name: 'Quiet' }).click();
    await page.getByText('Say hello').waitFor();
  },
  'older messages': async (page) => {
    await page.getByRole('link', { name: 'Busy' }).click();
    await page.getByText('New messages').waitFor();
    await page.getByRole('button', { name: /jump to present/i }).waitFor();
  },
  'a room that only can be read': async (page) => {
    await page.getByRole('link', { name: 'News' }).click();
    await page.getByText('You can read this room').waitFor();
  },
  'no such room': async (page) => {
    await page.goto(`${node.url}/#/rooms/2000000000`);
    await page.getByText('There is no such room').waitFor();
  },
  'a page without connection': async (page) => {
    await page.getByRole('link', { name: 'Tunnel' }).click();
    await page.getByText('This is the beginning').or(page.getByText('Say hello')).waitFor();
    await page.context().setOffline(true);
    await page.getByText('You are offline').waitFor();
    await page.getByRole('textbox', { name: 'Message' }).fill('waits');
    await page.keyboard.press('Enter');
    await page.getByText('1 message is waiting').waitFor();
  },
  'the details of a room': async (page) => {
    await openRoom(page);
    await page.getByRole('button', { name: 'Room details' }).click();
    await page.getByText('Bruno').last().waitFor();
    await page.getByRole('combobox').nth(1).waitFor();
  },
  'a search': async (page) => {
    await page.getByRole('searchbox').fill('ready');
    await page.locator('mark').waitFor();
  },
  'a search that finds nothing': async (page) => {
    await page.getByRole('searchbox').fill('nowhere');
    await page.getByText('Nothing found').waitFor();
  },
  'a new conversation': async (page) => {
    await page.getByRole('button', { name: 'New conversation' }).click();
    await page.getByRole('dialog').waitFor();
  },
  'an invitation': async (page) => {
    await page.getByRole('link', { name: 'Invited' }).click();
    await page.getByText('You are invited to Invited').waitFor();
  },
  'the account': async (page) => {
    await page.locator('.account-button').click();
    await page.getByRole('button', { name: 'Sign out' }).waitFor();
  },
  'the sign-in': async (page) => {
    await page.locator('.account-button').click();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByLabel('Token (JWT)').waitFor();
  },
};

const DESKTOP = { width: 1280, height: 800 };
const PHONE = { width: 390, height: 844 };

const THEMES = ['light', 'dark'] as const;

/** The texts of buttons that stand in more than one line. */
const BROKEN_BUTTONS = `(() => {
  const tops = (button) => {
    const range = document.createRange();
    range.selectNodeContents(button);
    return new Set([...range.getClientRects()].map(({ top }) => top));
  };
  return [...document.querySelectorAll('.button:not(.trial-name)')]
    .filter((button) => tops(button).size > 1)
    .map((button) => button.textContent);
})()`;

describe.each([
  ['a desktop', DESKTOP],
  ['a phone', PHONE],
] as const)('the page on %s', (_name, viewport) => {
  it('gives axe-core nothing to find on any view, light or dark, and breaks no button', async () => {
    const found: Record<string, unknown> = {};
    const page = await lab.open(node, ana, { viewport, reducedMotion: 'reduce' });
    for (const [name, show] of Object.entries(VIEWS)) {
      await page.goto(`${node.url}/#/`);
      await page.context().setOffline(false);
      await page.reload();
      await page.getByRole('link', { name: 'Launch crew' }).waitFor();
      await show(page);
      const broken = await page.evaluate<string[]>(BROKEN_BUTTONS);
      if (broken.length > 0) found[`${name}, buttons`] = broken;
      for (const colorScheme of THEMES) {
        await page.emulateMedia({ colorScheme });
        const findings = await findingsOf(page);
        if (findings.length > 0) found[`${name}, ${colorScheme}`] = findings;
      }
    }
    expect(found).toEqual({});
  });
});

describe('a room that does not exist', () => {
  it('has the way back above what is said of it', async () => {
    const page = await lab.open(node, ana, { at: '/rooms/2000000000', viewport: PHONE });
    const text = await page.getByText('There is no such room').boundingBox();
    const back = await page.getByRole('button', { name: 'Back to the rooms' }).boundingBox();
    expect((back?.y ?? Infinity) + (back?.height ?? 0)).toBeLessThan(text?.y ?? 0);
  });
});

describe('the keyboard', () => {
  it('reaches the messages, their actions and the emojis', async () => {
    const page = await lab.open(node, ana, { at: `/rooms/${room}`, viewport: DESKTOP });
    await page.locator('.bubble', { hasText: 'Ready to go' }).waitFor();
    await page.getByRole('region', { name: 'Messages of Launch crew' }).focus();
    await page.keyboard.press('ArrowUp');
    await page.keyboard.press('ArrowUp');
    await page.locator('.row:focus', { hasText: 'Ready to go' }).waitFor();
    await page.keyboard.press('Tab');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('Enter');
    await page.getByRole('button', { name: '❤ 1 reaction' }).waitFor();
    expect(await page.locator('.reaction[aria-pressed=true]').count()).toBe(1);
  });

  /** Clicks, and says where the focus is before a next key can come. */
  const focusAfter = (page: Page, button: string): Promise<string | undefined> =>
    page.getByRole('button', { name: button, exact: true }).evaluate(async (element) => {
      element.click();
      // The rendering stands in a microtask.
      await Promise.resolve();
      await Promise.resolve();
      return element.ownerDocument.activeElement?.closest('[role=group], dialog, section, form')
        ?.className;
    });

  it('is where it was called before the next key comes', async () => {
    const page = await lab.open(node, ana, { at: `/rooms/${room}`, viewport: DESKTOP });
    const row = page.locator('.row', { hasText: 'Ready to go' });
    await row.focus();
    expect(await focusAfter(page, 'React')).toBe('emoji-picker');
    await page.keyboard.press('Escape');
    expect(await focusAfter(page, 'Reply')).toBe('composer');
    await row.focus();
    expect(await focusAfter(page, 'Delete')).toBe('dialog');
    await page.keyboard.press('Escape');
    expect(await focusAfter(page, 'Room details')).toBe('details');
    expect(await focusAfter(page, 'Search in this room')).toBe('sidebar');
    const phone = await lab.open(node, ana, { at: `/rooms/${room}`, viewport: PHONE });
    await phone.locator('.bubble', { hasText: 'Ready to go' }).waitFor();
    expect(await focusAfter(phone, 'Search in this room')).toBe('sidebar');
    // The room is one step back.
    await phone.goBack();
    await phone.locator('.bubble', { hasText: 'Ready to go' }).waitFor();
  });

  it('begins with the screen that came by signing in or out', async () => {
    const page = await lab.open(node, ana, { viewport: DESKTOP });
    await page.locator('.account-button').press('Enter');
    await page.getByRole('button', { name: 'Sign out' }).press('Enter');
    await page.locator('main.sign-in:focus').waitFor();
    await page.keyboard.press('Tab');
    await page.keyboard.insertText(ana.token);
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await page.locator('main.screens:focus').waitFor();
    await page.keyboard.press('Tab');
    expect(await page.locator('.account-button:focus').count()).toBe(1);
  });

  it('stays among the messages when the one that it is at is deleted', async () => {
    const page = await lab.open(node, ana, { at: `/rooms/${room}`, viewport: DESKTOP });
    const input = page.getByRole('textbox', { name: 'Message' });
    await input.fill('to be deleted');
    await input.press('Enter');
    const row = page.locator('.row', { hasText: 'to be deleted' });
    await row.locator('.check').waitFor();
    await row.focus();
    await row.getByRole('button', { name: 'Delete' }).press('Enter');
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).press('Enter');
    await row.waitFor({ state: 'detached' });
    expect(await page.locator('.row:focus').count()).toBe(1);
  });

  it('comes back from a room to its place in the list, on a phone', async () => {
    const page = await lab.open(node, ana, { viewport: PHONE });
    await openRoom(page);
    await page.getByRole('button', { name: 'Back to the rooms' }).press('Enter');
    await page.getByRole('link', { name: 'Launch crew' }).waitFor();
    const focused = await page.evaluate<string>(`document.activeElement.getAttribute('href')`);
    expect(focused).toBe(`#/rooms/${room}`);
  });

  it('stays in a question about a message, whatever happens above', async () => {
    const asked = await createRoom(node, ana, { name: 'Asked' });
    const post = async (content: string): Promise<number> => {
      const path = `/rooms/${asked}/messages`;
      const { content: row } = await request(node, 'POST', path, { as: ana, body: { content } });
      return (row as { seq: number }).seq;
    };
    const above = await post('above');
    await post('below');
    const page = await lab.open(node, ana, { at: `/rooms/${asked}`, viewport: DESKTOP });
    const row = page.locator('.row', { hasText: 'below' });
    await row.focus();
    await row.getByRole('button', { name: 'Delete' }).press('Enter');
    const dialog = page.getByRole('dialog');
    await dialog.waitFor();
    await page.keyboard.press('ArrowUp');
    await request(node, 'DELETE', `/rooms/${asked}/messages/${above}`, { as: ana });
    await page.locator('.row', { hasText: 'above' }).waitFor({ state: 'detached' });
    expect(await dialog.count()).toBe(1);
    await dialog.getByRole('button', { name: 'Delete' }).press('Enter');
    await row.waitFor({ state: 'detached' });
  });

  it('stays in the room when its only message is deleted', async () => {
    const lonely = await createRoom(node, ana, { name: 'Lonely' });
    const body = { content: 'the only one' };
    await request(node, 'POST', `/rooms/${lonely}/messages`, { as: ana, body });
    const page = await lab.open(node, ana, { at: `/rooms/${lonely}`, viewport: DESKTOP });
    const row = page.locator('.row', { hasText: 'the only one' });
    await row.focus();
    await row.getByRole('button', { name: 'Delete' }).press('Enter');
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).press('Enter');
    await row.waitFor({ state: 'detached' });
    const empty = page.locator('.empty:focus');
    await empty.waitFor();
    expect(await empty.textContent()).toMatch(/no messages/i);
  });

  it('edits the own last message by the arrow up, and gives up by Escape', async () => {
    const page = await lab.open(node, ana, { at: `/rooms/${room}`, viewport: DESKTOP });
    const input = page.getByRole('textbox', { name: 'Message' });
    await input.fill('to be mended');
    await input.press('Enter');
    await page.locator('.bubble', { hasText: 'to be mended' }).locator('.check').waitFor();
    await input.press('ArrowUp');
    await page.getByText('Editing your message').waitFor();
    expect(await input.inputValue()).toBe('to be mended');
    await input.fill('mended');
    await input.press('Enter');
    await page.locator('.bubble', { hasText: 'mendededited' }).waitFor();
    await input.press('ArrowUp');
    await input.press('Escape');
    expect(await input.inputValue()).toBe('');
  });
});

describe('reduced motion', () => {
  it('shows which message a link leads to without moving anything', async () => {
    const at = `/rooms/${room}/${first}`;
    const page = await lab.open(node, ana, { at, viewport: DESKTOP, reducedMotion: 'reduce' });
    const bubble = page.locator('.message.target .bubble');
    await bubble.waitFor();
    const shadow = await page.evaluate<string>(
      `getComputedStyle(document.querySelector('.message.target .bubble')).boxShadow`,
    );
    expect(shadow).not.toBe('none');
  });
});

describe('a message that has only data', () => {
  it('says so when it is answered, and is not edited by the arrow up', async () => {
    const mixed = await createRoom(node, ana, { name: 'Mixed' });
    for (const body of [{ content: 'a text' }, { data: { card: 8 } }]) {
      await request(node, 'POST', `/rooms/${mixed}/messages`, { as: ana, body });
    }
    const page = await lab.open(node, ana, { at: `/rooms/${mixed}`, viewport: DESKTOP });
    const row = page.locator('.row', { hasText: 'card' });
    await row.focus();
    await row.getByRole('button', { name: 'Reply', exact: true }).click();
    await page.locator('.intent', { hasText: 'Data of an application' }).waitFor();
    const input = page.getByRole('textbox', { name: 'Message' });
    await input.fill('an answer');
    await input.press('Enter');
    await page.locator('.quote', { hasText: 'Data of an application' }).waitFor();
    await page.locator('.row', { hasText: 'an answer' }).locator('.check').waitFor();
    // The answer goes, so that the data is the last one.
    await page.locator('.row', { hasText: 'an answer' }).focus();
    await page
      .locator('.row', { hasText: 'an answer' })
      .getByRole('button', { name: 'Delete' })
      .press('Enter');
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).press('Enter');
    await page.locator('.row', { hasText: 'an answer' }).waitFor({ state: 'detached' });
    await input.press('ArrowUp');
    await page.getByText('Editing your message').waitFor();
    expect(await input.inputValue()).toBe('a text');
  });
});

describe('the language', () => {
  it('is Spanish in a browser that prefers it', async () => {
    const page = await lab.open(node, ana, { at: `/rooms/${room}`, locale: 'es-CL' });
    await page.getByRole('textbox', { name: 'Mensaje' }).waitFor();
    expect(await page.evaluate('document.documentElement.lang')).toBe('es');
    await page.getByRole('button', { name: 'Detalles de la sala' }).click();
    await page.getByText('Eliminar sala').waitFor();
    expect(await findingsOf(page)).toEqual([]);
  });
});
