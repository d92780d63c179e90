import { version2 } from '../load/dialects.mjs';
import { Tally } from '../load/tally.mjs';
import {
  closeAll,
  connectAll,
  createRooms,
  measureLoad,
  newClient,
  steadily,
} from '../load/world.mjs';

/** Up to 200 users are told of each other, the most that there can be; the larger room is not. */
const SIZES = [200, 1_000];
const MESSAGES_A_SECOND = 1;
const WARM_UP_SECONDS = 5;

/** @type {import('../run.mjs').Measure} */
export const noise = {
  name: 'noise',
  title: 'Noise of a room',
  work: `${MESSAGES_A_SECOND} message a second, which all users read; all of them see read, presence and typing`,
  kinds: ['nano'],
  metrics: SIZES.flatMap((size) => [
    {
      key: `frames of ${size}`,
      label: `${size} users, frames/s`,
      better: /** @type {const} */ ('lower'),
    },
    {
      key: `core of ${size}`,
      label: `${size} users, share of a core`,
      better: /** @type {const} */ ('lower'),
    },
  ]),
  async run(kind, context) {
    /** @type {Record<string, number>} */
    const results = {};
    for (const size of SIZES) {
      const server = await context.start(kind);
      const [roomId = 0] = await createRooms(server, 1);
      let frames = 0;
      /** @type {number | undefined} */
      let head;
      const join = { rooms: [{ room_id: roomId }], with: ['read', 'presence', 'typing'] };
      const dialect = version2(join, (client, text) => {
        frames++;
        if (!text.includes('"CONNECTED"')) return;
        head = JSON.parse(text).head;
        client.ready();
      });
      const tally = new Tally();
      const clients = Array.from({ length: size }, () =>
        newClient(server, { roomId, tally, sampled: false, dialect }),
      );
      await connectAll(clients);
      for (const client of clients) {
        // Nothing is stored in the room but messages, and all clients were there for each.
        client.onMessage = () => {
          const upto = (head ?? 0) + client.received;
          client.send(`{"type":"read","room_id":${roomId},"upto":${upto}}`);
        };
      }
      const send = steadily(clients.slice(0, 1), MESSAGES_A_SECOND);
      const load = {
        server,
        tallies: [tally],
        send(/** @type {number} */ seconds) {
          frames = 0;
          return send(seconds);
        },
      };
      const result = await measureLoad(load, context.seconds(10, 4), WARM_UP_SECONDS);
      closeAll(clients);
      await server.stop();
      const perSecond = (frames + result.delivered) / result.seconds;
      context.note(
        `${size} users: ${Math.round(perSecond)} frames/s, core ${Math.round(result.cpuShare * 100)} %, ` +
          `load generator ${Math.round(result.loadShare * 100)} %`,
      );
      results[`frames of ${size}`] = perSecond;
      results[`core of ${size}`] = result.cpuShare;
    }
    return results;
  },
};
