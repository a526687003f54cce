/** What the findings of a review lead to: which block, which a person let pass, which go back to the agent. Pure. */
import { createHash } from "node:crypto";

import { printable } from "../format/printable.ts";
import type { ReviewArtifact, ReviewFinding } from "../format/proof.ts";
import type { Waiver, Work } from "../format/work.ts";

/** Work that a review leads to; its task is named after the kind. */
export interface ReviewTask {
  kind: "security-cleanup" | "refactor" | "cleanup";
  findings: ReviewFinding[];
}

/** Up to this much haste is advice. */
const SLOP_CONFIDENCE_MAX = 0.5;

/** Kinds that only a person can judge: something was not seen, or not said, so there is nothing to tell an agent. */
const FOR_PEOPLE: ReadonlySet<string> = new Set(["oversized_file", "no_usable_answer"]);

/** The kind of the finding that there are more than are listed: nobody can let pass what nobody has seen. */
export const MORE_FOUND = "more_found";

/** An id that the same finding gets again. `essence` tells findings of one kind in one file apart, and is no secret. */
export function findingId(kind: string, path: string, essence: string): string {
  return createHash("sha256").update(`${kind}\0${path}\0${essence}`).digest("hex").slice(0, 12);
}

/**
 * What findings of the anti-slop section amount to: weights by file, each kind once in a file. `all` are those from before
 * some were waived: a waiver takes away weight, not files, or it could make the rest look worse.
 */
export function slopConfidence(
  findings: readonly ReviewFinding[],
  all: readonly ReviewFinding[] = findings,
): number {
  const weights = new Map<string, number>();
  for (const { path, kind, confidence } of findings) {
    const key = `${path}\0${kind}`;
    weights.set(key, Math.max(weights.get(key) ?? 0, confidence));
  }
  const files = new Set(all.map(({ path }) => path)).size;
  if (files === 0 || findings.length === 0) return 0;
  const values = [...weights.values()];
  const average = values.reduce((sum, one) => sum + one, 0) / files;
  // What is certain by itself is not thinned by trifles elsewhere. Rounded: sums of tenths are not exact.
  return Math.min(1, Math.round(Math.max(average, ...values) * 1_000) / 1_000);
}

/** The findings of a section that block it. */
export function blockingFindings(
  { pass, findings = [] }: Pick<ReviewArtifact, "pass" | "findings">,
  waivers: readonly Waiver[],
): ReviewFinding[] {
  const waived = waivedIds(waivers);
  const left = findings.filter(({ id, kind }) => kind === MORE_FOUND || !waived.has(id));
  if (pass !== "anti-slop") return left.filter(({ severity }) => severity !== "low");
  return slopConfidence(left, findings) > SLOP_CONFIDENCE_MAX ? left : [];
}

/** The findings of a section that a person may let pass. */
export function waivableFindings({ findings = [] }: Pick<ReviewArtifact, "findings">): ReviewFinding[] {
  return findings.filter(({ kind }) => kind !== MORE_FOUND);
}

/** The sections of the present review as they stand after what people let pass since. */
export function standingSections({ review, waivers }: Pick<Work, "review" | "waivers">): ReviewArtifact[] {
  const holding = holdingWaivers(waivers, review?.tree);
  return (review?.sections ?? []).map((section) => withWaivers(section, holding));
}

/** The waivers that hold for a result: each was given for what a person had looked at. */
export function holdingWaivers(waivers: readonly Waiver[], tree: string | undefined): Waiver[] {
  return waivers.filter((one) => one.tree === undefined || one.tree === tree);
}

/** A section that only waived findings block is passed, and says who let it pass and why. */
export function withWaivers(section: ReviewArtifact, waivers: readonly Waiver[]): ReviewArtifact {
  const ids = new Set(waivableFindings(section).map(({ id }) => id));
  const waived = waivers
    .filter(({ kind, what }) => kind === "finding" && ids.has(what))
    .map(({ what, reason }) => ({ finding: what, reason }));
  if (waived.length === 0) return section;
  const isFree = section.blocked_by === "findings" && blockingFindings(section, waivers).length === 0;
  if (section.status !== "blocked" || !isFree) return { ...section, waived };
  const { blocked_by: _, fixable: __, ...rest } = section;
  return {
    ...rest,
    status: "passed",
    summary: `${section.pass}: what was found was let pass by a person`,
    known_gaps: [],
    recommended_next_step: "Nothing; the reasons are in the proof.",
    waived,
  };
}

/** What goes back to an agent: findings that block the present review, that an agent can mend and nobody let pass. */
export function reviewTasks(work: Pick<Work, "review" | "waivers">): ReviewTask[] {
  const tasks: Record<ReviewTask["kind"], ReviewFinding[]> = {
    "security-cleanup": [],
    refactor: [],
    cleanup: [],
  };
  for (const section of standingSections(work)) {
    if (section.status !== "blocked") continue;
    for (const finding of blockingFindings(section, work.waivers)) {
      if (FOR_PEOPLE.has(finding.kind)) continue;
      const isAgents = finding["reviewer"] !== undefined;
      const kind = isAgents ? "cleanup" : section.pass === "anti-slop" ? "refactor" : "security-cleanup";
      tasks[kind].push(finding);
    }
  }
  return (["security-cleanup", "refactor", "cleanup"] as const)
    .map((kind) => ({ kind, findings: tasks[kind] }))
    .filter(({ findings }) => findings.length > 0);
}

/** Where and what, on one line, whatever the file is called. */
export function describeFinding({ path, line, kind, text }: ReviewFinding): string {
  const said = `${kind}: ${printable(text.replaceAll(/\s*\n\s*/g, " "), { oneLine: true })}`;
  if (path === "") return said;
  const where = printable(path, { oneLine: true });
  return `${line === null ? where : `${where}:${line}`}: ${said}`;
}

const ASKS: Readonly<Record<ReviewTask["kind"], string>> = {
  "security-cleanup":
    "The change holds what must not be in a repository. Take each of these out, and read secrets from the environment or " +
    "a file outside the project instead. Do not only hide or encode them.",
  refactor: "The change shows signs of haste. Mend each of these; do not take tests or checks away for it.",
  cleanup:
    "A reviewer found these. Mend each; where one is wrong, say why in your last message and leave the code.",
};

/** Longer lists say how many more there are. */
const LISTED_MAX = 50;

/** What an agent is told about one such task. Descriptions of findings never hold a secret's value. */
export function reviewFeedback({ kind, findings }: ReviewTask): string {
  const more = findings.length - LISTED_MAX;
  return [
    ASKS[kind],
    ...findings.slice(0, LISTED_MAX).map((one) => `- ${describeFinding(one)}`),
    ...(more > 0 ? [`- and ${more} more`] : []),
  ].join("\n");
}

function waivedIds(waivers: readonly Waiver[]): Set<string> {
  return new Set(waivers.filter(({ kind }) => kind === "finding").map(({ what }) => what));
}
