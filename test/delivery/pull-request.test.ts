import fc from "fast-check";
import { expect, test } from "vitest";

import {
  BODY_CHARACTERS_MAX,
  draftPullRequest,
  hasEvidence,
  integratorPullRequest,
  slicePullRequest,
  type Cleaning,
  type ProvenGoal,
} from "../../src/delivery/pull-request.ts";
import { Proof } from "../../src/format/proof.ts";
import { TaskGraph } from "../../src/format/task-graph.ts";
import { createRedactor } from "../../src/store/redact.ts";

const GOAL_DIR = "/home/someone/.local/state/omk/goals/goal-1";
const redactor = createRedactor({ environment: { API_TOKEN: "hunter2hunter2" } });
const cleaning: Cleaning = {
  redact: (text) => redactor.text(text),
  folders: [
    { path: "/home/someone", name: "~" },
    { path: GOAL_DIR, name: "" },
    { path: "/srv/work/project", name: "" },
  ],
};
const HEADINGS = [
  "Goal",
  "Task Summary",
  "Delivery Metadata",
  "Proof Summary",
  "Verification Wall",
  "Release Candidate Notes",
  "Review Evidence",
  "Integration Evidence",
  "Oracle Evidence",
  "Known Gaps",
  "Changed Files",
  "Artifacts",
];

/** A goal with one of everything, in which a text stands wherever a text can come from elsewhere. */
function proven(text = "a text", count = 1): ProvenGoal {
  const many = <T>(one: T): T[] => Array.from({ length: count }, () => one);
  const at = "2026-01-01T00:00:00Z";
  const proof = Proof.parse({
    goal_id: "goal-1",
    status: "ready",
    readiness: text,
    summary: text,
    generated_at: at,
    artifacts: [
      ...many({ kind: text, path: text, created_at: at }),
      { kind: "proof", path: `${GOAL_DIR}/proof.json`, created_at: at },
    ],
    task_graph_summary: { total_tasks: 2, pending_tasks: 0, blocked_tasks: 0, done_tasks: 2 },
    review_artifacts: many({
      pass: "security",
      status: "passed",
      path: text,
      summary: text,
      evidence: [],
      risks: [],
      known_gaps: [],
      recommended_next_step: text,
    }),
    integration_evidence: {
      status: "accepted",
      summary: text,
      decided_at: at,
      artifact_path: text,
      missing_evidence: many(text),
    },
    oracle_evidence: {
      kind: "bugfix",
      status: "passed",
      checks: many({ name: text, status: "passed", gate: text }),
    },
    changed_files: [...many(text), "src/b.ts", "src/a.ts"],
    commits: many(text),
    git: { branch: "work", head: "0123abc", dirty: false },
    gates: many({
      name: text,
      passed: true,
      stdout: "OUTPUT OF THE GATE",
      stderr: "OUTPUT OF THE GATE",
      duration_ms: 12,
      required: true,
      exit_code: 0,
      stdout_summary: "OUTPUT OF THE GATE",
      output_path: `${GOAL_DIR}/artifacts/gates/7/gate-00-test.log`,
    }),
    post_mutation_gates_ran: true,
    known_gaps: many(text),
    human_decisions_required: many(text),
  });
  const task = {
    id: text === "" ? "t" : text,
    title: text,
    description: text,
    status: "done",
    owner_role: text,
    dependencies: [],
    read_set: [],
    write_set: [text],
    risk: "low",
    acceptance: ["x"],
  };
  const slice = {
    slice_id: text,
    owner: text,
    branch: "omk/goal/goal-1/slice-1",
    worktree_name: "goal-1-slice",
    worktree_path: `${GOAL_DIR}/worktrees/goal-1-slice`,
    verification_summary: text,
    write_scope: many(text),
    pr_link: "https://github.com/acme/widget/pull/7",
  };
  const tasks = [{ ...task, id: "slice", delivery: slice }, ...many(task)];
  const graph = TaskGraph.parse({ version: 1, goal_id: "goal-1", generated_at: at, tasks });
  return {
    goal: { goal_id: "goal-1", original_goal: text, normalized_goal: text },
    proof,
    graph,
    proofPath: `${GOAL_DIR}/proof.json`,
  };
}

/** Whether no character is cut in two. */
function isWellFormed(text: string): boolean {
  return !/\p{Cs}/u.test(text);
}

