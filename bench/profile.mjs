import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

const SHOWN = 25;
/** The share of the time that is dropped: the start of the process is not measured. */
const SKIPPED = 0.4;
const SHOWN_OWNERS = 15;

/** @typedef {{ functionName: string, url: string, lineNumber: number }} CallFrame */
/** @typedef {{ id: number, callFrame: CallFrame, children?: number[] }} ProfileNode */
/** @typedef {{ nodes: ProfileNode[], samples: number[], timeDeltas: number[] }} Profile */

/**
 * Prints the functions in which the profiled processes spent their time, for each `.cpuprofile` below a folder. A
 * function of Node itself is printed with our function, or the package, that called it.
 *
 * @param {string} folder
 */
export function printProfiles(folder) {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  for (const file of files.filter((name) => name.endsWith('.cpuprofile'))) {
    /** @type {Profile} */
    const profile = JSON.parse(readFileSync(join(folder, file), 'utf8'));
    const { samples, timeDeltas } = profile;
    const names = nameNodes(profile.nodes);
    /** @type {Map<string, number>} */
    const self = new Map();
    /** @type {Map<string, number>} By file of ours, or package. */
    const owned = new Map();
    const skipped = SKIPPED * timeDeltas.reduce((sum, micros) => sum + micros, 0);
    let busy = 0;
    let elapsed = 0;
    for (const [i, id] of samples.entries()) {
      const micros = timeDeltas[i] ?? 0;
      elapsed += micros;
      const name = names.get(id) ?? '';
      if (elapsed < skipped || name.startsWith('(idle)')) continue;
      busy += micros;
      self.set(name, (self.get(name) ?? 0) + micros);
      const owner = ownerOf(name);
      owned.set(owner, (owned.get(owner) ?? 0) + micros);
    }
    console.log(`\n${file}: ${(busy / 1e6).toFixed(1)} s busy; self time by function:`);
    printTop(self, SHOWN, busy);
    console.log('by file or package, with what Node does for it:');
    printTop(owned, SHOWN_OWNERS, busy);
  }
}

/**
 * @param {Map<string, number>} times
 * @param {number} count
 * @param {number} whole
 */
function printTop(times, count, whole) {
  for (const [name, micros] of [...times].toSorted((a, b) => b[1] - a[1]).slice(0, count)) {
    console.log(`  ${((micros / whole) * 100).toFixed(1).padStart(5)} %  ${name}`);
  }
}

/** @param {string} name as of `nameNodes` */
function ownerOf(name) {
  const place = /(dist\/[^:]*|node_modules\/(?:@[^/]+\/)?[^/]+)[^ ]*$/.exec(name)?.[1];
  return place ?? (name.startsWith('(garbage') ? name : "Node's own");
}

/**
 * @param {ProfileNode[]} nodes parents before their children, as V8 writes them
 * @returns {Map<number, string>} by id
 */
function nameNodes(nodes) {
  /** @type {Map<number, string>} */
  const names = new Map();
  /** @type {Map<number, string>} By id, the caller that is ours or a package's. */
  const callers = new Map();
  for (const { id, callFrame, children = [] } of nodes) {
    const { functionName, url, lineNumber } = callFrame;
    const place = url.replace(/^.*\/(?=node_modules\/|dist\/)/, '');
    const name = `${functionName || '(anonymous)'} ${place}:${lineNumber + 1}`;
    const isForeign = url === '' || url.startsWith('node:');
    const caller = callers.get(id);
    names.set(id, isForeign && caller ? `${functionName} ${url} <- ${caller}` : name);
    for (const child of children) {
      const passedOn = isForeign ? caller : name;
      if (passedOn !== undefined) callers.set(child, passedOn);
    }
  }
  return names;
}
