import type { ChatClient, Room } from '../../../src/client/index.js';

/** Rooms that stay open after one has looked at them, so that coming back to them takes no time. */
const MOST_OPEN = 6;

/** By client, the rooms that were looked at last. */
const opened = new WeakMap<ChatClient, readonly Room[]>();

export function isOpen(chat: ChatClient, room: Room): boolean {
  return opened.get(chat)?.includes(room) === true;
}

/** Opens a room that one looks at; the one that was not looked at for longest is left. */
export function openRoom(chat: ChatClient, id: number): Room {
  const room = chat.room(id);
  const rooms = [room, ...(opened.get(chat) ?? []).filter((other) => other !== room)];
  for (const other of rooms.slice(MOST_OPEN)) other.leave();
  opened.set(chat, rooms.slice(0, MOST_OPEN));
  return room;
}
