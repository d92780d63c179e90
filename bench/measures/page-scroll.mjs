import { setTimeout as delay } from 'node:timers/promises';
import { startChromium } from '../browser.mjs';
import { at } from '../load/tally.mjs';
import { newToken } from '../load/tokens.mjs';
import { createRooms } from '../load/world.mjs';
import { untilQuiet } from '../processes.mjs';
import { query } from '../services.mjs';

const MESSAGES = 100_000;
const SENDERS = 8;
const QUIET_TIMEOUT_MS = 10_000;
/** Each has a window of its own; the median of each number counts. */
const ROUNDS = 5;
const VIEWPORT = { width: 1280, height: 800 };
const PATIENCE_MS = 30_000;
const IDLE_MS = 1_000;
/** A flick of two fingers on a touchpad: wheel events at the rate of the display, each a share of the one before. */
const FLICK = { events: 30, firstPx: 500, share: 0.9, intervalMs: 16, restMs: 150 };
const FLICKS = 20;
const JUMPS = 6;
const LONG_FRAME_MS = 50;

/** What a round does; a phase's frames are counted from its beginning to its end. */
const PHASES = /** @type {const} */ (['loading', 'loaded', 'jumps']);

/** @typedef {import('playwright-core').Page} Page */

/** @type {import('../run.mjs').Measure} */
export const pageScroll = {
  name: 'page-scroll',
  title: 'Scrolling the page',
  work: `a room of ${MESSAGES} messages in Chromium: flicks through pages that are loaded meanwhile, through loaded ones, and jumps`,
  kinds: ['nano'],
  onlyWhenAsked: true,
  metrics: [
    { key: 'idle', label: 'idle, p50 of frames, ms', better: 'lower' },
    ...PHASES.flatMap((phase) => [
      ...['p50', 'p95', 'p99'].map((part) => ({
        key: `${phase} ${part}`,
        label: `${phase}, ${part} of frames, ms`,
        better: /** @type {const} */ ('lower'),
      })),
      {
        key: `${phase} long`,
        label: `${phase}, frames over ${LONG_FRAME_MS} ms, %`,
        better: /** @type {const} */ ('lower'),
      },
      {
        key: `${phase} longest`,
        label: `${phase}, longest task of ${LONG_FRAME_MS} ms or more, ms`,
        better: /** @type {const} */ ('lower'),
      },
    ]),
  ],
  async run(kind, context) {
    const database = 'page_scroll';
    const server = await context.start(kind, { database });
    const [roomId = 0] = await createRooms(server, 1);
    await fill(await context.databaseUrl(database), roomId);
    const chromium = await startChromium();
    /** @type {Record<string, number>[]} */
    const rounds = [];
    try {
      for (let round = 0; round < (context.quick ? 1 : ROUNDS); round++) {
        const others = await untilQuiet(QUIET_TIMEOUT_MS);
        const figures = await measureRound(chromium, `http://127.0.0.1:${server.port}`, roomId);
        context.note(`others ${Math.round(others * 100)} %; ${describe(figures)}`);
        rounds.push(figures);
      }
    } finally {
      await chromium.stop();
    }
    await server.stop();
    return Object.fromEntries(
      Object.keys(rounds[0] ?? {}).map((key) => {
        const values = rounds.map((round) => round[key] ?? NaN).toSorted((a, b) => a - b);
        return [key, at(values, 0.5)];
      }),
    );
  },
};

/**
 * @param {Awaited<ReturnType<typeof startChromium>>} chromium
 * @param {string} url
 * @param {number} roomId
 */
async function measureRound({ browser }, url, roomId) {
  const window = await browser.newContext({ viewport: VIEWPORT, locale: 'en-GB' });
  window.setDefaultTimeout(PATIENCE_MS);
  const token = newToken();
  await markRead(url, roomId, token);
  const kept = JSON.stringify({ token });
  await window.addInitScript(
    `sessionStorage.setItem('nano-messaging:session', ${JSON.stringify(kept)})`,
  );
  const page = await window.newPage();
  /** @param {number} n */
  const shown = (n) =>
    page
      .locator('.message-text', { hasText: new RegExp(`^message ${n} `) })
      .first()
      .waitFor();
  await page.goto(`${url}/#/rooms/${roomId}`);
  await shown(MESSAGES);
  await page.mouse.move(VIEWPORT.width / 2, VIEWPORT.height / 2);
  await page.evaluate(RECORD);

  const idle = await recorded(page, () => delay(IDLE_MS));
  /** @type {Record<(typeof PHASES)[number], () => Promise<void>>} */
  const work = {
    async loading() {
      for (let n = 0; n < FLICKS; n++) await flick(page, -1);
    },
    async loaded() {
      for (let n = 0; n < FLICKS; n++) await flick(page, n % 4 < 2 ? 1 : -1);
    },
    async jumps() {
      for (let n = 1; n <= JUMPS; n++) {
        const seq = Math.floor((MESSAGES / (JUMPS + 1)) * n);
        await page.evaluate(`location.hash = '/rooms/${roomId}/${seq}'`);
        await page.locator('.message.target').waitFor();
        await flick(page, -1);
        await page.getByRole('button', { name: 'Jump to present' }).click();
        await shown(MESSAGES);
      }
    },
  };
  /** @type {Record<string, number>} */
  const figures = { idle: at(idle.frames, 0.5), 'idle p99': at(idle.frames, 0.99) };
  for (const phase of PHASES) {
    const { frames, tasks } = await recorded(page, work[phase]);
    figures[`${phase} p50`] = at(frames, 0.5);
    figures[`${phase} p95`] = at(frames, 0.95);
    figures[`${phase} p99`] = at(frames, 0.99);
    const long = frames.filter((ms) => ms > LONG_FRAME_MS).length;
    figures[`${phase} long`] = (long / frames.length) * 100;
    figures[`${phase} longest`] = Math.max(0, ...tasks);
    figures[`${phase} frames`] = frames.length;
  }
  figures['rows'] = Number(await page.evaluate(`document.querySelectorAll('.row').length`));
  await window.close();
  return figures;
}

