/** The review wall: six sections over the facts of one result, in 0.5.0's order. Pure. */
import type { GateResult } from "../format/gate.ts";
import { printable } from "../format/printable.ts";
import type { ReviewArtifact, ReviewFinding } from "../format/proof.ts";
import type { AgentReview, Waiver } from "../format/work.ts";
import {
  blockingFindings,
  describeFinding,
  findingId,
  slopConfidence,
  withWaivers,
} from "./review-findings.ts";

/** What the sections are judged by. */
export interface WallFacts {
  /** Every task of an agent is done. */
  executed: boolean;
  changedFiles: readonly string[];
  gates: readonly GateResult[];
  /** Every required gate passed on the result. */
  green: boolean;
  /** The goal is about performance, or the configuration demands it. */
  performanceWanted: boolean;
  secrets: readonly ReviewFinding[];
  slop: readonly ReviewFinding[];
  /** What the engine found, where it was asked. */
  agentReview: AgentReview | undefined;
  waivers: readonly Waiver[];
}

/** Names of sections whose Markdown lies in `goal-security-review.md`. */
const SECURITY_FILE = "artifacts/reviews/goal-security-review.md";
const GENERAL_FILE = "artifacts/reviews/goal-review.md";

/** More is in the section's findings. */
const EVIDENCE_LINES_MAX = 200;

/** The six sections in their fixed order. */
export function reviewWall(facts: WallFacts): ReviewArtifact[] {
  const { executed, changedFiles, gates, green, secrets, slop } = facts;
  const hasFiles = changedFiles.length > 0;
  const files = changedFiles.map((path) => printable(path, { oneLine: true }));
  const said = gates.map((gate) => `${gate.name}=${gate.passed ? "passed" : "failed"}`);
  const seen = facts.agentReview !== undefined;
  const sections = [
    section("architect", {
      shown: executed,
      evidence: [GENERAL_FILE],
      risk: seen
        ? "A model's judgement of the structure is an opinion."
        : "The structure was not judged by a model.",
      gap: 'the architect "review artifact" is missing evidence of execution: tasks of the agent are not done',
      next: "Let an agent work: `omk goal execute`.",
      findings: agentFindings("architect", facts),
    }),
    section("code", {
      shown: hasFiles,
      evidence: hasFiles ? files : ["no changed files were captured"],
      risk: seen
        ? "A model's judgement of the code is an opinion."
        : "The code itself was not read by anybody.",
      gap: "code review is blocked until changed files exist",
      next: "Let an agent change the project.",
      fixable: true,
      findings: agentFindings("code", facts),
    }),
    section("test", {
      shown: green,
      evidence: said.length > 0 ? said : ["no gates ran on the result"],
      risk: "Gates show what they test and nothing else.",
      gap: "test review is blocked until the required gates pass on the result",
      next: "Look at the failing gates' logs.",
      findings: agentFindings("test", facts),
    }),
    section("security", {
      shown: true,
      evidence: secrets.length === 0 ? ["no secret in what the change adds"] : [SECURITY_FILE],
      risk: "Patterns find known shapes of secrets, not all, and see into no archive.",
      gap: 'the security "review artifact" is missing',
      next: "Take the findings out of the change, or accept with `--waive <finding> --reason <why>`.",
      findings: [...secrets, ...agentFindings("security", facts)],
    }),
    performanceSection(facts),
    section("anti-slop", {
      shown: green && hasFiles,
      evidence:
        slop.length === 0
          ? ["nothing was found in the added lines"]
          : [`${slop.length} signs of haste, confidence ${slopConfidence(slop).toFixed(2)}`],
      risk: "Up to a confidence of 0.5 findings only advise.",
      gap: "anti-slop review is blocked until gates pass and changed files exist",
      next: "Read the findings before accepting.",
      findings: slop,
    }),
  ];
  return sections.map((one) => withWaivers(one, facts.waivers));
}

