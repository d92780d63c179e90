import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { collectProblems, startBrowser } from './browser.js';
import type { Person } from './tokens.js';

/** A browser with the chat page in as many windows as a test wants. */
export interface PageLab {
  /**
   * Opens the page of a node as somebody who has signed in, in a window of their own.
   * @param at the part of the address behind `#`
   */
  open(node: { url: string }, who: Person, options?: OpenOptions): Promise<Page>;
  /** Closes all windows. Throws if a script has failed, or the Content-Security-Policy has stopped something. */
  clear(): Promise<void>;
  close(): Promise<void>;
}

export interface OpenOptions extends BrowserContextOptions {
  readonly at?: string;
}

export async function startPageLab(): Promise<PageLab> {
  const browser: Browser = await startBrowser();
  const problems: string[] = [];
  return {
    async open(node, who, { at = '/', ...options } = {}) {
      const context = await browser.newContext({ locale: 'en-GB', ...options });
      const kept = JSON.stringify({ token: who.token });
      await context.addInitScript(
        `sessionStorage.setItem('nano-messaging:session', ${JSON.stringify(kept)})`,
      );
      const page = await context.newPage();
      collectProblems(page, problems);
      await page.goto(`${node.url}/#${at}`);
      return page;
    },
    async clear() {
      await Promise.all(browser.contexts().map((context) => context.close()));
      const found = problems.splice(0);
      if (found.length > 0) throw new Error(found.join('\n'));
    },
    close: () => browser.close(),
  };
}
