// Preloaded into every measured server (node --expose-gc --import): a full collection on SIGUSR2, so that the memory
// of clients is measured without garbage.
process.on('SIGUSR2', () => {
  globalThis.gc?.();
  globalThis.gc?.();
});
