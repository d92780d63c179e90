/** Tells of changes, as the client library does. */
interface Changing {
  on(name: 'change', listener: () => void): () => void;
}

/** Resolves once it is so, which is looked at behind each change. The test's own time limit is its patience. */
export async function until(thing: Changing, isSo: () => boolean): Promise<void> {
  if (isSo()) return;
  await new Promise<void>((resolve) => {
    const end = thing.on('change', () => {
      if (!isSo()) return;
      end();
      resolve();
    });
  });
}
