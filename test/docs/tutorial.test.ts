import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startBrowser } from '../harness/browser.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { eventually } from '../harness/eventually.js';
import { findFreePort } from '../harness/server-process.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Stands for npm, which would fetch packages: they are those of this repository, and so is the server. */
const NPM = `#!/bin/sh
case "$1" in
start) exec node '${ROOT}/dist/src/main.js' ;;
install)
  shift
  mkdir node_modules
  for name; do ln -s '${ROOT}/node_modules/'"$name" node_modules/; done
  ;;
esac
`;

/** The folder in which the tutorial is followed: the server's folder is in it, and that of the application. */
let folder: string;
let markdown: string;
let browser: Browser;
let world: ChatWorld;
/** Ports of the server and of the application. */
let ports: readonly [chat: number, application: number];
const running: ChildProcess[] = [];

beforeAll(async () => {
  markdown = await readFile(`${ROOT}/docs/TUTORIAL.md`, 'utf8');
  folder = await mkdtemp(join(tmpdir(), 'nano-test-'));
  await mkdir(join(folder, 'nano-messaging'));
  await writeFile(join(folder, 'npm'), NPM, { mode: 0o755 });
  world = await createChatWorld();
  ports = [await findFreePort(), await findFreePort()];
  browser = await startBrowser();
});
afterAll(async () => {
  await browser.close();
  for (const program of running) {
    interrupt(program);
    await exited(program);
  }
  await world.close();
  await rm(folder, { recursive: true });
});

/** A text of the tutorial with the ports of this test. */
const withPorts = (text: string): string =>
  text.replaceAll('7777', String(ports[0])).replaceAll('3000', String(ports[1]));

/** The blocks that name a file, by its name. */
function files(): Map<string, string> {
  const blocks = markdown.matchAll(/^```\w+ (\S+)\n([\s\S]*?)^```$/gm);
  return new Map([...blocks].map(([, name = '', text = '']) => [name, text]));
}

/** The commands of a numbered step. */
function commands(step: number): string {
  const [, section = ''] = markdown.split(`\n## ${step}. `);
  const [, text] = /^```bash\n([\s\S]*?)^```$/m.exec(section) ?? [];
  if (text === undefined) throw new Error(`step ${step} has no commands`);
  return text;
}

/** Starts commands in a folder, as in a terminal. */
function start(
  text: string,
  cwd: string,
  env: Readonly<Record<string, string>> = {},
): ChildProcess {
  const program = spawn('bash', ['-ec', withPorts(text)], {
    cwd: join(folder, cwd),
    env: { PATH: `${folder}${delimiter}${process.env['PATH']}`, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
    // A process group of its own, as a terminal gives it.
    detached: true,
  });
  running.push(program);
  return program;
}

/** Ctrl-C. */
function interrupt({ pid, exitCode, signalCode }: ChildProcess): void {
  if (pid !== undefined && exitCode === null && signalCode === null) process.kill(-pid, 'SIGINT');
}

async function exited(program: ChildProcess): Promise<void> {
  if (program.exitCode === null && program.signalCode === null) await once(program, 'exit');
}

/** Resolves when a program has printed a text. */
async function printed(program: ChildProcess, text: string): Promise<void> {
  let output = '';
  for await (const chunk of program.stdout ?? []) {
    output += String(chunk);
    if (output.includes(text)) return void program.stdout?.resume();
  }
  throw new Error(`it ended before it printed ${text}: ${output}`);
}

const startServer = async (text: string): Promise<ChildProcess> => {
  // The embedded database would take seconds to start.
  const env = { PORT: String(ports[0]), DATABASE_URL: world.databaseUrl };
  const server = start(text, 'nano-messaging', env);
  await printed(server, `listening on http://localhost:${ports[0]}`);
  return server;
};

/** Opens the application in a browser of its own, and logs in. */
async function logIn(name: string, password: string): Promise<Page> {
  const page = await (await browser.newContext()).newPage();
  await page.goto(`http://localhost:${ports[1]}`);
  await page.getByLabel('Name').fill(name);
  await page.getByLabel('Password').fill('wrong');
  await page.getByText('Log in').click();
  await page.getByText('Wrong name or password.').waitFor();
  await page.getByLabel('Password').fill(password);
  await page.getByText('Log in').click();
  await page.getByText('online').waitFor();
  return page;
}

async function say(page: Page, text: string): Promise<void> {
  await page.getByLabel('Message').fill(text);
  await page.getByText('Send').click();
}

/** Waits until a page shows these messages, all of them stored. */
async function expectShown(page: Page, ...messages: string[]): Promise<void> {
  await eventually(async () => {
    expect(await page.locator('li[aria-busy=false]').allTextContents()).toEqual(messages);
  });
}

it('the tutorial leads to a chat with login, which survives a restart', async () => {
  const server = await startServer(commands(1));
  const setUp = start(commands(2), 'nano-messaging');
  setUp.stdout?.resume();
  await exited(setUp);
  for (const [name, text] of files()) await writeFile(join(folder, 'team', name), withPorts(text));
  const application = start(commands(5), 'team');
  await printed(application, `http://localhost:${ports[1]}`);

  const ana = await logIn('Ana', 'ana-password');
  const bruno = await logIn('Bruno', 'bruno-password');
  await say(ana, 'Hi Bruno');
  await expectShown(bruno, 'Ana: Hi Bruno');
  await say(bruno, 'Hi Ana');
  await expectShown(ana, 'Ana: Hi Bruno', 'Bruno: Hi Ana');

  interrupt(server);
  await exited(server);
  await say(ana, 'Are you there?');
  await ana.locator('li[aria-busy=true]').waitFor();
  const restarted = await startServer('npm start');
  await expectShown(bruno, 'Ana: Hi Bruno', 'Bruno: Hi Ana', 'Ana: Are you there?');
  await expectShown(ana, 'Ana: Hi Bruno', 'Bruno: Hi Ana', 'Ana: Are you there?');

  await ana.reload();
  await expectShown(ana, 'Ana: Hi Bruno', 'Bruno: Hi Ana', 'Ana: Are you there?');

  await bruno.context().clearCookies();
  interrupt(restarted);
  await bruno.getByText('Log in').waitFor();
});

it('examples/express is what the tutorial leads to', async () => {
  const result = new Map<string, string>();
  const root = `${ROOT}/examples/express`;
  for (const name of await readdir(root, { recursive: true })) {
    if ((await stat(join(root, name))).isDirectory()) continue;
    result.set(name, await readFile(join(root, name), 'utf8'));
  }
  expect(result).toEqual(files());
});
