/** What has to hold for the result of an attempt at a slice to be taken, and what its next attempts are told where it does not. */
import type { GateDefinition, GateResult } from "../format/gate.ts";
import type { SliceFault, SliceState } from "../format/slices.ts";
import type { GoalTask } from "../format/task-graph.ts";
import type { Attempt } from "../format/work.ts";
import { runGateSet, type GateSetRun } from "../gate/steps.ts";
import type { AttemptTree } from "../git/attempt-tree.ts";
import type { PrivateGit } from "../git/private-git.ts";
import { linksOut } from "../git/links-out.ts";
import { refusedChanges, type RefusedChange } from "../git/refused-changes.ts";
import { workTreeOf, type TreeChange } from "../git/work-tree.ts";
import { strayedChanges } from "../scheduler/ownership.ts";
import type { NewEvent } from "../store/event-log.ts";
import type { EvidenceFile } from "../store/evidence.ts";
import { gateDefinitions } from "./candidates.ts";
import { CONFLICT_NOTE, undecidedPaths } from "./conflict-note.ts";
import { isWaived } from "./facts.ts";
import type { GoalPorts, OpenGoal } from "./open.ts";
import { failing, FAULT_CHARACTERS_MAX, solvedBy } from "./prompt.ts";
import type { SlicedSpace } from "./sliced-space.ts";
import type { Workspace } from "./workspace.ts";

/** Why the result of an attempt at a slice is not taken. */
type RejectionCode =
  | "refused_change"
  | "write_set_violated"
  | "conflict_left"
  | "nothing_changed"
  | "worktree_gone"
  | "linked_changed"
  | "gates_red";

/** A result that is not taken. */
export interface Rejection {
  code: RejectionCode;
  /** In a sentence, for people. */
  because: string;
  /** For the agent that tries next. */
  faults: SliceFault[];
}

/** A result as its changes show it. Paths are those of the whole repository. */
export interface SliceChanges {
  /** From the slice's start to the result. */
  changes: readonly TreeChange[];
  /** The project below the repository's top, with a slash at its end, or nothing. */
  prefix: string;
  /** As the task has it: relative to the project. */
  writeSet: readonly string[];
  /** Whether a person let a change of this path of the project pass. */
  isAllowed: (path: string) => boolean;
  /** What lies in the folder under names that git takes into no tree. */
  leftOut: readonly string[];
  /** Links that lead out of the repository. */
  linksOut?: readonly RefusedChange[];
  /** Where the task is to solve a conflict: files with markers in them still. */
  unsolved?: readonly string[];
}

/** Judges a result by its changes alone. */
export function judgeChanges(result: SliceChanges): Rejection | undefined {
  const found = [refusedOf(result), strayedOf(result), unsolvedOf(result)].filter((one) => one !== undefined);
  const [first] = found;
  // The first names it; all of them are told at once.
  if (first) return { ...first, faults: found.flatMap(({ faults }) => faults) };
  // Where two results were to be brought together, what git has made of them may be right as it is.
  if (result.changes.length > 0 || result.unsolved !== undefined) return undefined;
  return {
    code: "nothing_changed",
    because: "nothing was changed",
    faults: [
      {
        heading:
          "The turn ended without any file being changed. Do the work in the files of your current directory; what is only " +
          "said, committed elsewhere or stashed does not count.",
      },
    ],
  };
}

function refusedOf({ changes, leftOut, linksOut: out = [] }: SliceChanges): Rejection | undefined {
  const refused = [...refusedChanges(changes, leftOut), ...out];
  if (refused.length === 0) return undefined;
  return {
    code: "refused_change",
    because: `it changed what nothing may change: ${named(refused.map(({ path }) => path))}`,
    faults: [
      {
        heading: "These changes are refused, whoever makes them. Do without them:",
        details: cut(refused.map(({ path, because }) => `- \`${path}\`: ${because}`).join("\n"), "start"),
      },
    ],
  };
}

