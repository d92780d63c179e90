import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { ChatClient, ChatError, type Entry, type MessageRow } from '../client/node.js';
import { roomIdSchema } from '../protocol/values.js';
import { command } from './command.js';
import { printable, printableJson } from '../transfer/printable.js';
import { signToken, userFields, userOptions } from './token.js';

/** The server replays no more to a client that was away. */
const MOST_REPLAYED = 10_000;
/** A token is signed for each connect. */
const TOKEN_MS = 3_600_000;
/** After so long without an answer, the UUID stands for the name. */
const NAME_MS = 1_000;

const lines = z
  .string()
  .regex(/^\d+$/, 'must be a number')
  .transform(Number)
  .refine((count) => count <= 1_000, 'must be 1000 or less');

export default command({
  help: `usage: nano-messaging tail ROOM [--url URL] [--lines NUMBER] [--json]
                           [--token TOKEN | --user UUID --entity UUID --level NUMBER]

Prints the last messages of a room, and then all that happens in it, until Ctrl-C. If the connection breaks, it is
opened again, and goes on where it was. The user needs the permission to read the room. It ends with 1 when they may not
read it any more, or when the token has ended.

  ROOM       the id of the room
  --url      the address of the server (default: http://localhost:7777)
  --lines    how many of the last messages to begin with (default: 10)
  --json     each line is the entry of the room's log as JSON, as version 2 of the protocol has it
  --token    a token of the user; without it one is signed with the secret of the server, as by the command token,
             for the user that --user, --entity and --level describe

Examples:
  nano-messaging tail 1
  nano-messaging tail 1 --json --lines 0 | grep '"type":"message"'
  nano-messaging tail 1 --url https://chat.example.com --token "$TOKEN"
`,
  positionals: ['room'],
  options: {
    ...userOptions,
    user: { type: 'string' },
    url: { type: 'string' },
    token: { type: 'string' },
    lines: { type: 'string' },
    json: { type: 'boolean' },
  },
  input: z.object({
    ...userFields,
    room: roomIdSchema('must be the id of a room'),
    url: z
      .url({ protocol: /^https?$/, error: 'must be an address with http or https' })
      .default('http://localhost:7777'),
    token: z.string().optional(),
    lines: lines.default(10),
    json: z.boolean().default(false),
  }),
  endsOnSignal: true,
  async run({ room, url, token, lines, json, ...user }, stop) {
    const chat = new ChatClient(url, {
      token: () => token ?? signToken(user, new Date(new Date().getTime() + TOKEN_MS)),
      max: MOST_REPLAYED,
      with: [],
    });
    const print = createPrinter(json ? jsonLine : textLineOf(chat));
    try {
      // A refusal, or no server at all, ends it at once. Later the server may be away.
      await lastMessages(chat, room, 1).catch((error: unknown) => {
        throw reasonOf(error, url);
      });
      await follow(chat, room, { lines, print, stop });
    } finally {
      chat.close();
    }
  },
});

/** Something that is printed: an entry, or a message as it is now. */
type Item = Entry | MessageRow;
type Format = (type: string, item: Item) => string | Promise<string>;
type Print = (type: string, item: Item) => void;

interface Following {
  readonly lines: number;
  readonly print: Print;
  readonly stop: AbortSignal;
}

/** Prints lines in the order of its calls. */
function createPrinter(format: Format): Print {
  let printed = Promise.resolve();
  return (type, item) => {
    printed = printed.then(async () => {
      process.stdout.write(`${await format(type, item)}\n`);
    });
  };
}

