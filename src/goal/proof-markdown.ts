/** The proof for people: the same facts as in `proof.json`, in the order in which one asks for them. Pure. */
import { printable } from "../format/printable.ts";
import type { Proof } from "../format/proof.ts";
import { adviceFor } from "./gap-advice.ts";
import { deliverySteps, sliceText, type PresentResult } from "./slice-view.ts";

/** A list this long is cut, with how much is left; `proof.json` has all of it. */
const LISTED_MAX = 200;

/** Renders a proof. Names and texts come from agents and files: none of them can add a line or a heading. */
export function proofMarkdown(proof: Proof): string {
  return [
    `# Goal Proof ${line(proof.goal_id)}`,
    "",
    line(proof.summary),
    "",
    `- Status: ${code(proof.status)}`,
    ...(proof.reason_code === undefined ? [] : [`- Reason: ${code(proof.reason_code)}`]),
    `- Readiness: ${line(proof.readiness)}`,
    `- Made: ${proof.generated_at}, by omk ${line(proof.omk_version ?? "of an earlier version")}`,
    `- Tasks: ${proof.task_graph_summary.done_tasks}/${proof.task_graph_summary.total_tasks} done`,
    `- Base: ${code(proof.base?.tree ?? "not recorded")}${proof.base?.commit ? `, commit ${code(proof.base.commit)}` : ""}`,
    `- Result: ${code(proof.result?.tree ?? "not recorded")}${proof.result?.commit === undefined ? "" : `, commit ${code(proof.result.commit)}`}`,
    `- Sandbox: ${line(proof.sandbox ?? "not recorded")}`,
    ...section("Known Gaps", gapRows(proof)),
    ...section("Gates", gateRows(proof)),
    ...section("Changed Files", proof.changed_files.map(code)),
    ...optional("Outside The Write Sets", (proof.outside_write_sets ?? []).map(code)),
    ...optional("Protected Files", protectedRows(proof)),
    ...optional(
      "Changed Gate Definitions",
      (proof.changed_definitions ?? []).map(({ name, how }) => `${line(name)}: ${how}`),
    ),
    ...section(
      "Oracle",
      (proof.oracle_evidence?.checks ?? []).map(
        (one) => `${line(one.name)}: ${one.status} (${line(one.reason ?? one.gate ?? "nothing shows it")})`,
      ),
    ),
    ...optional("Golden Observations", goldenRows(proof)),
    ...section(
      "Review",
      (proof.review_artifacts ?? []).map((one) => `${line(one.pass)}: ${one.status}: ${line(one.summary)}`),
    ),
    ...section("Decisions Of People", decisionRows(proof)),
    ...section("Plan And Tasks", taskRows(proof)),
    ...optional("Slices", sliceRows(proof)),
    ...optional("Delivery", deliverySteps(proof.delivery, presentOf(proof)).map(line)),
    ...optional(
      "Folders Set Aside",
      (proof.set_aside ?? []).map(({ path, because }) => `${code(path)}: ${line(because)}`),
    ),
    ...section("Attempts", (proof.attempts ?? []).map(attemptRow)),
    ...section("Engine", engineRows(proof)),
    ...section("Budget", budgetRows(proof)),
    ...section("How To Check It", [
      `${code(`omk proof verify ${proof.goal_id}`)}: the log, every evidence file and the verdict, offline`,
      `${code(`omk proof verify ${proof.goal_id} --rerun`)}: the gates once more, on a clean checkout`,
      `${code(`omk proof export ${proof.goal_id} --sign <ssh key>`)}: for others, who need only git and ssh-keygen (docs/verify-a-proof.md)`,
    ]),
    "",
  ].join("\n");
}

function section(title: string, rows: readonly string[]): string[] {
  const shown = rows.slice(0, LISTED_MAX).map((row) => `- ${row}`);
  const more = rows.length - shown.length;
  const cut = more > 0 ? [`- and ${more} more, in proof.json`] : [];
  return ["", `## ${title}`, "", ...(rows.length === 0 ? ["- none"] : shown), ...cut];
}

function optional(title: string, rows: readonly string[]): string[] {
  return rows.length === 0 ? [] : section(title, rows);
}

