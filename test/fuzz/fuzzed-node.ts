import type { NodeProcess } from '../harness/node-process.js';

/** The level of an error in pino's lines. */
const ERROR = 50;

interface LogLine {
  readonly level: number;
}

/** A node in production that is fuzzed. It writes a line for each fault of its own. */
export class FuzzedNode {
  readonly process: NodeProcess;
  #isDead = false;
  #rest = '';
  #faults: string[] = [];

  constructor(process: NodeProcess) {
    this.process = process;
    const { child } = process.program;
    child.stdout?.on('data', (chunk: Buffer) => {
      this.#read(chunk.toString());
    });
    // A trace of what nobody has caught, or a warning of Node itself.
    child.stderr?.on('data', (chunk: Buffer) => {
      this.#faults.push(chunk.toString());
    });
    child.once('exit', (code, signal) => {
      this.#isDead = true;
      this.#faults.push(`the process ended with ${code ?? signal}`);
    });
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  /** Throws if it has logged an error since it was last asked, or has ended. */
  requireHealthy(): void {
    const faults = this.#faults;
    this.#faults = [];
    if (faults.length > 0) throw new Error(faults.join('\n').slice(0, 4_000));
  }

  #read(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) {
      if (!line.startsWith('{')) continue;
      if ((JSON.parse(line) as LogLine).level >= ERROR) this.#faults.push(line);
    }
  }
}
