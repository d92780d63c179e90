import { existsSync, readFileSync } from 'node:fs';

/** Resident memory of a process, in bytes. */
export interface Memory {
  readonly now: number;
  /** The most that it has ever been. */
  readonly peak: number;
}

/** As the kernel has it; where there is no /proc, nothing is measured, and nothing ever grows. */
export function memoryOf(pid: number): Memory {
  if (!existsSync('/proc/self/status')) return { now: 0, peak: 0 };
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const bytes = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) * 1024;
  return { now: bytes('VmRSS'), peak: bytes('VmHWM') };
}
