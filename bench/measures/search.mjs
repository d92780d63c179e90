import { timeRequests } from '../load/requests.mjs';
import { at } from '../load/tally.mjs';
import { createRooms, measureLoad } from '../load/world.mjs';
import { untilQuiet } from '../processes.mjs';
import { query } from '../services.mjs';
import { fillRooms } from './durable.mjs';

const ROOMS = 500;
const MESSAGES = 1_000_000;
const QUICK_MESSAGES = 100_000;
const QUIET_TIMEOUT_MS = 10_000;
/** The median of their p99 counts: a single one may be that of a moment in which the machine did something else. */
const ROUNDS = 5;
/** Words that a text takes from, the k-th one with a share of 1/k, as words are in any language. */
const WORDS = 50_000;
const CHARACTERS = 3_000;
const FIRST_CHARACTER = 0x4e00;
const WORDS_A_MESSAGE = 12;
const CHARACTERS_A_MESSAGE = 20;
/** Digits as letters; with a last letter that no other place has, no word begins another one. */
const LETTERS = 'aeioulnrst';
const LAST_LETTER = 'q';

/**
 * The searches, by the ranks of their words. Of 1,000,000 messages, a rare word is in about 20, a common one in 80,000,
 * and one between them in 15,000: too few for the newest messages to fill a page. Each character of a phrase is in
 * about 10,000, and the phrase in some hundred.
 *
 * @type {Record<string, () => string>}
 */
const SEARCHES = {
  rare: () => word(between(40_000, WORDS)),
  middle: () => word(between(50, 70)),
  common: () => word(between(8, 12)),
  phrase: () => character(between(20, 60)) + character(between(20, 60)),
};

/** @type {import('../run.mjs').Measure} */
export const search = {
  name: 'search',
  title: 'Search',
  work: `a page of 20 out of ${MESSAGES} messages of ${ROOMS} rooms, half of them in one room`,
  kinds: ['nano'],
  metrics: [
    ...['one room', 'all rooms'].flatMap((where) =>
      Object.keys(SEARCHES).map((name) => ({
        key: `${name} in ${where}`,
        label: `${name}, ${where}, p99, ms`,
        better: /** @type {const} */ ('lower'),
        targets: [{ atMost: 50 }],
      })),
    ),
    { key: 'sending', label: 'sending with / without words', better: 'higher' },
    { key: 'bytes', label: 'words and index, bytes a message', better: 'lower' },
  ],
  async run(kind, context) {
    const server = await context.start(kind, { database: 'search' });
    const rooms = await createRooms(server, ROOMS);
    const url = await context.databaseUrl('search');
    await fill(url, rooms, context.quick ? QUICK_MESSAGES : MESSAGES);
    const count = context.quick ? 50 : 200;
    const searches = Object.entries({ 'one room': `&room=${rooms[0]}`, 'all rooms': '' }).flatMap(
      ([where, room]) =>
        Object.entries(SEARCHES).map(([name, text]) => ({
          key: `${name} in ${where}`,
          newPath: () => `/messages?q=${encodeURIComponent(text())}${room}`,
          rounds: /** @type {{ p50: number, p99: number }[]} */ ([]),
        })),
    );
    await untilQuiet(QUIET_TIMEOUT_MS);
    for (let round = 0; round < ROUNDS; round++) {
      for (const { newPath, rounds } of searches) {
        rounds.push(await timeRequests(server.port, newPath, { count, warmUp: 10 }));
      }
    }
    /** @type {Record<string, number>} */
    const results = {};
    for (const { key, rounds } of searches) {
      const p50 = at(
        rounds.map((round) => round.p50).toSorted((a, b) => a - b),
        0.5,
      );
      const p99s = rounds.map((round) => round.p99).toSorted((a, b) => a - b);
      context.note(
        `${key}: p50 ${p50.toFixed(1)}, p99 ${p99s.map((ms) => ms.toFixed(1)).join(', ')} ms`,
      );
      results[key] = at(p99s, 0.5);
    }
    await server.stop();
    const bytes = await bytesOfWords(url);
    context.note(`words: ${bytes.toFixed(0)} bytes a message`);
    return { ...results, bytes, sending: await costOfWords(kind, context) };
  },
};

/** As if the words of all messages to come were stored. */
const STORE_NO_WORDS = `INSERT INTO search_positions SELECT id, 1000000000 FROM rooms
  ON CONFLICT (room_id) DO UPDATE SET upto = excluded.upto`;

/**
 * Sends messages to servers that store words, and to others that don't, by turns. Each runs alone: it stores words for
 * longer than it is sent messages.
 *
 * @param {import('../servers.mjs').Kind} kind
 * @param {import('../run.mjs').Context} context
 */
