/** A planner's answer: taken only when it is a sound plan, else with the reason why not. Pure, and never throws. */
import { z } from "zod";

import { GoalKind } from "../format/goal.ts";
import { objectIn } from "../format/json-in-text.ts";
import { parseTaskId, whyProtected } from "../format/names.ts";
import { PLAN_SLICES_MAX, type Plan, type PlannedTask } from "../format/plan.ts";
import { checkTasks } from "../scheduler/check.ts";
import { normalizedPath } from "../scheduler/ownership.ts";
import { ANYWHERE } from "./write-sets.ts";

/** A plan, or why an answer holds none, fit to follow a colon. */
export type PlanAnswer = { ok: true; plan: Plan } | { ok: false; because: string };

/** What is told of an answer before it counts as a flood. */
const ANSWER_CHARACTERS_MAX = 256 * 1024;
const TITLE_CHARACTERS_MAX = 200;
const DEPENDENCIES_MAX = 1_000;
/** Paths are shown in reasons. */
const SHOWN_CHARACTERS_MAX = 80;

const Line = z.string().trim().min(1).max(2_000);
const Lines = z.array(Line).max(50);
const Paths = z.array(z.string().max(1_024)).max(200);
/** An id, or the number of a slice in the list. */
const Reference = z.union([z.string().trim(), z.int().min(0)]);

const Slice = z.object({
  id: Reference.optional(),
  title: z.string().trim().max(2_000).default(""),
  description: z
    .string()
    .trim()
    .min(1)
    .max(16 * 1024),
  read_set: Paths.default([]),
  write_set: Paths.default([]),
  dependencies: z.array(Reference).max(DEPENDENCIES_MAX).default([]),
  acceptance: Lines.default([]),
  risk: z.enum(["low", "medium", "high"]).catch("medium"),
  estimated_difficulty: z.enum(["trivial", "easy", "medium", "hard", "complex"]).catch("medium"),
});

const Amount = z.number().min(0).max(1e9).optional().catch(undefined);

/** The whole answer; keys that nobody asked for are left out. */
const Answer = z.object({
  classification: z.object({ kind: z.string().optional() }).catch({}).optional(),
  kind: z.string().optional().catch(undefined),
  summary: z.string().trim().max(8_000).default(""),
  slices: z.array(Slice),
  /** As older planners gave them: pairs of numbers of slices, the first to be done before the second. */
  dependencies: z.array(z.unknown()).max(DEPENDENCIES_MAX).default([]),
  acceptance_criteria: Lines.default([]),
  estimate: z.object({ complexity_score: Amount, hours: Amount, tokens: Amount }).catch({}).optional(),
  complexity_score: Amount,
  estimated_hours: Amount,
  estimated_tokens: Amount,
});
type Answer = z.infer<typeof Answer>;

/** Reads a planner's answer; `kind` is the goal's, where the answer names none. */
export function parsePlan(text: string, kind: string): PlanAnswer {
  const trimmed = text.trim();
  if (trimmed === "") return refused("it said nothing");
  if (trimmed.length > ANSWER_CHARACTERS_MAX)
    return refused(`it is longer than ${ANSWER_CHARACTERS_MAX} characters`);
  const found = objectIn(trimmed, "slices");
  if (!found) return refused("it holds no JSON object with slices");
  const slices = Array.isArray(found["slices"]) ? found["slices"].length : 0;
  if (slices === 0) return refused("it has no slices");
  if (slices > PLAN_SLICES_MAX)
    return refused(`it has ${slices} slices where at most ${PLAN_SLICES_MAX} are taken`);
  const parsed = Answer.safeParse(found);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    return refused(
      `${issue?.path.map(String).join(".") || "it"} is not as asked: ${issue?.message ?? "no reason"}`,
    );
  }
  return soundPlan(parsed.data, kind);
}

