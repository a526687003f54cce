/**
 * What pull requests say, from the proof of a goal. The texts come from agents, gates and files, and everybody who can see
 * the repository reads them: secrets and this machine's paths are taken out, no text can break the page's form, name a
 * person or close an issue, and GitHub's limits are kept.
 */
import { posix } from "node:path";

import type { Goal } from "../format/goal.ts";
import type { Proof } from "../format/proof.ts";
import type { Delivery, TaskGraph } from "../format/task-graph.ts";
import { deliveryRecords, parseDelivery } from "./metadata.ts";

/** The longest body that GitHub takes, in UTF-16 units, of which no character has less than one. */
export const BODY_CHARACTERS_MAX = 65_536;
const TITLE_CHARACTERS_MAX = 250;
/** One text of many; the proof has it whole. */
const TEXT_CHARACTERS_MAX = 2_000;
/** Entries of a list that are shown, tried one after the other until the body fits. */
const ROWS_TRIED = [200, 50, 10, 3];

/** What takes secrets out, and which folders of this machine must not show. */
export interface Cleaning {
  redact: (text: string) => string;
  /** Absolute folders with the name that stands for them: the goal's, the project's, the user's home. */
  folders: readonly { path: string; name: string }[];
}

/** A pull request as it would be made. */
export interface PullRequestDraft {
  goal_id: string;
  dry_run: boolean;
  draft: boolean;
  title: string;
  body: string;
  head_branch: string | null;
  existing_pr_url: string | null;
  /** On this machine; in no text that is sent. */
  proof_path: string;
}

/** A goal with its proof and graph. */
export interface ProvenGoal {
  goal: Pick<Goal, "goal_id" | "original_goal" | "normalized_goal">;
  proof: Proof;
  graph: TaskGraph;
  proofPath: string;
}

/** Whether there is anything to open a pull request for: gates, changes, an agent's or a reviewer's work, a slice. */
export function hasEvidence({ proof, graph }: Pick<ProvenGoal, "proof" | "graph">): boolean {
  return (
    proof.gates.length > 0 ||
    proof.changed_files.length > 0 ||
    proof.artifacts.some(({ kind }) => ["agent_run", "review", "security_review"].includes(kind)) ||
    recordsOf(proof, graph).length > 0
  );
}

/** The draft of a goal's own pull request. */
export function draftPullRequest(
  given: ProvenGoal,
  asked: { dryRun: boolean; draft: boolean; mutates: boolean },
  cleaning: Cleaning,
): PullRequestDraft {
  const { goal, proof, graph } = given;
  const records = recordsOf(proof, graph).map((record) => parseDelivery(record));
  const branch = records
    .map(({ fields }) => fields.branch)
    .find((one) => one !== undefined && one.trim() !== "");
  const own = proof.git?.branch.trim();
  const url = records
    .map(({ fields, extra }) => fields.pr_url ?? extra["pr_link"])
    .find((one) => typeof one === "string" && one !== "");
  const words = new Words(cleaning);
  return {
    goal_id: goal.goal_id,
    dry_run: asked.dryRun,
    draft: asked.draft,
    title: words.title(`Goal proof: ${goal.normalized_goal}`),
    body: fitted((rows) => sections(given, asked, words, rows)),
    head_branch: branch ?? (own === undefined || own === "" ? null : own),
    existing_pr_url: typeof url === "string" ? url : null,
    proof_path: given.proofPath,
  };
}

/** A slice to be shown in a pull request of its own. */
export interface SliceForReview {
  sliceId: string;
  goalId: string;
  normalizedGoal: string;
  /** What its task is called. */
  title: string;
  owner: string;
  writeScope: readonly string[];
  commit: string;
  dependencies: readonly string[];
  review: readonly { kind: string; passed: boolean; severity: string; feedback: string }[];
}

