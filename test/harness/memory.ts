import { existsSync, readFileSync } from 'node:fs';

/** Resident memory of a process, in bytes. */
export interface Memory {
  readonly now: number;
  /** Its maximum so far. */
  readonly peak: number;
}

/** As the kernel counts it. Without /proc, it is 0 and never grows. */
export function memoryOf(pid: number): Memory {
  if (!existsSync('/proc/self/status')) return { now: 0, peak: 0 };
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const bytes = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) * 1024;
  return { now: bytes('VmRSS'), peak: bytes('VmHWM') };
}
