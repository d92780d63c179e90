import { FuzzSocket, type SocketSetting } from './fuzz-socket.js';
import type { Act, Part, Script } from './scripts.js';
import { fill, type Stage } from './stage.js';

const QUIT = '"quit"';

/** What the scripts of a run have shown. */
export interface SocketTotals {
  sockets: number;
  commands: number;
  frames: number;
}

export interface SocketRun extends SocketSetting {
  readonly stage: Stage;
  readonly chatUrls: readonly string[];
  readonly totals: SocketTotals;
}

/** A command that is to be answered so often: `max` times at the most, and `min` times if the socket stays open for it. */
interface Due {
  readonly command: unknown;
  readonly counts: readonly number[];
}

/** One socket of a script while it runs. */
interface Player {
  readonly part: Part;
  readonly client: FuzzSocket;
  readonly due: Map<string, Due>;
  /** Whether it may have sent a `quit`: what comes behind it is not answered. */
  hasQuit: boolean;
  isCutByClient: boolean;
}

/**
 * Plays a script while two clients that behave are in its rooms, each on another node. Throws if they miss something, or
 * if any socket gets an answer too few or too many, a frame that the document does not have, or an undocumented end.
 */
export async function play({ parts, steps }: Script, run: SocketRun): Promise<void> {
  const bystanders = await enterBystanders(run);
  const players: Player[] = [];
  for (const part of parts) players.push(await enter(part, run));
  try {
    for (const [index, { on, act }] of steps.entries()) {
      const player = players[on];
      if (player !== undefined) perform(player, act, `r${index}`, run);
    }
    for (const { client, isCutByClient } of players) {
      if (!isCutByClient && client.socket.readyState === client.socket.OPEN) {
        client.send({ type: 'quit' });
      }
    }
    for (const player of players) await checkPlayer(player);
    await requireServed(bystanders, run.stage);
  } finally {
    for (const { client } of players) client.socket.terminate();
    for (const client of bystanders) client.socket.terminate();
  }
}

async function open(part: Pick<Part, 'node' | 'version'>, run: SocketRun): Promise<FuzzSocket> {
  run.totals.sockets += 1;
  return FuzzSocket.open(run.chatUrls[part.node] ?? '', part.version, run);
}

async function enter(part: Part, run: SocketRun): Promise<Player> {
  const client = await open(part, run);
  const { people, rooms } = run.stage;
  if (part.state !== 'greeting') {
    client.send({ type: 'token', content: people[part.role].token });
  }
  if (part.state === 'room') {
    if (part.version === 'v1') client.send({ type: 'select_room', room_id: rooms[0] });
    else client.send({ type: 'join', rooms: rooms.map((room_id) => ({ room_id, after: 0 })) });
  }
  return { part, client, due: new Map(), hasQuit: false, isCutByClient: false };
}

function perform(player: Player, act: Act, ref: string, { stage, totals }: SocketRun): void {
  const { client, part, due } = player;
  const { socket, connection } = client;
  if (socket.readyState !== socket.OPEN || !connection.writable) return;
  const words = { ...stage.words, ref, 'own token': stage.people[part.role].token };
  switch (act.kind) {
    case 'command': {
      const command = fill(act.command, words);
      totals.commands += 1;
      if (hasRef(command, ref)) {
        const counts = countsOf(command, part.version);
        due.set(ref, { command, counts: player.hasQuit ? [0, ...counts] : counts });
      }
      const text = JSON.stringify(command) ?? '';
      player.hasQuit ||= text.includes(QUIT);
      socket.send(text);
      return;
    }
    case 'text':
    case 'fragments': {
      const text = fill(act.text, words).toWellFormed();
      player.hasQuit ||= text.includes(QUIT);
      if (act.kind === 'text') {
        socket.send(text);
        return;
      }
      const bytes = Buffer.from(text);
      // A byte each, unless that would be too many writes.
      const size = Math.max(1, Math.ceil(bytes.length / 100));
      for (let at = 0; at < bytes.length; at += size) {
        socket.send(bytes.subarray(at, at + size), { binary: false, fin: false });
      }
      socket.send('', { binary: false, fin: true });
      return;
    }
    case 'binary':
      socket.send(act.data, { binary: true });
      return;
    case 'ping':
    case 'pong':
      socket[act.kind](act.data);
      return;
    case 'bytes':
      // They may be the first ones of a long frame: the server would wait for the rest.
      player.isCutByClient = true;
      connection.end(act.data);
      return;
    case 'half close':
      player.isCutByClient = true;
      connection.end();
      return;
    case 'cut':
      player.isCutByClient = true;
      socket.terminate();
      return;
    case 'close':
      player.isCutByClient = true;
      socket.close();
  }
}

