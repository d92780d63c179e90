import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { request } from '../harness/api.js';
import { collectProblems, startBrowser } from '../harness/browser.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { createSecretDir, type DataDir } from '../harness/data-dir.js';
import type { TestNode } from '../harness/node.js';

let world: ChatWorld;
let secretDir: DataDir;
let node: TestNode;
let browser: Browser;

beforeAll(async () => {
  world = await createChatWorld();
  secretDir = await createSecretDir();
  node = await world.start({ JWT_MASTER_SECRET: '', DATA_DIR: secretDir.path });
  browser = await startBrowser();
});
afterAll(async () => {
  await browser.close();
  await world.close();
  await secretDir.remove();
});

describe('the page of the build', () => {
  it('loads only what the server has, and keeps the assets', async () => {
    const page = await fetch(`${node.url}/`);
    const html = await page.text();
    expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8');
    const loaded = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, path = '']) => path);
    expect(loaded.length).toBeGreaterThan(1);
    for (const path of loaded) {
      const asset = await fetch(new URL(path, `${node.url}/`));
      expect([path, asset.status]).toEqual([path, 200]);
      expect(asset.headers.get('cache-control')).toContain('immutable');
    }
  });

  it('breaks no rule of its policy, and its buttons sign two people in', async () => {
    const problems: string[] = [];
    const signIn = async (name: string) => {
      const context = await browser.newContext({ locale: 'en-GB' });
      const page = await context.newPage();
      collectProblems(page, problems);
      await page.goto(node.url);
      await page.getByRole('button', { name }).click();
      await page.getByRole('link', { name: 'Welcome' }).click();
      return page;
    };
    const ana = await signIn('Ana');
    const bruno = await signIn('Bruno');
    const input = ana.getByRole('textbox', { name: 'Message' });
    await input.fill('Hello, Bruno!');
    await input.press('Enter');
    await bruno.getByText('Hello, Bruno!').first().waitFor();
    expect(problems).toEqual([]);
  });

  it('runs no script, and reaches no server, but its own', async () => {
    const problems: string[] = [];
    const page = await browser.newPage();
    collectProblems(page, problems);
    await page.goto(node.url);
    const elsewhere = node.url.replace('127.0.0.1', 'localhost');
    const reached = await page.evaluate(`(async () => {
      const inline = document.createElement('script');
      inline.textContent = 'document.title = "reached"';
      document.head.append(inline);
      const answers = await Promise.allSettled([
        fetch('${elsewhere}', { mode: 'no-cors' }),
        import('${elsewhere}/client.js'),
      ]);
      return answers.some(({ status }) => status === 'fulfilled') || document.title === 'reached';
    })()`);
    expect(reached).toBe(false);
    for (const directive of ['script-src', 'connect-src']) {
      expect(problems).toContainEqual(expect.stringContaining(directive));
    }
  });

  it('is 404 with PAGE=off', async () => {
    const off = await world.start({ PAGE: 'off' });
    for (const path of ['/', '/client.js', '/assets/']) {
      expect(await request(off, 'GET', path)).toMatchObject({
        status: 404,
        meta: { reason: 'NOT_FOUND' },
      });
    }
  });
});
