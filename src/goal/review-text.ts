/** The two Markdown files of a review, for a reader. Pure; secrets are taken out by whoever writes them. */
import type { GateResult } from "../format/gate.ts";
import { printable } from "../format/printable.ts";
import type { ReviewArtifact, ReviewFinding } from "../format/proof.ts";
import type { TaskGraph } from "../format/task-graph.ts";

/** What both files say at their beginning. */
interface ReviewHead {
  goalId: string;
  at: string;
}

const TITLES: Readonly<Record<string, string>> = {
  architect: "Architect",
  code: "Code",
  test: "Test",
  security: "Security",
  performance: "Performance",
  "anti-slop": "Anti-Slop",
};

/** A section's findings beyond these are only counted here; `proof.json` has them all. */
const FINDINGS_SHOWN_MAX = 100;
const FILES_SHOWN_MAX = 1_000;

/** `goal-review.md`. */
export function generalReview(
  head: ReviewHead,
  sections: readonly ReviewArtifact[],
  graph: Pick<TaskGraph, "tasks">,
  gates: readonly GateResult[],
): string {
  const blocked = sections.filter((one) => one.status === "blocked").map(({ pass }) => TITLES[pass] ?? pass);
  return text(
    "# Goal Review",
    "",
    ...headLines(head),
    "",
    "## Result",
    "",
    blocked.length === 0 ? "passed: no section is blocked" : `blocked: ${blocked.join(", ")}`,
    "",
    "## Review Wall",
    ...sections.flatMap(sectionLines),
    "",
    "## Task Evidence",
    "",
    ...bullets(graph.tasks.map((task) => `\`${task.id}\`: ${task.status}`)),
    "",
    "## Gate Evidence",
    "",
    ...bullets(
      gates.map((gate) => `${gate.name}: ${gate.verdict ?? "failed"} (${oneLine(gate.command_line ?? "")})`),
    ),
  );
}

function sectionLines(section: ReviewArtifact): string[] {
  const { pass, status, reason, evidence, risks, known_gaps, findings = [], waived = [] } = section;
  const found = new Set(findings.map(({ id }) => id));
  // Findings have a list of their own here.
  const other =
    findings.length === 0 ? evidence : evidence.slice(0, Math.max(0, evidence.length - found.size));
  return [
    "",
    `## ${TITLES[pass] ?? pass}`,
    "",
    `Status: ${status}${reason === undefined ? "" : ` (${reason})`}`,
    "",
    "Evidence:",
    ...bullets(other.map(oneLine)),
    ...(findings.length > 0 ? ["", "Findings:", ...findingLines(section)] : []),
    ...(waived.length > 0
      ? ["", "Let pass by a person:", ...waived.map((one) => `- \`${one.finding}\`: ${oneLine(one.reason)}`)]
      : []),
    "",
    "Risks:",
    ...bullets(risks),
    "",
    "Known gaps:",
    ...bullets(known_gaps.map(oneLine)),
    "",
    `Recommended next step: ${section.recommended_next_step}`,
  ];
}

/** `goal-security-review.md`. */
export function securityReview(
  head: ReviewHead,
  section: ReviewArtifact | undefined,
  changes: readonly { path: string; kind: string }[],
  allowed: number,
): string {
  const findings = section?.findings ?? [];
  const shown = changes.slice(0, FILES_SHOWN_MAX).map(({ path, kind }) => `${oneLine(path)} (${kind})`);
  const more = changes.length - shown.length;
  return text(
    "# Goal Security Review",
    "",
    ...headLines(head),
    "",
    "## Result",
    "",
    section?.status ?? "blocked",
    "",
    "## Changed Files Scanned",
    "",
    ...bullets([...shown, ...(more > 0 ? [`and ${more} more`] : [])]),
    "",
    "## Findings",
    "",
    ...(section === undefined || findings.length === 0 ? ["- no findings"] : findingLines(section)),
    ...(allowed === 0
      ? []
      : [
          "",
          `What the list of allowed secrets names was left out; it has ${allowed} ${allowed === 1 ? "entry" : "entries"}.`,
        ]),
  );
}

function findingLines({ findings = [], waived = [] }: ReviewArtifact): string[] {
  const passed = new Set(waived.map(({ finding }) => finding));
  const lines = findings.slice(0, FINDINGS_SHOWN_MAX).map((one) => findingLine(one, passed.has(one.id)));
  const more = findings.length - lines.length;
  return more > 0 ? [...lines, `- and ${more} more`] : lines;
}

function findingLine(
  { id, path, line, kind, severity, text: said }: ReviewFinding,
  isWaived: boolean,
): string {
  const where = path === "" ? "" : `${oneLine(path)}${line === null ? "" : `:${line}`}: `;
  return `- \`${id}\` ${severity}, ${kind}: ${where}${oneLine(said)}${isWaived ? " (let pass)" : ""}`;
}

function headLines({ goalId, at }: ReviewHead): string[] {
  return [`Generated: ${at}`, `Goal ID: \`${goalId}\``];
}

function bullets(list: readonly string[]): string[] {
  return list.length > 0 ? list.map((one) => `- ${one}`) : ["- none"];
}

/** Nothing from a file or a model becomes a heading, or an instruction to a terminal. */
function oneLine(value: string): string {
  return printable(value.replaceAll(/\s*\n\s*/g, " "), { oneLine: true });
}

function text(...lines: string[]): string {
  return `${lines.join("\n")}\n`;
}
