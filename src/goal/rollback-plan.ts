/** What to do about a rejected result, as commands that work as they stand. Pure. */
import { parseDelivery } from "../delivery/metadata.ts";
import type { DeliveryWork } from "../format/delivery.ts";
import { printable } from "../format/printable.ts";
import { shellQuoted } from "../format/shell.ts";
import type { TaskGraph } from "../format/task-graph.ts";
import type { Work } from "../format/work.ts";
import { RESCUE_REFS } from "../git/kept.ts";

/** Long lists are cut; the proof has all of it. */
const LISTED_MAX = 500;
/** As much as this of an evidence file is shown. */
export const SHOWN_BYTES_MAX = 65_536;

/** What a plan is made from. */
export interface Rejected {
  id: string;
  reason: string;
  work: Work;
  graph: Pick<TaskGraph, "tasks">;
  /** omk's own git directory, where the project is in no repository. */
  gitDir?: string | undefined;
  /** Evidence of conflicts, by the path that a record names: its first bytes, or why there are none. */
  evidence: ReadonlyMap<string, EvidenceText>;
}

/** What there is to read of an evidence file. */
export type EvidenceText = { text: string; truncated: boolean } | { unreadable: string };

/** The plan as Markdown; the same for the same goal. */
export function rollbackPlan({ id, reason, work, graph, gitDir, evidence }: Rejected): string {
  const { base, result } = work;
  const files = result?.changed_files ?? [];
  const more = files.length - LISTED_MAX;
  return [
    "# Rollback of a rejected result",
    "",
    `- Goal: ${id}`,
    `- Reason: ${printable(reason, { oneLine: true })}`,
    `- Base tree: \`${base?.tree ?? "not recorded"}\``,
    `- Result tree: \`${result?.tree ?? "not recorded"}\``,
    ...(work.slices ? [`- Result commit: \`${work.slices.head}\``] : []),
    "",
    "## Scope",
    "",
    ...(files.length === 0 ? ["No changed file is recorded."] : []),
    ...files.slice(0, LISTED_MAX).map(({ path, kind }) => `- ${code(path)} (${kind})`),
    ...(more > 0 ? [`- and ${more} more, in proof.json`] : []),
    "",
    "## Recovery Steps",
    "",
    ...(work.slices ? ofSlices(id, work, gitDir) : inPlace(id, work)),
    "",
    ...conflictsIn(graph, work).flatMap((conflict) => conflictSection(conflict, evidence)),
  ].join("\n");
}

function inPlace(id: string, { undo }: Work): string[] {
  return [
    "omk reverts nothing by itself: the change is still in the project, and both trees are kept in git under",
    `\`${RESCUE_REFS}${id}/\`. The records of this goal stay as they are, for whoever wants to know what happened.`,
    "",
    ...numbered([
      ...(undo === undefined
        ? [["Nothing was changed, so there is nothing to take back."]]
        : takenBack("the change", undo)),
      another(id),
    ]),
  ];
}

/** Steps, each with its lines; a step's further lines are part of it. */
function numbered(steps: readonly (readonly string[])[]): string[] {
  return steps.flatMap(([first = "", ...more], at) => [
    `${at + 1}. ${first}`,
    ...more.map((line) => (line === "" ? "" : `   ${line}`)),
  ]);
}

/** A command on lines of its own. */
function command(line: string): string[] {
  return ["", `    ${line}`, ""];
}

/** The two steps that take a change out of the project directory. */
function takenBack(what: string, undo: string): string[][] {
  return [
    [
      `See whether ${what} can be taken back as it is. In the project directory, without changing anything:`,
      ...command(`${undo} --check`),
      "Where it names files that do not match, they were changed since: save those changes first.",
    ],
    ["Take it back:", ...command(undo), "The same command with ` -R` at its end brings the change back."],
  ];
}

function another(id: string): string[] {
  return [
    `Another try, which the agent begins with the reason above: \`omk goal resume ${id} --until-ready\`. Or run`,
    `the gates and the review on what lies there now: \`omk goal verify ${id}\`, \`omk goal review ${id}\`.`,
  ];
}

/** The work lies on branches: what there is of it outside omk's own folder can be named, and goes with a command each. */
function ofSlices(id: string, work: Work, gitDir: string | undefined): string[] {
  const outside = delivered(id, work, gitDir);
  return [
    "The slices were worked on in folders of their own, on branches of omk's private git directory. omk takes nothing",
    `back by itself. What each attempt left, the base and the result are kept under \`${RESCUE_REFS}${id}/\`:`,
    "`omk rescue list` shows them, `omk rescue restore` brings one back. The records of this goal stay as they are.",
    "",
    ...numbered([
      ...(outside.length === 0
        ? [["Nothing has left omk's own folder, so there is nothing to take back."]]
        : outside),
      another(id),
      // What is on the base branch cannot be left out.
      ...(work.delivery?.merge
        ? []
        : [
            [
              "Where only some slices are wrong, accept the others, each by its task:",
              `\`omk goal accept ${id} --summary "<why>" --slice <task>\`.`,
            ],
          ]),
    ]),
  ];
}

