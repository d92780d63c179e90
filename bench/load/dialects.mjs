/**
 * How a client speaks to one kind of server.
 *
 * @typedef {{
 *   path: string,
 *   protocol?: string,
 *   messageSign: number,
 *   onOpen?: (client: import('./client.mjs').Client) => void,
 *   onText: (client: import('./client.mjs').Client, text: string) => void,
 *   message: (content: string) => string,
 * }} Dialect
 * `protocol`: the subprotocol of WebSocket. `messageSign`: the place of the letter `m` of `message` in a message's frame.
 */

/** @param {import('./client.mjs').Client} client */
function selectRoom({ roomId, after }) {
  return JSON.stringify({ type: 'select_room', room_id: roomId, after });
}

/**
 * @param {import('./client.mjs').Client} client
 * @param {string} text
 */
function refused(client, text) {
  client.failed(new Error(`the server answered ${text}`));
  if (!text.includes('UNAVAILABLE')) return;
  process.stderr.write(`  ! ${text.slice(0, 200)}\n`);
}

/** @type {Dialect} */
const nano = {
  path: '/chat',
  messageSign: '{"type":"m'.length - 1,
  // Without waiting for the answers, as its clients do.
  onOpen(client) {
    client.send(JSON.stringify({ type: 'token', content: client.token }), selectRoom(client));
  },
  onText(client, text) {
    const { data } = JSON.parse(text);
    if (data === 'CONNECTED') client.ready();
    else if (data !== 'START?' && data !== 'READY') refused(client, text);
  },
  message: (content) => `{"type":"message","content":"${content}"}`,
};

/**
 * Version 2 of a client that joins rooms after its token, and sends its messages to the first of them.
 *
 * @param {{ rooms: { room_id: number, after?: number }[], with?: string[] }} join
 * @param {Dialect['onText']} onText
 * @returns {Dialect}
 */
export function version2(join, onText) {
  return {
    path: '/chat',
    protocol: 'nano-messaging.v2',
    messageSign: nano.messageSign,
    onOpen(client) {
      client.send(
        JSON.stringify({ type: 'token', content: client.token }),
        JSON.stringify({ type: 'join', ...join }),
      );
    },
    onText(client, text) {
      if (/"(BADAUTH|NOT[A-Z]*|INVALID|UNAVAILABLE|INTERNAL)"/.test(text)) refused(client, text);
      else onText(client, text);
    },
    message: (content) =>
      `{"type":"message","room_id":${join.rooms[0]?.room_id},"content":"${content}"}`,
  };
}

/** The bare broadcasts: the same frames, without START? and the token. @type {Dialect} */
const bare = {
  path: '/',
  messageSign: nano.messageSign,
  onOpen: (client) => client.send(selectRoom(client)),
  onText: (client) => client.ready(),
  message: nano.message,
};

/** Engine.IO 4 and Socket.IO 5 over its WebSocket transport. @type {Dialect} */
const socketio = {
  path: '/socket.io/?EIO=4&transport=websocket',
  messageSign: '42["m'.length - 1,
  onText(client, text) {
    if (text === '2') client.send('3');
    else if (text.startsWith('0')) client.send(`40${JSON.stringify({ token: client.token })}`);
    else if (text.startsWith('40')) client.send(`42["select_room",${client.roomId}]`);
    else if (text.includes('CONNECTED')) client.ready();
    else refused(client, text);
  },
  message: (content) => `42["message","${content}"]`,
};

export const dialects = { nano, ws: bare, uws: bare, stored: bare, socketio };
