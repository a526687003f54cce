/** How long gates take: what passes in a fraction of its usual time may have done less than usual. Pure. */
import type { GateResult } from "../format/gate.ts";

type Durations = Readonly<Record<string, readonly number[]>>;

/** How many runs of a gate are remembered. */
const REMEMBERED_MAX = 20;
/** Gates that are done sooner than this vary by more than says anything. */
const MEDIAN_MS_MIN = 1_000;
/** The part of its median below which a gate is called suspicious. */
const FRACTION = 1 / 5;

/** The durations with those of further runs that did their work: green or red, but not skipped or cut short. */
export function addDurations(
  known: Durations | undefined,
  results: readonly GateResult[],
): Record<string, number[]> {
  const all = new Map(Object.entries(known ?? {}).map(([name, list]) => [name, [...list]]));
  for (const { name, verdict, duration_ms } of results) {
    if (verdict !== "passed" && verdict !== "failed" && verdict !== "failed_on_base_too") continue;
    all.set(name, [...(all.get(name) ?? []), duration_ms].slice(-REMEMBERED_MAX));
  }
  return Object.fromEntries(all);
}

/** The results, with a note on those that passed in less than a fifth of the median of their runs before. */
export function withNotes(results: readonly GateResult[], known: Durations | undefined): GateResult[] {
  return results.map((result) => {
    const earlier = known && Object.hasOwn(known, result.name) ? (known[result.name] ?? []) : [];
    const usual = medianOf(earlier);
    if (result.verdict !== "passed" || usual <= MEDIAN_MS_MIN) return result;
    return result.duration_ms < usual * FRACTION ? { ...result, note: "suspiciously_fast" } : result;
  });
}

function medianOf(list: readonly number[]): number {
  const sorted = [...list].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const [low = 0, high = 0] = [sorted[Math.ceil(middle) - 1], sorted[Math.floor(middle)]];
  return (low + high) / 2;
}
