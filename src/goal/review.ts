/** The review wall: six sections over one result, written for a reader and kept as evidence. */
import { join } from "node:path";

import { instantOf } from "../format/stamp.ts";
import { printable } from "../format/printable.ts";
import type { ReviewArtifact } from "../format/proof.ts";
import type { Work } from "../format/work.ts";
import { replaceFile } from "../store/files.ts";
import { keepEvidence } from "../store/evidence.ts";
import { gatesState } from "./gate-state.ts";
import { goalKind } from "./intake.ts";
import { change, changeTask, type GoalPorts, type OpenGoal } from "./open.ts";
import { brokenLinks, isDocumentation, judgeOracle } from "./oracle.ts";
import { TASK } from "./scaffold.ts";
import { scanBinary, scanChanges, type Finding } from "./secret-scan.ts";
import { slopFindings } from "./slop.ts";
import type { Workspace } from "./workspace.ts";

const PATCH_BYTES_MAX = 16 * 1024 * 1024;
/** A file that a patch shows only as binary is searched for secrets up to this size. */
const BINARY_BYTES_MAX = 4 * 1024 * 1024;

/** Reviews the present result and records the wall, the findings and what the oracle's checks rest on. */
export async function runReview(
  open: OpenGoal,
  space: Workspace,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<void> {
  const { work, goal } = open;
  const base = work.base?.tree ?? "";
  const tree = work.result?.tree ?? base;
  const changes = base === "" ? [] : await space.tree.changes(base, tree, signal);
  const patch = await space.tree.patch(base, tree, PATCH_BYTES_MAX, signal);
  const findings = scanChanges(patch, ports.redactor);
  for (const { path, kind } of changes) {
    if (kind === "deleted") continue;
    const bytes = Buffer.from((await space.tree.read(tree, path, BINARY_BYTES_MAX, signal)) ?? "");
    if (bytes.includes(0)) findings.push(...scanBinary(path, bytes, ports.redactor));
  }
  const slop = slopFindings(patch.text);
  const run = open.journal.nextSeq;
  const sections = reviewWall(work, goal.normalized_goal, findings, slop);
  const docs = changes.map(({ path }) => path).filter(isDocumentation);
  const oracle = judgeOracle({
    normalizedGoal: goal.normalized_goal,
    gates: work.gates,
    docsLinks: docs.length === 0 ? undefined : { broken: await brokenLinks(space.tree, tree, docs, signal) },
    reportAdded:
      changes.some(({ path, kind }) => kind === "added" && isDocumentation(path)) && findings.length === 0,
  });
  const folder = join(open.folder, "artifacts", "reviews", String(run));
  const at = instantOf(ports.clock.now());
  const texts = {
    general: generalReview(open, sections, at),
    security: securityReview(open, changes, findings, at),
  };
  const files = [
    await keepEvidence(open, join(folder, "goal-review.md"), ports.redactor.text(texts.general), ports),
    await keepEvidence(
      open,
      join(folder, "goal-security-review.md"),
      ports.redactor.text(texts.security),
      ports,
    ),
  ];
  const reviewed = work.gates?.tree === tree && gatesState(work) === "green";
  const clean = findings.length === 0;
  const artifacts = [...goal.artifacts];
  for (const [kind, path] of [
    ["review", "artifacts/reviews/goal-review.md"],
    ["security_review", "artifacts/reviews/goal-security-review.md"],
  ] as const) {
    if (!artifacts.some((one) => one.kind === kind)) artifacts.push({ kind, path, created_at: at });
  }
  const taskOf = (id: string, done: boolean, kind: string, path: string) => ({
    event: {
      kind: done ? "task_completed" : "task_failed",
      actor: "goal-controller",
      payload: { task_id: id, worker_id: "goal-controller", tree },
    },
    change: changeTask(
      id,
      {
        status: done ? "done" : "blocked",
        owner_role: "goal-controller",
        evidence: [{ kind, path, summary: done ? "passed" : "blocked" }],
        ...(done && { completed_at: at }),
      },
      done ? undefined : ["completed_at"],
    ),
  });
  const general = taskOf(TASK.review, reviewed, "review", "artifacts/reviews/goal-review.md");
  const security = taskOf(
    TASK.securityReview,
    clean,
    "security_review",
    "artifacts/reviews/goal-security-review.md",
  );
  await open.record(
    {
      ...general.event,
      changes: [
        general.change,
        security.change,
        change("goal.json", { artifacts }),
        change("work.json", {
          review: { tree, gates_run: work.gates?.run ?? null, sections, oracle, at },
          evidence: [...work.evidence, ...files],
        }),
      ],
    },
    security.event,
  );
  // Under the names of 0.5.0, which scripts know: copies of the evidence, made when the log has it.
  for (const [name, text] of [
    ["goal-review.md", texts.general],
    ["goal-security-review.md", texts.security],
  ] as const) {
    await replaceFile(join(open.folder, "artifacts", "reviews", name), ports.redactor.text(text), ports);
  }
  const blocked = sections.filter((section) => section.status === "blocked").map((section) => section.pass);
  ports.tell(blocked.length === 0 ? "review: all sections passed" : `review: blocked: ${blocked.join(", ")}`);
}

/** The six sections in their fixed order. Pure. */
function reviewWall(
  work: Work,
  normalizedGoal: string,
  findings: readonly Finding[],
  slop: readonly string[],
): ReviewArtifact[] {
  const changed = work.result?.changed_files ?? [];
  const gates = work.gates?.results ?? [];
  const green = gatesState(work) === "green";
  const said = gates.map((gate) => `${gate.name}=${gate.passed ? "passed" : "failed"}`);
  const files = changed.map(({ path }) => path);
  const performance = performanceSection(gates, normalizedGoal);
  return [
    section("architect", "goal-review.md", {
      passed: work.attempts.some((attempt) => attempt.status === "ended"),
      evidence: ["artifacts/reviews/goal-review.md"],
      risk: "The structure of the change was not judged by a model.",
      gap: 'the architect "review artifact" is missing evidence of execution',
      next: "Let an agent work: `omk goal execute`.",
    }),
    section("code", "goal-review.md", {
      passed: files.length > 0,
      evidence: files.length > 0 ? files : ["no changed files were captured"],
      risk: "Only the evidence was reviewed, not the style.",
      gap: "code review is blocked until changed files exist",
      next: "Let an agent change the project.",
      fixable: true,
    }),
    section("test", "goal-review.md", {
      passed: green,
      evidence: said.length > 0 ? said : ["no gates ran on the result"],
      risk: "Gates show what they test and nothing else.",
      gap: "test review is blocked until the required gates pass on the result",
      next: "Look at the failing gates' logs.",
    }),
    section("security", "goal-security-review.md", {
      passed: findings.length === 0,
      evidence: findings.length === 0 ? ["no secret in the added lines"] : findings.map(describeFinding),
      risk: "Patterns find known shapes of secrets, not all.",
      gap: `security review is blocked: ${findings.map(describeFinding).join("; ")}`,
      next: "Remove the secrets from the change.",
      fixable: true,
    }),
    performance,
    section("anti-slop", "goal-review.md", {
      passed: green && files.length > 0,
      evidence: slop.length > 0 ? slop : ["nothing was found in the added lines"],
      risk: "Findings advise; they do not block.",
      gap: "anti-slop review is blocked until gates pass and changed files exist",
      next: "Read the findings before accepting.",
    }),
  ];
}

/** Applicable when the goal is about performance or a gate measures it. */
function performanceSection(
  gates: readonly { name: string; verdict?: string | undefined }[],
  goal: string,
): ReviewArtifact {
  const measuring = gates.filter((gate) => /perf|bench/i.test(gate.name));
  const applicable = measuring.length > 0 || goalKind(goal) === "performance";
  const made = section("performance", "goal-review.md", {
    passed: measuring.some((gate) => gate.verdict === "passed"),
    evidence: measuring.map((gate) => `${gate.name}=${gate.verdict}`),
    risk: "One run on one machine is a hint, not a measurement.",
    gap: "performance review is blocked until a performance gate passes",
    next: "Add a gate that measures, for example --gate 'bench=npm run bench'.",
  });
  if (applicable) return made;
  const reason = "the goal is not about performance and no gate measures it";
  return { ...made, status: "not_applicable", summary: reason, reason, known_gaps: [] };
}

function section(
  pass: string,
  file: string,
  facts: {
    passed: boolean;
    evidence: readonly string[];
    risk: string;
    gap: string;
    next: string;
    fixable?: boolean;
  },
): ReviewArtifact {
  return {
    pass,
    status: facts.passed ? "passed" : "blocked",
    path: `artifacts/reviews/${file}`,
    summary: facts.passed ? `${pass}: the evidence is there` : facts.gap,
    evidence: [...facts.evidence],
    risks: [facts.risk],
    known_gaps: facts.passed ? [] : [facts.gap],
    recommended_next_step: facts.passed ? "Nothing; read the proof." : facts.next,
    ...(!facts.passed && facts.fixable && { fixable: true }),
  };
}

/** On one line, whatever the file is called. */
function describeFinding(finding: Finding): string {
  return `${printable(finding.path, { oneLine: true })}:${finding.line} ${finding.kind}`;
}

const TITLES: Readonly<Record<string, string>> = {
  architect: "Architect",
  code: "Code",
  test: "Test",
  security: "Security",
  performance: "Performance",
  "anti-slop": "Anti-Slop",
};

function generalReview(open: OpenGoal, sections: readonly ReviewArtifact[], at: string): string {
  const passed = sections.every((one) => one.status !== "blocked");
  const bullets = (list: readonly string[]) => (list.length > 0 ? list.map((one) => `- ${one}`) : ["- none"]);
  return text(
    "# Goal Review",
    "",
    `Generated: ${at}`,
    `Goal ID: \`${open.id}\``,
    "",
    "## Result",
    "",
    passed ? "passed: no section is blocked" : "blocked: see the sections below",
    "",
    "## Review Wall",
    ...sections.flatMap((one) => [
      "",
      `## ${TITLES[one.pass] ?? one.pass}`,
      "",
      `Status: ${one.status}`,
      "",
      "Evidence:",
      ...bullets(one.evidence),
      "",
      "Risks:",
      ...bullets(one.risks),
      "",
      "Known gaps:",
      ...bullets(one.known_gaps),
      "",
      `Recommended next step: ${one.recommended_next_step}`,
    ]),
    "",
    "## Task Evidence",
    "",
    ...open.graph.tasks.map((task) => `- \`${task.id}\`: ${task.status}`),
    "",
    "## Gate Evidence",
    "",
    ...bullets(
      (open.work.gates?.results ?? []).map((gate) => `${gate.name}: ${gate.verdict} (${gate.command_line})`),
    ),
  );
}

function securityReview(
  open: OpenGoal,
  changes: readonly { path: string; kind: string }[],
  findings: readonly Finding[],
  at: string,
): string {
  return text(
    "# Goal Security Review",
    "",
    `Generated: ${at}`,
    `Goal ID: \`${open.id}\``,
    "",
    "## Result",
    "",
    findings.length === 0 ? "passed" : "blocked",
    "",
    "## Changed Files Scanned",
    "",
    ...(changes.length === 0
      ? ["- none"]
      : changes.map(({ path, kind }) => `- ${printable(path, { oneLine: true })} (${kind})`)),
    "",
    "## Findings",
    "",
    ...(findings.length === 0 ? ["- no findings"] : findings.map((one) => `- ${describeFinding(one)}`)),
  );
}

function text(...lines: string[]): string {
  return `${lines.join("\n")}\n`;
}
