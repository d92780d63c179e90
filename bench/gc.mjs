// Preloaded into every server that is measured (node --expose-gc --import): a full collection on SIGUSR2,
// so that the memory that is read belongs to clients and not to garbage.
process.on('SIGUSR2', () => {
  globalThis.gc?.();
  globalThis.gc?.();
});
