/** Counts what arrives, and keeps the latencies of the messages of sampled clients. */
export class Tally {
  /** Connections that the server closed. */
  lost = 0;
  /** Messages that arrived while open. */
  delivered = 0;
  isOpen = false;
  #samples = new Float64Array(1 << 16);
  #count = 0;

  open() {
    this.delivered = 0;
    this.#count = 0;
    this.isOpen = true;
  }

  close() {
    this.isOpen = false;
  }

  /** @param {number} milliseconds */
  add(milliseconds) {
    if (this.#count === this.#samples.length) {
      const larger = new Float64Array(this.#count * 2);
      larger.set(this.#samples);
      this.#samples = larger;
    }
    this.#samples[this.#count++] = milliseconds;
  }

  /** Milliseconds at p50, p99 and the largest; NaN without samples. */
  get latency() {
    const sorted = this.#samples.subarray(0, this.#count).toSorted();
    return { p50: at(sorted, 0.5), p99: at(sorted, 0.99), max: at(sorted, 1) };
  }
}

/**
 * @param {Float64Array | number[]} sorted
 * @param {number} share
 */
export function at(sorted, share) {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? NaN;
}
