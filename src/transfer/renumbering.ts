/** A run of numbers without a gap: `from` and those that follow it have the new numbers from `to` on. */
interface Run {
  readonly from: number;
  readonly to: number;
  length: number;
}

/** Gives rising numbers new ones without gaps. It keeps a few bytes a gap. */
export class Renumbering {
  readonly #runs: Run[] = [];
  #next: number;

  /** @param first the first of the new numbers */
  constructor(first: number) {
    this.#next = first;
  }

  /** The new number of a number; undefined if it is not above those before. */
  add(number: number): number | undefined {
    const last = this.#runs.at(-1);
    const free = last === undefined ? number : last.from + last.length;
    if (number < free) return undefined;
    if (last !== undefined && number === free) last.length += 1;
    else this.#runs.push({ from: number, to: this.#next, length: 1 });
    this.#next += 1;
    return this.#next - 1;
  }

  /** The new number of a number that was added; undefined if it was not. */
  get(number: number): number | undefined {
    const run = this.#runBefore(number);
    if (run === undefined || number >= run.from + run.length) return undefined;
    return run.to + number - run.from;
  }

  /** The new number of the last number that was added up to this one; 0 if none was. */
  upTo(number: number): number {
    const run = this.#runBefore(number);
    return run === undefined ? 0 : run.to + Math.min(number - run.from, run.length - 1);
  }

  /** The last run that begins at the number or before it. */
  #runBefore(number: number): Run | undefined {
    let low = 0;
    let high = this.#runs.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#runs[middle]?.from ?? Infinity) <= number) low = middle + 1;
      else high = middle;
    }
    return this.#runs[low - 1];
  }
}
