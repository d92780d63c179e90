/**
 * Builds dist/ before `npm start` and after `npm ci`. If TypeScript is not installed (NODE_ENV=production, or
 * --omit=dev), it keeps an existing build, or prints the command to run. Plain JavaScript, as nothing is built yet.
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
  // Installing may succeed without a build; starting may not.
  process.exitCode = process.env.npm_lifecycle_event === 'prestart' ? 1 : 0;
}
