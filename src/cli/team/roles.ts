/** `omk team roles`: the built-in roles and the project's own. */
import { resolve } from "node:path";

import { rolesOf } from "../../team/roles.ts";
import type { App } from "../app.ts";
import { oneLine } from "../text.ts";

/** Lists the roles; a file that is none is named on stderr and hides no other. */
export function teamRolesCommand(app: App, flags: { dir: string; json: boolean }): void {
  const projectDir = resolve(app.io.cwd(), flags.dir);
  const { roles, warnings } = rolesOf(projectDir, app.world);
  for (const warning of warnings) app.output.story(warning);
  const records = roles.map(({ pack, source }) => ({
    id: pack.id,
    name: pack.name,
    description: pack.description,
    system_prompt: pack.systemPrompt,
    tools: pack.tools,
    default_skills: pack.defaultSkills,
    suggested_worker_count: pack.suggestedWorkerCount,
    source,
  }));
  const rows = roles.map(({ pack, source }) => {
    const count = String(pack.suggestedWorkerCount).padEnd(2);
    const whose = source === "project" ? " (project)" : "";
    return `${pack.id.padEnd(12)} ${count} ${oneLine(pack.description)}${whose}`;
  });
  app.output.result(records, () => ["Role Packs", "─".repeat(40), ...rows].join("\n"), flags.json);
}
