/** `omk proof verify --rerun`: the gates of a proof once more. */
import { join } from "node:path";

import { OmkError } from "../errors.ts";
import { Proof } from "../format/proof.ts";
import { findGoalFolder } from "../goal/find.ts";
import { rerunGates, type Rerun } from "../goal/rerun.ts";
import { readDocument } from "../store/journal.ts";
import type { App } from "./app.ts";
import { goalPorts } from "./runtime.ts";
import { oneLine } from "./text.ts";

/** Repeats the gates of a goal whose proof has been verified. */
export async function repeatGates(app: App, id: string): Promise<Rerun> {
  app.listen();
  const { folder } = findGoalFolder(app.root(), id, app.world);
  const found = readDocument(join(folder, "proof.json"), app.world);
  const proof = found.state === "found" ? Proof.safeParse(found.record) : undefined;
  if (proof?.success !== true) {
    throw new OmkError("proof.missing", `The proof of goal ${id} cannot be read.`, {
      hint: `Make it anew: omk goal verify ${id}`,
    });
  }
  return rerunGates({ folder, id }, proof.data, await goalPorts(app), app.signal);
}

/** What repeating them showed, one line for each gate. */
export function renderRerun({ tree, gates, notes, valid }: Rerun): string {
  const rows = gates.map((gate) => {
    const where = gate.where === "with_ignored" ? ", with ignored files copied in" : "";
    if (gate.same) return `  ${oneLine(gate.name)}: ${gate.now}, as recorded${where}`;
    return `  ${oneLine(gate.name)}: ${gate.now}, but ${gate.recorded ?? "nothing"} was recorded${where}`;
  });
  return [
    `Gates on a clean checkout of ${tree}: ${valid ? "as recorded" : "NOT as recorded"}`,
    ...rows,
    ...notes.map((note) => `  note: ${oneLine(note)}`),
  ].join("\n");
}
