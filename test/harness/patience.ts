/**
 * For what must come about, in milliseconds: it does on a machine with a tenth of the usual speed. It is no deadline of the
 * server's, and a test that passes never waits for it.
 */
export const PATIENCE_MS = 120_000;
