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
    let low = 0;
    let high = this.#runs.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#runs[middle]?.from ?? Infinity) <= number) low = middle + 1;
      else high = middle;
    }
    const run = this.#runs[low - 1];
    if (run === undefined || number >= run.from + run.length) return undefined;
    return run.to + number - run.from;
  }
}