function soundPlan(answer: Answer, kind: string): PlanAnswer {
  const named = answer.slices.map(({ id }, at) => String(id ?? "") || `slice-${at}`);
  const twice = named.find((id, at) => named.indexOf(id) !== at);
  if (twice !== undefined) return refused(`two slices have the id ${shown(twice)}`);
  const ids = safeIds(named);
  const idOf = (reference: string | number): string | undefined =>
    typeof reference === "number" ? ids[reference] : ids[named.indexOf(reference)];
  const slices: PlannedTask[] = [];
  for (const [at, given] of answer.slices.entries()) {
    const id = ids[at] ?? "";
    const unknown = given.dependencies.find((one) => idOf(one) === undefined);
    if (unknown !== undefined)
      return refused(`${named[at]} depends on ${shown(unknown)}, which there is not`);
    const [reads, writes] = [pathsOf(given.read_set), pathsOf(given.write_set)];
    const wrong = reads.wrong ?? writes.wrong;
    if (wrong !== undefined) return refused(`${named[at]} names the path ${wrong}`);
    const acceptance = given.acceptance.length > 0 ? given.acceptance : answer.acceptance_criteria;
    if (acceptance.length === 0) return refused(`${named[at]} does not say when it is done (acceptance)`);
    slices.push({
      id,
      title: titleOf(given.title || given.description),
      description: given.description,
      read_set: reads.paths,
      write_set: writes.paths,
      dependencies: [...new Set(given.dependencies.map((one) => idOf(one) ?? ""))],
      acceptance,
      risk: given.risk,
      estimated_difficulty: given.estimated_difficulty,
    });
  }
  const bad = addPairs(slices, answer.dependencies);
  if (bad !== undefined) return refused(bad);
  const [problem] = checkTasks(slices);
  if (problem) return refused(problem.text);
  return { ok: true, plan: planOf(answer, slices, kind) };
}

function planOf(answer: Answer, slices: PlannedTask[], kind: string): Plan {
  const said = GoalKind.safeParse(answer.classification?.kind ?? answer.kind);
  const { estimate = {} } = answer;
  const score = estimate.complexity_score ?? answer.complexity_score;
  const hours = estimate.hours ?? answer.estimated_hours;
  const tokens = estimate.tokens ?? answer.estimated_tokens;
  return {
    kind: said.success ? said.data : kind,
    summary: answer.summary,
    slices,
    acceptance_criteria: answer.acceptance_criteria,
    ...(score !== undefined && { complexity_score: Math.min(10, Math.max(1, score)) }),
    ...(hours !== undefined && { estimated_hours: hours }),
    ...(tokens !== undefined && { estimated_tokens: tokens }),
  };
}

/** Adds dependencies that stand beside the slices; says what is wrong with one that is none. */
function addPairs(slices: readonly PlannedTask[], pairs: readonly unknown[]): string | undefined {
  for (const pair of pairs) {
    const read = z.tuple([z.int(), z.int()]).safeParse(pair);
    const [before, after] = read.success ? read.data.map((at) => slices[at]) : [];
    if (!before || !after) return `${shown(pair)} is no pair of numbers of slices`;
    if (!after.dependencies.includes(before.id)) after.dependencies.push(before.id);
  }
  return undefined;
}

/** Paths in their normal form, or what is wrong with one of them. */
function pathsOf(given: readonly string[]): { paths: string[]; wrong?: string } {
  const paths = new Set<string>();
  for (const one of given) {
    const path = normalizedPath(one);
    if (path === undefined) return { paths: [], wrong: `${shown(one)}, which is not inside the project` };
    const protectedBy = whyProtected(path);
    if (protectedBy !== undefined) return { paths: [], wrong: `${shown(one)}: ${protectedBy}` };
    paths.add(path === "." ? ANYWHERE : path);
  }
  return { paths: paths.has(ANYWHERE) ? [ANYWHERE] : [...paths] };
}

function titleOf(text: string): string {
  const line = text.split("\n", 1)[0]?.trim() ?? "";
  return line.length > TITLE_CHARACTERS_MAX ? `${line.slice(0, TITLE_CHARACTERS_MAX - 1)}…` : line;
}

/** An id that could not name a file is replaced by one that can. */
function safeIds(named: readonly string[]): string[] {
  const taken = new Set(named.filter((id) => parseTaskId(id).ok));
  return named.map((id, at) => {
    if (taken.has(id)) return id;
    let safe = `slice-${at}`;
    while (taken.has(safe)) safe = `${safe}-x`;
    taken.add(safe);
    return safe;
  });
}

function refused(because: string): PlanAnswer {
  return { ok: false, because };
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > SHOWN_CHARACTERS_MAX ? `${text.slice(0, SHOWN_CHARACTERS_MAX)}…` : text;
}
