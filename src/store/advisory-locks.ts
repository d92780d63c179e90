/** What one transaction of all processes does at a time. The lock of each has the number of its place here. */
const LOCKS = [
  'migrate',
  'purge',
  'storeWords',
  'retain',
  'sweepWebhooks',
  'carryOver',
  'partition',
] as const;

/** An arbitrary number, of which other applications of the database know nothing; the same in every process. */
const FIRST_KEY = 7_777_001;

/** The key of an advisory lock. */
export function lockKey(lock: (typeof LOCKS)[number]): number {
  return FIRST_KEY + LOCKS.indexOf(lock);
}
