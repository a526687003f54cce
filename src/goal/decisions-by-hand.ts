/** What a person decides about a result: accept, or reject. */
import { OmkError } from "../errors.ts";
import { refuseOwnAgent } from "../store/ask-controller.ts";
import { assureNone } from "../store/verify.ts";
import { acceptGoal, rejectGoal, type Acceptance } from "./accept.ts";
import { recordDrift } from "./drift.ts";
import { kindOf, REQUIRED_CHECKS } from "./intake.ts";
import type { OpenGoal } from "./open.ts";
import { type GoalPorts } from "./open.ts";
import { concludeGoal, type Ending } from "./proof.ts";
import { verifyProof } from "./verify-proof.ts";
import { wantedWaivers, type WantedWaivers } from "./waivers.ts";
import { withGoal, withWorkspace, refused, type Outcome } from "./with-goal.ts";

/** A person accepts the present result; it becomes ready when all evidence is there. */
export async function acceptByHand(
  wanted: string,
  { pass = {}, ...acceptance }: Pick<Acceptance, "summary" | "attested"> & { pass?: WantedWaivers },
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Outcome> {
  return decideByHand(wanted, "goal accept", ports, signal, async (open) => {
    refuseOwnAgent(open.folder, "goal accept", ports);
    checkAttested(open, acceptance.attested);
    const waivers = wantedWaivers(open, pass);
    // A yes is to what was checked: the records must be whole, and the files as they were.
    if (open.proof) assureNone(open.id, verifyProof(open.folder, open.id, ports).faults);
    return withWorkspace(open, "goal accept", ports, signal, async (space) => {
      await recordDrift(open, space, signal);
      await acceptGoal(open, { ...acceptance, waivers, by: "omk-cli" }, ports);
      return concludeGoal(open, space, undefined, ports);
    });
  });
}

/** Only checks that the goal has can be vouched for. */
function checkAttested(open: OpenGoal, attested: Readonly<Record<string, string>>): void {
  const checks = REQUIRED_CHECKS[kindOf(open.goal)];
  const unknown = Object.keys(attested).find((name) => !checks.includes(name));
  if (unknown === undefined) return;
  throw new OmkError("usage.invalid", `This goal has no check called ${unknown}.`, {
    hint: `Its checks are: ${checks.join(", ")}.`,
  });
}

/** A person rejects the present result, with a reason. */
export async function rejectByHand(
  wanted: string,
  reason: string,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Outcome> {
  return decideByHand(wanted, "goal reject", ports, signal, async (open) => {
    await rejectGoal(open, reason, ports);
    return concludeGoal(open, undefined, undefined, ports);
  });
}

async function decideByHand(
  wanted: string,
  command: string,
  ports: GoalPorts,
  signal: AbortSignal,
  decide: (open: OpenGoal) => Promise<Ending>,
): Promise<Outcome> {
  return withGoal(wanted, command, ports, signal, async (open) => {
    const { status } = open.goal;
    if (status === "paused" || status === "blocked_on_human" || status === "cancelled") {
      throw refused(open.id, command, status, `Run \`omk goal show ${open.id}\` to see what it waits for.`);
    }
    const ending = await decide(open);
    return { open, ending, achieved: ending.status === "ready" };
  });
}
