import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { openKeySet, type KeySet } from '../../src/access/key-set.js';
import { eventually } from '../harness/eventually.js';
import { QUIET } from '../harness/store-hosts.js';
import {
  createKeySigner,
  KEY_ALGORITHMS,
  startKeySource,
  type KeySource,
} from '../harness/signers.js';

const signers = KEY_ALGORITHMS.map(createKeySigner);
const next = createKeySigner('EdDSA');
let source: KeySource;

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['performance'] });
  source = await startKeySource(...signers);
});
afterEach(async () => {
  vi.useRealTimers();
  await source.close();
});

const open = (): Promise<KeySet> => openKeySet(new URL(source.url), QUIET);

const idsOf = ({ keys }: KeySet): unknown[] => keys.map(({ id }) => id);

const kids = signers.map(({ kid }) => kid);

describe('a set of keys', () => {
  it('is fetched at start, each key for its own algorithm', async () => {
    const set = await open();

    expect(idsOf(set)).toEqual(kids);
    expect(set.keys.map(({ algorithm }) => algorithm)).toEqual(KEY_ALGORITHMS);
  });

  it('is fetched again at most once a minute, whoever asks', async () => {
    const set = await open();
    source.answer = [...signers, next];
    for (let i = 0; i < 100; i += 1) expect(set.refresh()).toBeUndefined();

    vi.advanceTimersByTime(60_000);
    await Promise.all([set.refresh(), set.refresh()]);

    expect(idsOf(set)).toEqual([...kids, next.kid]);
    expect(set.refresh()).toBeUndefined();
    expect(source.requests).toBe(2);
  });

  it('forgets a key that its source has withdrawn, after ten minutes, though no token comes', async () => {
    vi.useFakeTimers({ toFake: ['performance', 'setInterval', 'clearInterval'] });
    const set = await open();
    source.answer = [next];
    vi.advanceTimersByTime(600_000);
    await eventually(() => {
      expect(source.requests).toBe(2);
    });

    await set.refresh();

    expect(idsOf(set)).toEqual([next.kid]);
    set.close();
    expect(vi.getTimerCount()).toBe(0);
  });

  it.each([
    ['is down', 503],
    ['has moved', 302],
    ['answers with a page', '<html>'],
    ['answers with another object', '{"keys":{}}'],
    ['has no key', '{"keys":[]}'],
    ['has only other keys', '{"keys":[{"kty":"oct","k":"c2VjcmV0"},{"kty":"RSA"}]}'],
    ['answers without end', `{"keys":[],"x":"${'x'.repeat(300_000)}"}`],
  ])('stays as it was while its source %s', async (_, answer) => {
    const set = await open();
    source.answer = answer;
    vi.advanceTimersByTime(60_000);

    await set.refresh();

    expect(source.requests).toBe(2);
    expect(idsOf(set)).toEqual(kids);
    source.answer = [next];
    vi.advanceTimersByTime(60_000);
    await set.refresh();
    expect(idsOf(set)).toEqual([next.kid]);
  });

  it('leaves out keys for something else', async () => {
    const odd = [{ use: 'enc' }, { key_ops: ['sign'] }, { alg: 'RS512' }, { kty: 'oct' }];
    const keys = [signers[0]?.jwk, ...odd.map((part) => ({ ...signers[0]?.jwk, ...part }))];
    source.answer = JSON.stringify({ keys });

    expect(idsOf(await open())).toEqual(kids.slice(0, 1));
  });

  it('has the other keys if one is malformed, and takes null for a missing member', async () => {
    const [one, other] = signers.map(({ jwk }) => jwk);
    const nulls = { ...other, kid: null, use: null, key_ops: null, alg: null };
    const keys = [null, 'key', { kid: 'a' }, one, nulls];
    source.answer = `\ufeff${JSON.stringify({ keys })}`;

    expect(idsOf(await open())).toEqual([kids[0], undefined]);
  });

  it('is empty until its source is up, and asks each second for a token', async () => {
    source.answer = 503;
    const set = await open();
    expect(idsOf(set)).toEqual([]);
    for (let i = 0; i < 100; i += 1) expect(set.refresh()).toBeUndefined();
    source.answer = [next];
    vi.advanceTimersByTime(1_000);

    await set.refresh();

    expect(idsOf(set)).toEqual([next.kid]);
    expect(source.requests).toBe(2);
    vi.advanceTimersByTime(1_000);
    expect(set.refresh()).toBeUndefined();
  });

  it('is empty if there is nobody at its address', async () => {
    const { url } = source;
    await source.close();
    const set = await openKeySet(new URL(url), QUIET);

    expect(idsOf(set)).toEqual([]);
    source = await startKeySource();
  });
});
