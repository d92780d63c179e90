import { defineConfig } from 'vite';

/** A node that `npm run dev` or `npm start` runs; `npx vite web` shows the page over it. */
const NODE = 'http://localhost:7777';
/** Paths of the API that the page uses. */
const API = ['/rooms', '/me', '/messages', '/users', '/test', '/dev'];

export default defineConfig({
  // The page may be served below a path.
  base: './',
  build: {
    outDir: '../dist/web',
    emptyOutDir: true,
    // The server forbids what is inline.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // The chat page, and the page of the API's document.
    rolldownOptions: {
      input: ['web/index.html', 'web/docs.html'],
      // The styles of the viewer take most of the time.
      checks: { pluginTimings: false },
    },
    chunkSizeWarningLimit: 2_000,
  },
  server: {
    proxy: {
      ...Object.fromEntries(API.map((path) => [path, NODE])),
      '/chat': { target: NODE, ws: true },
    },
  },
});
