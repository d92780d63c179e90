import { expect, it } from 'vitest';
import { canDump, runDumpProgram } from '../harness/dump.js';
import { openPostgres, storeOver } from '../harness/store-hosts.js';
import { newCaller, roomOf, say } from '../harness/writers.js';

it.runIf(canDump)('a dump holds no text that was replaced or deleted', async () => {
  const host = await openPostgres();
  try {
    const store = storeOver(host.database);
    const author = newCaller();
    const room = await roomOf(store, [[author, 'rw']]);
    const data = '{"of":"the sesame"}';
    const { seq: target } = await say(store.log, room, 'sesame 1', { author, data });
    await say(store.log, room, 'a reply', { author, replyTo: target });
    await store.changes.edit(author, room.roomId, { target, content: 'sesame 2', data });
    await store.changes.edit(author, room.roomId, { target, content: 'sesame 3', data });
    const replaced = await runDumpProgram('pg_dump', host.url);
    await store.changes.remove(author, room.roomId, { target });
    const deleted = await runDumpProgram('pg_dump', host.url);

    expect(replaced).toContain('sesame 3');
    expect(replaced).not.toMatch(/sesame [12]/);
    expect(deleted).toContain('a reply');
    expect(deleted).not.toContain('sesame');
  } finally {
    await host.close();
  }
});
