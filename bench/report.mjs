import { NAMES } from './servers.mjs';

/** @typedef {import('./run.mjs').Measure} Measure */
/** @typedef {import('./run.mjs').Results} Results */
/** @typedef {import('./servers.mjs').Kind} Kind */

const KINDS = /** @type {Kind[]} */ (Object.keys(NAMES));

/**
 * Prints each metric, a server a column. Beside a peer's number stands how many times as large this server's is.
 *
 * @param {Measure[]} measures
 * @param {Results} results
 */
export function printTable(measures, results) {
  const rows = [['', ...KINDS.map((kind) => NAMES[kind]), 'must reach', '']];
  for (const { name, title, metrics } of measures) {
    const found = results[name];
    if (found === undefined) continue;
    rows.push([title]);
    for (const { key, label, targets = [] } of metrics) {
      const ours = found.nano?.[key] ?? NaN;
      const values = KINDS.map((kind) => {
        const value = found[kind]?.[key] ?? NaN;
        if (Number.isNaN(value)) return '-';
        return kind === 'nano' || Number.isNaN(ours)
          ? format(value)
          : `${format(value)} (${format(ours / value)}x)`;
      });
      const texts = targets.map(textOf).join(', ');
      const verdicts = targets.map((target) => isReached(target, ours, found, key));
      const isMissed = verdicts.some((isMet) => isMet === false);
      const isMet = verdicts.some((isMet) => isMet === true);
      const verdict = isMissed ? 'NO' : isMet ? 'yes' : '';
      rows.push([`  ${label}`, ...values, texts, verdict]);
    }
  }
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  for (const row of rows) {
    const cells = row.map((cell, i) => {
      const width = widths[i] ?? 0;
      return i === 0 || i > KINDS.length ? cell.padEnd(width) : cell.padStart(width);
    });
    console.log(cells.join('  ').trimEnd());
  }
  console.log("\n(1.0x: this server's number divided by the peer's)");
}

/** @param {import('./run.mjs').Target} target */
function textOf(target) {
  if ('atLeast' in target) return `>= ${format(target.atLeast)}`;
  if ('atMost' in target) return `<= ${format(target.atMost)}`;
  return `${target.times > 1 ? '>=' : '<='} ${target.times}x ${NAMES[target.of]}`;
}

/**
 * @param {import('./run.mjs').Target} target
 * @param {number} ours
 * @param {NonNullable<Results[string]>} found
 * @param {string} key
 * @returns {boolean | undefined} undefined if one of the numbers is missing
 */
function isReached(target, ours, found, key) {
  const other = 'of' in target ? (found[target.of]?.[key] ?? NaN) : 0;
  if (Number.isNaN(ours) || Number.isNaN(other)) return undefined;
  if ('atLeast' in target) return ours >= target.atLeast;
  if ('atMost' in target) return ours <= target.atMost;
  return target.times > 1 ? ours >= other * target.times : ours <= other * target.times;
}

/** A number with three significant digits. @param {number} value */
export function format(value) {
  if (!Number.isFinite(value)) return '-';
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toLocaleString('en-US', { maximumFractionDigits: digits });
}
