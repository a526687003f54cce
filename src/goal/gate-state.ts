/** How the gates and the review of a goal stand on its present result. Pure. */
import type { Work } from "../format/work.ts";
import { areGreen } from "../gate/state.ts";

/** How the gates stand on the present result. A required gate must have passed; skipped ones do not count as gates. */
export function gatesState(work: Work): "not_run" | "red" | "green" {
  const { gates, result } = work;
  if (!gates || gates.tree !== (result?.tree ?? gates.tree)) return "not_run";
  return areGreen(gates.results) ? "green" : "red";
}

/** A review judges one tree and one run of its gates; after another run it says nothing. */
export function isReviewed(work: Work): boolean {
  const { review, gates } = work;
  if (!review || review.tree !== (work.result?.tree ?? work.base?.tree)) return false;
  return review.gates_run === undefined || review.gates_run === (gates?.run ?? null);
}
