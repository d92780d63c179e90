import { ChatError } from './errors.js';

/**
 * Runs `work` and returns its outcome. A late outcome is dropped, and if no time is left, the work does not start.
 * @throws {ChatError} UNAVAILABLE after `ms` milliseconds
 */
export async function withDeadline<T>(ms: number, work: () => Promise<T>): Promise<T> {
  if (ms <= 0) throw tooLate();
  // Node keeps a list of timers for each duration, so whole milliseconds keep the lists few.
  const delay = Math.ceil(ms);
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(tooLate());
    }, delay);
  });
  try {
    return await Promise.race([work(), late]);
  } finally {
    clearTimeout(timer);
  }
}

function tooLate(): ChatError {
  return new ChatError('UNAVAILABLE', { detail: 'the store did not answer in time' });
}