function hasRef(command: unknown, ref: string): command is { ref: string } {
  return typeof command === 'object' && command !== null && 'ref' in command && command.ref === ref;
}

/** How often a command may be answered by its ref. */
function countsOf(command: object, version: Part['version']): readonly number[] {
  const { type, rooms } = command as { type?: unknown; rooms?: unknown };
  // Of version 1, the questions are counted as well.
  if (version === 'v1') return type === 'message' ? [0, 1] : [0];
  if (type === 'quit') return [0, 1];
  if (type === 'join' && Array.isArray(rooms)) return [1, rooms.length];
  return [1];
}

async function checkPlayer({ part, client, due, hasQuit, isCutByClient }: Player): Promise<void> {
  const code = await client.closed();
  client.check({ isCutByClient });
  // Whatever else has closed it may have come before an answer.
  const isWhole = code === 1000 && !isCutByClient;
  let unanswered = 0;
  for (const [ref, { command, counts }] of due) {
    const count = client.answers.get(ref) ?? 0;
    if (count === 0) unanswered += 1;
    if (isWhole ? counts.includes(count) : count <= Math.max(...counts)) continue;
    throw new Error(
      `${count} answers on a socket of ${part.version} to ${JSON.stringify(command).slice(0, 500)}`,
    );
  }
  if (
    part.version === 'v1' &&
    isWhole &&
    !hasQuit &&
    unanswered > client.questions + tokensIn(due)
  ) {
    throw new Error(`${unanswered} messages of version 1 are not answered`);
  }
}

/** Commands of version 1 other than messages have no ref in their answers. */
function tokensIn(due: Player['due']): number {
  return [...due.values()].filter(({ counts }) => counts.length === 1).length;
}

/** Of version 1 on the first node, and of version 2 in both rooms on the other one. */
async function enterBystanders(run: SocketRun): Promise<[FuzzSocket, FuzzSocket]> {
  const { people, rooms } = run.stage;
  const one = await open({ node: 0, version: 'v1' }, run);
  one.send({ type: 'token', content: people.reader.token });
  one.send({ type: 'select_room', room_id: rooms[0], after: 0 });
  const other = await open({ node: run.chatUrls.length - 1, version: 'v2' }, run);
  other.send({ type: 'token', content: people.owner.token });
  const wanted = rooms.map((room_id) => ({ room_id, after: 0 }));
  other.send({ type: 'join', rooms: wanted, ref: 'join' });
  await one.until(() => (one.last.get(rooms[0]) ?? 0) > 0, 'the history of a bystander');
  await other.until(() => other.answers.get('join') === rooms.length, 'CONNECTED of a bystander');
  return [one, other];
}

/** The last messages of the rooms must reach the bystanders, which then have each number before. */
async function requireServed(
  [one, other]: readonly [FuzzSocket, FuzzSocket],
  { rooms, words }: Stage,
): Promise<void> {
  const [shared] = rooms;
  for (const roomId of rooms) {
    const ref = refOf(roomId);
    other.send({ type: 'message', room_id: roomId, content: `the last of ${words['room']}`, ref });
    await other.until(() => other.answers.get(ref) === 1, 'an answer to a bystander');
  }
  const seq = other.sent.get(refOf(shared)) ?? Infinity;
  await one.until(() => (one.last.get(shared) ?? 0) >= seq, 'the last message to a bystander');
  for (const client of [one, other]) client.check({ isCutByClient: false });
}

function refOf(roomId: number): string {
  return `the last of ${roomId}`;
}