/** Title and body of a slice's pull request. */
export function slicePullRequest(slice: SliceForReview, cleaning: Cleaning): { title: string; body: string } {
  const words = new Words(cleaning);
  const { sliceId, goalId, normalizedGoal, title, owner, writeScope, commit, dependencies, review } = slice;
  const body = (rows: number): string[] => {
    const codes = (list: readonly string[], none: string) => {
      const shown = list.slice(0, rows).map((one) => words.code(one));
      if (list.length > rows) shown.push(`and ${list.length - rows} more`);
      return shown.length === 0 ? none : shown.join(", ");
    };
    return [
      // The title is the goal's, the same for all: what this one is about comes first.
      `Slice ${words.code(sliceId)} for goal ${words.code(goalId)}: ${words.text(title)}`,
      "",
      `- Owner: ${words.code(owner)}`,
      `- Write scope: ${codes(writeScope, "`project files`")}`,
      `- Commit: ${words.code(commit)}`,
      `- Slice dependencies: ${codes(dependencies, "none")}`,
      ...(review.length === 0
        ? []
        : [
            "",
            "## Review Wall",
            "",
            "| Pass | Status | Severity | Feedback |",
            "| --- | --- | --- | --- |",
            ...review.map(({ kind, passed, severity, feedback }) => {
              const cells = [kind, passed ? "passed" : "failed", severity, feedback];
              return `| ${cells.map((cell) => words.cell(cell)).join(" | ")} |`;
            }),
          ]),
    ];
  };
  return { title: words.title(`[slice] ${sliceId} — ${normalizedGoal}`), body: fitted(body) };
}

/** What of a proof the integrator's pull request shows. */
export type ProvenResult = Pick<
  Proof,
  | "gates"
  | "post_mutation_gates_ran"
  | "review_artifacts"
  | "integration_evidence"
  | "oracle_evidence"
  | "changed_files"
>;

/** Title and body of the pull request in which a goal's slices come together. */
export function integratorPullRequest(
  given: { goalId: string; normalizedGoal: string; branches: readonly string[]; proof?: ProvenResult },
  cleaning: Cleaning,
): { title: string; body: string } {
  const words = new Words(cleaning);
  const { goalId, normalizedGoal, branches, proof } = given;
  const body = (rows: number): string[] => [
    `Brings together ${branches.length} ${branches.length === 1 ? "slice" : "slices"} of goal ${words.code(goalId)}.`,
    "",
    ...listed(branches, rows, (branch) => `- ${words.code(branch)}`),
    ...(proof ? provenRows(proof, words, rows) : []),
  ];
  return { title: integratorTitle(normalizedGoal, cleaning), body: fitted(body) };
}

/** The title of the pull request in which a goal's slices come together. */
export function integratorTitle(normalizedGoal: string, cleaning: Cleaning): string {
  return new Words(cleaning).title(`[Integrator] ${normalizedGoal}`);
}

function provenRows(proof: ProvenResult, words: Words, rows: number): string[] {
  const parts: [string, string[]][] = [
    ["Verification Wall", gateRows(proof, words, rows)],
    ["Review Evidence", reviewRows(proof, words, rows)],
    ["Integration Evidence", integrationRows(proof, words, rows)],
    ["Oracle Evidence", oracleRows(proof, words, rows)],
    ["Changed Files", fileRows(proof, words, rows)],
  ];
  return parts.flatMap(([heading, lines]) => ["", `## ${heading}`, "", ...lines]);
}

// ---- The sections

