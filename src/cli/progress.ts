const WIDTH = 40;
/** Between two drawings. */
const INTERVAL_MS = 100;

/** How far a command is, on stderr. */
export interface Progress {
  at(done: number): void;
  /** Ends the line. Call it before anything else is printed. */
  end(): void;
}

/** A bar if stderr is a terminal, else nothing. @param total if it is not known, or 0, no bar is drawn */
export function createProgress(total: number | undefined): Progress {
  if (!process.stderr.isTTY || total === undefined || total === 0) {
    return { at: () => undefined, end: () => undefined };
  }
  let drawnAt = -Infinity;
  let part = 0;
  function draw(): void {
    const bar = '#'.repeat(Math.round(part * WIDTH)).padEnd(WIDTH, '.');
    process.stderr.write(`\r[${bar}] ${String(Math.floor(part * 100)).padStart(3)} %`);
  }
  return {
    at(done) {
      part = Math.min(done / total, 1);
      const now = performance.now();
      if (now - drawnAt < INTERVAL_MS) return;
      drawnAt = now;
      draw();
    },
    end() {
      draw();
      process.stderr.write('\n');
    },
  };
}
