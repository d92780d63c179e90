import { useCallback, useSyncExternalStore } from 'react';

/** By room, how many components show it: a room is one object, and the last of them leaves it. */
const shown = new WeakMap();

/**
 * A room, and its messages as they are now, the oldest first. It is open while a component shows it.
 *
 * @param {import('nano-messaging/client').ChatClient} chat
 * @param {number} id of the room
 */
export function useRoom(chat, id) {
  const subscribe = useCallback(
    (changed) => {
      const room = chat.room(id);
      const unsubscribe = room.on('change', changed);
      shown.set(room, (shown.get(room) ?? 0) + 1);
      return () => {
        unsubscribe();
        shown.set(room, shown.get(room) - 1);
        if (shown.get(room) === 0) room.leave();
      };
    },
    [chat, id],
  );
  const messages = useSyncExternalStore(subscribe, () => chat.room(id).messages);
  return { room: chat.room(id), messages };
}

/**
 * The name of a user, empty until it is known.
 *
 * @param {import('nano-messaging/client').ChatClient} chat
 * @param {string} userUUID
 */
export function useName(chat, userUUID) {
  const subscribe = useCallback((changed) => chat.on('users', changed), [chat]);
  return useSyncExternalStore(subscribe, () => chat.users.get(userUUID)?.name ?? '');
}
