import { expect, it } from 'vitest';
import { MessagesInFlight } from '../../../src/chat/messages-in-flight.js';
import { CommandOrder } from '../../../src/chat/v2/command-order.js';
import type { CommandSession } from '../../../src/chat/v2/command.js';
import { send } from '../../../src/chat/v2/message.js';
import { ChatError } from '../../../src/errors.js';
import { deferred } from '../../harness/deferred.js';
import { LIMITS } from '../../harness/store-hosts.js';

const ROOM = 1;

// No database can be had to hang just for the moment between the answer and the end of the statement.
it('a message of unknown fate keeps the changes behind it waiting, and no other room', async () => {
  const settled = deferred();
  const inFlight = new MessagesInFlight();
  const events: string[] = [];
  const session = {
    context: {
      hub: { active: () => ({ roomId: ROOM, permits: () => true }) },
      limits: LIMITS,
      actions: {
        messages: {
          send: () => Promise.reject(new ChatError('UNAVAILABLE')),
          settledIn: () => settled.promise,
        },
      },
    },
    inFlight,
    fail: (error: ChatError) => events.push(error.code),
  } as unknown as CommandSession;
  const order = new CommandOrder(inFlight, LIMITS.inboxFrames, LIMITS.storeTimeoutMs);
  const now = performance.now();
  const change = (name: string) => (): void => {
    events.push(name);
  };

  const message = { type: 'message', roomId: ROOM, content: 'hi', ref: undefined } as const;
  order.take(ROOM, true, now, () => send(session, message, now));
  order.take(ROOM, false, now, change('behind it'));
  order.take(ROOM + 1, false, now, change('elsewhere'));
  await turn();
  expect(events).toEqual(['elsewhere', 'UNAVAILABLE']);

  settled.resolve();
  await turn();
  expect(events).toEqual(['elsewhere', 'UNAVAILABLE', 'behind it']);
});

function turn(): Promise<void> {
  return new Promise(setImmediate);
}
