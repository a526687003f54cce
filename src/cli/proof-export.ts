/** `omk proof export`: the proof of a goal for others, who need git and ssh-keygen to check it and nothing of omk. */
import { join, resolve } from "node:path";

import { findGoalFolder } from "../goal/find.ts";
import { exportProof, SIGNATURE_NAMESPACE, type Exported } from "../goal/export-proof.ts";
import type { App } from "./app.ts";
import { goalPorts } from "./runtime.ts";

/** What commander gives for `export`. */
export interface ExportFlags {
  sign?: string;
  out?: string;
  bundle: boolean;
  json: boolean;
}

/** Writes the export; exit status 0 when it is complete. */
export async function proofExport(app: App, wanted: string, flags: ExportFlags): Promise<void> {
  app.listen();
  const goal = findGoalFolder(app.root(), wanted, app.world);
  const cwd = app.io.cwd();
  const agentSocket = app.io.env["SSH_AUTH_SOCK"];
  const request = {
    // In the goal's folder nothing gets into the user's project.
    out: flags.out === undefined ? join(goal.folder, "export") : resolve(cwd, flags.out),
    ...(flags.sign !== undefined && { key: resolve(cwd, flags.sign) }),
    ...(agentSocket !== undefined && { agentSocket }),
    bundle: flags.bundle,
  };
  const exported = await exportProof(goal, request, await goalPorts(app), app.signal);
  app.output.result(exported, render, flags.json);
}

function render(exported: Exported): string {
  return [
    `Exported the proof of ${exported.goal_id} (${exported.status}) to ${exported.folder}`,
    `Result tree:   ${exported.tree}`,
    `Result commit: ${exported.commit}`,
    ...exported.files.map((name) => `  ${name}`),
    exported.signed
      ? `Signed for the namespace ${SIGNATURE_NAMESPACE}. Give others the folder, and your public key by another way.`
      : "Not signed: with --sign <ssh key> others can tell who states this.",
    "How to check it: how-to-check.md in that folder.",
  ].join("\n");
}
