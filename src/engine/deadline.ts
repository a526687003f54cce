import type { Clock } from "../ports.ts";

/** Waits for work, but no longer than `ms`. The work itself goes on; what it rejects with is passed on. */
export async function within<T>(
  work: Promise<T>,
  ms: number,
  clock: Clock,
): Promise<{ done: true; value: T } | { done: false }> {
  const over = new AbortController();
  const timer = clock.sleep(ms, over.signal).then(
    () => ({ done: false }) as const,
    // Only our own abort below makes the sleep reject, and by then the race is decided.
    () => ({ done: false }) as const,
  );
  try {
    return await Promise.race([work.then((value) => ({ done: true, value }) as const), timer]);
  } finally {
    over.abort();
  }
}

/**
 * Resolves when the signal is aborted, at once if it was before. Never rejects. `over` ends the listening: a signal that
 * lives as long as the program must not gather listeners.
 */
export function abortOf(signal: AbortSignal, over: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    signal.addEventListener("abort", () => resolve(), { once: true, signal: over });
  });
}

/** Sleeps that long or until the signal is aborted. */
export async function sleepUnlessOver(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  try {
    await clock.sleep(ms, signal);
  } catch (error) {
    // The caller looks at the signal itself.
    if (!signal.aborted) throw error;
  }
}