function sections(
  given: ProvenGoal,
  asked: { dryRun: boolean; draft: boolean; mutates: boolean },
  words: Words,
  rows: number,
): string[] {
  const { goal, proof, graph } = given;
  const { code, text } = words;
  const parts: [string, string[]][] = [
    [
      "Goal",
      [
        `- Goal id: ${code(goal.goal_id)}`,
        // The user's own words may refer to an issue.
        `- Objective: ${words.own(goal.original_goal)}`,
        `- Status: ${code(proof.status)}`,
        `- Readiness: ${text(proof.readiness)}`,
        `- Draft: \`${asked.draft}\``,
        `- Proof path: ${code(given.proofPath)}`,
      ],
    ],
    ["Task Summary", taskRows(proof, graph, words, rows)],
    ["Delivery Metadata", deliveryRows(recordsOf(proof, graph), words, rows)],
    ["Proof Summary", proofRows(proof, words, rows)],
    ["Verification Wall", gateRows(proof, words, rows)],
    ["Release Candidate Notes", noteRows(proof, asked)],
    ["Review Evidence", reviewRows(proof, words, rows)],
    ["Integration Evidence", integrationRows(proof, words, rows)],
    ["Oracle Evidence", oracleRows(proof, words, rows)],
    [
      "Known Gaps",
      [
        ...listed(proof.known_gaps, rows, (gap) => `- ${text(gap)}`, "- none"),
        ...listed(
          proof.human_decisions_required,
          rows,
          (one) => `- Decision needed: ${text(one)}`,
          undefined,
        ),
      ],
    ],
    ["Changed Files", fileRows(proof, words, rows)],
    [
      "Artifacts",
      listed(proof.artifacts, rows, ({ kind, path }) => `- ${code(kind)}: ${code(path)}`, "- none"),
    ],
  ];
  return parts.flatMap(([heading, lines], at) => [
    `## ${heading}`,
    "",
    ...lines,
    ...(at === parts.length - 1 ? [] : [""]),
  ]);
}

function taskRows({ task_graph_summary: counts }: Proof, graph: TaskGraph, words: Words, rows: number) {
  const { code, text } = words;
  return [
    `- Total: ${counts.total_tasks}`,
    `- Done: ${counts.done_tasks}`,
    `- Pending: ${counts.pending_tasks}`,
    `- Blocked: ${counts.blocked_tasks}`,
    ...listed(
      graph.tasks,
      rows,
      ({ id, status, owner_role: owner, title }) =>
        `- ${code(id)}: ${status}${owner === undefined ? "" : ` owner=${code(owner)}`} ${text(title)}`,
    ),
  ];
}

function deliveryRows(records: readonly Delivery[], words: Words, rows: number): string[] {
  const { code, text } = words;
  const lines = records.slice(0, rows).flatMap((record) => {
    const { fields, extra } = parseDelivery(record);
    const line = (label: string, value: unknown, show: (value: string) => string = code) =>
      typeof value === "string" && value !== "" ? [`  - ${label}: ${show(value)}`] : [];
    return [
      `- task: ${code(typeof record["task_id"] === "string" ? record["task_id"] : "unknown")}`,
      ...line("slice", fields.slice_id),
      ...line("owner", fields.owner),
      ...line("branch", fields.branch),
      // Where it lies is nobody else's business.
      ...line("worktree", fields.worktree_name ?? fields.worktree_path),
      ...line("pr", fields.pr_url ?? extra["pr_link"]),
      ...line("verification", fields.verification_summary, text),
      ...(fields.write_scope === undefined
        ? []
        : [
            "  - write scope:",
            ...listed(fields.write_scope, rows, (path) => `    - ${code(path)}`).map((one) =>
              one.startsWith("- …") ? `    ${one}` : one,
            ),
          ]),
    ];
  });
  if (records.length > rows) lines.push(more(records.length - rows));
  return lines.length === 0 ? ["- No delivery metadata is recorded."] : lines;
}

function proofRows(proof: Proof, words: Words, rows: number): string[] {
  const { code, text } = words;
  const { git, commits } = proof;
  return [
    `- Summary: ${text(proof.summary)}`,
    `- Generated at: ${code(proof.generated_at)}`,
    `- Branch: ${git ? code(git.branch) : "unknown"}`,
    `- Head: ${git ? code(git.head) : "unknown"}`,
    `- Dirty: ${git ? `\`${git.dirty}\`` : "unknown"}`,
    `- Commits: ${commits.length === 0 ? "none" : commits.slice(0, rows).map(code).join(", ")}`,
  ];
}

function reviewRows({ review_artifacts: sections = [] }: ProvenResult, words: Words, rows: number): string[] {
  const show = ({ pass, status, summary }: (typeof sections)[number]) =>
    `- ${words.text(pass)}: ${status} - ${words.text(summary)}`;
  return listed(sections, rows, show, "- No review evidence is recorded.");
}

function fileRows({ changed_files: paths }: ProvenResult, words: Words, rows: number): string[] {
  return listed([...paths].sort(), rows, (path) => `- ${words.code(path)}`, "- none");
}

function gateRows(proof: ProvenResult, words: Words, rows: number): string[] {
  const { code } = words;
  const shown = proof.gates.slice(0, rows);
  const lines = shown.flatMap((gate) => [
    `- ${code(gate.name)}: ${gate.passed ? "passed" : "failed"} required=\`${gate.required}\` exit=\`${gate.exit_code ?? "unknown"}\` duration=\`${gate.duration_ms}ms\``,
    ...(gate.output_path === undefined ? [] : [`  - Artifact: ${code(gate.output_path)}`]),
  ]);
  if (proof.gates.length > rows) lines.push(more(proof.gates.length - rows));
  if (lines.length === 0) lines.push("- No gate results are recorded.");
  return [...lines, `- Ran on exactly the result: \`${proof.post_mutation_gates_ran}\``];
}

