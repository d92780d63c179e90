import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { localStorageOf, type UnsentCommand } from '../../src/client/index.js';
import { Outbox } from '../../src/client/outbox.js';
import { eventually } from '../harness/eventually.js';

const command = (ref: string): UnsentCommand => ({
  type: 'message',
  ref,
  room_id: 1,
  content: ref,
});
const refsOf = (commands: readonly UnsentCommand[]): string[] => commands.map(({ ref }) => ref);

/** A browser's localStorage: its keys are its own properties. */
class Storage {
  [key: string]: unknown;
  setItem!: (key: string, value: string) => void;
  removeItem!: (key: string) => void;

  constructor() {
    const hidden = (value: (...args: string[]) => void) => ({ value, writable: true });
    Object.defineProperties(this, {
      setItem: hidden((key = '', value) => {
        this[key] = value;
      }),
      removeItem: hidden((key = '') => {
        delete this[key];
      }),
    });
  }
}

let localStorage: Storage;

beforeEach(() => {
  localStorage = new Storage();
  vi.stubGlobal('localStorage', localStorage);
  vi.useFakeTimers({ toFake: ['Date'] });
});
afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

it('localStorage keeps commands in the order in which they were put, though the clock is set back', async () => {
  const before = localStorageOf('ana');
  before.put(command('one'));
  before.put(command('two'));
  vi.setSystemTime(0);
  const after = localStorageOf('ana');
  expect(refsOf(await after.load())).toEqual(['one', 'two']);
  after.put(command('three'));
  after.delete('one');
  expect(refsOf(await localStorageOf('ana').load())).toEqual(['two', 'three']);
});

it('localStorage keeps those of one user apart from all else', async () => {
  localStorageOf('ana').put(command('one'));
  localStorageOf('ben').put(command('two'));
  localStorage['nano-messaging:ana:broken'] = '{"at":1';
  localStorage['nano-messaging:ana:foreign'] = 'true';
  localStorage['theme'] = 'dark';
  expect(refsOf(await localStorageOf('ana').load())).toEqual(['one']);
});

it('a storage that fails keeps no command from being sent', async () => {
  const fail = (): never => {
    throw new Error('the quota has been exceeded');
  };
  const outbox = await new Promise<Outbox>((resolve) => {
    const made: Outbox = new Outbox(
      { load: fail, put: fail, delete: () => Promise.reject(new Error('no access')) },
      () => {
        resolve(made);
      },
    );
  });
  const sent = outbox.add(command('one'));
  expect(outbox.of(1)[0]?.command.ref).toBe('one');
  outbox.settle('one', 7);
  expect(await sent).toBe(7);
});

it('what was kept goes before what was given while it was loaded, and a ref is taken once', async () => {
  const kept = [command('one'), command('two')];
  let load: (commands: readonly UnsentCommand[]) => void = () => undefined;
  const loading = new Promise<readonly UnsentCommand[]>((resolve) => {
    load = resolve;
  });
  const put = vi.fn<(given: UnsentCommand) => void>();
  const outbox = await new Promise<Outbox>((resolve) => {
    const made: Outbox = new Outbox({ load: () => loading, put, delete: () => undefined }, () => {
      resolve(made);
    });
    void made.add(command('three'));
    expect(made.isLoaded).toBe(false);
    load(kept);
  });
  expect(refsOf(outbox.of(1).map(({ command }) => command as UnsentCommand))).toEqual([
    'one',
    'two',
    'three',
  ]);
  const again = outbox.add(command('two'));
  expect(outbox.size).toBe(3);
  outbox.settle('two', 5);
  expect(await again).toBe(5);
  expect(put).toHaveBeenCalledTimes(1);
});

it.each([
  ['takes for ever', () => new Promise<never>(() => undefined)],
  ['answers with no list', () => ({ broken: true }) as never],
])('a storage that %s keeps no command from being sent', async (_, load) => {
  const waiting = new AbortController();
  const timeout = vi.spyOn(AbortSignal, 'timeout').mockReturnValue(waiting.signal);
  const loaded = vi.fn<() => void>();
  const outbox = new Outbox({ load, put: () => undefined, delete: () => undefined }, loaded);
  await eventually(() => {
    expect(timeout).toHaveBeenCalledTimes(1);
  });
  waiting.abort();
  await eventually(() => {
    expect(loaded).toHaveBeenCalledTimes(1);
  });
  expect(outbox.isLoaded).toBe(true);
  timeout.mockRestore();
});
