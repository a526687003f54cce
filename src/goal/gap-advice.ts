/** What to do about a gap, in one sentence with a command to copy: by its code, for the proof that people read. Pure. */
import type { Proof } from "../format/proof.ts";
import type { GapCode } from "./verdict.ts";

const GO_ON = (id: string): string => `let the agent go on: \`omk goal resume ${id} --until-ready\``;

const LOOK = (id: string): string => `\`omk rescue show ${id}/result --patch\``;

const ADVICE: Readonly<Record<GapCode, (id: string) => string>> = {
  agent_not_executed: GO_ON,
  tasks_open: GO_ON,
  no_claim_without_evidence: GO_ON,
  review_missing: (id) => `go through the review wall: \`omk goal review ${id}\``,
  security_review_missing: (id) => `go through the review wall: \`omk goal review ${id}\``,
  review_blocked: (id) =>
    `mend what was found, or let a finding pass by its id: \`omk goal accept ${id} --summary "<why>" --waive <finding> --reason "<why>"\``,
  gates_not_rerun: (id) => `run the gates: \`omk goal verify ${id}\``,
  nothing_changed: GO_ON,
  no_gates: (id) =>
    `say how the project is tested: \`omk goal verify ${id} --gate 'tests=<your test command>'\``,
  gates_not_run: (id) => `run the gates: \`omk goal verify ${id}\``,
  gates_red: (id) => `read the log of the red gate (\`output_path\` in proof.json), then ${GO_ON(id)}`,
  gates_unapproved: (id) =>
    `look at the gates, then approve them: \`omk goal accept ${id} --summary "<why>" --approve-gates\``,
  clean_checkout_red: (id) =>
    `something the gates need lies only in the project directory: commit it or say how to set it up (\`[setup]\` in .omk/gates.toml), then \`omk goal verify ${id}\``,
  part_unchanged: (id) =>
    `see whether these parts had anything to do (${LOOK(id)}); if the result holds all the same, accept it: \`omk goal accept ${id} --summary "<why>"\``,
  clean_checkout_lost: (id) =>
    `see why in the proof (\`clean_checkout\`); if the result holds all the same, accept it: \`omk goal accept ${id} --summary "<why>"\``,
  linked_changed: (id) =>
    `see what was changed and put it back (install anew); then have the gates run again, \`omk goal verify ${id}\`, and if the result holds, accept it: \`omk goal accept ${id} --summary "<why>"\`. A [setup] in .omk/gates.toml gives each folder its own`,
  environment_points_back: (id) =>
    `see whether the gates judge the result all the same; if so, accept it: \`omk goal accept ${id} --summary "<why>"\`. A [setup] in .omk/gates.toml that installs anew in each folder avoids it`,
  slice_conflict: (id) =>
    `see what they have in each other's way in artifacts/integration, then give it fresh attempts: \`omk goal resume ${id} --until-ready\`, or accept the others: \`omk goal accept ${id} --summary "<why>" --slice <task>\``,
  not_delivered: (id) => `bring it where the goal's policy wants it: \`omk goal resume ${id} --until-ready\``,
  write_set_violated: (id) =>
    `look at these files (${LOOK(id)}), then allow each: \`omk goal accept ${id} --summary "<why>" --allow-change <path> --reason "<why>"\``,
  protected_input_changed: (id) =>
    `compare the changed tests with those of the base, then allow each: \`omk goal accept ${id} --summary "<why>" --allow-change <path> --reason "<why>"\``,
  base_copies_unusable: (id) =>
    `compare the changed tests with those of the base, then allow each: \`omk goal accept ${id} --summary "<why>" --allow-change <path> --reason "<why>"\``,
  result_changed: (id) => `check the files as they are now: \`omk goal verify ${id}\``,
  nested_repository: (id) =>
    `take the repository out of the project, or add its files themselves, then \`omk goal verify ${id}\``,
  oracle_missing: (id) =>
    `add a test that shows it, or vouch for it: \`omk goal accept ${id} --summary "<why>" --attest <check>="<how you know>"\``,
  acceptance_needed: (id) =>
    `look at the change (${LOOK(id)}), then accept it: \`omk goal accept ${id} --summary "<why>"\``,
  rejected: (id) => `take the change back (the rollback plan has the command), or ${GO_ON(id)}`,
};

/** What to do about a gap of this proof; undefined for codes that say how the goal stands and not what is missing. */
export function adviceFor(
  code: string,
  { goal_id: id, slices }: Pick<Proof, "goal_id" | "slices">,
): string | undefined {
  if (!Object.hasOwn(ADVICE, code)) return undefined;
  const advice = ADVICE[code as GapCode](id);
  if (code !== "tasks_open" || !slices?.some(({ landed }) => landed !== null)) return advice;
  return `${advice}, or accept what has landed: \`omk goal accept ${id} --summary "<why>" --slice <task>\``;
}
