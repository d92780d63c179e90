import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findFolder, installDebianPackage, pathFolders } from './programs.js';
import { createServerFolder, findFreePort } from './server-process.js';

export interface Prometheus {
  /** `http://127.0.0.1:port` */
  readonly url: string;
  stop(): Promise<void>;
}

/** The folder of `prometheus` and `promtool`, from local programs or apt-get; undefined if they can't be had. */
export async function findPrometheus(): Promise<string | undefined> {
  if (find() === undefined) await installDebianPackage('prometheus').catch(() => undefined);
  return find();
}

/** Starts a Prometheus that scrapes one address each second, and evaluates a file of rules as often. */
export async function startPrometheus(
  programs: string,
  { target, rules }: { target: string; rules: string },
): Promise<Prometheus> {
  const folder = createServerFolder('prometheus');
  const config = join(folder.path, 'prometheus.yml');
  writeFileSync(
    config,
    `global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: ['${rules}']
scrape_configs:
  - job_name: nano-messaging
    static_configs: [{ targets: ['${target}'] }]
`,
  );
  const address = `127.0.0.1:${await findFreePort()}`;
  const url = `http://${address}`;
  const server = await folder.start({
    file: join(programs, 'prometheus'),
    args: [
      `--config.file=${config}`,
      `--storage.tsdb.path=${join(folder.path, 'data')}`,
      `--web.listen-address=${address}`,
    ],
    async ready() {
      const { ok } = await fetch(`${url}/-/ready`, { signal: AbortSignal.timeout(2_000) });
      if (!ok) throw new Error('not ready');
    },
    stopSignal: 'SIGTERM',
    orphanSignal: 'SIGTERM',
  });
  return { url, stop: () => server.stop() };
}

function find(): string | undefined {
  return findFolder(pathFolders(), ['prometheus', 'promtool']);
}
