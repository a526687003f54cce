/** What the agent is told: the goal, what has to hold at the end, and what was wrong with the last try. */
import type { GateResult } from "../format/gate.ts";
import type { Goal } from "../format/goal.ts";
import type { SliceFault, SliceRound, SliceState } from "../format/slices.ts";
import type { Attempt, Work } from "../format/work.ts";
import type { GoalTask, TaskGraph } from "../format/task-graph.ts";
import { redGates } from "../gate/state.ts";
import { agentTasks, isTaskDone, lastAttempt } from "./agent-tasks.ts";
import { gateDefinitions } from "./candidates.ts";
import { CONFLICT_NOTE } from "./conflict-note.ts";
import { unwaivedOutside } from "./facts.ts";
import { isFollowUp } from "./follow-ups.ts";
import { goldenFeedback } from "./golden-compare.ts";
import { kindOf } from "./intake.ts";
import { ASKED_OF_AGENT, missingForAgent } from "./oracle.ts";
import { PROPOSAL_RULE } from "./proposals.ts";
import { reviewFeedback as foundFeedback, reviewTasks, standingSections } from "./review-findings.ts";
import { hasLanded, sliceState, waitsFor } from "./slices.ts";
import { ANYWHERE } from "./write-sets.ts";

/** Headings come on top of it. */
const DETAILS_CHARACTERS_MAX = 12_000;
/** No single fault is ever told with more. */
export const FAULT_CHARACTERS_MAX = DETAILS_CHARACTERS_MAX;

/** The text of a work turn in the project directory. */
export function workPrompt(
  goal: Goal,
  graph: Pick<TaskGraph, "tasks">,
  task: GoalTask,
  work: Work,
  number: number,
): string {
  const isAgain = number > 1 || lastAttempt(work, task.id) !== undefined || isFollowUp(task);
  return joined([
    "You are working on one goal in the current directory.",
    `## Goal\n\n${goal.original_goal}`,
    ...answersOf(goal),
    ...partOf(graph, task, work),
    ...decidersOf(goal, graph, task, work),
    rulesOf(goal),
    ...(isAgain ? [feedback(work, task)] : []),
  ]);
}

/** What the files are that an attempt at a slice finds. */
export interface SliceFiles {
  /** `start`: those its slice starts from. `continued`: those an earlier attempt has left. */
  from: "start" | "continued";
  /** Whether the attempt before was cut off, through no fault of its own. */
  cutOff: boolean;
}

/** The text of a work turn in a folder of its own. */
export function slicePrompt(
  goal: Goal,
  graph: Pick<TaskGraph, "tasks">,
  task: GoalTask,
  work: Work,
  files: SliceFiles,
): string {
  const branch = sliceState(work, task.id)?.branch ?? "";
  return joined([
    "You are working on one goal in the current directory: a git worktree of your own" +
      `${branch === "" ? "" : `, on the branch \`${branch}\``}. Other agents may work on other parts of the goal at the same ` +
      "time, each in another worktree. What you leave in your files is merged with what they do.",
    `## Goal\n\n${goal.original_goal}`,
    ...answersOf(goal),
    ...slicePart(graph, task, work),
    ...decidersOf(goal, graph, task, work),
    `${rulesOf(goal)}\n- Work only in this directory. The files as you leave them count, whether they are committed or not.`,
    ...conflictOf(graph, task, work),
    ...sliceFeedback(task, work, files),
  ]);
}

function joined(parts: readonly string[]): string {
  return `${parts.join("\n\n")}\n`;
}

function decidersOf(goal: Goal, graph: Pick<TaskGraph, "tasks">, task: GoalTask, work: Work): string[] {
  const gates = gateDefinitions(goal, work).filter((gate) => gate.required && !gate.skip);
  if (gates.length === 0) return [];
  const when = isPart(graph, task) ? " when all parts are done" : "";
  const commands = gates.map((gate) => `- ${gate.name}: \`${[gate.command, ...gate.args].join(" ")}\``);
  return [
    `## What decides\n\nThese commands are run on the result${when}. Each must pass:\n\n${commands.join("\n")}`,
  ];
}