function strayedOf({ changes, prefix, writeSet, isAllowed }: SliceChanges): Rejection | undefined {
  const paths = strayedChanges(changes, { prefix, writeSet }).filter(
    (path) => !path.startsWith(prefix) || !isAllowed(path.slice(prefix.length)),
  );
  if (paths.length === 0) return undefined;
  return {
    code: "write_set_violated",
    because: `it changed files outside its write set: ${named(paths)}; it may write ${named(writeSet)} and new tests`,
    faults: [
      {
        heading: "You changed files that are not yours to change. Leave them as they are:",
        details: cut(paths.map((path) => `- \`${path}\``).join("\n"), "start"),
      },
    ],
  };
}

function unsolvedOf({ unsolved = [] }: SliceChanges): Rejection | undefined {
  if (unsolved.length === 0) return undefined;
  return {
    code: "conflict_left",
    because: `the conflict is not solved in ${named(unsolved)}`,
    faults: [
      {
        heading:
          `Markers of the conflict are left in these files, or they are left over from it. Solve what they mark, and take them ` +
          `out; ${CONFLICT_NOTE} lists conflicts without markers and is to be deleted when each is decided:`,
        details: cut(unsolved.map((path) => `- \`${path}\``).join("\n"), "start"),
      },
    ],
  };
}

/** A result whose attempt changed what its folder shares with the project: no gate can tell what the result is worth. */
function linkedChanged(paths: readonly string[]): Rejection {
  return {
    code: "linked_changed",
    because: `installed files that all attempts share, which are the user's own, were changed: ${named(paths)}`,
    faults: [
      {
        heading:
          "Files that git ignores and that are shared with the user's project were changed, so nothing shows that the result " +
          "works without that. Solve the task in the project's own files, and leave these alone:",
        details: cut(paths.map((path) => `- \`${path}\``).join("\n"), "start"),
      },
    ],
  };
}

/** A result that is not there, or that nobody can look at. */
export function worktreeGone(why: string): Rejection {
  // A command of git that failed is named with all that it was given.
  const said = why.length > SAID_MAX ? `${why.slice(0, SAID_MAX)}…` : why;
  return {
    code: "worktree_gone",
    because: `its folder was gone at the end, or could not be looked at: ${said}`,
    faults: [
      {
        heading:
          "Your current directory was gone when the turn ended, or git could not look at it, so nothing of the work could be " +
          "taken. Work in it where it is: do not remove, replace or move it, and leave nothing in it that cannot be read, like a " +
          "named pipe called `.gitignore`.",
        details: said,
      },
    ],
  };
}

/** What begins a line that marks a conflict. The line between the sides is left out: other texts have it, too. */
const MARKER = /^(?:<{7}|\|{7}|>{7})(?: .*)?$/gm;

/** Whether a text has lines that mark a conflict and that neither of its sides has. */
export function hasMarkers(text: string, sides: readonly string[]): boolean {
  const known = new Set(sides.flatMap((side) => side.match(MARKER) ?? []));
  return (text.match(MARKER) ?? []).some((line) => !known.has(line));
}

/** The gates that judge a slice by itself: those that are red without it may be for others to mend. */
export function decidingGates(
  definitions: readonly GateDefinition[],
  baseline: readonly Pick<GateResult, "name" | "verdict">[],
): GateDefinition[] {
  const green = new Set(baseline.filter(({ verdict }) => verdict === "passed").map(({ name }) => name));
  return definitions.filter(({ name, required, skip }) => required && !skip && green.has(name));
}

/** Judges a result by what its gates said. */
export function judgeGates(results: readonly GateResult[]): Rejection | undefined {
  const red = results.filter(({ verdict }) => verdict !== "passed");
  if (red.length === 0) return undefined;
  return {
    code: "gates_red",
    because: `gates that were green before are red: ${red.map(({ name, verdict }) => `${name} (${verdict ?? "failed"})`).join(", ")}`,
    faults: red.map((gate) => {
      const fault = failing(gate);
      return { ...fault, ...(fault.details !== undefined && { details: cut(fault.details, "end") }) };
    }),
  };
}

/** A result that is to be judged, in the folder of its attempt. */
export interface SliceResult {
  task: GoalTask;
  state: SliceState;
  fence: number;
  folder: Pick<AttemptTree, "cwd" | "leftOut">;
  /** Of the whole repository, and of the project in it. */
  tree: string;
  project: string;
  /** Files of the user's project that the folder shares and that were changed meanwhile. */
  linkedChanged: readonly string[];
}

