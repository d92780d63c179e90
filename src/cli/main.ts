#!/usr/bin/env node
/**
 * The program `nano-messaging`: runs the command that its first argument names, and without one the server. It exits
 * with 0, with 1 if the command failed, or with 2 if the command line was not understood.
 */
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import type { Command } from './command.js';
import { printable } from '../transfer/printable.js';

const HELP = `usage: nano-messaging [COMMAND]

Without a command it starts the server, with the settings of the environment and of a file .env.

Commands:
  start        starts the server
  token        prints a token for a user
  tail         prints what happens in a room
  export       writes a room as lines of JSON
  import       reads these lines into an empty room
  migrate      brings the tables of the database up to date
  carry-over   copies rooms and messages of the proof of concept
  partition    splits the log into partitions, while servers run
  new-epoch    tells the servers that the database was restored in place
  size         prints what an installation of so many users needs

  -h, --help       shows this text; after a command, that of the command
  -v, --version    shows the version

Examples:
  nano-messaging
  PORT=8080 DATABASE_URL=postgres://chat@db/chat nano-messaging
  nano-messaging token --help
`;

const START_HELP = `usage: nano-messaging [start]

Starts the server, with the settings of the environment and of a file .env. Without any settings it listens on port
7777, and keeps all its data in ./data.

Examples:
  nano-messaging
  PORT=8080 DATABASE_URL=postgres://chat@db/chat REDIS_URL=redis://cache nano-messaging start
`;

/** Each is loaded when it is run: the server has to handle signals as soon as possible. */
const COMMANDS: Readonly<Record<string, () => Promise<{ default: Command }>>> = {
  token: () => import('./token.js'),
  tail: () => import('./tail.js'),
  export: () => import('./export.js'),
  import: () => import('./import.js'),
  migrate: () => import('./migrate.js'),
  'carry-over': () => import('./carry-over.js'),
  partition: () => import('./partition.js'),
  'new-epoch': () => import('./new-epoch.js'),
  size: () => import('./size.js'),
};

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

const HELP_FLAGS = new Set(['--help', '-h', 'help']);
const VERSION_FLAGS = new Set(['--version', '-v']);

async function run([name = 'start', ...args]: readonly string[]): Promise<void> {
  // The server has a log of its own, which may lose its reader.
  if (name === 'start' && args.length === 0) return void (await import('../main.js'));
  watchOutput();
  if (name === 'start') return explainStart(args);
  if (HELP_FLAGS.has(name)) return void process.stdout.write(HELP);
  if (VERSION_FLAGS.has(name)) return void process.stdout.write(`${version()}\n`);
  const load = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (load === undefined) {
    return misused(`unknown ${name.startsWith('-') ? 'option' : 'command'}: ${name}`);
  }
  await runCommand(name, (await load()).default, args);
}

function explainStart([option = '']: readonly string[]): void {
  if (HELP_FLAGS.has(option)) return void process.stdout.write(START_HELP);
  misused(`unexpected argument: ${option}`, 'start');
}

/** Ends if nobody reads the results on, as in `nano-messaging export 1 | head`, or they can't be written. */
function watchOutput(): void {
  process.stdout.on('error', ({ code, message }: NodeJS.ErrnoException) => {
    if (code === 'EPIPE') exitBySignal('SIGPIPE');
    process.stderr.write(`the output can't be written: ${message}\n`);
    process.exit(EXIT_FAILED);
  });
  // The results are complete without it.
  process.stderr.on('error', () => undefined);
}

async function runCommand(name: string, command: Command, args: readonly string[]): Promise<void> {
  const stop = new AbortController();
  // Without a handler, the kernel ignores these signals for process 1. Postgres rolls back an open transaction.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (!command.endsOnSignal || stop.signal.aborted) exitBySignal(signal);
      stop.abort();
    });
  }
  try {
    await command.run(args, stop.signal);
  } catch (error) {
    const { UsageError } = await import('./command.js');
    if (error instanceof UsageError) return misused(error.message, name);
    process.stderr.write(`${problemOf(error)}\n`);
    process.exitCode = EXIT_FAILED;
  }
}

/** The lines of an error's message. A part of them may be from a file or a server that somebody else has made. */
function problemOf(error: unknown): string {
  const { message } = error instanceof Error ? error : new Error(String(error));
  return message.split('\n').map(printable).join('\n');
}

/** Exits as a shell does for a program that a signal ended. */
function exitBySignal(signal: NodeJS.Signals): never {
  process.exit(128 + constants.signals[signal]);
}

function misused(problem: string, ...command: readonly string[]): void {
  const help = ['nano-messaging', ...command, '--help'].join(' ');
  process.stderr.write(`${printable(problem)}\nSee: ${help}\n`);
  process.exitCode = EXIT_USAGE;
}

function version(): string {
  const require = createRequire(import.meta.url);
  return (require('nano-messaging/package.json') as { version: string }).version;
}

await run(process.argv.slice(2));
