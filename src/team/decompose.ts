/** Splitting a task: one turn of the engine, whose answer is taken only when it is a sound list of subtasks. */
import { z } from "zod";

import { listIn } from "../format/json-in-text.ts";
import type { Task } from "../format/run.ts";
import { instantOf } from "../format/stamp.ts";
import { parseTaskId } from "../format/names.ts";
import { checkTasks } from "../scheduler/check.ts";
import { normalizedPath } from "../scheduler/ownership.ts";

/** One part of a task, as a planner answers it. */
const Subtask = z.object({
  id: z.string().trim().min(1).max(200),
  description: z
    .string()
    .trim()
    .min(1)
    .max(32 * 1024),
  dependencies: z.array(z.string().trim()).max(200).default([]),
  read_set: z.array(z.string().max(1024)).max(200).default([]),
  write_set: z.array(z.string().max(1024)).max(200).default([]),
});
type Subtask = z.infer<typeof Subtask>;

/** Subtasks, or why an answer holds none, fit to follow "because". */
export type Decomposition = { ok: true; subtasks: Subtask[] } | { ok: false; because: string };

/** What the planner is asked. */
export function decomposePrompt(
  text: string,
  { count, isShared }: { count: number; isShared: boolean },
  roleNotes: string,
): string {
  return [
    isShared
      ? `You plan work for ${count} coding agents who will work at the same time in this one directory.`
      : `You plan work for ${count} coding agents who will work at the same time, each in a copy of this directory. Their results are merged.`,
    "Look at the project as far as you need, but change nothing.",
    "",
    "The task:",
    "",
    text,
    "",
    ...(roleNotes === "" ? [] : ["What each agent is told about its role:", "", roleNotes, ""]),
    `Split it into at most ${count} subtasks that together do all of it and of which no two do the same.`,
    "Subtasks that can be done side by side must not write the same files; where one needs the result of another, say so",
    "in its dependencies. Fewer subtasks are better than artificial ones.",
    "",
    "Answer with a JSON array and nothing else. Each element is an object with these keys:",
    '- "id": a short name of lower-case letters, digits and dashes, different for each',
    '- "description": everything its agent must know, as it will see nothing else',
    '- "dependencies": ids of subtasks that must be done before (usually empty)',
    isShared
      ? '- "read_set" and "write_set": paths relative to this directory that it reads and writes, as far as you know'
      : '- "read_set" and "write_set": paths relative to this directory that it reads and writes. A result that changes anything else is refused, new tests apart; leave out what you do not know, or name folders',
  ].join("\n");
}

/** Reads a planner's answer: a JSON array, alone or inside other text. */
export function parseDecomposition(text: string, count: number): Decomposition {
  const found = listIn(text.trim());
  if (!found) return refused("it holds no JSON array");
  if (found.length === 0) return refused("it is an empty list");
  if (found.length > count) return refused(`it has ${found.length} subtasks where ${count} were asked for`);
  const parsed = z.array(Subtask).safeParse(found);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    return refused(`${issue?.path.map(String).join(".") ?? "it"} is not as asked: ${issue?.message ?? ""}`);
  }
  const ids = parsed.data.map(({ id }) => id);
  const twice = ids.find((id, at) => ids.indexOf(id) !== at);
  if (twice !== undefined) return refused(`two subtasks have the id ${JSON.stringify(twice)}`);
  const subtasks = withSafeIds(parsed.data);
  for (const { id, read_set, write_set } of subtasks) {
    const outside = [...read_set, ...write_set].find((path) => normalizedPath(path) === undefined);
    if (outside !== undefined)
      return refused(`${id} names the path ${JSON.stringify(outside)}, which is not inside the project`);
  }
  const [problem] = checkTasks(subtasks);
  return problem ? refused(problem.text) : { ok: true, subtasks };
}

/** What is done when nobody could split the task: every worker gets all of it, with a part to look after. */
export function fallbackSubtasks(text: string, count: number): Subtask[] {
  return Array.from({ length: count }, (_, at) => ({
    id: `task-${at + 1}`,
    description: `${text}\n\n(You are worker-${at} of ${count}. Others work on the same task in the same directory: take your share, look at what is there before you change it, and leave what others have done.)`,
    dependencies: [],
    read_set: [],
    write_set: [],
  }));
}

/** The scheduler's tasks for subtasks. */
export function tasksOf(subtasks: readonly Subtask[], maxAttempts: number, now: Date): Task[] {
  return subtasks.map(({ id, description, dependencies, read_set, write_set }) => ({
    id,
    name: "subtask",
    description,
    dependencies,
    priority: 0,
    owner: null,
    lease_expires: null,
    retry_count: 0,
    retry_policy: {
      max_attempts: maxAttempts - 1,
      backoff_seconds: 1,
      backoff_multiplier: 2,
      terminal_on_permanent_failure: true,
    },
    state: "pending",
    created_at: instantOf(now),
    started_at: null,
    completed_at: null,
    read_set,
    write_set,
  }));
}

function refused(because: string): Decomposition {
  return { ok: false, because };
}

/** Ids become names of files: one that is not fit for that is replaced, and so is every mention of it. */
function withSafeIds(subtasks: readonly Subtask[]): Subtask[] {
  const taken = new Set(subtasks.map(({ id }) => id).filter((id) => parseTaskId(id).ok && !RESERVED.has(id)));
  const names = new Map<string, string>();
  let next = 1;
  for (const { id } of subtasks) {
    if (taken.has(id)) continue;
    while (taken.has(`task-${next}`)) next++;
    taken.add(`task-${next}`);
    names.set(id, `task-${next}`);
  }
  const named = (id: string) => names.get(id) ?? id;
  return subtasks.map((one) => ({ ...one, id: named(one.id), dependencies: one.dependencies.map(named) }));
}

/** Ids with a meaning of their own in the log. */
const RESERVED: ReadonlySet<string> = new Set(["decompose", "synthesis"]);