/** So that the room opens at its end. @param {string} url @param {number} roomId @param {string} token */
async function markRead(url, roomId, token) {
  const response = await fetch(`${url}/rooms/${roomId}/read`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    body: JSON.stringify({ upto: 2 * MESSAGES }),
  });
  if (!response.ok) throw new Error(`PUT /rooms/${roomId}/read: ${await response.text()}`);
}

/** @param {Record<string, number>} figures */
function describe(figures) {
  return Object.entries(figures)
    .map(([key, value]) => `${key} ${value.toFixed(1)}`)
    .join(', ');
}

/** @param {Page} page @param {1 | -1} direction 1 is down */
async function flick(page, direction) {
  let px = FLICK.firstPx;
  for (let n = 0; n < FLICK.events; n++) {
    const next = delay(FLICK.intervalMs);
    await page.mouse.wheel(0, direction * px);
    px *= FLICK.share;
    await next;
  }
  await delay(FLICK.restMs);
}

/** Notes the time between frames, and tasks of the page that keep it from drawing one for 50 ms. */
const RECORD = `(() => {
  const record = (window.record = { frames: [], tasks: [] });
  let last;
  const frame = (now) => {
    if (last !== undefined) record.frames.push(now - last);
    last = now;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
  window.observer = new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) record.tasks.push(duration);
  });
  window.observer.observe({ type: 'longtask' });
})()`;

/**
 * The frames and long tasks of the page while something is done, in milliseconds, sorted.
 *
 * @param {Page} page
 * @param {() => Promise<void>} work
 */
async function recorded(page, work) {
  const take = `[record.frames.splice(0), record.tasks.splice(0)]`;
  await page.evaluate(take);
  await work();
  const [frames = [], tasks = []] = /** @type {number[][]} */ (await page.evaluate(take));
  return {
    frames: frames.toSorted((a, b) => a - b),
    tasks,
  };
}

/**
 * Gives a room messages as people write them: of some senders with names, a few in a row, some of several lines or with
 * a link, with replies and reactions. What it had before is read.
 *
 * @param {string} url
 * @param {number} roomId
 */
async function fill(url, roomId) {
  await query(
    url,
    `WITH senders AS (
       INSERT INTO user_profiles (uuid, name, "updatedAt")
       SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, 'Sender ' || n, now()
       FROM generate_series(0, ${SENDERS - 1}) AS n
     ), stored AS (
       INSERT INTO search_positions SELECT id, head + ${MESSAGES} FROM rooms
       ON CONFLICT (room_id) DO UPDATE SET upto = excluded.upto
     ), filled AS (
       INSERT INTO messages (room_id, seq, kind, emitter, content, reply_to, "createdAt", "updatedAt")
       SELECT id, head + n, 'message',
         ('00000000-0000-4000-8000-' || lpad((n / 3 * 7 % ${SENDERS})::text, 12, '0'))::uuid,
         'message ' || n || ' ' || repeat('and more ', n * 37 % 40) ||
           CASE WHEN n % 10 = 0 THEN 'https://example.com/page/' || n ELSE '' END,
         CASE WHEN n % 12 = 0 THEN head + n - 5 END,
         moment, moment
       FROM rooms, generate_series(1, ${MESSAGES}) AS n
       CROSS JOIN LATERAL (SELECT now() - (${MESSAGES} - n) * interval '1 minute' AS moment) AS dated
       WHERE id = ${roomId}
     )
     UPDATE rooms SET head = head + ${MESSAGES} WHERE id = ${roomId}`,
  );
  await query(url, 'VACUUM ANALYZE');
  await query(url, 'CHECKPOINT');
}