/** What was found of a result. */
export interface SliceJudgement {
  rejection?: Rejection;
  gates?: NonNullable<Attempt["gates"]>;
  evidence: EvidenceFile[];
}

/** Judges a result by its changes and then, where these may be, by its gates. */
export async function judgeSlice(
  open: OpenGoal,
  space: Workspace & { sliced: SlicedSpace },
  result: SliceResult,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<SliceJudgement> {
  const { git } = space.sliced;
  const { task, state, tree, folder } = result;
  const conflict = solvedBy(task, open.work)?.conflict;
  const changes = await git.changes(state.start, tree, signal);
  const rejection = judgeChanges({
    changes,
    linksOut: await linksOut(git, { tree, changes }, signal),
    prefix: git.prefix,
    writeSet: task.write_set,
    isAllowed: (path) => isWaived(open.work, "change", path),
    leftOut: await folder.leftOut(signal),
    ...(conflict && { unsolved: await unsolvedFiles(git, conflict.files, { state, tree }, signal) }),
  });
  if (result.linkedChanged.length > 0) {
    const linked = linkedChanged(result.linkedChanged);
    const faults = [...linked.faults, ...(rejection?.faults ?? [])];
    return { rejection: { ...linked, faults }, evidence: [] };
  }
  if (rejection) return { rejection, evidence: [] };
  const run = await runGates(open, space, result, ports, signal);
  if (!run) return { evidence: [] };
  const results = run.results.map(({ name, verdict, duration_ms }) => ({
    name,
    duration_ms,
    ...(verdict && { verdict }),
  }));
  const red = judgeGates(run.results);
  return { gates: { run: run.id, results }, evidence: run.evidence, ...(red && { rejection: red }) };
}

/** Those of the files in conflict that have markers in them still, and what says that others were not decided. */
async function unsolvedFiles(
  git: PrivateGit,
  files: readonly string[],
  { state, tree }: { state: SliceState; tree: string },
  signal: AbortSignal,
): Promise<string[]> {
  const trees = workTreeOf(git);
  const read = async (of: string, path: string): Promise<string> => {
    const bytes = await trees.read(of, path, SEARCHED_BYTES_MAX, signal);
    return bytes ? Buffer.from(bytes).toString("utf8") : "";
  };
  const found: string[] = [];
  for (const path of files) {
    const sides = await Promise.all(state.parents.map((side) => read(side, path)));
    if (hasMarkers(await read(tree, path), sides)) found.push(path);
  }
  return [...found, ...(await undecidedPaths(git, { ...state, tree }, signal))];
}

/** Runs the gates that judge a slice; undefined where there are none. */
async function runGates(
  open: OpenGoal,
  space: Workspace,
  { task, fence, folder: { cwd }, project }: SliceResult,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<GateSetRun | undefined> {
  const { goal, work } = open;
  const baseline = work.baseline?.gates ?? [];
  const definitions = decidingGates(gateDefinitions(goal, work), baseline);
  if (definitions.length === 0) return undefined;
  const subject = {
    folder: open.folder,
    definitions,
    base: work.base ?? undefined,
    baseline,
    nextSeq: () => open.journal.nextSeq,
    record: (...events: NewEvent[]) => open.record(...events),
    tree: space.tree,
  };
  const where = { tree: project, where: "worktree", cwd, name: `slice-${fence}`, purpose: task.id } as const;
  return runGateSet(subject, where, ports, signal);
}

/** Of a file that was in conflict, so much is searched for markers. */
const SEARCHED_BYTES_MAX = 16 * 1024 * 1024;

/** Characters of a failure that a sentence repeats. */
const SAID_MAX = 300;

/** Files that a sentence names. */
const NAMED_MAX = 5;

function named(paths: readonly string[]): string {
  const more = paths.length - NAMED_MAX;
  return `${paths.slice(0, NAMED_MAX).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

/** What is kept of details: no prompt ever has more of them. */
function cut(details: string, keep: "start" | "end"): string {
  if (details.length <= FAULT_CHARACTERS_MAX) return details;
  return keep === "start" ? details.slice(0, FAULT_CHARACTERS_MAX) : details.slice(-FAULT_CHARACTERS_MAX);
}
