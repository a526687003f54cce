/** Which gates a goal has: its own, those of the result that a person approved, or else what the result suggests. */
import { OmkError } from "../errors.ts";
import type { GateDefinition, GateSet } from "../format/gate.ts";
import type { Goal } from "../format/goal.ts";
import type { ChangedDefinition } from "../format/proof.ts";
import type { Work } from "../format/work.ts";
import {
  candidateSet,
  changedDefinitions,
  loadGates,
  NO_GATES,
  refuseSecrets,
  withDefinitions,
  withoutFlags,
} from "../gate/definitions.ts";
import type { GateSteps } from "./gate-steps.ts";
import { change } from "./open.ts";
import { holdingWaivers } from "./review-findings.ts";

/** The gates that hold for a goal now. */
export function gateSet(goal: Goal, work: Work): GateSet {
  const own = goal.gates ?? NO_GATES;
  const { changed_gates, candidate_gates } = work;
  if (changed_gates && isApproved(work, changed_gates.digest)) return changed_gates;
  return own.definitions.some((gate) => !gate.skip) ? own : (candidate_gates ?? own);
}

/** The definitions of the gates that hold for a goal now. */
export function gateDefinitions(goal: Goal, work: Work): readonly GateDefinition[] {
  return gateSet(goal, work).definitions;
}

/** Digests of gates of the result that a person may approve: its candidates, or its changed definitions. */
export function gatesToApprove(goal: Goal, work: Work): string[] {
  const found = [areUnapproved(goal, work) ? work.candidate_gates : undefined, work.changed_gates];
  return found.flatMap((set) => (set && !isApproved(work, set.digest) ? [set.digest] : []));
}

/** Whether the goal is judged by gates that were found in its result and that no person has approved. */
export function areUnapproved(goal: Goal, work: Work): boolean {
  const set = gateSet(goal, work);
  return set.definitions.some(({ source }) => source === "candidate") && !isApproved(work, set.digest);
}

/** Whether the goal has no gates of its own and nobody has looked for some in the present result. */
export function needsCandidates(goal: Goal, work: Work): boolean {
  if ((goal.gates?.definitions ?? []).some((gate) => !gate.skip)) return false;
  return work.candidate_gates?.tree !== work.result?.tree;
}

/** Looks for gates in what the work left, where there were none before it; an empty list is recorded, too. */
export async function findCandidateGates({ open, space, ports, signal }: GateSteps): Promise<void> {
  // Named by the recorded result, also where another hand is at work: the run of the gates settles what is there then.
  const tree = open.work.result?.tree ?? (await space.tree.snapshot(signal));
  const found = candidateSet(suggested(space.tree.root, ports));
  const names = found.definitions.map(({ name }) => name);
  ports.tell(
    names.length === 0
      ? "gates: the result suggests none"
      : `gates: the result suggests ${names.join(", ")}; they count when a person approves them (omk goal accept ${open.id} --approve-gates)`,
  );
  await open.record({
    kind: "gates_defined",
    actor: "goal-controller",
    payload: { name: names, digest: found.digest, source: "candidate" },
    changes: [change("work.json", { candidate_gates: { ...found, tree } })],
  });
}

/** What the result would give as gates, where that differs from what the goal was made with. */
export function changedGates(
  { open, space, ports }: Pick<GateSteps, "open" | "space" | "ports">,
  tree: string,
): NonNullable<Work["changed_gates"]> | undefined {
  const { goal, work } = open;
  const own = goal.gates ?? NO_GATES;
  // Candidates are of the result anyway.
  if (!own.definitions.some((gate) => !gate.skip) || work.base?.tree === tree) return undefined;
  const now = suggested(space.tree.root, ports);
  // Slices cannot change it: where only the user's own folder has it, since it was never committed, that is no change.
  if (space.sliced && own.source === "config" && now.source !== "config") return undefined;
  const changes: ChangedDefinition[] = changedDefinitions(withoutFlags(own), now);
  if (changes.length === 0) return undefined;
  const flags = own.definitions.filter(({ source }) => source === "flag");
  const kept = now.definitions.filter(({ name }) => !flags.some((flag) => flag.name === name));
  return { ...withDefinitions(now, [...kept, ...flags]), tree, changes };
}

/** The gates of the project as it lies there; a file that cannot be understood, or holds a secret, gives none. */
function suggested(projectDir: string, ports: GateSteps["ports"]): GateSet {
  try {
    const set = loadGates({ projectDir, flags: [] }, ports);
    refuseSecrets(set, ports.redactor);
    return set;
  } catch (error) {
    if (!(error instanceof OmkError) || error.code !== "gates.invalid") throw error;
    // The result's own file: what is wrong with it is for the person who reads the story, and no reason to stop.
    ports.tell(`gates: ${error.message}`);
    return NO_GATES;
  }
}

/** What the gates run may change with the result, so an approval holds for the one it was given for. */
function isApproved(
  { waivers, result, base }: Pick<Work, "waivers" | "result" | "base">,
  digest: string,
): boolean {
  const given = (waivers as Work["waivers"] | undefined) ?? [];
  return holdingWaivers(given, result?.tree ?? base?.tree).some(
    ({ kind, what }) => kind === "gates" && what === digest,
  );
}