function rulesOf(goal: Goal): string {
  return (
    "## Rules\n\n" +
    "- Change only what the goal needs. Tests that exist are run as they were before your change, too.\n" +
    `- ${ASKED_OF_AGENT[kindOf(goal)]}\n` +
    "- Do not commit, push, publish or tag; do not write secrets into files.\n" +
    "- At the end, say in a few sentences what you changed and what remains open.\n" +
    PROPOSAL_RULE
  );
}

/** What people answered when they were asked about the goal. */
function answersOf({ answers = [] }: Goal): string[] {
  if (answers.length === 0) return [];
  return [
    `## What was asked, and answered\n\n${answers.map((one) => `- ${one.question}\n  ${one.answer}`).join("\n")}`,
  ];
}

/** Whether other parts of the goal are done by other turns. */
function isPart(graph: Pick<TaskGraph, "tasks">, task: GoalTask): boolean {
  return agentTasks(graph).length > 1 && !isFollowUp(task);
}

/** The part of the goal that this turn is about, where the plan has several or says more than the goal. */
function partOf(graph: Pick<TaskGraph, "tasks">, task: GoalTask, work: Work): string[] {
  if (isWhole(graph, work)) return [];
  const others = agentTasks(graph).filter(({ id }) => id !== task.id);
  const done = others.filter((one) => isTaskDone(one, work)).map(({ title }) => `- ${title}`);
  const later = others.filter((one) => !isTaskDone(one, work)).map(({ title }) => `- ${title}`);
  return [
    [
      ...yourPart(task),
      ...(done.length > 0 ? [`Done before, by others:\n\n${done.join("\n")}`] : []),
      ...(later.length > 0 ? [`Not yours; others do it:\n\n${later.join("\n")}`] : []),
    ].join("\n\n"),
  ];
}

/** The same in a folder of its own, which need not hold what others have done. */
function slicePart(graph: Pick<TaskGraph, "tasks">, task: GoalTask, work: Work): string[] {
  if (isWhole(graph, work)) return [];
  const others = agentTasks(graph).filter(({ id }) => id !== task.id);
  const solved = solvedBy(task, work);
  const startsFromAll = isFollowUp(task) || solved !== undefined;
  const needed = new Set(waitsFor(task, graph, work));
  const isHere = ({ id }: GoalTask): boolean =>
    id === solved?.task_id || ((startsFromAll || needed.has(id)) && hasLanded(work, id));
  const here = others.filter(isHere).map(({ title }) => `- ${title}`);
  const elsewhere = others.filter((one) => !isHere(one)).map(({ title }) => `- ${title}`);
  return [
    [
      ...yourPart(task),
      ...(here.length > 0 ? [`Done before, and in your files:\n\n${here.join("\n")}`] : []),
      ...(elsewhere.length > 0
        ? [`Not yours; others do it, in worktrees of their own:\n\n${elsewhere.join("\n")}`]
        : []),
    ].join("\n\n"),
  ];
}

/** Whether one task is all of the goal, and nothing more was planned about it. */
function isWhole(graph: Pick<TaskGraph, "tasks">, work: Work): boolean {
  return work.plan?.source !== "engine" && agentTasks(graph).length === 1;
}

function yourPart(task: GoalTask): string[] {
  const isNarrowed = !task.write_set.includes(ANYWHERE);
  return [
    `## Your part: ${task.title}`,
    task.description,
    `It is done when:\n\n${task.acceptance.map((one) => `- ${one}`).join("\n")}`,
    ...(isNarrowed
      ? [`Change files only below these paths (new tests may lie elsewhere):\n\n${list(task.write_set)}`]
      : []),
  ];
}

function list(paths: readonly string[]): string {
  return paths.map((path) => `- \`${path}\``).join("\n");
}

/** Why the work so far does not do, for the agent that goes on with it. */
function feedback(work: Work, task: GoalTask): string {
  const last = work.attempts.findLast(
    ({ status, task_id }) => status === "ended" && (task_id === task.id || isFollowUp(task)),
  );
  const found = [...attemptFeedback(last), ...strayedFeedback(work), ...resultFeedback(work)];
  if (found.length === 0) return "## So far\n\nAn earlier turn was interrupted; its changes are still there.";
  const share = sharedBy(found);
  const text = found.map((one) => told(one, share)).join("\n\n");
  return `## What was wrong with the last attempt\n\nIts changes are still there; go on from them.\n\n${text}`;
}

