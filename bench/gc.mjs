// Preloaded into every measured server (node --import): a full collection on SIGUSR2, so that the memory of clients is
// measured without garbage.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc');

process.on('SIGUSR2', () => {
  gc();
  gc();
});
