import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { chromium, type Browser, type Page } from 'playwright-core';
import { PATIENCE_MS } from './patience.js';
import { installDebianPackage, pathFolders } from './programs.js';

const PROGRAMS = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
const MACOS_CHROME = '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome';

/** Chromium says so of each request that fails, and tests make them fail. */
const FAILED_REQUEST = /Failed to load resource|WebSocket connection to/;

/**
 * Adds to `problems` each error of a page's scripts, and all that its console has as an error: what its
 * Content-Security-Policy has stopped is among that.
 */
export function collectProblems(page: Page, problems: string[]): void {
  page.on('pageerror', (error) => problems.push(error.message));
  page.on('console', (line) => {
    if (line.type() === 'error' && !FAILED_REQUEST.test(line.text())) problems.push(line.text());
  });
}

/**
 * A headless Chromium: that of CHROMIUM_PATH or of the machine, or else installed by apt-get if possible. A test file
 * starts one, and opens a context of it for each user.
 */
export async function startBrowser(): Promise<Browser> {
  if (findChromium() === undefined) await installDebianPackage('chromium');
  const executablePath = findChromium();
  if (executablePath === undefined) {
    throw new Error('No browser for the tests: install Chromium or Google Chrome.');
  }
  const browser = await chromium.launch({
    executablePath,
    timeout: PATIENCE_MS,
    // Chromium has no sandbox as root. It visits only the tests' own server.
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
  browser.on('context', (context) => {
    context.setDefaultTimeout(PATIENCE_MS);
  });
  return browser;
}

function findChromium(): string | undefined {
  const given = process.env['CHROMIUM_PATH'];
  if (given !== undefined) return given;
  const onPath = PROGRAMS.flatMap((program) =>
    pathFolders().map((folder) => join(folder, program)),
  );
  return [...onPath, MACOS_CHROME].find((file) => existsSync(file));
}