const asked = { dryRun: false, draft: true, mutates: true };
const render = (given: ProvenGoal) => draftPullRequest(given, asked, cleaning);

test("a pull request has its sections in order and says what the proof says", () => {
  const draft = render(proven());
  const { body, ...others } = draft;
  expect(others).toEqual({
    goal_id: "goal-1",
    dry_run: false,
    draft: true,
    title: "Goal proof: a text",
    head_branch: "omk/goal/goal-1/slice-1",
    existing_pr_url: "https://github.com/acme/widget/pull/7",
    proof_path: `${GOAL_DIR}/proof.json`,
  });
  expect(body.match(/^## .*$/gm)).toEqual(HEADINGS.map((heading) => `## ${heading}`));
  for (const line of [
    "- Goal id: `goal-1`",
    "- Draft: `true`",
    "- Proof path: `proof.json`",
    "- `slice`: done owner=`a text` a text",
    "- task: `slice`",
    "  - worktree: `goal-1-slice`",
    "  - pr: `https://github.com/acme/widget/pull/7`",
    "    - `a text`",
    "- `a text`: passed required=`true` exit=`0` duration=`12ms`",
    "  - Artifact: `artifacts/gates/7/gate-00-test.log`",
    "- merge recommendation: look at the known gaps before merging",
    "- security: passed - a text",
    "- a text: passed (`a text`)",
    "- Decision needed: a text",
    "- `proof`: `proof.json`",
  ]) {
    expect(body.split("\n")).toContain(line);
  }
  expect(body).toMatch(/- `a text`\n- `src\/a.ts`\n- `src\/b.ts`\n/);
  expect(body).not.toContain("OUTPUT OF THE GATE");
  expect(body).not.toContain("/home/");
  expect(body).toContain("omk makes or updates this pull request");
  const dry = draftPullRequest(proven(), { ...asked, dryRun: true }, cleaning);
  expect(dry.body).toContain("GitHub mutation: none");
});

test("without slices the head is the proof's branch, and without anything there is nothing to show", () => {
  const bare = proven();
  const { delivery: _none, ...task } = bare.graph.tasks[1]!;
  const given = { ...bare, graph: { ...bare.graph, tasks: [task] } };
  expect(render(given)).toMatchObject({ head_branch: "work", existing_pr_url: null });
  expect(render(given).body).toContain("- No delivery metadata is recorded.");
  const scaffold = { ...given.proof, gates: [], changed_files: [], artifacts: [], git: undefined };
  expect(hasEvidence({ ...given, proof: scaffold })).toBe(false);
  expect(hasEvidence(given)).toBe(true);
  expect(render({ ...given, proof: Proof.parse({ ...scaffold }) }).head_branch).toBeNull();
});

test("secrets, places on this machine, mentions and references are taken out", () => {
  const { body, title } = render(
    proven(
      "key hunter2hunter2 in /home/someone/x/key.pem and /srv/work/project/src/a.ts, /tmp/a/b.log, C:\\Users\\me\\c.txt by @octocat, closes #12",
    ),
  );
  for (const gone of ["hunter2", "/home", "/srv/work", "/tmp/", "Users"])
    expect(body + title).not.toContain(gone);
  expect(body).toContain("by @<!-- -->octocat, closes #<!-- -->12");
  expect(body).toContain("in \\~/x/key.pem and src/a.ts, …/b.log, …/c.txt");
  // The user's own words may name the issue that they are about.
  expect(body).toMatch(/^- Objective: .*closes #12$/m);
});

test("folders are told apart from others that begin alike", () => {
  const { body } = render(proven("/srv/work/project2/a and /srv/work/project and /mnt/srv/work/project/b"));
  expect(body).toContain("/srv/work/project2/a and . and /mnt/srv/work/project/b");
});

test("a table is not broken by what is in it", () => {
  const evil = "a | b\n| c | `x|y` \\| ``` <!-- <b> | --- |";
  const { title, body } = slicePullRequest(
    {
      sliceId: "slice `1`",
      goalId: "goal-1",
      normalizedGoal: evil,
      title: "Cut [it] short",
      owner: "executor",
      writeScope: ["src/`a`.ts", "b"],
      commit: "0123abc",
      dependencies: [],
      review: [
        { kind: "architect", passed: true, severity: "low", feedback: "" },
        { kind: "code", passed: false, severity: "high", feedback: evil },
      ],
    },
    cleaning,
  );
  expect(title).toBe("[slice] slice `1` — a | b | c | `x|y` \\| ``` <!-- <b> | --- |");
  const lines = body.split("\n");
  expect(lines.slice(0, 6)).toEqual([
    "Slice ``slice `1` `` for goal `goal-1`: Cut \\[it\\] short".replace("``slice", "`` slice"),
    "",
    "- Owner: `executor`",
    "- Write scope: ``src/`a`.ts``, `b`",
    "- Commit: `0123abc`",
    "- Slice dependencies: none",
  ]);
  expect(lines.slice(6, 10)).toEqual(["", "## Review Wall", "", "| Pass | Status | Severity | Feedback |"]);
  const rows = lines.slice(10);
  expect(rows).toHaveLength(3);
  for (const row of rows) expect(row.match(/(?<!\\)\|/g)).toHaveLength(5);
  expect(rows[1]).toBe("| architect | passed | low |   |");
  expect(body).not.toContain("<!-- <b>");
});

test("the integrator names its slices", () => {
  const { title, body } = integratorPullRequest(
    { goalId: "goal-1", normalizedGoal: "Do it", branches: ["omk/goal/a", "omk/goal/b"] },
    cleaning,
  );
  expect([title, body]).toEqual([
    "[Integrator] Do it",
    "Brings together 2 slices of goal `goal-1`.\n\n- `omk/goal/a`\n- `omk/goal/b`",
  ]);
});

test("what shows a check is said, also where no gate has its name", () => {
  const given = proven();
  const checks = [
    { name: "tests", status: "passed" as const, gate: "unit" },
    { name: "regression", status: "passed" as const, gate: null, reason: "gate unit was red on the base" },
    { name: "demo", status: "not_applicable" as const, gate: null },
  ];
  const proof = { ...given.proof, oracle_evidence: { kind: "bugfix", status: "passed" as const, checks } };
  const { body } = render({ ...given, proof });
  expect(body).toContain("- tests: passed (`unit`)\n- regression: passed (gate unit was red on the base)\n");
  expect(body).toContain("- demo: not\\_applicable (no gate)".replace("\\", ""));
});

test("however much there is to say, it fits, and nothing is cut in two", () => {
  for (const [text, count] of [
    ["x".repeat(3_000), 1_000],
    ["😀".repeat(2_000), 300],
    ["short", 5_000],
  ] as const) {
    const { body, title } = render(proven(text, count));
    expect(body.length).toBeLessThanOrEqual(BODY_CHARACTERS_MAX);
    expect(title.length).toBeLessThanOrEqual(256);
    expect(isWellFormed(body + title)).toBe(true);
    expect(body.match(/^## .*$/gm)?.[0]).toBe("## Goal");
  }
  expect(render(proven("short", 5_000)).body).toContain("more, listed in the proof");
});

test("no text can make a heading, a comment, a tag or a line of its own", () => {
  const text = fc.oneof(
    fc.string({ unit: "binary", maxLength: 60 }),
    fc
      .array(
        fc.constantFrom(
          "\n",
          "\r\n",
          "## Goal",
          "`",
          "```",
          "<!--",
          "-->",
          "<b>",
          "|",
          "\\",
          "@me",
          "#1",
          " ",
          "- ",
          "\u202E",
          "\u2028",
          "x",
        ),
        { maxLength: 12 },
      )
      .map((parts) => parts.join("")),
  );
  fc.assert(
    fc.property(text, (one) => {
      const { body, title } = render(proven(one));
      expect(body.match(/^#+ .*$/gm)).toEqual(HEADINGS.map((heading) => `## ${heading}`));
      expect(body.split("\n").every((line) => /^(?:|## .+| *- .*)$/.test(line))).toBe(true);
      expect(title).not.toMatch(/[\n\r\u2028\u2029\u202E]/);
      expect(isWellFormed(body + title)).toBe(true);
      // Outside of code spans, whose fences are longer than any run in them, no tag is left but our own separator.
      const outside = body
        .replaceAll(/(?<!\\)(`+)(?!`)(.*?)(?<!`)\1(?!`)/g, "")
        .replaceAll("<!-- -->", "\u00B7");
      expect(outside).not.toMatch(/<|(?<!\\)`/);
      expect(outside).not.toMatch(/@[A-Za-z0-9]/);
    }),
  );
});
