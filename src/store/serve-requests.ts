/** Doing long work while other processes may ask for something: a look at what they asked when their folder changes. */
import { join } from "node:path";

import type { Clock } from "../ports.ts";
import { ensureFolder, type FilePorts } from "./files.ts";
import { COMMANDS } from "./requests.ts";

/** How often is looked although nothing was seen to change: watching a folder is not certain to work. */
const LOOK_MS = 2_000;

/**
 * Runs `work` with a signal that fires when `signal` does, and when a look at the requests in a folder of state gives a
 * reason to stop. When a look fails the work is stopped and the failure thrown: it must not go on while nobody can reach
 * it.
 */
export async function whileServing<T>(
  folder: string,
  look: () => Promise<Error | undefined>,
  work: (stop: AbortSignal) => Promise<T>,
  ports: FilePorts & { clock: Clock },
  signal: AbortSignal,
): Promise<T> {
  const commands = join(folder, COMMANDS);
  await ensureFolder(commands, ports);
  const stop = new AbortController();
  const done = new AbortController();
  const forward = () => stop.abort(signal.reason);
  if (signal.aborted) forward();
  else signal.addEventListener("abort", forward, { once: true });
  let changed = () => undefined as void;
  const unwatch = ports.disk.watch(commands, () => changed());
  let failure: { error: unknown } | undefined;
  const serve = async (): Promise<void> => {
    while (!done.signal.aborted) {
      const woken = new AbortController();
      changed = () => woken.abort();
      done.signal.addEventListener("abort", changed, { once: true });
      try {
        const reason = await look();
        if (reason) stop.abort(reason);
      } catch (error) {
        stop.abort(error);
        throw error;
      }
      // Ends early when something changed, or when the work is done.
      await ports.clock.sleep(LOOK_MS, woken.signal).catch(() => undefined);
      done.signal.removeEventListener("abort", changed);
    }
  };
  const serving = serve().catch((error: unknown) => {
    failure = { error };
  });
  try {
    return await work(stop.signal);
  } finally {
    signal.removeEventListener("abort", forward);
    unwatch();
    done.abort();
    await serving;
    // oxlint-disable-next-line eslint/no-unsafe-finally -- it is why the work ended, whatever the work made of it
    if (failure) throw failure.error;
  }
}
