/**
 * Loaded into a node by `--import`: each SIGUSR2 sets its wall clock to the next step, as an operator may correct the
 * time of a machine. The monotonic clock and the timers are not affected.
 */
const HOUR_MS = 3_600_000;
/** The steps: an hour ahead, an hour behind, and right again. */
const SHIFTS_MS = [HOUR_MS, -HOUR_MS, 0];

const RealDate = Date;
const realNow = Date.now.bind(Date);
let shiftMs = 0;
let steps = 0;

Date.now = () => realNow() + shiftMs;

globalThis.Date = new Proxy(RealDate, {
  construct: (target, values, newTarget) =>
    Reflect.construct(target, values.length === 0 ? [target.now()] : values, newTarget),
});

process.on('SIGUSR2', () => {
  shiftMs = SHIFTS_MS[steps % SHIFTS_MS.length] ?? 0;
  steps += 1;
});
