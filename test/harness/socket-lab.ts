import assert from 'node:assert/strict';
import type { MessageData } from '../../src/protocol/v1/events.js';
import { createRoom, putRule } from './api.js';
import { Bystanders } from './bystanders.js';
import { ChatClient, type ServerFrame } from './chat-client.js';
import { createChatWorld, type ChatWorld } from './chat-world.js';
import type { TestNode } from './node.js';
import { person } from './tokens.js';
import { frame } from './ws-wire.js';

export const ana = person({ levelOnEntity: 999 });
export const ben = person();
export const eve = person();

/** The states of a session. */
export const STATES = ['greeting', 'lobby', 'room'] as const;

/** A node whose sockets get bad input: eve sends it in a room with ana, while ana and ben are served in another. */
export class SocketLab {
  readonly world: ChatWorld;
  readonly node: TestNode;
  readonly bystanders: Bystanders;
  /** Of ana and eve. */
  readonly room: number;

  private constructor(world: ChatWorld, node: TestNode, bystanders: Bystanders, room: number) {
    this.world = world;
    this.node = node;
    this.bystanders = bystanders;
    this.room = room;
  }

  static async open(): Promise<SocketLab> {
    const world = await createChatWorld();
    const node = await world.start();
    const bystanders = await Bystanders.enter(node, ana, ben);
    const room = await createRoom(node, ana);
    await putRule(node, ana, room, { userUUID: eve.userUUID, permissions: 'rw' });
    return new SocketLab(world, node, bystanders, room);
  }

  /** A client of eve in one of the states of a session. */
  async clientIn(state: (typeof STATES)[number]): Promise<ChatClient> {
    if (state !== 'greeting') {
      return ChatClient.enter(this.node, eve, state === 'room' ? this.room : undefined);
    }
    const client = await ChatClient.open(this.node.chatUrl);
    await client.expect('START?');
    return client;
  }

  /** The frame by which eve selects the room. */
  select(): Buffer {
    return json({ type: 'select_room', room_id: this.room });
  }

  async close(): Promise<void> {
    await this.bystanders.close();
    await this.world.close();
  }
}

/** A command as a frame. */
export function json(command: object): Buffer {
  return frame(JSON.stringify(command));
}

/** The frame by which eve authenticates. */
export function token(): Buffer {
  return json({ type: 'token', content: eve.token });
}

/** Rows of one value each, lists too. */
export function alone(values: readonly unknown[]): [unknown][] {
  return values.map((value) => [value]);
}

/** The content of a frame, which must be a message. */
export function messageOf(echo: ServerFrame | undefined): MessageData {
  assert.equal(echo?.type, 'message');
  return echo.data as MessageData;
}
