/** The proof of a goal: everything a stranger needs to check the verdict, with every file named by its digest. */
import { join } from "node:path";

import { instantOf } from "../format/stamp.ts";
import { renderDocument } from "../format/json.ts";
import type { Proof } from "../format/proof.ts";
import { sha256 } from "../store/event-line.ts";
import { replaceFile } from "../store/files.ts";
import { UNHURRIED } from "../store/project-claim.ts";
import { buildProof, type Ending } from "./build-proof.ts";
import { factsOf } from "./facts.ts";
import { change, type GoalPorts, type OpenGoal } from "./open.ts";
import { proofMarkdown } from "./proof-markdown.ts";
import { decideVerdict, STATE_CONTROLLED, type Verdict } from "./verdict.ts";
import type { Workspace } from "./workspace.ts";

export type { Ending };

/** How a goal stands by its evidence, whatever its status says. */
function verdictOf(open: Pick<OpenGoal, "goal" | "work" | "graph">): Verdict {
  return decideVerdict(factsOf(open.goal, open.work, open.graph));
}

/**
 * Writes the proof and the goal's status in one event, then the files. The status is the given ending, or what the
 * evidence says; `running` where the work goes on at once. Trees stay in git under `refs/omk/rescue/`.
 */
export async function concludeGoal(
  open: OpenGoal,
  space: Workspace | undefined,
  ending: Ending | undefined,
  ports: GoalPorts,
  { goesOn = false }: { goesOn?: boolean } = {},
): Promise<Ending> {
  const verdict = verdictOf(open);
  const final: Ending = ending ?? { status: verdict.status, reasonCode: verdict.readinessCode };
  const at = ports.clock.now();
  const undo = space && (await keepTrees(open, space, at));
  const now = instantOf(at);
  const git = space && (await space.tree.evidence(UNHURRIED));
  const done = final.status === "ready" || final.status === "cancelled";
  // Nobody will ask again, so nobody need answer.
  if (done) await open.approvals.withdrawAll("the goal has ended");
  const { id, goal, graph, work, proof: before } = open;
  const { position } = open.journal;
  const approvals = open.approvals.records;
  const proven = { id, goal, graph, work, proof: before, approvals, position, git };
  const proof = ports.redactor.value(buildProof(proven, verdict, final, now)) as Proof;
  const markdown = proofMarkdown(proof);
  const failure = failureOf(open, final);
  await open.record({
    kind: "proof_written",
    actor: null,
    payload: {
      proof_path: join(open.folder, "proof.json"),
      status: final.status,
      reason_code: final.reasonCode,
      sha256: sha256(renderDocument(proof)),
      markdown_sha256: sha256(markdown),
    },
    changes: [
      ...(undo === undefined ? [] : [change("work.json", { undo })]),
      // Emptied first: the file's bytes are fixed by digest, so keys must stand in this proof's order.
      change("proof.json", {}, Object.keys(open.proof ?? {})),
      change("proof.json", proof),
      change(
        "goal.json",
        {
          // Whoever dies before the first step leaves an orphan that is seen as one.
          status: goesOn ? "running" : final.status,
          phase: "proof",
          reason_code: final.reasonCode,
          ...(done && { completed_at: now }),
          ...(failure !== undefined && { failure: { reason: failure, recorded_at: now } }),
        },
        [...(done ? [] : ["completed_at"]), ...(failure !== undefined ? [] : ["failure"])],
      ),
    ],
  });
  await open.journal.save();
  // Its digest is recorded, so a loss of power must not leave half of it.
  await replaceFile(join(open.folder, "proof.md"), markdown, ports);
  if (final.status === "cancelled" || final.status === "blocked_on_human") {
    await ports.disk.writeDerived(join(open.folder, "failure.json"), renderDocument(open.goal));
  }
  return final;
}

/** What went wrong, for statuses that evidence does not explain, and for a result that a person rejected. */
function failureOf({ work }: Pick<OpenGoal, "work">, final: Ending): string | undefined {
  if (STATE_CONTROLLED[final.status] !== undefined) return final.reason ?? "";
  return final.reasonCode === "rejected" ? work.acceptance?.summary : undefined;
}

/**
 * Keeps both trees in git and returns the command that takes the work back, if there is any. The work of slices is in
 * nobody's files: laying it over them says how to take it back.
 */
async function keepTrees(open: OpenGoal, space: Workspace, at: Date): Promise<string | undefined> {
  const { base, result } = open.work;
  const from = result && (await space.tree.keep(result.tree, { name: "result", at }, UNHURRIED));
  const to = base && (await space.tree.keep(base.tree, { name: "base", at }, UNHURRIED));
  if (open.work.slices) return undefined;
  return from && to && base.tree !== result.tree ? space.tree.undo(from, to) : undefined;
}
