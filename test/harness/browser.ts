import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { chromium, type Browser } from 'playwright-core';
import { installDebianPackage, pathFolders } from './programs.js';

const PROGRAMS = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
const MACOS_CHROME = '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome';

/** A headless Chromium: that of the machine, or else installed by apt-get if possible. */
export async function startBrowser(): Promise<Browser> {
  if (findChromium() === undefined) await installDebianPackage('chromium');
  const executablePath = findChromium();
  if (executablePath === undefined) {
    throw new Error('No browser for the tests: install Chromium or Google Chrome.');
  }
  return chromium.launch({
    executablePath,
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
}

function findChromium(): string | undefined {
  const onPath = PROGRAMS.flatMap((program) =>
    pathFolders().map((folder) => join(folder, program)),
  );
  return [...onPath, MACOS_CHROME].find((file) => existsSync(file));
}
