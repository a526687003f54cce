/** What the agent is told: the goal, what has to hold at the end, and what was wrong with the last try. */
import type { GateDefinition, GateResult } from "../format/gate.ts";
import type { Goal } from "../format/goal.ts";
import type { Attempt, Work } from "../format/work.ts";
import { redGates } from "../gate/state.ts";

const FEEDBACK_CHARACTERS_MAX = 12_000;

/** The text of a work turn. */
export function workPrompt(goal: Goal, gates: readonly GateDefinition[], work: Work, number: number): string {
  const required = gates.filter((gate) => gate.required && !gate.skip);
  const parts = [
    "You are working on one goal in the current directory.",
    `## Goal\n\n${goal.original_goal}`,
    required.length > 0 &&
      `## What decides\n\nThese commands are run on your result. Each must pass:\n\n${required
        .map((gate) => `- ${gate.name}: \`${[gate.command, ...gate.args].join(" ")}\``)
        .join("\n")}`,
    "## Rules\n\n" +
      "- Change only what the goal needs. Tests that exist are run as they were before your change, too.\n" +
      "- Do not commit, push, publish or tag; do not write secrets into files.\n" +
      "- At the end, say in a few sentences what you changed and what remains open.",
    (number > 1 || work.attempts.length > 0) && feedback(work),
  ];
  return `${parts.filter((part) => typeof part === "string").join("\n\n")}\n`;
}

/** Why the work so far does not do, for the agent that goes on with it. */
function feedback(work: Work): string {
  const last = work.attempts.filter((attempt) => attempt.status === "ended").at(-1);
  const found = [
    ...attemptFeedback(last),
    ...gateFeedback(work),
    ...reviewFeedback(work),
    ...rejectionFeedback(work),
  ];
  if (found.length === 0) return "## So far\n\nAn earlier turn was interrupted; its changes are still there.";
  const text = found.join("\n\n");
  const cut = text.length - FEEDBACK_CHARACTERS_MAX;
  const kept = cut > 0 ? `[${cut} characters left out]\n${text.slice(-FEEDBACK_CHARACTERS_MAX)}` : text;
  return `## What was wrong with the last attempt\n\nIts changes are still there; go on from them.\n\n${kept}`;
}

function attemptFeedback(last: Attempt | undefined): string[] {
  if (!last || last.outcome === "finished") return [];
  return [
    `The last turn did not end well (${last.outcome_code ?? last.outcome}): ${last.summary ?? "no details"}`,
  ];
}

function gateFeedback(work: Work): string[] {
  const found: string[] = [];
  const { gates } = work;
  if (!gates || gates.tree !== work.result?.tree) return found;
  for (const gate of redGates(gates.results)) found.push(failing(gate));
  const copies = gates.base_copies;
  if (copies?.status === "failed") {
    found.push(
      `You changed or deleted tests that existed before: ${copies.files.join(", ")}. With their original content the ` +
        "gates fail. Restore them, or make them pass as they were.",
      ...redGates(copies.results).map(failing),
    );
  }
  return found;
}

function failing(gate: GateResult): string {
  const said = [gate.stdout, gate.stderr].filter(Boolean).join("\n").trim();
  return `Gate ${gate.name} (${gate.command_line}) did not pass: ${gate.verdict}.\n\n\`\`\`\n${said}\n\`\`\``;
}

function rejectionFeedback({ acceptance, result }: Work): string[] {
  if (acceptance?.decision !== "rejected" || acceptance.tree !== result?.tree) return [];
  return [`A person rejected the result: ${acceptance.summary}`];
}

function reviewFeedback(work: Work): string[] {
  if (!work.review || work.review.tree !== work.result?.tree) return [];
  const blocked = work.review.sections.filter((section) => section.status === "blocked");
  return blocked.flatMap((section) => section.known_gaps.map((gap) => `Review (${section.pass}): ${gap}`));
}
