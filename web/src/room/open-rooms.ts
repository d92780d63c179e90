import type { ChatClient, Room } from '../../../src/client/index.js';

/** Groups that stay open after one has looked at them, so that coming back to them takes no time. */
const MOST_OPEN = 6;
/** Direct rooms that are open all the time: their server says who is online to those who have opened a room. */
const MOST_DIRECT = 12;

interface OpenRooms {
  /** The groups that were looked at last. */
  groups: Room[];
  readonly direct: Set<Room>;
}

const opened = new WeakMap<ChatClient, OpenRooms>();

function openRoomsOf(chat: ChatClient): OpenRooms {
  const rooms = opened.get(chat) ?? { groups: [], direct: new Set() };
  opened.set(chat, rooms);
  return rooms;
}

/** Opens a room that one looks at; the one that was not looked at for longest is left. */
export function openRoom(chat: ChatClient, id: number): Room {
  const rooms = openRoomsOf(chat);
  const room = chat.room(id);
  if (rooms.direct.has(room)) return room;
  const groups = [room, ...rooms.groups.filter((other) => other !== room)];
  for (const other of groups.slice(MOST_OPEN)) other.leave();
  rooms.groups = groups.slice(0, MOST_OPEN);
  return room;
}

/** Opens a direct room for good, so that one sees who is online; undefined if there are enough already. */
export function openDirectRoom(chat: ChatClient, id: number): Room | undefined {
  const { direct } = openRoomsOf(chat);
  if (direct.size >= MOST_DIRECT && ![...direct].some((room) => room.id === id)) return undefined;
  const room = chat.room(id);
  direct.add(room);
  return room;
}
