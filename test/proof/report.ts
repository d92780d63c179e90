import type { Command, Incident, Ledger } from './ledger.js';
import { describeFaults, VIOLATIONS, type Verdict, type Violation } from './verdict.js';

const BAR_CHARACTERS = 24;
const BAR_INTERVAL_MS = 250;
const LINE_INTERVAL_MS = 5_000;

const NAMES: Readonly<Record<Violation, string>> = {
  lost: 'LOST',
  doubled: 'DOUBLED',
  reordered: 'REORDERED',
  deliveredAfterRevocation: 'DELIVERED AFTER REVOCATION',
  storedAfterRevocation: 'STORED AFTER REVOCATION',
  gaps: 'GAPS IN NUMBERS',
  unlikeTheLog: 'UNLIKE THE LOG',
  stateDiffers: 'STATE DIFFERS',
  deletedTextFound: 'DELETED TEXT FOUND',
  unanswered: 'UNANSWERED',
  hangingRooms: 'HANGING ROOMS',
  badExits: 'NODES THAT ENDED BADLY',
};

/** The result of the proof, as `--json` writes it. */
export interface Result {
  readonly seed: number;
  readonly seconds: number;
  /** The command line without the seed. */
  readonly again: string;
  readonly sent: number;
  readonly acknowledged: number;
  readonly refused: number;
  /** Messages that were neither acknowledged nor refused in the end. */
  readonly unsettled: number;
  readonly delivered: number;
  readonly reconnects: number;
  readonly ruleChanges: number;
  /** The command that took longest to be answered. */
  readonly slowest: Command | undefined;
  readonly verdict: Verdict;
  readonly incidents: readonly Incident[];
  /** Answers that no fault explains. */
  readonly surprises: Readonly<Record<string, { times: number; firstAt: number }>>;
}

/** No violation was found, all clients recovered after each fault, and each answer arrived and was expected. */
export function isProved({ verdict, unsettled, incidents, surprises }: Result): boolean {
  const areWhole = incidents.every(({ wholeAt }) => wholeAt !== undefined);
  return verdict.passed && unsettled === 0 && areWhole && Object.keys(surprises).length === 0;
}

/** The parts of the progress beside the counters. */
export interface Progress {
  /** From 0 to 1. */
  readonly done: number;
  readonly doing: string;
  readonly live: number;
}

/**
 * Shows the progress on stderr: a bar on a terminal, or else a line every few seconds.
 * @returns ends it
 */
export function showProgress(ledger: Ledger, look: () => Progress): () => void {
  const { stderr } = process;
  const startedAt = Date.now();
  const show = (): void => {
    const { done, doing, live } = look();
    const seconds = Math.round((Date.now() - startedAt) / 1_000);
    const filled = Math.round(Math.min(done, 1) * BAR_CHARACTERS);
    const bar = '█'.repeat(filled) + '░'.repeat(BAR_CHARACTERS - filled);
    const facts =
      `${seconds} s  sent ${ledger.sent}  acknowledged ${ledger.acknowledged}  ` +
      `delivered ${ledger.received}  live ${live}/${ledger.clients.length}  ${doing}`;
    if (stderr.isTTY) stderr.write(`\r\u001B[K${`${bar} ${facts}`.slice(0, stderr.columns - 1)}`);
    else stderr.write(`${facts}\n`);
  };
  const timer = setInterval(show, stderr.isTTY ? BAR_INTERVAL_MS : LINE_INTERVAL_MS);
  return () => {
    clearInterval(timer);
    if (stderr.isTTY) stderr.write('\r\u001B[K');
  };
}

/** The tables at the end. */
export function renderResult(result: Result): string {
  const { verdict, surprises, incidents, slowest } = result;
  const counters = [
    ['sent', result.sent],
    ['acknowledged', result.acknowledged],
    ['refused', result.refused],
    ['not settled', result.unsettled],
    ['delivered', result.delivered],
    ['reconnects', result.reconnects],
    ['rule changes', result.ruleChanges],
    ...VIOLATIONS.map((name) => [NAMES[name], verdict.counts[name]]),
  ].map(([name, value]) => [String(name), Number(value).toLocaleString('en')]);
  const sections = [renderTable(counters), renderTable([INCIDENT_HEAD, ...incidentRows(result)])];
  if (slowest?.settledAt !== undefined) {
    const { what, node, at, settledAt } = slowest;
    const faults = describeFaults(incidents, at, settledAt);
    sections.push(`slowest answer: ${seconds(settledAt - at)}, ${what} on ${node}${faults}`);
  }
  if (verdict.examples.length > 0) sections.push(verdict.examples.join('\n'));
  for (const { fault, detail, to } of incidents.filter(({ wholeAt }) => wholeAt === undefined)) {
    sections.push(`not whole after ${fault} (${detail})${describeFaults(incidents, to)}`);
  }
  for (const [what, { times, firstAt }] of Object.entries(surprises)) {
    sections.push(`not expected: ${times} x ${what}${describeFaults(incidents, firstAt)}`);
  }
  sections.push(
    isProved(result)
      ? `Proved with seed ${result.seed}.`
      : `FAILED; again: npm run proof -- --seed ${result.seed} ${result.again}`,
  );
  return sections.join('\n\n');
}

const INCIDENT_HEAD = ['fault', 'times', 'lasted (median)', 'whole after (median)', 'whole (max)'];

function incidentRows({ incidents }: Result): string[][] {
  return [...new Set(incidents.map(({ fault }) => fault))].map((fault) => {
    const same = incidents.filter((incident) => incident.fault === fault);
    const whole = same.map(({ allOverAt, wholeAt = Infinity }) => wholeAt - allOverAt);
    return [
      fault,
      String(same.length),
      seconds(median(same.map(({ from, to }) => to - from))),
      seconds(median(whole)),
      seconds(Math.max(...whole)),
    ];
  });
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) / 2)] ?? 0;
}

function seconds(ms: number): string {
  return ms === Infinity ? 'never' : `${(ms / 1_000).toFixed(2)} s`;
}

/** Aligns the first column to the left, the others to the right. */
export function renderTable(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  return rows
    .map((row) =>
      row
        .map((cell, column) =>
          column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
        )
        .join('  '),
    )
    .join('\n');
}
