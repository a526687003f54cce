/** A reviewer's answer: findings, or why it holds none. Pure, and never throws. */
import { z } from "zod";

import { NumberText } from "../format/json.ts";
import { objectIn } from "../format/json-in-text.ts";
import type { ReviewFinding } from "../format/proof.ts";
import type { RoleReview } from "../format/work.ts";
import { findingId } from "./review-findings.ts";

/** What a reviewer found, or why its answer says nothing, fit to follow a colon. */
type ReviewAnswer = { ok: true; summary: string; findings: ReviewFinding[] } | { ok: false; because: string };

const ANSWER_CHARACTERS_MAX = 256 * 1024;
const FINDINGS_MAX = 50;
const TEXT_CHARACTERS_MAX = 2_000;

const Severity = z.preprocess(
  (given) => (typeof given === "string" ? (SEVERITIES[given.trim().toLowerCase()] ?? given) : given),
  z.enum(["low", "medium", "high", "critical"]),
);

/** Words that models use for the same. */
const SEVERITIES: Readonly<Record<string, string>> = {
  info: "low",
  note: "low",
  nit: "low",
  minor: "low",
  low: "low",
  moderate: "medium",
  medium: "medium",
  warning: "medium",
  major: "high",
  high: "high",
  error: "high",
  blocker: "critical",
  critical: "critical",
};

/** `1.0` is read as its text, so that documents of others come back unchanged; here it is a number. */
function plainNumber(given: unknown): unknown {
  return given instanceof NumberText ? Number(given) : given;
}

const Said = z.object({
  path: z.string().max(1_024).default(""),
  line: z.preprocess(plainNumber, z.int().min(1).nullish()).catch(null),
  kind: z.string().trim().max(64).default(""),
  severity: Severity,
  confidence: z.preprocess(plainNumber, z.number().min(0).max(1)).catch(0.5),
  text: z
    .string()
    .trim()
    .min(1)
    .max(16 * 1024),
});

const Answer = z.object({
  summary: z
    .string()
    .trim()
    .max(16 * 1024)
    .catch("")
    .default(""),
  findings: z.array(Said),
});

/**
 * Reads an answer. A finding about a file that the change does not touch says so and counts all the same: what is missing
 * may be missing there. Where it is not the change's fault, a person lets it pass.
 */
export function parseReview(
  text: string,
  { role, changed }: { role: RoleReview["role"]; changed: ReadonlySet<string> },
): ReviewAnswer {
  const trimmed = text.trim();
  if (trimmed === "") return refused("it said nothing");
  if (trimmed.length > ANSWER_CHARACTERS_MAX)
    return refused(`it is longer than ${ANSWER_CHARACTERS_MAX} characters`);
  const found = objectIn(trimmed, "findings");
  if (!found) return refused("it holds no JSON object with findings");
  const count = Array.isArray(found["findings"]) ? found["findings"].length : 0;
  if (count > FINDINGS_MAX)
    return refused(`it has ${count} findings where at most ${FINDINGS_MAX} are taken`);
  const read = Answer.safeParse(found);
  if (!read.success) {
    const [issue] = read.error.issues;
    const where = issue?.path.map(String).join(".") ?? "";
    return refused(`${where === "" ? "it" : where} is not as asked: ${issue?.message ?? "no reason"}`);
  }
  const findings = read.data.findings.map((said) => findingOf(said, role, changed));
  const unique = new Map(findings.map((one) => [one.id, one]));
  return { ok: true, summary: cut(read.data.summary), findings: [...unique.values()] };
}

function findingOf(
  said: z.infer<typeof Said>,
  role: RoleReview["role"],
  changed: ReadonlySet<string>,
): ReviewFinding {
  const path = said.path.trim().replace(/^(?:\.\/)+/, "");
  // A word: what else stands there (a token that a pattern does not know by its neighbours, say) is for the text.
  const word = said.kind.replaceAll(/[^A-Za-z0-9_-]+/g, "-").replaceAll(/^-+|-+$/g, "");
  const kind = /^[A-Za-z]+(?:[-_][A-Za-z]+){0,4}$/.test(word) && word.length <= 40 ? word : "remark";
  const text = cut(said.text);
  return {
    // Reviewers word the same thing anew each time; white space and case at least are no difference.
    id: findingId(`${role}/${kind}`, path, text.toLowerCase().replaceAll(/\s+/g, " ")),
    path,
    line: said.line ?? null,
    kind,
    severity: said.severity,
    confidence: said.confidence,
    text: changed.has(path) ? text : `${text} (not in the change)`,
    reviewer: role,
  };
}

function cut(text: string): string {
  return text.length <= TEXT_CHARACTERS_MAX ? text : `${text.slice(0, TEXT_CHARACTERS_MAX)}…`;
}

function refused(because: string): ReviewAnswer {
  return { ok: false, because };
}
