import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A file system of its own in memory, of a size that can be changed. */
export interface SmallDisk {
  readonly path: string;
  /** `size=50m`, `ro`, `rw`, as mount(8) has them. */
  remount(...options: string[]): void;
  remove(): void;
}

/** Undefined if this process may not mount: it has to be root, and no sandbox in the way. */
export function mountSmallDisk(...options: string[]): SmallDisk | undefined {
  const path = mkdtempSync(join(tmpdir(), 'nano-disk-'));
  const mount = (...given: string[]): boolean =>
    spawnSync('mount', ['-t', 'tmpfs', '-o', given.join(','), 'tmpfs', path]).status === 0;
  if (!mount(...options)) {
    rmSync(path, { recursive: true });
    return undefined;
  }
  return {
    path,
    remount(...changed) {
      if (!mount('remount', ...changed)) throw new Error(`no remount with ${changed.join(',')}`);
    },
    remove() {
      spawnSync('umount', ['--lazy', path]);
      rmSync(path, { recursive: true });
    },
  };
}
