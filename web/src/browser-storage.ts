/** What the browser keeps by a key. If it keeps nothing (its settings, a private window), it lasts as long as the page. */
export interface BrowserStorage {
  get: (key: string) => string | undefined;
  set: (key: string, text: string) => void;
  delete: (key: string) => void;
  keys: () => readonly string[];
}

/** Of this tab alone. */
export const tabStorage = browserStorage(() => sessionStorage);
/** Of all tabs, beyond their end. */
export const sharedStorage = browserStorage(() => localStorage);

/** @param kept throws if the browser allows no storage, as each of its methods may */
function browserStorage(kept: () => Storage): BrowserStorage {
  const unkept = new Map<string, string>();
  function attempt<Value>(read: (storage: Storage) => Value): Value | undefined {
    try {
      return read(kept());
    } catch {
      return undefined;
    }
  }
  return {
    get: (key) => unkept.get(key) ?? attempt((storage) => storage.getItem(key)) ?? undefined,
    set(key, text) {
      unkept.set(key, text);
      attempt((storage) => {
        storage.setItem(key, text);
        unkept.delete(key);
      });
    },
    delete(key) {
      unkept.delete(key);
      attempt((storage) => {
        storage.removeItem(key);
      });
    },
    keys: () => [...unkept.keys(), ...(attempt((storage) => Object.keys(storage)) ?? [])],
  };
}