/** What is wrong with the result as a whole. */
function resultFeedback(work: Work): SliceFault[] {
  return [
    ...gateFeedback(work),
    ...goldenFeedback(work).map(listed),
    ...reviewFeedback(work),
    ...oracleFeedback(work),
    ...rejectionFeedback(work),
  ];
}

/** What an agent in a folder of its own is told of what was before: every attempt that was not taken, oldest first. */
function sliceFeedback(task: GoalTask, work: Work, { from, cutOff }: SliceFiles): string[] {
  const rounds = sliceState(work, task.id)?.rounds ?? [];
  // It is given out once more, or was made, because of what the merged result lacks.
  const isMending = isFollowUp(task) || work.slices?.order.includes(task.id) === true;
  const merged = isMending ? resultFeedback(work) : [];
  const share = sharedBy([...rounds.flatMap(({ faults }) => faults), ...merged]);
  const tell = (faults: readonly SliceFault[]): string => faults.map((one) => told(one, share)).join("\n\n");
  const parts: string[] = [];
  if (merged.length > 0)
    parts.push(`## What is wrong with the merged result\n\nYour files are that result.\n\n${tell(merged)}`);
  if (rounds.length > 0 || cutOff || from === "continued")
    parts.push(`## So far\n\n${soFar(rounds, { from, cutOff })}`);
  for (const { number, faults } of rounds)
    parts.push(`### What was wrong with attempt ${number}\n\n${tell(faults)}`);
  return parts;
}

function soFar(rounds: readonly SliceRound[], { from, cutOff }: SliceFiles): string {
  const said: string[] = [];
  if (rounds.length > 0)
    said.push("Earlier attempts at this were not taken. What was wrong with each follows, the newest last.");
  if (cutOff) said.push("The attempt before this one was interrupted through no fault of its own.");
  said.push(
    from === "continued"
      ? "What it had changed is in your files again; go on from there."
      : "Its changes are not in your files: you begin anew.",
  );
  return said.join(" ");
}

/** For a task that solves a conflict: what is in the way of what. */
function conflictOf(graph: Pick<TaskGraph, "tasks">, task: GoalTask, work: Work): string[] {
  const solved = solvedBy(task, work);
  if (!solved?.conflict) return [];
  const { files, kinds } = solved.conflict;
  const titleOf = (id: string): string => graph.tasks.find((one) => one.id === id)?.title ?? id;
  const own = new Set([solved.task_id, task.id]);
  const others = (work.slices?.order ?? []).filter((id) => !own.has(id)).map((id) => `- ${titleOf(id)}`);
  return [
    [
      "## The conflict",
      "Two results could not be merged. Your files hold what git has made of both: where text is in conflict, its markers " +
        "(`<<<<<<<`, `=======`, `>>>>>>>`) lie in the files. Where there can be none (binary files, links, files that one side " +
        `deleted or moved), \`${CONFLICT_NOTE}\` lists the paths: decide about each, then delete that file.`,
      `On one side, merged before:\n\n${others.join("\n")}`,
      `On the other side:\n\n- ${titleOf(solved.task_id)}`,
      `In conflict:\n\n${list(files)}`,
      `Git says: ${kinds.join("; ")}`,
      "Solve it so that what both sides intend holds; do not just take one of them. Leave no marker behind.",
    ].join("\n\n"),
  ];
}

/** The slice whose conflict a task solves. */
export function solvedBy(
  { id }: Pick<GoalTask, "id">,
  { slices }: Pick<Work, "slices">,
): SliceState | undefined {
  return slices?.slices.find(({ conflict }) => conflict?.resolved_by === id);
}

/** The share of each fault's details, so that all of them are told. */
function sharedBy(found: readonly SliceFault[]): number {
  return shareOf(
    found.map(({ details = "" }) => details.length),
    DETAILS_CHARACTERS_MAX,
  );
}