function noteRows(proof: Proof, asked: { dryRun: boolean; draft: boolean; mutates: boolean }): string[] {
  const recommendation =
    proof.status !== "ready"
      ? "keep this a draft: the goal is not ready"
      : proof.known_gaps.length > 0
        ? "look at the known gaps before merging"
        : "ready for a person's review and merge";
  return [
    `- Draft: \`${asked.draft}\``,
    asked.mutates && !asked.dryRun
      ? "- GitHub mutation: omk makes or updates this pull request; the merge policy of the goal decides about more."
      : "- GitHub mutation: none, this text was only rendered.",
    `- merge recommendation: ${recommendation}`,
    "- Source: the goal's `proof.json`",
  ];
}

function integrationRows(
  { integration_evidence: evidence }: ProvenResult,
  words: Words,
  rows: number,
): string[] {
  if (!evidence) return ["- No integration decision is recorded."];
  return [
    `- status: ${words.code(evidence.status)}`,
    `- summary: ${words.text(evidence.summary)}`,
    ...listed(evidence.missing_evidence, rows, (one) => `- missing evidence: ${words.text(one)}`, undefined),
  ];
}

function oracleRows({ oracle_evidence: evidence }: ProvenResult, words: Words, rows: number): string[] {
  if (!evidence) return ["- No oracle evidence is recorded."];
  return [
    `- kind: ${words.code(evidence.kind)}`,
    `- status: ${words.code(evidence.status)}`,
    ...listed(
      evidence.checks,
      rows,
      ({ name, status, gate, reason }) =>
        // Where a gate has not the check's name, words say what shows it.
        `- ${words.text(name)}: ${status} (${gate !== null ? words.code(gate) : words.text(reason ?? "no gate")})`,
    ),
  ];
}

/** The graph is newer than the proof; a proof of 0.5.0 may know records that its graph has lost. */
function recordsOf(proof: Proof, graph: TaskGraph): Delivery[] {
  const current = deliveryRecords(graph);
  return current.length > 0 ? current : (proof.delivery_metadata ?? []);
}

// ---- Form

function listed<T>(items: readonly T[], rows: number, show: (item: T) => string, none?: string): string[] {
  const lines = items.slice(0, rows).map(show);
  if (items.length > rows) lines.push(more(items.length - rows));
  return lines.length === 0 && none !== undefined ? [none] : lines;
}

function more(count: number): string {
  return `- … and ${count} more, listed in the proof`;
}

/** The body with as many rows per list as fit; if nothing helps, the end is cut off. */
function fitted(render: (rows: number) => string[]): string {
  for (const rows of ROWS_TRIED) {
    const body = render(rows).join("\n");
    if (body.length <= BODY_CHARACTERS_MAX) return body;
  }
  const note = "\n\n_The rest did not fit; the proof has it all._";
  const kept: string[] = [];
  let length = note.length;
  for (const line of render(ROWS_TRIED.at(-1) ?? 0)) {
    length += line.length + 1;
    if (length > BODY_CHARACTERS_MAX) break;
    kept.push(line);
  }
  return kept.join("\n") + note;
}

