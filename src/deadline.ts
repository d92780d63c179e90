import { ChatError } from './errors.js';

/**
 * What the work comes to; what it comes to later is dropped, and without any time left it is not begun.
 * @throws {ChatError} UNAVAILABLE once so many milliseconds are over
 */
export async function withDeadline<T>(ms: number, work: () => Promise<T>): Promise<T> {
  if (ms <= 0) throw tooLate();
  // Node keeps a list of timers for each whole number.
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