/** A step for each thing that delivery has left where others see it. */
function delivered(id: string, { delivery, undo }: Work, gitDir: string | undefined): string[][] {
  if (!delivery) return [];
  const { applied, pulls, merge, pushed, target, result } = delivery;
  const branch = result?.ref.replace(/^refs\/heads\//, "");
  return [
    ...(applied && undo !== undefined ? takenBack("what was laid over your files", undo) : []),
    ...pulls
      .filter(({ state }) => state === "open")
      .map((pull) => [`Close the pull request ${pullName(pull)}:`, ...command(closing(pull, target))]),
    ...(merge ? [reverted(id, merge, target)] : []),
    ...pushed.map((one) => [
      `Take the branch ${code(one.branch)} off the remote, once no pull request needs it:`,
      ...command(`git push ${shellQuoted(target?.url ?? "origin")} --delete ${shellQuoted(one.branch)}`),
    ]),
    ...(branch === undefined
      ? []
      : [
          [
            `Keep the branch ${code(branch)} for whoever wants to take something from it, or take it away:`,
            ...command(
              `git${gitDir === undefined ? "" : ` --git-dir=${shellQuoted(gitDir)}`} branch -D ${shellQuoted(branch)}`,
            ),
          ],
        ]),
  ];
}

/** On a branch of its own, from what the base branch is by now: the merge may be nowhere on this machine. */
function reverted(
  id: string,
  { commit, landed }: NonNullable<DeliveryWork["merge"]>,
  target: DeliveryWork["target"] | undefined,
): string[] {
  const branch = shellQuoted(`omk/rollback/${id}`);
  const url = shellQuoted(target?.url ?? "origin");
  const from = target === undefined ? "" : ` ${shellQuoted(target.base_branch)}`;
  const repository = target && shellQuoted(`${target.host}/${target.owner}/${target.name}`);
  const base = target && shellQuoted(target.base_branch);
  return [
    "The result was merged. Undo that on a branch of its own, by a pull request. In the project directory, with nothing",
    "uncommitted:",
    "",
    `    git fetch ${url}${from}`,
    `    git switch --no-track -c ${branch} FETCH_HEAD`,
    `    git revert --no-edit ${landed === "parent" ? "-m 1 " : ""}${commit}`,
    `    git push ${url} ${branch}`,
    `    gh pr create --fill --head ${branch}${base === undefined ? "" : ` --repo ${repository} --base ${base}`}`,
    "",
    "`git switch -` goes back to where you were.",
  ];
}

function pullName({ slice_id, url }: DeliveryWork["pulls"][number]): string {
  return `${printable(url, { oneLine: true })} (${slice_id === null ? "it brings the slices together" : code(slice_id)})`;
}

function closing(
  { number, url }: DeliveryWork["pulls"][number],
  target: DeliveryWork["target"] | undefined,
): string {
  if (!target) return `gh pr close ${shellQuoted(url)}`;
  const { host, owner, name } = target;
  return `gh pr close ${number} --repo ${shellQuoted(`${host}/${owner}/${name}`)}`;
}

/** A conflict that a record names. */
interface NamedConflict {
  slice: string;
  reason: string | undefined;
  path: string | undefined;
}

/** The conflicts that keep a slice out of the result, by slice: what delivery records say, and what is known of slices. */
export function conflictsIn(graph: Pick<TaskGraph, "tasks">, work: Pick<Work, "slices">): NamedConflict[] {
  const found = graph.tasks.flatMap(({ id, delivery }): NamedConflict[] => {
    const { fields } = parseDelivery(delivery ?? {});
    const known = work.slices?.slices.find(({ task_id }) => task_id === id)?.conflict;
    const path = fields.conflict_evidence_path ?? known?.evidence;
    const reason =
      fields.conflict_blocking_reason ?? (known && `${known.kinds.join(", ")}: ${known.files.join(", ")}`);
    if (path === undefined && reason === undefined) return [];
    return [{ slice: fields.slice_id ?? id, reason, path }];
  });
  return found.sort((a, b) => Buffer.compare(Buffer.from(a.slice), Buffer.from(b.slice)));
}

function conflictSection({ slice, reason, path }: NamedConflict, evidence: Rejected["evidence"]): string[] {
  const found = path === undefined ? undefined : (evidence.get(path) ?? { unreadable: "it is not there" });
  return [
    `## Conflict evidence — slice ${code(slice)}`,
    "",
    ...(reason === undefined ? [] : [`**Blocking reason:** ${printable(reason, { oneLine: true })}`, ""]),
    ...(path === undefined ? [] : [`**Evidence artifact:** ${code(path)}`, ""]),
    ...(found === undefined ? [] : [...shown(found), ""]),
  ];
}

function shown(found: EvidenceText): string[] {
  if ("unreadable" in found) return [`_(unreadable: ${printable(found.unreadable, { oneLine: true })})_`];
  const text = printable(found.text).replace(/\n$/, "");
  const cut = found.truncated ? [`...(truncated after ${SHOWN_BYTES_MAX} bytes)`] : [];
  const fence = fenceAround(text, 3);
  return [fence, ...text.split("\n"), ...cut, fence];
}

/** Text of others as code on one line. */
function code(text: string): string {
  const plain = printable(text, { oneLine: true });
  if (!plain.includes("`")) return `\`${plain}\``;
  const fence = fenceAround(plain, 1);
  return `${fence} ${plain} ${fence}`;
}

/** More backticks than stand side by side in a text. */
function fenceAround(text: string, atLeast: number): string {
  const runs = (text.match(/`+/g) ?? []).map((run) => run.length);
  return "`".repeat(Math.max(atLeast, ...runs.map((length) => length + 1)));
}
