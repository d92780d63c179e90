import { afterAll, beforeAll, expect, it } from 'vitest';
import { createMemberActions } from '../../src/actions/members.js';
import type { Store } from '../../src/store/store.js';
import { openPostgres, storeOver, type StoreHost } from '../harness/store-hosts.js';
import { newCaller, removeRule, roomOf } from '../harness/writers.js';

let host: StoreHost;
let store: Store;

beforeAll(async () => {
  host = await openPostgres();
  store = storeOver(host.database);
});
afterAll(() => host.close());

it('a rule that is removed while its user enters by it is no room that does not exist', async () => {
  const hub = {
    publish: () => undefined,
    invite: () => undefined,
    online: () => Promise.resolve(new Set<string>()),
  };
  const members = createMemberActions({ ...store, hub });
  const user = newCaller();
  const { roomId } = await roomOf(store, [[user, 'r']]);
  const rule = { entityUUID: user.userUUID, level: 0, permissions: 'r', accepted: false };
  await expect(members.accept(user, roomId, rule)).resolves.toMatchObject({
    before: { accepted: true },
  });

  await removeRule(store, roomId, user.userUUID);

  await expect(members.accept(user, roomId, rule)).rejects.toMatchObject({ code: 'FORBIDDEN' });
});
