import { parseArgs } from 'node:util';
import { FAULT_NAMES, type FaultName } from './faults.js';

/** The options of the command line. */
export interface Options {
  /** The shortest time for which faults are injected. */
  readonly seconds: number;
  readonly seed: number;
  readonly faults: readonly FaultName[];
  readonly clients: number;
  readonly rooms: number;
  /** Messages and changes per second, of all clients together. */
  readonly rate: number;
  /** If false, the nodes do not repair gaps, and the proof must fail. */
  readonly gapRepair: boolean;
  /** If true, the database keeps erased texts and loses reactions, and the proof must fail. */
  readonly breaksTables: boolean;
  /** The given options without the seed and the file. */
  readonly again: string;
  /** A file for the result. */
  readonly json: string | undefined;
}

const USAGE = `npm run proof -- [options]
  --seconds N       how long faults are injected, at the least (60)
  --seed N          repeats the choices of an earlier run (random)
  --faults A,B      all of them by default; "none"; or some of:
                    ${FAULT_NAMES.join(', ')}
  --clients N       (100)
  --rooms N         (a tenth of the clients)
  --rate N          messages and changes per second, of all clients together (300)
  --no-gap-repair   switches the nodes' gap repair off: the proof must fail
  --break-tables    keeps erased texts, and loses reactions: the proof must fail
  --json FILE       writes the result there
`;

/** Parses the command line. If it is invalid, or asks for help, prints the usage and exits. */
export function readOptions(args: string[]): Options {
  try {
    return parse(args);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${USAGE}`);
    process.exit(2);
  }
}

function parse(args: string[]): Options {
  const { values } = parseArgs({
    args,
    options: {
      seconds: { type: 'string', default: '60' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      faults: { type: 'string', default: FAULT_NAMES.join(',') },
      clients: { type: 'string', default: '100' },
      rooms: { type: 'string' },
      rate: { type: 'string', default: '300' },
      'no-gap-repair': { type: 'boolean', default: false },
      'break-tables': { type: 'boolean', default: false },
      json: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    process.exit(0);
  }
  const clients = wholeNumber('clients', values.clients);
  const rooms = wholeNumber('rooms', values.rooms ?? String(Math.ceil(clients / 10)));
  const rate = wholeNumber('rate', values.rate);
  const options = [
    `--seconds ${values.seconds} --clients ${clients} --rooms ${rooms} --rate ${rate}`,
  ];
  if (values.faults !== FAULT_NAMES.join(',')) options.push(`--faults ${values.faults}`);
  return {
    seconds: wholeNumber('seconds', values.seconds),
    seed: wholeNumber('seed', values.seed),
    faults: values.faults === 'none' ? [] : values.faults.split(',').map(faultNamed),
    clients,
    rooms,
    rate,
    gapRepair: !values['no-gap-repair'],
    breaksTables: values['break-tables'],
    again: options.join(' '),
    json: values.json,
  };
}

/** @throws if the text of an option is none */
export function wholeNumber(name: string, text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new Error(`--${name} must be a whole number`);
  return Number(text);
}

function faultNamed(name: string): FaultName {
  const fault = FAULT_NAMES.find((known) => known === name);
  if (fault === undefined) throw new Error(`there is no fault ${name}`);
  return fault;
}