/** Text of others on one line, in which Markdown has no meaning. */
function line(text: string): string {
  const plain = printable(text, { oneLine: true });
  return plain.replace(/[\\`*_[\]<>#|]/g, "\\$&");
}

/** Text of others as code; in it only a backtick has a meaning. */
function code(text: string): string {
  const plain = printable(text, { oneLine: true });
  if (!plain.includes("`")) return `\`${plain}\``;
  const longest = Math.max(...(plain.match(/`+/g) ?? []).map((run) => run.length));
  const fence = "`".repeat(longest + 1);
  return `${fence} ${plain} ${fence}`;
}

function gapRows(proof: Proof): string[] {
  // Proofs of 0.5.0 have gaps without codes.
  if (proof.gaps === undefined) return proof.known_gaps.map(line);
  return proof.gaps.map(({ code: name, text }) => {
    const advice = adviceFor(name, proof);
    return `${code(name)}: ${line(text)}${advice === undefined ? "" : `. Next: ${advice}`}`;
  });
}

function gateRows(proof: Proof): string[] {
  const rows = proof.gates.map((gate) => {
    const { counts } = gate;
    const facts = [
      `base ${gate.base ?? "not run"}`,
      `now ${gate.verdict ?? (gate.passed ? "passed" : "failed")}`,
      ...(counts ? [`${counts.tests} tests, ${counts.failed} failed, ${counts.skipped} skipped`] : []),
      ...(gate.required
        ? []
        : [gate.optional_reason === undefined ? "optional" : `optional (${gate.optional_reason})`]),
      ...(gate.note === undefined ? [] : [gate.note]),
      ...(gate.output ? [`log ${code(gate.output.sha256)}`] : []),
    ];
    return `${line(gate.name)} (${code(gate.command_line)}): ${facts.join("; ")}`;
  });
  const { base_copies, added_tests, clean_checkout } = proof;
  if (base_copies) rows.push(`with the base's copies of protected files: ${base_copies.status}`);
  if (added_tests) rows.push(`added tests on the base: ${added_tests.status}`);
  rows.push(
    clean_checkout
      ? `on a fresh checkout of the result: ${clean_checkout.status}${clean_checkout.reason === undefined ? "" : ` (${line(clean_checkout.reason)})`}`
      : `on a fresh checkout of the result: not run; the gates ran in ${proof.slices ? "a folder that shows the merged result" : "the project directory"}`,
  );
  return rows;
}

function protectedRows(proof: Proof): string[] {
  if (proof.protected_inputs) {
    return proof.protected_inputs.map(
      (one) =>
        `${code(one.path)}: ${one.class}, ${one.change}; without the change: ${one.status ?? "not_tried"}`,
    );
  }
  return (proof.protected_changes ?? []).map(code);
}

function goldenRows(proof: Proof): string[] {
  const { golden } = proof;
  if (!golden) return [];
  return [
    `recorded: ${golden.observations.map(line).join(", ")}`,
    ...(golden.with_ignored?.length
      ? [`seen beside a copy of what git ignores: ${golden.with_ignored.map(line).join(", ")}`]
      : []),
    golden.compared
      ? "compared with the result"
      : `not compared with the result, or not all of them; ${code(`omk goal review ${proof.goal_id}`)} does it`,
    ...golden.differences.map((one) => `differs: ${line(one)}`),
    ...golden.intentional.map((one) => `differs as wanted: ${line(one)}`),
  ];
}

function decisionRows(proof: Proof): string[] {
  const { integration_evidence: decision } = proof;
  const approvals = proof.approvals ?? [];
  return [
    ...(decision ? [`${decision.status} at ${decision.decided_at}: ${line(decision.summary)}`] : []),
    ...(proof.waivers ?? []).map(
      ({ kind, what, reason }) => `let pass, ${kind} ${code(what)}: ${line(reason)}`,
    ),
    ...(proof.answers ?? []).map(
      ({ question, answer }) => `asked: ${line(question)} Answered: ${line(answer)}`,
    ),
    ...approvals.map(
      (one) =>
        `request ${code(one.id)} (${line(one.kind)}): ${one.status}${one.decided_by === null ? "" : ` by ${line(one.decided_by)}`}`,
    ),
  ];
}

function taskRows({ plan, tasks = [] }: Proof): string[] {
  const planned = plan
    ? [
        `planned by ${plan.source === "engine" ? line(plan.engine ?? "the engine") : "omk's rules"}${plan.fallback === undefined ? "" : `: ${line(plan.fallback)}`}`,
      ]
    : [];
  return [
    ...planned,
    ...tasks.map(
      (task) =>
        `${code(task.id)}: ${line(task.status)}${task.attempts > 0 ? `, attempts: ${task.attempts}` : ""}`,
    ),
  ];
}

function sliceRows({ slices = [] }: Proof): string[] {
  return slices.map((slice) => {
    const commit = slice.commit === null ? "" : `, commit ${code(slice.commit)}`;
    const branch = slice.branch === null ? "" : `, branch ${code(slice.branch)}`;
    return `${code(slice.id)}: ${line(sliceText(slice))}${commit}${branch}, attempts: ${slice.attempts}`;
  });
}

function presentOf({ result, readiness_code }: Proof): PresentResult {
  return { tree: result?.tree, commit: result?.commit, isRejected: readiness_code === "rejected" };
}

function attemptRow(one: NonNullable<Proof["attempts"]>[number]): string {
  const task = one.task_id === undefined ? "" : ` of ${code(one.task_id)}`;
  const what = one.outcome_code === null ? "" : ` (${line(one.outcome_code)})`;
  const counted = one.counted ? "" : ", not counted";
  return `${one.number}${task}: ${line(one.outcome ?? one.status)}${what}${counted}`;
}

function engineRows({ engine }: Proof): string[] {
  if (!engine?.name) return [];
  const { agent, version } = engine;
  const who = agent ? `, ${line(agent)}${version ? ` ${line(version)}` : ""}` : "";
  return [
    `${code(engine.name)}${who}`,
    ...(engine.said
      ? [`said last, which is evidence of nothing: ${line(engine.said.split("\n", 1)[0] ?? "")}`]
      : []),
  ];
}

function budgetRows({ budget_spent: spent, budget_limits: limits, budget_sources = [] }: Proof): string[] {
  if (!spent) return [];
  const of = (limit: number | null | undefined, unit: string) =>
    limit === null || limit === undefined ? "" : ` of ${limit}${unit}`;
  return [
    `time at work: ${spent.active_ms} ms${of(limits?.active_ms, " ms")}`,
    `tokens: ${spent.tokens}${of(limits?.tokens, "")}`,
    `dollars: ${spent.usd.toFixed(4)}${of(limits?.usd, "")}`,
    ...budget_sources
      .filter(({ turns }) => turns > 0)
      .map((one) => `${one.source}: ${one.turns} turns, ${one.tokens} tokens, ${one.usd.toFixed(4)} dollars`),
  ];
}
