import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Profile } from '../../src/access/token.js';
import type { Store } from '../../src/store/store.js';
import { storeHosts, storeOver, type StoreHost } from '../harness/store-hosts.js';

const MONDAY = new Date('2026-01-05T09:00:00Z');
const TUESDAY = new Date('2026-01-06T09:00:00Z');

describe.each(storeHosts)('the users over %s', (_, openHost) => {
  let host: StoreHost;
  let store: Store;

  beforeAll(async () => {
    host = await openHost();
    store = storeOver(host.database);
  });
  afterAll(() => host.close());

  it('are found by their UUIDs, with what was told of them', async () => {
    const [ana = '', ben = '', cai = ''] = uuids(3);
    const picture = 'https://example.com/ana.png';
    await store.users.remember(
      new Map([
        [ana, profile({ name: 'Ana “ñ” 🎈', picture })],
        [ben, profile({ name: 'Ben' })],
      ]),
    );

    expect(await store.users.find([ben, cai, ana])).toEqual([
      { userUUID: ana, name: 'Ana “ñ” 🎈', picture },
      { userUUID: ben, name: 'Ben', picture: null },
    ]);
  });

  it.each<[string, Profile, Profile, string]>([
    [
      'a newer token',
      profile({ name: 'old', signedAt: MONDAY }),
      profile({ name: 'new', signedAt: TUESDAY }),
      'new',
    ],
    [
      'a token of the same second',
      profile({ name: 'old', signedAt: MONDAY }),
      profile({ name: 'new', signedAt: MONDAY }),
      'new',
    ],
    [
      'no older token',
      profile({ name: 'new', signedAt: TUESDAY }),
      profile({ name: 'old', signedAt: MONDAY }),
      'new',
    ],
    [
      'a token without a date',
      profile({ name: 'old', signedAt: TUESDAY }),
      profile({ name: 'new' }),
      'new',
    ],
    [
      'a token after one of the future',
      profile({ name: 'old', signedAt: new Date('2999-01-01') }),
      profile({ name: 'new' }),
      'new',
    ],
    [
      'an older token after one without a name',
      profile({ signedAt: TUESDAY }),
      profile({ name: 'new', signedAt: MONDAY }),
      'new',
    ],
    [
      'no token without a name',
      profile({ name: 'old', signedAt: MONDAY }),
      profile({ signedAt: TUESDAY }),
      'old',
    ],
  ])('are changed by %s', async (_, first, second, name) => {
    const [ana = ''] = uuids(1);
    await store.users.remember(new Map([[ana, first]]));
    await store.users.remember(new Map([[ana, second]]));

    expect(await store.users.find([ana])).toMatchObject([{ name }]);
  });
});

function profile(given: Partial<Profile>): Profile {
  return { name: undefined, picture: undefined, signedAt: undefined, ...given };
}

function uuids(count: number): string[] {
  return Array.from({ length: count }, () => randomUUID()).toSorted();
}
