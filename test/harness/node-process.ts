import { SECRET, UNLIMITED } from './node.js';
import { runProgram, type Program } from './process.js';

const LISTENING = /listening on http:\/\/localhost:(\d+)/;

/** A node in a process of its own, as an operator runs it. */
export interface NodeProcess {
  readonly url: string;
  readonly chatUrl: string;
  readonly pid: number;
  readonly program: Program;
  /** Sends the signal; resolves with the exit code, or the signal, when the process is gone. */
  end(signal: NodeJS.Signals): Promise<number | string>;
}

/** Starts a node of the build on a free port and without limits; `env` as .env.example has it, `execPath` of the Node that runs it. */
export async function startNodeProcess(
  env: Readonly<Record<string, string>>,
  execPath?: string,
): Promise<NodeProcess> {
  const program = runProgram('src/main.js', {
    env: { PORT: '0', JWT_MASTER_SECRET: SECRET, ...UNLIMITED, ...env },
    ...(execPath !== undefined && { execPath }),
  });
  return {
    ...(await listening(program).catch(async (error: unknown) => {
      // Nobody else could end it.
      program.child.kill('SIGKILL');
      await program.exited();
      throw error;
    })),
    pid: program.child.pid ?? 0,
    program,
    end(signal) {
      program.child.kill(signal);
      return program.exited();
    },
  };
}

/** The address at which a started program listens, once it does. */
export async function listening(program: Program): Promise<{ url: string; chatUrl: string }> {
  const [, port] = await program.seen(LISTENING);
  return { url: `http://127.0.0.1:${port}`, chatUrl: `ws://127.0.0.1:${port}/chat` };
}
