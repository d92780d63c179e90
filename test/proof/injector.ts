import { setTimeout as delay } from 'node:timers/promises';
import { faultOf, type FaultName, type Scene } from './faults.js';
import type { Incident, Ledger } from './ledger.js';
import type { Random } from './random.js';

/** Numbers of faults that are injected at the same time, equally often. */
const WAVE_SIZES = [1, 2, 2, 3];
/** The longest time between the first and the last begin of the faults of a wave. */
const MAX_OFFSET_MS = 1_500;

/** The target of the faults, and the callbacks. */
interface Injection extends Omit<Scene, 'note'> {
  readonly names: readonly FaultName[];
  readonly ledger: Ledger;
  /** By the clock of the ledger. */
  readonly deadline: number;
  /** Resolves when all clients have recovered; with false if they have not in time. */
  readonly whole: () => Promise<boolean>;
  readonly isStopped: () => boolean;
  /** Called with the present faults; empty if there are none. */
  readonly onFaults: (names: readonly FaultName[]) => void;
}

/**
 * Injects faults in waves until the deadline: each kind at least once, and none again before all others. The random
 * numbers alone decide which part is broken, how, and for how long.
 */
export async function injectFaults(injection: Injection): Promise<void> {
  const { names, deadline, random } = injection;
  for (let round = 1; names.length > 0; round += 1) {
    for (const wave of wavesOf(random.shuffled(names), random)) {
      const waveRandom = random.fork();
      if (injection.isStopped() || (round > 1 && performance.now() >= deadline)) return;
      await injectWave(wave, waveRandom, injection);
      await delay(waveRandom.between(100, 600));
    }
  }
}

/** The faults of a wave break different parts; a fault that breaks all parts is alone. */
function wavesOf(names: readonly FaultName[], random: Random): FaultName[][] {
  const waves: FaultName[][] = [];
  let left = names;
  while (left.length > 0) {
    const size = random.pick(WAVE_SIZES);
    const wave: FaultName[] = [];
    const broken = new Set<string>();
    for (const name of left) {
      const { breaks } = faultOf(name);
      if (wave.length === size || broken.has(breaks) || broken.has('all')) continue;
      if (breaks === 'all' && wave.length > 0) continue;
      wave.push(name);
      broken.add(breaks);
    }
    left = left.filter((name) => !wave.includes(name));
    waves.push(wave);
  }
  return waves;
}

async function injectWave(
  wave: readonly FaultName[],
  random: Random,
  injection: Injection,
): Promise<void> {
  injection.onFaults(wave);
  const injected = await Promise.all(
    wave.map((name, index) => injectFault(name, index, random.fork(), injection)),
  );
  const allOverAt = performance.now();
  const wholeAt = (await injection.whole()) ? performance.now() : undefined;
  for (const { incident } of injected) Object.assign(incident, { allOverAt, wholeAt });
  for (const { restore } of injected) {
    await restore?.().catch((error: Error) => {
      injection.ledger.surprise(error.message);
    });
  }
  injection.onFaults([]);
}

async function injectFault(
  name: FaultName,
  index: number,
  random: Random,
  { cluster, endable, clients, reader, ledger }: Injection,
): Promise<{ incident: Incident; restore: (() => Promise<void>) | void }> {
  const offsetMs = random.between(0, MAX_OFFSET_MS);
  if (index > 0) await delay(offsetMs);
  const incident: Incident = ledger.addIncident(name);
  const restore = await faultOf(name).inject({
    cluster,
    endable,
    clients,
    reader,
    random,
    note: (detail) => {
      incident.detail = detail;
    },
  });
  incident.to = performance.now();
  return { incident, restore };
}
