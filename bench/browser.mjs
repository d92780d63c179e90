import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { accepts, findFreePort, startProcess } from './processes.mjs';

const PROGRAMS = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];

/** Starts a headless Chromium, that of CHROMIUM_PATH or of the PATH, which may use all cores. */
export async function startChromium() {
  const { chromium } = await import('playwright-core');
  const profile = mkdtempSync(join(tmpdir(), 'nano-messaging-bench-chromium-'));
  const remove = () => rmSync(profile, { recursive: true, force: true, maxRetries: 10 });
  process.on('exit', remove);
  const port = await findFreePort();
  const program = await startProcess({
    command: [
      findChromium(),
      '--headless',
      // Chromium has no sandbox as root. It visits only the server of the bench.
      '--no-sandbox',
      '--disable-gpu',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      `--remote-debugging-port=${port}`,
      `--user-data-dir=${profile}`,
    ],
    quiet: true,
    ready: () => accepts(port),
  });
  const browser = await chromium.connectOverCDP(`http://127.0.0.1:${port}`);
  return {
    browser,
    async stop() {
      await browser.close();
      await program.stop();
      remove();
    },
  };
}

function findChromium() {
  const onPath = (process.env['PATH'] ?? '')
    .split(delimiter)
    .flatMap((folder) => PROGRAMS.map((program) => join(folder, program)));
  const found = process.env['CHROMIUM_PATH'] ?? onPath.find((file) => existsSync(file));
  if (found === undefined) throw new Error('No Chromium in the PATH.');
  return found;
}
