/** The client library: `nano-messaging/client`. It runs in browsers and in Node, and has no dependencies. */
export { ChatClient, type ChatClientEvents, type ChatClientOptions } from './client.js';
export type { ConnectionState } from './connection.js';
export type { Socket, SocketClass } from './platform.js';
export { ChatError } from './errors.js';
export type { Message } from './message.js';
export { RoomList, type RoomListEvents } from './room-list.js';
export type { MessagePage, Range } from './room-pages.js';
export { Room, type Beginning, type Draft, type RoomEvents, type RoomPhase } from './room.js';
export { localStorageOf, type UnsentCommand, type UnsentStorage } from './storage.js';
export type {
  Answer,
  Entry,
  Json,
  Limits,
  MessageRow,
  OfflineReason,
  Reaction,
  RoomRow,
  StopReason,
  UserRow,
} from './wire.js';
