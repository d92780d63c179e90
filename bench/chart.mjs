import { NAMES } from './servers.mjs';
import { format } from './report.mjs';

/** @typedef {import('./servers.mjs').Kind} Kind */

const KINDS = /** @type {Kind[]} */ (Object.keys(NAMES));
/** @type {Partial<Record<Kind, string>>} */
const COLORS = {
  nano: '#1a7f5a',
  ws: '#9aa5b1',
  uws: '#6b7c93',
  stored: '#8a86c9',
  socketio: '#c9822b',
};

const PANELS = [
  ['ceiling', 'perSecond', 'Big room: deliveries/s kept up', 'more is better'],
  ['cost', 'cpuMicros', 'Big room: CPU a delivery, µs', 'less is better'],
  ['durable', 'perSecond', 'Stored and echoed messages/s', 'more is better'],
  ['chat', 'p50', 'Chat: p50, ms', 'less is better'],
  ['chat', 'p99', 'Chat: p99, ms', 'less is better'],
  ['chat', 'cpuMicros', 'Chat: CPU a message, µs', 'less is better'],
  ['connecting', 'perSecond', 'Connecting: clients/s', 'more is better'],
  ['connecting', 'kibEach', 'Idle client: memory, KiB', 'less is better'],
  ['two-nodes', 'across', 'Between two nodes: p50, ms', 'less is better'],
];

const COLUMNS = 3;
const PANEL = { width: 345, head: 44, bar: 22, gap: 8, foot: 22 };
const LABEL = 122;
const VALUE = 66;
const MARGIN = 24;
const TITLE = 46;

/**
 * A panel of bars for each measure that has results.
 *
 * @param {import('./run.mjs').Results} results
 * @param {{ cpu: string, cores: number, node: string, date: string, quick: boolean }} machine
 * @returns {string} SVG
 */
export function drawChart(results, machine) {
  const panels = PANELS.map(([measure = '', key = '', title = '', better = '']) => {
    const bars = KINDS.flatMap((kind) => {
      const value = results[measure]?.[kind]?.[key];
      return typeof value === 'number' && Number.isFinite(value) ? { kind, value } : [];
    });
    return { title, better, bars };
  }).filter(({ bars }) => bars.length > 0);
  const height = PANEL.head + KINDS.length * (PANEL.bar + PANEL.gap) + PANEL.foot;
  const rows = Math.ceil(panels.length / COLUMNS);
  const size = {
    width: COLUMNS * PANEL.width + 2 * MARGIN,
    height: TITLE + rows * height + MARGIN + 20,
  };
  const drawn = panels.map((panel, i) => {
    const x = MARGIN + (i % COLUMNS) * PANEL.width;
    const y = TITLE + Math.floor(i / COLUMNS) * height;
    return drawPanel(panel, x, y);
  });
  const note =
    `${machine.cpu}, server on one core, Node ${machine.node}, ${machine.date.slice(0, 10)}` +
    (machine.quick ? ', short windows (--quick)' : '') +
    '. bare ws and uWebSockets.js: no token, store or broker; ws + INSERT: stores, and nothing else.';
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size.width} ${size.height}" width="${size.width}" height="${size.height}" font-family="system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif">`,
    `<rect width="100%" height="100%" fill="#fbfcfd"/>`,
    text(MARGIN, 30, 'nano-messaging beside its peers', { size: 17, weight: 600 }),
    ...drawn,
    text(MARGIN, size.height - 14, note, { size: 11, fill: '#667085' }),
    '</svg>',
    '',
  ].join('\n');
}

/**
 * @param {{ title: string, better: string, bars: { kind: Kind, value: number }[] }} panel
 * @param {number} x
 * @param {number} y
 */
function drawPanel({ title, better, bars }, x, y) {
  const largest = Math.max(...bars.map(({ value }) => value));
  const room = PANEL.width - LABEL - VALUE - MARGIN;
  const drawn = bars.map(({ kind, value }, i) => {
    const top = y + PANEL.head + i * (PANEL.bar + PANEL.gap);
    const width = Math.max(1, (value / largest) * room);
    const weight = kind === 'nano' ? 600 : 400;
    return [
      text(x + LABEL - 8, top + 15, NAMES[kind], { size: 12, anchor: 'end', weight }),
      `<rect x="${x + LABEL}" y="${top}" width="${width.toFixed(1)}" height="${PANEL.bar}" rx="2" fill="${COLORS[kind]}"/>`,
      text(x + LABEL + width + 6, top + 15, format(value), { size: 12, weight }),
    ].join('\n');
  });
  return [
    text(x, y + 18, title, { size: 13, weight: 600 }),
    text(x, y + 34, better, { size: 11, fill: '#667085' }),
    ...drawn,
  ].join('\n');
}

/**
 * @param {number} x
 * @param {number} y
 * @param {string} content
 * @param {{ size: number, weight?: number, fill?: string, anchor?: string }} style
 */
function text(x, y, content, { size, weight = 400, fill = '#1f2933', anchor = 'start' }) {
  const escaped = content.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  return `<text x="${x.toFixed(1)}" y="${y}" font-size="${size}" font-weight="${weight}" fill="${fill}" text-anchor="${anchor}">${escaped}</text>`;
}
