/*
 * Imported into a node by the soak, with --expose-gc: answers what the process holds. The product has no such thing.
 */

const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

/** @param {{ collects: boolean }} question */
async function answer({ collects }) {
  if (collects) {
    // What finalizers and weak references let go is free after the next one.
    for (let times = 0; times < 3; times += 1) {
      globalThis.gc();
      await nextTurn();
    }
  }
  const resources = {};
  for (const kind of process.getActiveResourcesInfo()) resources[kind] = (resources[kind] ?? 0) + 1;
  process.send({ memory: process.memoryUsage(), resources });
}

process.on('message', (question) => {
  void answer(question);
});
// The channel does not keep the process alive.
process.channel?.unref();
