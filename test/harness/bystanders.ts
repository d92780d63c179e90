import assert from 'node:assert/strict';
import { createRoom, putRule, request } from './api.js';
import { ChatClient } from './chat-client.js';
import type { TestNode } from './node.js';
import type { Person } from './tokens.js';

type ServedNode = Pick<TestNode, 'url' | 'chatUrl'>;

/** An admin and a member in a room. Their sockets show that the node still serves clients that behave. */
export class Bystanders {
  readonly room: number;
  readonly #node: ServedNode;
  readonly #admin: ChatClient;
  readonly #member: ChatClient;

  private constructor(node: ServedNode, room: number, admin: ChatClient, member: ChatClient) {
    this.#node = node;
    this.room = room;
    this.#admin = admin;
    this.#member = member;
  }

  static async enter(node: ServedNode, admin: Person, member: Person): Promise<Bystanders> {
    const room = await createRoom(node, admin);
    await putRule(node, admin, room, { userUUID: member.userUUID, permissions: 'rw' });
    return new Bystanders(
      node,
      room,
      await ChatClient.enter(node, admin, room),
      await ChatClient.enter(node, member, room),
    );
  }

  /** Rejects unless the node is ready, and a message of each one reaches both. */
  async expectServed(): Promise<void> {
    assert.equal((await request(this.#node, 'GET', '/readyz')).status, 200);
    this.#admin.say('still there?');
    this.#member.say('still there.');
    for (const client of [this.#admin, this.#member]) {
      assert.deepEqual((await client.messages(2)).toSorted(), ['still there.', 'still there?']);
    }
  }

  async close(): Promise<void> {
    await Promise.all([this.#admin.close(), this.#member.close()]);
  }
}
