// Measuring in pairs: in every round each contestant has one turn, so that a busy moment of the machine meets all of
// them, and a ratio is only ever taken between times of the same round.
import { spawnSync } from "node:child_process";

/** The longest that a measured process may take. */
const PROCESS_MS_MAX = 5 * 60_000;

/**
 * Runs every contestant once per round, another one first each time, and gives their times in ms by name. A contestant
 * returns its own time, so that what it has to prepare and to clean up does not count.
 */
export async function interleave(rounds, contestants, { warmups = 1 } = {}) {
  const names = Object.keys(contestants);
  const times = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = -warmups; round < rounds; round++) {
    for (let turn = 0; turn < names.length; turn++) {
      const name = names[(turn + round + warmups) % names.length];
      const ms = await contestants[name]();
      if (round >= 0) times[name].push(ms);
    }
  }
  return times;
}

/** The time of a call in ms, awaited when it gives a promise. */
export async function timed(call) {
  const start = performance.now();
  await call();
  return performance.now() - start;
}

/** The time in ms from the start of a process to its end; throws unless it ends with 0. */
export function timeProcess(argv, options) {
  const start = performance.now();
  const done = spawnSync(argv[0], argv.slice(1), {
    stdio: ["ignore", "pipe", "pipe"],
    timeout: PROCESS_MS_MAX,
    maxBuffer: 64 * 1024 * 1024,
    ...options,
  });
  const ms = performance.now() - start;
  if (done.error) throw done.error;
  if (done.status !== 0) {
    throw new Error(`${argv.join(" ")} ended with ${done.status ?? done.signal}: ${done.stderr}`);
  }
  return ms;
}

/** The middle of some numbers. */
export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The result of a benchmark: how long it took against its floor or rival, round by round. */
export function result(name, times, against, options = {}) {
  const rivals = against.length === 1 ? times.map(() => against[0]) : against;
  const ratios = times.map((ms, round) => ms / rivals[round]);
  const each = options.each ?? 1;
  const note = `${shortTime(median(times) / each)} against ${shortTime(median(against) / each)}`;
  return { name, ratios, target: options.target, note: options.note ? `${note}; ${options.note}` : note };
}

/** A time in ms with the unit that fits it. */
export function shortTime(ms) {
  if (ms >= 1000) return `${(ms / 1000).toFixed(2)} s`;
  return ms >= 0.1 ? `${ms.toFixed(ms >= 10 ? 1 : 2)} ms` : `${(ms * 1000).toFixed(1)} µs`;
}

/** A ratio with three digits that say something: 1.24, 0.0123, 0.00031. */
function shortRatio(ratio) {
  if (ratio >= 0.1) return `${ratio.toFixed(2)}x`;
  return `${Number(ratio.toPrecision(2))}x`;
}

/** One line for one benchmark. */
export function lineOf({ name, ratios, target, note }) {
  const [middle, low, high] = [median(ratios), Math.min(...ratios), Math.max(...ratios)];
  const verdict = target === undefined ? "" : middle <= target ? "met" : "missed";
  const cells = [
    name.padEnd(27),
    `median ${shortRatio(middle).padStart(8)}`,
    `min ${shortRatio(low).padStart(8)}`,
    `max ${shortRatio(high).padStart(8)}`,
    `target ${(target === undefined ? "none" : shortRatio(target)).padStart(7)}`,
    verdict.padEnd(6),
  ];
  return `${cells.join("  ")}  ${note}`;
}
