import { setTimeout as delay } from 'node:timers/promises';
import { faultOf, type FaultName, type Scene } from './faults.js';
import type { Incident, Ledger } from './ledger.js';
import type { Random } from './random.js';

/** So many faults are injected at the same time, each as often as another. */
const WAVE_SIZES = [1, 2, 2, 3];
/** Those of one wave begin so far from each other, at the most. */
const MAX_OFFSET_MS = 1_500;

/** What faults are injected into, and who hears of them. */
interface Injection extends Omit<Scene, 'note'> {
  readonly names: readonly FaultName[];
  readonly ledger: Ledger;
  /** On the clock of the ledger. */
  readonly deadline: number;
  /** Resolves when everyone is whole again; false: not in time. */
  readonly whole: () => Promise<boolean>;
  readonly isStopped: () => boolean;
  /** Told what is broken now; empty when nothing is. */
  readonly onFaults: (names: readonly FaultName[]) => void;
}

/**
 * Injects faults in waves, each kind at least once and none again before all others, until the deadline. What is
 * broken, how and for how long is chosen by `random` alone.
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

/** Those of a wave break different things; one that breaks all is alone. */
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
  { cluster, clients, reader, ledger }: Injection,
): Promise<{ incident: Incident; restore: (() => Promise<void>) | void }> {
  const offsetMs = random.between(0, MAX_OFFSET_MS);
  if (index > 0) await delay(offsetMs);
  const incident: Incident = ledger.addIncident(name);
  const restore = await faultOf(name).inject({
    cluster,
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
