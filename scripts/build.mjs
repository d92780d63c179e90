/**
 * Builds dist/ before `npm start` and after `npm ci`. Where TypeScript was not installed (NODE_ENV=production, or
 * --omit=dev), what is built already is used, or it is said what to run. Plain JavaScript, as nothing is built yet.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

if (existsSync('node_modules/typescript')) {
  const { status } = spawnSync('npm run --silent build', { shell: true, stdio: 'inherit' });
  process.exitCode = status ?? 1;
} else if (!existsSync('dist/src/main.js')) {
  process.stderr.write(
    'dist/ is not built, and TypeScript is not installed (NODE_ENV=production, or --omit=dev). Run\n' +
      '  npm ci --include=dev && npm prune --omit=dev\n',
  );
  // An installation is none the worse: what is missing is missed at the start.
  process.exitCode = process.env.npm_lifecycle_event === 'prestart' ? 1 : 0;
}
