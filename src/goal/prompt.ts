/** What the agent is told: the goal, what has to hold at the end, and what was wrong with the last try. */
import type { GateResult } from "../format/gate.ts";
import type { Goal } from "../format/goal.ts";
import type { Attempt, Work } from "../format/work.ts";
import type { GoalTask, TaskGraph } from "../format/task-graph.ts";
import { redGates } from "../gate/state.ts";
import { agentTasks, isTaskDone, lastAttempt } from "./agent-tasks.ts";
import { gateDefinitions } from "./candidates.ts";
import { unwaivedOutside } from "./facts.ts";
import { isFollowUp } from "./follow-ups.ts";
import { goldenFeedback } from "./golden-compare.ts";
import { kindOf } from "./intake.ts";
import { ASKED_OF_AGENT, missingForAgent } from "./oracle.ts";
import { PROPOSAL_RULE } from "./proposals.ts";
import { reviewFeedback as foundFeedback, reviewTasks, standingSections } from "./review-findings.ts";
import { ANYWHERE } from "./write-sets.ts";

/** Headings come on top of it. */
const DETAILS_CHARACTERS_MAX = 12_000;

/** The text of a work turn. */
export function workPrompt(
  goal: Goal,
  graph: Pick<TaskGraph, "tasks">,
  task: GoalTask,
  work: Work,
  number: number,
): string {
  const gates = gateDefinitions(goal, work).filter((gate) => gate.required && !gate.skip);
  const parts = [
    "You are working on one goal in the current directory.",
    `## Goal\n\n${goal.original_goal}`,
    ...answersOf(goal),
    ...partOf(graph, task, work),
    gates.length > 0 &&
      `## What decides\n\nThese commands are run on the result${
        isPart(graph, task) ? " when all parts are done" : ""
      }. Each must pass:\n\n${gates
        .map((gate) => `- ${gate.name}: \`${[gate.command, ...gate.args].join(" ")}\``)
        .join("\n")}`,
    "## Rules\n\n" +
      "- Change only what the goal needs. Tests that exist are run as they were before your change, too.\n" +
      `- ${ASKED_OF_AGENT[kindOf(goal)]}\n` +
      "- Do not commit, push, publish or tag; do not write secrets into files.\n" +
      "- At the end, say in a few sentences what you changed and what remains open.\n" +
      PROPOSAL_RULE,
    (number > 1 || lastAttempt(work, task.id) !== undefined || isFollowUp(task)) && feedback(work, task),
  ];
  return `${parts.filter((part) => typeof part === "string").join("\n\n")}\n`;
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
  const isPlanned = work.plan?.source === "engine";
  if (!isPlanned && agentTasks(graph).length === 1) return [];
  const others = agentTasks(graph).filter(({ id }) => id !== task.id);
  const done = others.filter((one) => isTaskDone(one, work)).map(({ title }) => `- ${title}`);
  const later = others.filter((one) => !isTaskDone(one, work)).map(({ title }) => `- ${title}`);
  const narrowed = !task.write_set.includes(ANYWHERE);
  return [
    [
      `## Your part: ${task.title}`,
      task.description,
      `It is done when:\n\n${task.acceptance.map((one) => `- ${one}`).join("\n")}`,
      ...(narrowed
        ? [`Change files only below these paths (new tests may lie elsewhere):\n\n${list(task.write_set)}`]
        : []),
      ...(done.length > 0 ? [`Done before, by others:\n\n${done.join("\n")}`] : []),
      ...(later.length > 0 ? [`Not yours; others do it:\n\n${later.join("\n")}`] : []),
    ].join("\n\n"),
  ];
}

function list(paths: readonly string[]): string {
  return paths.map((path) => `- \`${path}\``).join("\n");
}

/** One thing that was wrong: a heading that is always told, and details that may have to be cut. */
interface Fault {
  heading: string;
  details?: string;
  /** What of the details matters most: programs say last what failed, lists have the worst first. */
  keep?: "start" | "end";
}

/** Why the work so far does not do, for the agent that goes on with it. */
function feedback(work: Work, task: GoalTask): string {
  const last = work.attempts.findLast(
    ({ status, task_id }) => status === "ended" && (task_id === task.id || isFollowUp(task)),
  );
  const found: Fault[] = [
    ...attemptFeedback(last),
    ...strayedFeedback(work),
    ...gateFeedback(work),
    ...goldenFeedback(work).map(listed),
    ...reviewFeedback(work),
    ...oracleFeedback(work),
    ...rejectionFeedback(work),
  ];
  if (found.length === 0) return "## So far\n\nAn earlier turn was interrupted; its changes are still there.";
  const share = shareOf(
    found.map(({ details = "" }) => details.length),
    DETAILS_CHARACTERS_MAX,
  );
  const text = found.map((one) => told(one, share)).join("\n\n");
  return `## What was wrong with the last attempt\n\nIts changes are still there; go on from them.\n\n${text}`;
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

function told({ heading, details = "", keep = "start" }: Fault, share: number): string {
  if (details === "") return heading;
  const cut = details.length - share;
  if (cut <= 0) return `${heading}\n\n${details}`;
  const mark = `[${cut} characters left out]`;
  const kept = keep === "end" ? `${mark}\n${details.slice(cut)}` : `${details.slice(0, share)}\n${mark}`;
  return `${heading}\n\n${kept}`;
}

/** A text whose first line says what the others are about. */
function listed(text: string): Fault {
  const [heading = "", ...details] = text.split("\n");
  return { heading, details: details.join("\n") };
}

function attemptFeedback(last: Attempt | undefined): Fault[] {
  if (!last || last.outcome === "finished") return [];
  return [
    {
      heading: `The last turn did not end well (${last.outcome_code ?? last.outcome}):`,
      details: last.summary ?? "no details",
      keep: "end",
    },
  ];
}

function strayedFeedback(work: Work): Fault[] {
  const outside = unwaivedOutside(work);
  if (outside.length === 0) return [];
  return [
    {
      heading: "You changed files that are not yours to change. Put them back as they were before:",
      details: list(outside),
    },
  ];
}

function gateFeedback(work: Work): Fault[] {
  const found: Fault[] = [];
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

function failing(gate: GateResult): Fault {
  const said = [gate.stdout, gate.stderr].filter(Boolean).join("\n").trim();
  return {
    heading: `Gate ${gate.name} (${gate.command_line}) did not pass: ${gate.verdict}. It said:`,
    // Indented, so that nothing it says can end the quotation.
    details: said.replaceAll(/^/gm, "    "),
    keep: "end",
  };
}

function oracleFeedback(work: Work): Fault[] {
  return missingForAgent(work).map(({ name, reason }) => ({
    heading: `Nothing shows yet that the goal itself is reached (${name}):`,
    details: reason ?? name,
  }));
}

function rejectionFeedback({ acceptance, result }: Work): Fault[] {
  if (acceptance?.decision !== "rejected" || acceptance.tree !== result?.tree) return [];
  return [{ heading: "A person rejected the result:", details: acceptance.summary }];
}

function reviewFeedback(work: Work): Fault[] {
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
