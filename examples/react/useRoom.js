import { useCallback, useSyncExternalStore } from 'react';

/**
 * A room, and its messages as they are now, the oldest first. It is open while the component is shown.
 *
 * @param {import('nano-messaging/client').ChatClient} chat
 * @param {number} id of the room
 */
export function useRoom(chat, id) {
  const subscribe = useCallback(
    (changed) => {
      const room = chat.room(id);
      const unsubscribe = room.on('change', changed);
      return () => {
        unsubscribe();
        room.leave();
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
