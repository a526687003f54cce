/** What a person lets pass when accepting: changed files, findings of the review, and gates found in the result. */
import { OmkError } from "../errors.ts";
import { printable } from "../format/printable.ts";
import type { Waiver } from "../format/work.ts";
import { gatesToApprove } from "./candidates.ts";
import type { OpenGoal } from "./open.ts";
import { waivableFindings } from "./review-findings.ts";

/** What is asked to be let pass. */
export interface WantedWaivers {
  /** Changed files, as the proof names them. */
  changes?: readonly string[];
  /** Ids of findings. */
  findings?: readonly string[];
  /** The gates that were found in the result. */
  gates?: boolean;
  /** Why. */
  reason?: string;
}

/** Something to be let pass, without the time; an empty reason stands for that of the acceptance. */
export interface WantedWaiver {
  kind: Waiver["kind"];
  what: string;
  /** The result it was looked at in. */
  tree?: string;
  reason: string;
}

/** What a goal holds of which a person may let something pass. */
type Judged = Pick<OpenGoal, "goal" | "work">;

/**
 * The waivers for what is asked, without their time. `usage.invalid`, with what there is, for a file, a finding or gates
 * that nothing is waiting for: a waiver of something that was never found would be taken for knowledge.
 */
export function wantedWaivers(
  open: Judged,
  { changes = [], findings = [], gates = false, reason = "" }: WantedWaivers,
): WantedWaiver[] {
  const why = reason.trim();
  if ((changes.length > 0 || findings.length > 0) && why === "") {
    throw new OmkError("usage.invalid", "--allow-change and --waive need a reason.", {
      hint: 'Say why it may pass: --reason "<why>". It stands in the proof.',
    });
  }
  const waived: WantedWaiver[] = [];
  const known = waivableChanges(open);
  const tree = open.work.result?.tree ?? open.work.base?.tree;
  const seen = tree === undefined ? {} : { tree };
  for (const path of new Set(changes)) {
    refuseUnknown("--allow-change", path, known, "files that the proof asks about");
    waived.push({ kind: "change", what: path, ...seen, reason: why });
  }
  const ids = (open.work.review?.sections ?? []).flatMap(waivableFindings);
  for (const id of new Set(findings)) {
    const listed = ids.map((one) => one.id);
    refuseUnknown("--waive", id, listed, "findings of the review");
    waived.push({ kind: "finding", what: id, ...seen, reason: why });
  }
  if (gates) {
    const digests = gatesToApprove(open.goal, open.work);
    if (digests.length === 0) {
      throw new OmkError("usage.invalid", "--approve-gates: no gates of this goal wait for approval.", {
        hint: "Gates wait when they were found in the result, or when the change defines them in another way.",
      });
    }
    for (const what of digests) waived.push({ kind: "gates", what, ...seen, reason: why });
  }
  return waived;
}

/** Files that a person may allow: outside the write sets, or such that decide how gates judge. */
function waivableChanges({ work }: Judged): string[] {
  const inputs = work.gates?.protected_inputs ?? [];
  const paths = [
    ...work.outside_write_sets,
    ...(work.gates?.base_copies?.files ?? []),
    ...inputs.map(({ path }) => path),
  ];
  return [...new Set(paths)];
}

/** How many of those there are an error lists. */
const LISTED_MAX = 20;

function refuseUnknown(flag: string, wanted: string, known: readonly string[], what: string): void {
  if (known.includes(wanted)) return;
  const more = known.length - LISTED_MAX;
  const listed = known.slice(0, LISTED_MAX).map((one) => printable(one, { oneLine: true }));
  throw new OmkError("usage.invalid", `${flag} ${wanted}: it is not among the ${what}.`, {
    hint:
      known.length === 0
        ? "There are none: nothing has to be let pass."
        : `There are: ${listed.join(", ")}${more > 0 ? `, and ${more} more` : ""}.`,
  });
}
