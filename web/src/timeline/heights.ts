export type Key = number | string;

/** The heights of a list of rows, in pixels: measured ones, and an estimate for those that were never shown. */
export class Heights {
  readonly #estimate: number;
  readonly #measured = new Map<Key, number>();
  #keys: readonly Key[] = [];
  #heights = new Float64Array();
  /** A binary indexed tree: what is at n is the sum of as many heights before row n as the lowest bit of n says. */
  #sums = new Float64Array(1);

  constructor(estimate: number) {
    this.#estimate = estimate;
  }

  get count(): number {
    return this.#keys.length;
  }

  get total(): number {
    return this.offsetOf(this.#keys.length);
  }

  /** Takes the rows that there are now. Those at either end that stay cost next to nothing. @returns whether they are others */
  setKeys(keys: readonly Key[]): boolean {
    const old = this.#keys;
    if (keys === old) return false;
    this.#keys = keys;
    const most = Math.min(old.length, keys.length);
    let before = 0;
    while (before < most && old[before] === keys[before]) before += 1;
    if (before === old.length && before === keys.length) return false;
    let after = 0;
    while (after < most - before && old[old.length - 1 - after] === keys[keys.length - 1 - after])
      after += 1;

    const heights = new Float64Array(keys.length);
    heights.set(this.#heights.subarray(0, before));
    heights.set(this.#heights.subarray(old.length - after), keys.length - after);
    for (let index = before; index < keys.length - after; index += 1) {
      heights[index] = this.#measured.get(keys[index] ?? '') ?? this.#estimate;
    }
    this.#take(heights);
    return true;
  }

  /** Takes the height of a row as it is shown. @returns whether it is another one */
  measure(index: number, height: number): boolean {
    const key = this.#keys[index];
    if (key === undefined || this.#measured.get(key) === height) return false;
    this.#measured.set(key, height);
    const change = height - (this.#heights[index] ?? 0);
    this.#heights[index] = height;
    for (let at = index + 1; at < this.#sums.length; at += lowestBit(at)) {
      this.#sums[at] = (this.#sums[at] ?? 0) + change;
    }
    return true;
  }

  /** Forgets all that was measured: the list has another width. */
  forget(): void {
    this.#measured.clear();
    this.#take(new Float64Array(this.#keys.length).fill(this.#estimate));
  }

  keyOf(index: number): Key | undefined {
    return this.#keys[index];
  }

  /** The place of a row; -1 if it is not there. */
  indexOf(key: Key): number {
    return this.#keys.indexOf(key);
  }

  /** Where a row begins. */
  offsetOf(index: number): number {
    let offset = 0;
    for (let at = index; at > 0; at -= lowestBit(at)) offset += this.#sums[at] ?? 0;
    return offset;
  }

  /** The row at a place, or the nearest one. */
  indexAt(offset: number): number {
    let index = 0;
    let rest = offset;
    for (let step = highestBit(this.count); step > 0; step >>= 1) {
      const sum = this.#sums[index + step];
      if (sum === undefined || sum > rest) continue;
      index += step;
      rest -= sum;
    }
    return Math.max(Math.min(index, this.count - 1), 0);
  }

  #take(heights: Float64Array<ArrayBuffer>): void {
    this.#heights = heights;
    const sums = new Float64Array(heights.length + 1);
    sums.set(heights, 1);
    for (let at = 1; at < sums.length; at += 1) {
      const next = at + lowestBit(at);
      if (next < sums.length) sums[next] = (sums[next] ?? 0) + (sums[at] ?? 0);
    }
    this.#sums = sums;
  }
}

function lowestBit(number: number): number {
  return number & -number;
}

/** 0 of 0. */
function highestBit(number: number): number {
  return number === 0 ? 0 : 1 << (31 - Math.clz32(number));
}