async function costOfWords(kind, context) {
  const ratios = [];
  for (let round = 0; round < (context.quick ? 2 : 8); round++) {
    /** @type {Map<boolean, number>} */
    const rates = new Map();
    for (const hasWords of round % 2 ? [false, true] : [true, false]) {
      const database = `search_${hasWords ? 'with' : 'without'}_words_${round}`;
      const server = await context.start(kind, { database });
      const load = await fillRooms(server, newText);
      if (!hasWords) await query(await context.databaseUrl(database), STORE_NO_WORDS);
      const { delivered, seconds } = await measureLoad(load, context.seconds(4, 2), 2);
      rates.set(hasWords, delivered / seconds);
      load.close();
      await server.stop();
    }
    ratios.push((rates.get(true) ?? NaN) / (rates.get(false) ?? NaN));
  }
  ratios.sort((a, b) => a - b);
  const sending = at(ratios, 0.5);
  context.note(
    `sending with / without words: ${sending.toFixed(3)} (${ratios.map((ratio) => ratio.toFixed(2)).join(', ')})`,
  );
  return sending;
}

/**
 * Gives the first room half of the messages, and the others the rest in turn, a message a second. A fifth of them is
 * Chinese. The numbers of a room have gaps, which a search does not mind.
 *
 * @param {string} url
 * @param {number[]} rooms
 * @param {number} count
 */
async function fill(url, rooms, count) {
  const [index] = (
    await query(url, `SELECT pg_get_indexdef('message_words_words'::regclass) AS definition`)
  ).rows;
  await query(url, 'DROP INDEX message_words_words');
  /** @param {number} most */
  const rank = (most) => `floor(exp(random() * ln(${most})))::integer`;
  await query(
    url,
    `INSERT INTO messages (room_id, seq, kind, emitter, content, "createdAt", "updatedAt")
     SELECT (ARRAY[${rooms.join(',')}])[CASE WHEN n % 2 = 0 THEN 1 ELSE 2 + n / 2 % ${rooms.length - 1} END],
       10 + n, 'message', gen_random_uuid(), text, moment, moment
     FROM generate_series(1, ${count}) AS n
     CROSS JOIN LATERAL (SELECT now() - (${count} - n) * interval '1 second' AS moment) AS dated
     CROSS JOIN LATERAL (
       SELECT CASE WHEN n % 5 = 0
         THEN string_agg(chr(${FIRST_CHARACTER} + ${rank(CHARACTERS)}), '')
         ELSE string_agg(translate(${rank(WORDS)}::text, '0123456789', '${LETTERS}') || '${LAST_LETTER}', ' ')
       END AS text
       FROM generate_series(1, CASE WHEN n % 5 = 0 THEN ${CHARACTERS_A_MESSAGE} ELSE ${WORDS_A_MESSAGE} END)
     ) AS written`,
  );
  // As a node does it, but all at once: in the order in which they were sent, and each with its room as a word.
  await query(
    url,
    `INSERT INTO message_words (room_id, seq, "createdAt", words)
     SELECT room_id, seq, "createdAt", search_words(content) || ('''#' || room_id || '''')::tsvector
     FROM messages WHERE seq > 10 ORDER BY "createdAt"`,
  );
  await query(
    url,
    `INSERT INTO search_positions SELECT id, ${count} + 10 FROM rooms
     ON CONFLICT (room_id) DO UPDATE SET upto = excluded.upto`,
  );
  await query(url, `UPDATE rooms SET head = ${count} + 10`);
  await query(url, `SET maintenance_work_mem = '512MB'; ${index.definition}`);
  await query(url, 'VACUUM ANALYZE');
  await query(url, 'CHECKPOINT');
}

/** What words and their index take on the disk. @param {string} url */
async function bytesOfWords(url) {
  const { rows } = await query(
    url,
    `SELECT pg_total_relation_size('message_words') / count(*)::float8 AS bytes FROM message_words`,
  );
  return rows[0].bytes;
}

/** A text of the length of a message of the load. */
function newText() {
  let text = '';
  for (let n = 0; n < WORDS_A_MESSAGE; n++) text += ` ${word(Math.floor(WORDS ** Math.random()))}`;
  return text;
}

/** @param {number} rank */
function word(rank) {
  return String(rank).replaceAll(/\d/g, (digit) => LETTERS[Number(digit)] ?? '') + LAST_LETTER;
}

/** @param {number} rank */
function character(rank) {
  return String.fromCodePoint(FIRST_CHARACTER + rank);
}

/** @param {number} from @param {number} to */
function between(from, to) {
  return from + Math.floor(Math.random() * (to - from));
}
