export type Key = number | string;

/** The heights of a list of rows, in pixels: measured ones, and an estimate for those that were never shown. */
export class Heights {
  readonly #estimate: number;
  readonly #measured = new Map<Key, number>();
  #keys: readonly Key[] = [];
  /** Where each row begins, and where the last one ends. */
  #offsets = new Float64Array(1);
  /** How many of these are up to date. */
  #valid = 1;

  constructor(estimate: number) {
    this.#estimate = estimate;
  }

  get count(): number {
    return this.#keys.length;
  }

  get total(): number {
    return this.offsetOf(this.#keys.length);
  }

  /** Takes the rows that there are now. @returns whether they are others */
  setKeys(keys: readonly Key[]): boolean {
    const old = this.#keys;
    const isSame = old.length === keys.length && old.every((key, index) => key === keys[index]);
    if (isSame) return false;
    this.#keys = keys;
    this.#offsets = new Float64Array(keys.length + 1);
    this.#valid = 1;
    return true;
  }

  /** Takes the height of a row as it is shown. @returns whether it is another one */
  measure(index: number, height: number): boolean {
    const key = this.#keys[index];
    if (key === undefined || this.#measured.get(key) === height) return false;
    this.#measured.set(key, height);
    this.#valid = Math.min(this.#valid, index + 1);
    return true;
  }

  /** Forgets all that was measured: the list has another width. */
  forget(): void {
    this.#measured.clear();
    this.#valid = 1;
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
    for (let at = this.#valid; at <= index; at += 1) {
      const height = this.#measured.get(this.#keys[at - 1] ?? '') ?? this.#estimate;
      this.#offsets[at] = (this.#offsets[at - 1] ?? 0) + height;
    }
    this.#valid = Math.max(this.#valid, index + 1);
    return this.#offsets[index] ?? 0;
  }

  /** The row at a place, or the nearest one. */
  indexAt(offset: number): number {
    let low = 0;
    let high = this.#keys.length - 1;
    this.offsetOf(this.#keys.length);
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if ((this.#offsets[middle] ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return Math.max(low, 0);
  }
}