/** The longest that any may be, so that all together keep to the limit: what short ones leave is for the others. */
function shareOf(lengths: readonly number[], limit: number): number {
  let left = limit;
  const sorted = lengths.toSorted((a, b) => a - b);
  for (const [at, length] of sorted.entries()) {
    const share = Math.floor(left / (sorted.length - at));
    if (length > share) return share;
    left -= length;
  }
  return limit;
}

function told({ heading, details = "", keep = "start" }: SliceFault, share: number): string {
  if (details === "") return heading;
  const cut = details.length - share;
  if (cut <= 0) return `${heading}\n\n${details}`;
  const mark = `[${cut} characters left out]`;
  const kept = keep === "end" ? `${mark}\n${details.slice(cut)}` : `${details.slice(0, share)}\n${mark}`;
  return `${heading}\n\n${kept}`;
}

/** A text whose first line says what the others are about. */
function listed(text: string): SliceFault {
  const [heading = "", ...details] = text.split("\n");
  return { heading, details: details.join("\n") };
}

function attemptFeedback(last: Attempt | undefined): SliceFault[] {
  if (!last || last.outcome === "finished") return [];
  return [
    {
      heading: `The last turn did not end well (${last.outcome_code ?? last.outcome}):`,
      details: last.summary ?? "no details",
      keep: "end",
    },
  ];
}

function strayedFeedback(work: Work): SliceFault[] {
  const outside = unwaivedOutside(work);
  if (outside.length === 0) return [];
  return [
    {
      heading: "You changed files that are not yours to change. Put them back as they were before:",
      details: list(outside),
    },
  ];
}

function gateFeedback(work: Work): SliceFault[] {
  const found: SliceFault[] = [];
  const { gates } = work;
  if (!gates || gates.tree !== work.result?.tree) return found;
  for (const gate of redGates(gates.results)) found.push(failing(gate));
  const copies = gates.base_copies;
  if (copies?.status === "failed") {
    found.push(
      {
        heading:
          "You changed or deleted tests, or other files that decide how the gates judge. With their original content the " +
          "gates fail. Restore them, or make the gates pass as they were:",
        details: list(copies.files),
      },
      ...redGates(copies.results).map(failing),
    );
  }
  const clean = gates.clean_checkout;
  if (clean?.status === "failed") {
    found.push(
      {
        heading:
          "The gates pass in the project directory and fail on a fresh checkout of it, where files that git ignores are " +
          "not there. What the work needs must not be ignored, and dependencies must be in the lock file.",
        details: clean.reason ?? "",
      },
      ...redGates(clean.results).map(failing),
    );
  }
  return found;
}

/** A gate that did not pass, with what it said. */
export function failing(gate: GateResult): SliceFault {
  const said = [gate.stdout, gate.stderr].filter(Boolean).join("\n").trim();
  return {
    heading: `Gate ${gate.name} (${gate.command_line}) did not pass: ${gate.verdict}. It said:`,
    // Indented, so that nothing it says can end the quotation.
    details: said.replaceAll(/^/gm, "    "),
    keep: "end",
  };
}

function oracleFeedback(work: Work): SliceFault[] {
  return missingForAgent(work).map(({ name, reason }) => ({
    heading: `Nothing shows yet that the goal itself is reached (${name}):`,
    details: reason ?? name,
  }));
}

function rejectionFeedback({ acceptance, result }: Work): SliceFault[] {
  if (acceptance?.decision !== "rejected" || acceptance.tree !== result?.tree) return [];
  return [{ heading: "A person rejected the result:", details: acceptance.summary }];
}

function reviewFeedback(work: Work): SliceFault[] {
  if (!work.review || work.review.tree !== work.result?.tree) return [];
  const lacking = standingSections(work).filter(
    ({ status, blocked_by }) => status === "blocked" && blocked_by !== "findings",
  );
  return [
    ...reviewTasks(work).map((one) => listed(foundFeedback(one))),
    ...lacking.flatMap((section) =>
      section.known_gaps.map((gap) => ({ heading: `Review (${section.pass}): ${gap}` })),
    ),
  ];
}
