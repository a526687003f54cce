/** What a turn had used that was cut off together with its controller, which knew more than it had written down. */
import { z } from "zod";

import type { EngineEvent } from "../engine/engine.ts";
import { tryJson } from "../format/json.ts";
import { Usage } from "../format/proof.ts";
import type { Disk } from "../ports.ts";
import { LineTail } from "../store/line-tail.ts";
import type { Pricing } from "./prices.ts";
import { TurnUsageSoFar } from "./usage.ts";

/** Reports are running totals, so the latest say it all: they stand in the end of a transcript. */
const END_BYTES = 16 * 1024 * 1024;

const Count = z.number().min(0).max(1e12);
/** Lines of a transcript that say what was used, or at which price. */
const Line = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("session-started"), agent: z.string().nullable() }),
  z.object({
    kind: z.literal("usage"),
    context_tokens: Count,
    session_cost_usd: Count.optional(),
    spent: Usage.optional(),
  }),
  z.object({ kind: z.literal("turn-ended"), usage: Usage }),
]);

/**
 * What a turn has cost as far as its transcript tells, and no less than what is recorded of it, `before`. Asked again it
 * answers the same.
 */
export function usageInTranscript(
  path: string,
  before: Usage | null,
  pricing: Pricing,
  ports: { disk: Disk },
): Usage | null {
  const soFar = new TurnUsageSoFar(pricing, before);
  let atEnd: Usage | null = null;
  let isTold = false;
  for (const text of outline(path, ports)) {
    if (!/"kind": ?"(?:session-started|usage|turn-ended)"/.test(text)) continue;
    const line = Line.safeParse(tryJson(text)).data;
    isTold ||= line?.kind === "usage" || line?.kind === "turn-ended";
    if (line?.kind === "turn-ended") atEnd = line.usage;
    else if (line) soFar.take(line as EngineEvent);
  }
  // A report that does not say what it is of is none.
  const final = atEnd?.quality === "missing" ? null : atEnd;
  return isTold ? (soFar.final(final, true) ?? before) : before;
}

/** The lines of a transcript; of a long one the first ones, where the agent's name stands, and the last ones. */
function outline(path: string, ports: { disk: Disk }): string[] {
  const { size = 0 } = ports.disk.stat(path) ?? {};
  const first = new LineTail(path, 0, ports).read();
  if (!first.more) return first.lines;
  return [...first.lines, ...new LineTail(path, Math.max(0, size - END_BYTES), ports).read().lines];
}
