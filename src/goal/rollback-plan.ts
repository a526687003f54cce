/** What to do about a rejected result, as commands that work as they stand. Pure. */
import { printable } from "../format/printable.ts";
import type { Work } from "../format/work.ts";

/** Long lists are cut; the proof has all of it. */
const LISTED_MAX = 500;

/** The plan as Markdown; the same for the same goal. */
export function rollbackPlan(id: string, reason: string, { base, result, undo }: Work): string {
  const files = result?.changed_files ?? [];
  const more = files.length - LISTED_MAX;
  return [
    "# Rollback of a rejected result",
    "",
    `- Goal: ${id}`,
    `- Reason: ${printable(reason, { oneLine: true })}`,
    `- Base tree: \`${base?.tree ?? "not recorded"}\``,
    `- Result tree: \`${result?.tree ?? "not recorded"}\``,
    "",
    "## Scope",
    "",
    ...(files.length === 0 ? ["No changed file is recorded."] : []),
    ...files
      .slice(0, LISTED_MAX)
      .map(({ path, kind }) => `- \`${printable(path, { oneLine: true })}\` (${kind})`),
    ...(more > 0 ? [`- and ${more} more, in proof.json`] : []),
    "",
    "## Recovery Steps",
    "",
    "omk reverts nothing by itself: the change is still in the project, and both trees are kept in git under",
    `\`refs/omk/rescue/${id}/\`. The records of this goal stay as they are, for whoever wants to know what happened.`,
    "",
    ...steps(id, undo),
    "",
  ].join("\n");
}

function steps(id: string, undo: string | undefined): string[] {
  if (undo === undefined) {
    return ["1. Nothing was changed, so there is nothing to take back.", ...another(2, id)];
  }
  return [
    "1. See whether the change can be taken back as it is. In the project directory, without changing anything:",
    "",
    `       ${undo} --check`,
    "",
    "   Where it names files that do not match, they were changed since: save those changes first.",
    "2. Take it back:",
    "",
    `       ${undo}`,
    "",
    "   The same command with ` -R` at its end brings the change back.",
    ...another(3, id),
  ];
}

function another(number: number, id: string): string[] {
  return [
    `${number}. Another try, which the agent begins with the reason above: \`omk goal resume ${id} --until-ready\`. Or run`,
    `   the gates and the review on what lies there now: \`omk goal verify ${id}\`, \`omk goal review ${id}\`.`,
  ];
}