/** What the reviewer of a role found; that it gave no answer is a finding that only a person can let pass. */
function agentFindings(role: string, { agentReview }: WallFacts): ReviewFinding[] {
  const review = agentReview?.roles.find((one) => one.role === role);
  if (!review) return [];
  if (review.answer === "usable") return review.findings;
  const kind = "no_usable_answer";
  return [
    {
      id: findingId(kind, role, ""),
      path: "",
      line: null,
      kind,
      severity: "medium",
      confidence: 1,
      text: `the ${role} reviewer gave no usable answer: ${review.because ?? "no reason"}`,
      reviewer: role,
    },
  ];
}

/** Whole words of a gate's name: `perfect` and `workbench` measure nothing. */
const MEASURES = /(?:^|[^a-z])(?:perf|performance|bench|benchmarks?)(?:$|[^a-z])/i;

/** Applicable when the goal is about performance, the configuration demands it, or a gate measures it. */
function performanceSection({ gates, performanceWanted }: WallFacts): ReviewArtifact {
  const measuring = gates.filter((gate) => MEASURES.test(gate.name));
  const made = section("performance", {
    // A gate that was skipped measured nothing.
    shown: measuring.some((gate) => gate.verdict === "passed"),
    evidence: measuring.map((gate) => `${gate.name}=${gate.verdict ?? "failed"}`),
    risk: "One run on one machine is a hint, not a measurement.",
    gap: "performance review is blocked until a performance gate passes",
    next: "Add a gate that measures, for example --gate 'bench=npm run bench'.",
    findings: [],
  });
  if (measuring.length > 0 || performanceWanted) return made;
  const reason = "the goal is not about performance and no gate measures it";
  const { blocked_by: _, ...rest } = made;
  const next = "Nothing.";
  return {
    ...rest,
    status: "not_applicable",
    summary: reason,
    reason,
    known_gaps: [],
    recommended_next_step: next,
  };
}

function section(
  pass: string,
  facts: {
    /** The evidence that the section needs is there. */
    shown: boolean;
    evidence: readonly string[];
    risk: string;
    gap: string;
    next: string;
    fixable?: boolean;
    findings: readonly ReviewFinding[];
  },
): ReviewArtifact {
  const findings = [...facts.findings];
  // Waivers come later: first of all, what was found blocks.
  const blocking = blockingFindings({ pass, findings }, []);
  const blockedBy = facts.shown ? (blocking.length > 0 ? "findings" : undefined) : "evidence";
  const gap = facts.shown ? foundGap(pass, blocking) : facts.gap;
  const evidence = [...facts.evidence, ...findings.map(describeFinding)];
  const more = evidence.length - EVIDENCE_LINES_MAX;
  return {
    pass,
    status: blockedBy === undefined ? "passed" : "blocked",
    path: pass === "security" ? SECURITY_FILE : GENERAL_FILE,
    summary: blockedBy === undefined ? `${pass}: the evidence is there` : gap,
    evidence: more > 0 ? [...evidence.slice(0, EVIDENCE_LINES_MAX), `and ${more} more`] : evidence,
    risks: [facts.risk],
    known_gaps: blockedBy === undefined ? [] : [gap],
    recommended_next_step: blockedBy === undefined ? passedNext(findings) : nextFor(blockedBy, facts.next),
    findings,
    ...(blockedBy && { blocked_by: blockedBy }),
    ...(pass === "anti-slop" && { confidence: slopConfidence(findings) }),
    ...(blockedBy === "evidence" && facts.fixable && { fixable: true }),
  };
}

/** So many findings are named in the sentence that says why a section is blocked. */
const NAMED_MAX = 3;

function foundGap(pass: string, blocking: readonly ReviewFinding[]): string {
  const named = blocking.slice(0, NAMED_MAX).map((one) => `${describeFinding(one)} [${one.id}]`);
  const more = blocking.length - named.length;
  return `${pass} review is blocked: ${named.join("; ")}${more > 0 ? `; and ${more} more` : ""}`;
}

function passedNext(findings: readonly ReviewFinding[]): string {
  return findings.length === 0 ? "Nothing; read the proof." : "Read the findings before accepting.";
}

function nextFor(blockedBy: "evidence" | "findings", next: string): string {
  return blockedBy === "evidence"
    ? next
    : "Mend what was found, or let it pass with `omk goal accept <goal> --waive <finding> --reason <why>`.";
}
