/**
 * Bundles the client library for pages: client.js in dist/web, or in the folder that is given, a module that is served at
 * /client.js.
 */
import { build } from 'vite';

const [, , outDir = 'dist/web'] = process.argv;

await build({
  configFile: false,
  publicDir: false,
  logLevel: 'warn',
  build: {
    outDir,
    // The chat page is beside it.
    emptyOutDir: false,
    target: 'es2023',
    lib: { entry: 'src/client/index.ts', formats: ['es'], fileName: () => 'client.js' },
    // By default the spaces of a library are kept.
    rolldownOptions: {
      optimization: { inlineConst: true },
      output: { minify: true, comments: false },
    },
  },
});
