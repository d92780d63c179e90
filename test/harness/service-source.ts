import { dockerAnswers } from './container.js';
import { installDebianPackage } from './programs.js';

/** The ways to get a service, in the order in which they are tried. */
interface ServiceSource<Service> {
  /** The address of a server that runs already. */
  givenUrl: string | undefined;
  /** The path that `startLocal` takes, or undefined if the programs are not on this machine. */
  find(): string | undefined;
  /** Installed with apt-get if the programs are not found. */
  debianPackage: string;
  startLocal(found: string): Promise<Service>;
  startContainer(): Promise<Service>;
  /** The error message if there is no way. */
  missing: string;
}

/** Starts a service, or uses the one whose address is given: `stop` does not end that one. */
export async function startService<Service>(
  source: ServiceSource<Service>,
): Promise<Service | { url: string; stop(): Promise<void> }> {
  if (source.givenUrl) return { url: source.givenUrl, stop: () => Promise.resolve() };
  let found = source.find();
  let installError: unknown;
  if (found === undefined) {
    await installDebianPackage(source.debianPackage).catch((error: unknown) => {
      installError = error;
    });
    found = source.find();
  }
  if (found !== undefined) return source.startLocal(found);
  if (await dockerAnswers()) return source.startContainer();
  throw new Error(source.missing, { cause: installError });
}