/** Resolves when `stop` is aborted; rejects if the server lets the user in no more, or refuses the token. */
function follow(
  chat: ChatClient,
  roomId: number,
  { lines, print, stop }: Following,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const room = chat.room(roomId);
    let isAway = false;
    /** Entries that came before the last messages; undefined once those are printed. */
    let early: [type: string, entry: Entry][] | undefined;

    async function begin(): Promise<void> {
      early = [];
      const { rows, head } = await lastMessages(chat, roomId, lines);
      for (const row of rows) print('message', row);
      for (const [type, entry] of early) if (entry.seq > head) print(type, entry);
      early = undefined;
      say(`following room ${roomId}`);
    }
    const offChange = room.on('change', () => {
      if (room.phase !== 'joined') return;
      offChange();
      begin().catch(reject);
    });
    room.on('entry', (type, entry) => {
      if (early === undefined) print(type, entry);
      else early.push([type, entry]);
    });
    room.on('reset', () => {
      say('the room began anew, or too much has happened meanwhile: some entries are left out');
    });
    room.on('closed', (reason) => {
      reject(new Error(`the room is closed: ${reason}`));
    });
    chat.on('state', (state, reason) => {
      // The next one would be refused, too: it is the same, or signed with the same secret.
      if (reason === 'UNAUTHORIZED') reject(new Error('UNAUTHORIZED: the token is refused'));
      if (state === 'online' && isAway) say('connected again');
      if (state === 'offline' && !isAway) say('not connected, trying again');
      if (state !== 'connecting') isAway = state === 'offline';
    });
    stop.addEventListener('abort', () => {
      resolve();
    });
  });
}

function reasonOf(error: unknown, url: string): unknown {
  if (!(error instanceof ChatError)) return error;
  if (error.reason === 'OFFLINE') return new Error(`no server answers at ${url}`);
  return new Error(
    error.message === error.reason ? error.reason : `${error.reason}: ${error.message}`,
  );
}

/** The last messages, the oldest first, and the number of the last entry that they include. */
async function lastMessages(
  chat: ChatClient,
  roomId: number,
  count: number,
): Promise<{ rows: readonly MessageRow[]; head: number }> {
  const path = `/rooms/${roomId}/messages?limit=${Math.max(count, 1)}`;
  const { meta, content } = await chat.request<readonly MessageRow[]>('GET', path);
  const rows = content.toSorted((one, other) => one.seq - other.seq).slice(0, count);
  return { rows, head: meta.head ?? 0 };
}

function say(notice: string): void {
  process.stderr.write(`${notice}\n`);
}

function jsonLine(type: string, item: Item): string {
  return printableJson({ type, ...item });
}

/** A line of text of an entry: its number, its date, who, and what. */
function textLineOf(chat: ChatClient): Format {
  async function nameOf(uuid: string): Promise<string> {
    if (chat.users.get(uuid) === undefined) await usersCome(chat);
    return chat.users.get(uuid)?.name ?? uuid;
  }
  return async (type, item) => {
    const { seq, createdAt, emitter } = item;
    const { entity_UUID: entity, userUUID: subject = entity } = item as Entry;
    const what = whatOf(type, item, subject === undefined ? '' : await nameOf(subject));
    return printable(`${seq} ${createdAt} ${await nameOf(emitter)}${what}`);
  };
}

/** Resolves when names have come, or after a while. */
async function usersCome(chat: ChatClient): Promise<void> {
  const late = new AbortController();
  await new Promise<void>((resolve) => {
    const off = chat.on('users', () => {
      off();
      late.abort();
      resolve();
    });
    delay(NAME_MS, undefined, { signal: late.signal }).then(
      () => {
        off();
        resolve();
      },
      () => undefined,
    );
  });
}

/** What an entry says, behind the name of its emitter. */
function whatOf(type: string, item: Item, subject: string): string {
  const {
    target,
    emoji,
    on,
    permissions,
    content,
    data,
    reply_to: replyTo,
    name,
    members,
  } = item as Entry;
  const text = content === undefined ? '(changed later)' : content || JSON.stringify(data ?? {});
  switch (type) {
    case 'message':
      return `${replyTo === undefined ? '' : ` answers ${replyTo}`}: ${text}`;
    case 'edit':
      return ` edits ${target}: ${text}`;
    case 'delete':
      return ` deletes ${target}`;
    case 'reaction':
      return ` ${on === true ? 'puts' : 'takes'} ${emoji ?? 'an emoji'} ${on === true ? 'on' : 'off'} ${target}`;
    case 'erase':
      return ` erases all that ${subject} has written`;
    case 'member':
      return permissions === '' ? ` removes ${subject}` : ` gives ${subject}: ${permissions}`;
    case 'members':
      return ` changes ${members?.length ?? 0} rules`;
    case 'room':
      return ` changes the room: ${name}`;
    default:
      return ` ${type}`;
  }
}