/** Where people keep their files, and where programs keep temporary ones. */
const LOCAL_PATH =
  /(?<![\w.~-])(?:file:\/\/)?(?:(?:\/private)?\/(?:home|Users|tmp|root|var\/folders|var\/tmp)|[A-Za-z]:[\\/]Users)[\\/][^\s"'`<>|:;,()[\]{}]*/g;

/** Texts from anywhere as they may stand in a pull request. */
class Words {
  readonly #cleaning: Cleaning;

  constructor(cleaning: Cleaning) {
    const folders = cleaning.folders
      .filter(({ path }) => path.length > 1)
      .toSorted((a, b) => b.path.length - a.path.length);
    this.#cleaning = { ...cleaning, folders };
  }

  /** A text within a line. */
  readonly text = (source: string): string => this.own(source).replaceAll(/#(?=\d)/g, "#<!-- -->");

  /** The same for the user's own words, in which `#7` means the issue. */
  readonly own = (source: string): string =>
    this.#clean(source, TEXT_CHARACTERS_MAX)
      .replaceAll(/[\\`*_{}[\]<>|~&]/g, (character) =>
        character === "<" ? "&lt;" : character === "&" ? "&amp;" : `\\${character}`,
      )
      // A page finds the address of a person or of an issue in the text; what stands between is not shown.
      .replaceAll(/@(?=[A-Za-z0-9])/g, "@<!-- -->")
      .replaceAll(/\b(GH|gh)-(?=\d)/g, "$1-<!-- -->")
      .replaceAll(/\b(https?):\/\/(?=[^\s]*\/(?:issues|pull)\/\d)/gi, "$1:<!-- -->//");

  /** A cell of a table, whose parts are split before anything else is looked at. */
  readonly cell = (source: string): string => this.text(source).replaceAll("\\|", "&#124;") || " ";

  /** An id, a path, a command. */
  readonly code = (source: string): string => {
    const clean = this.#clean(source, TEXT_CHARACTERS_MAX);
    const runs = [...clean.matchAll(/`+/g)].map(([run]) => run.length);
    const fence = "`".repeat(Math.max(0, ...runs) + 1);
    const padding = clean === "" || /^`|`$|^ .* $/.test(clean) ? " " : "";
    return `${fence}${padding}${clean}${padding}${fence}`;
  };

  /** The title: plain text. */
  title(source: string): string {
    return this.#clean(source, TITLE_CHARACTERS_MAX);
  }

  /** On one line, without secrets, without this machine's paths, without what steers a terminal or the direction of text. */
  #clean(source: string, charactersMax: number): string {
    const { redact, folders } = this.#cleaning;
    let clean = redact(source);
    for (const { path, name } of folders) clean = withoutFolder(clean, path, name);
    clean = clean
      .replaceAll(LOCAL_PATH, (path) => {
        const last = posix.basename(path.replaceAll("\\", "/"));
        return last === "" ? "…" : `…/${last}`;
      })
      .replaceAll(/[\s\u2028\u2029\u0085]+/g, " ")
      .replaceAll(/[\p{Cc}\p{Cf}\p{Co}\p{Cs}]/gu, "\uFFFD")
      .trim();
    if (clean.length <= charactersMax) return clean;
    // Not in the middle of a character that takes two units.
    return `${clean.slice(0, charactersMax - 1).replace(/[\uD800-\uDBFF]$/, "")}…`;
  }
}

/** A folder's paths by their place below it: `artifacts/x` for the goal's own, with a name in front for others. */
function withoutFolder(text: string, path: string, name: string): string {
  const folder = path.replace(/\/$/, "");
  let clean = "";
  let from = 0;
  for (let at = text.indexOf(folder); at !== -1; at = text.indexOf(folder, from)) {
    const end = at + folder.length;
    const next = text[end];
    const isWhole = next === undefined || !/[\w.-]/.test(next);
    // `/home/me` is no part of `/home/me2`, nor of `/mnt/home/me`.
    const begins = at === 0 || !/[\w.-]/.test(text[at - 1] ?? "");
    clean += text.slice(from, at);
    if (!isWhole || !begins) clean += folder;
    else if (next === "/" && name === "") {
      from = end + 1;
      continue;
    } else clean += name === "" ? "." : name;
    from = end;
  }
  return clean + text.slice(from);
}
