/** Golden observations as a person asks for them: recorded on the base, compared with the files as they are, listed. */
import { join } from "node:path";

import { OmkError } from "../errors.ts";
import { GateSet } from "../format/gate.ts";
import { problemsOf } from "../format/problems.ts";
import { Work, type GoldenComparison, type GoldenObservation } from "../format/work.ts";
import { refuseOwnAgent } from "../store/ask-controller.ts";
import { ensureFolder } from "../store/files.ts";
import { foldFolder } from "../store/journal.ts";
import { findGoal } from "./find.ts";
import { recordBase, type GateSteps } from "./gate-steps.ts";
import {
  acceptDifference,
  checkGoldenRequest,
  compareAll,
  recordGolden,
  type GoldenRequest,
} from "./golden.ts";
import { unwantedMismatches } from "./golden-compare.ts";
import type { GoalPorts, OpenGoal } from "./open.ts";
import { concludeGoal } from "./proof.ts";
import { withGoal } from "./with-goal.ts";
import { openWorkspace, projectDirOf } from "./workspace.ts";

/** Records what a command does on the base. With `atBase` also when the project is no longer as it was then. */
export async function recordByHand(
  wanted: string,
  request: GoldenRequest & { atBase?: boolean },
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<{ id: string; observation: GoldenObservation; voidsReview: boolean }> {
  checkGoldenRequest(request, ports);
  return changeGolden(wanted, "goal golden record", ports, signal, async (open) => {
    const space = await openWorkspace(open, { command: "goal golden record" }, ports, signal);
    try {
      await layBase({ open, space, ports, signal }, request.atBase === true);
      const voidsReview = open.work.review !== null;
      const observation = await recordGolden(open, space, request, ports, signal);
      return { id: open.id, observation, voidsReview };
    } finally {
      await space.release();
    }
  });
}

/** Only what the program did before any work is worth comparing with. */
async function layBase(steps: GateSteps, atBase: boolean): Promise<void> {
  const { open, space, signal } = steps;
  const { base, baseline, attempts } = open.work;
  if (space.sliced) {
    // A commit stays as it is, whatever was done since.
    if (!base) await recordBase(steps);
    return space.sliced.show(open.work.slices?.base ?? "", signal);
  }
  if (base && (atBase || (await space.tree.snapshot(signal)) === base.tree)) return;
  // Nothing has been built on that base yet.
  if (!base || (attempts.length === 0 && !baseline)) return recordBase(steps);
  throw new OmkError(
    "goal.refused",
    `The project is no longer as it was when the work of goal ${open.id} began.`,
    {
      hint: "With --at-base the command is run on a copy of the files as they were then.",
    },
  );
}

/** Marks a difference as wanted, from now on. */
export async function acceptDifferenceByHand(
  wanted: string,
  given: { name: string; field: string; reason: string },
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<void> {
  const reason = ports.redactor.text(given.reason);
  await changeGolden(wanted, "goal golden compare", ports, signal, (open) =>
    acceptDifference(open, { ...given, reason }),
  );
}

/** Takes control for a change of the observations; what was concluded from others is concluded anew. */
async function changeGolden<T>(
  wanted: string,
  command: string,
  ports: GoalPorts,
  signal: AbortSignal,
  act: (open: OpenGoal) => Promise<T>,
): Promise<T> {
  const work = async (open: OpenGoal): Promise<T> => {
    const { status } = open.goal;
    if (status === "ready" || status === "cancelled")
      throw new OmkError(
        "goal.refused",
        `${command} is refused: goal ${open.id} is ${status}, which is final.`,
        {
          hint: `To work on it again: omk goal verify ${open.id} --again`,
        },
      );
    const reviewed = open.work.review !== null;
    const done = await act(open);
    if (reviewed && open.work.review === null && status === "not_ready")
      await concludeGoal(open, undefined, undefined, ports);
    return done;
  };
  const refuse = (folder: string) => refuseOwnAgent(folder, command, ports);
  return withGoal(wanted, command, ports, signal, work, { refuse });
}

/** What is known of a goal's observations, read without control over it. */
export function listGolden(
  wanted: string,
  ports: Pick<GoalPorts, "root" | "disk">,
): {
  id: string;
  folder: string;
  projectDir: string;
  observations: GoldenObservation[];
  setup: GateSet["setup"];
  /** Where the work has folders of its own: the tree of its result so far, or of its base. */
  result: string | undefined;
} {
  const { id, folder, record } = findGoal(ports.root, wanted, ports);
  const { documents } = foldFolder(folder, ports);
  const work = Work.partial().safeParse(documents.get("work.json") ?? {});
  if (!work.success)
    throw new OmkError(
      "state.damaged",
      `Goal ${id} has a work.json that this omk cannot read: ${problemsOf(work.error).join("; ")}.`,
      { hint: "Other goals are not affected." },
    );
  const gates = GateSet.safeParse(documents.get("goal.json")?.["gates"]);
  const setup = gates.success ? gates.data.setup : undefined;
  const { slices, result, base, golden: observations = [] } = work.data;
  const merged = slices && (result?.tree ?? base?.tree);
  return { id, folder, projectDir: projectDirOf(id, record), observations, setup, result: merged };
}

/** All observations against the files as they are. */
export interface ComparedGolden {
  id: string;
  tree: string;
  matches: boolean;
  results: GoldenComparison["results"];
}

/** Folders in which gates and agents of a goal see its files. */
function copiesOf(folder: string, { disk }: Pick<GoalPorts, "disk">): string[] {
  return ["checkout", "stage", "worktrees"].flatMap((name) => disk.realPath(join(folder, name)) ?? []);
}

/**
 * Compares the files as they are now, or the merged result of a goal whose work has folders of its own. Changes nothing of the goal and needs no control over it, so it can be a gate; as a
 * gate on a copy of the project it looks at that copy. `from` is where it was called.
 */
export async function compareByHand(
  wanted: string,
  from: string,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<ComparedGolden> {
  const { id, folder, projectDir, observations, setup, result } = listGolden(wanted, ports);
  if (observations.length === 0)
    throw new OmkError("goal.refused", `Goal ${id} has no observations to compare with.`, {
      hint: `Record one before the work begins: omk goal golden record ${id} --name help --cmd '<command>'`,
    });
  const here = ports.disk.realPath(from);
  const inCopy =
    here !== undefined && copiesOf(folder, ports).some((copies) => `${here}/`.startsWith(`${copies}/`));
  // Its controller may be at work with the goal's own git at the same time.
  const goalDir = join(folder, "checkout", `compare-${ports.random.name(12)}`);
  await ensureFolder(goalDir, ports);
  try {
    const tree = await ports.openWorkTree({ projectDir: inCopy ? here : projectDir, goalDir, goalId: id });
    const snapshot = (inCopy ? undefined : result) ?? (await tree.snapshot(signal));
    // Nobody's log names these processes: the child's own end takes them along.
    const place = { folder, tree, setup, record: () => Promise.resolve() };
    const results = await compareAll(place, observations, snapshot, ports, signal);
    return { id, tree: snapshot, matches: unwantedMismatches({ results }).length === 0, results };
  } finally {
    ports.disk.removeTree(goalDir);
  }
}
