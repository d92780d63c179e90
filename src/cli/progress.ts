const WIDTH = 40;
/** Between two drawings of the bar. */
const DRAW_MS = 100;
/** Between two lines: a log of hours stays short, and nobody takes the command for hanging. */
const LINE_MS = 10_000;

/** How far a command is, on stderr. */
export interface Progress {
  at(done: number): void;
  /** Ends the line. Call it before anything else is printed. */
  end(): void;
}

/**
 * A bar if stderr is a terminal, else a line every 10 s, such as `42 %`.
 * @param total if it is not known, or 0, nothing is printed
 */
export function createProgress(total: number | undefined): Progress {
  if (total === undefined || total === 0) return { at: () => undefined, end: () => undefined };
  const { isTTY } = process.stderr;
  let shownAt = isTTY ? -Infinity : performance.now();
  let part = 0;
  function show(): void {
    const percent = `${String(Math.floor(part * 100))} %`;
    if (!isTTY) return void process.stderr.write(`${percent}\n`);
    const bar = '#'.repeat(Math.round(part * WIDTH)).padEnd(WIDTH, '.');
    process.stderr.write(`\r[${bar}] ${percent.padStart(5)}`);
  }
  return {
    at(done) {
      part = Math.min(done / total, 1);
      const now = performance.now();
      if (now - shownAt < (isTTY ? DRAW_MS : LINE_MS)) return;
      shownAt = now;
      show();
    },
    end() {
      if (!isTTY) return;
      show();
      process.stderr.write('\n');
    },
  };
}
