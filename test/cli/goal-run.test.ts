import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import { BROKEN_SUM, Place, REPAIR } from "../support/cli.ts";

const GOAL = "Fix the failing test in sum.test.js";
const DRIVE = ["--until-ready", "--auto-accept"];
const SECRET = `ghp_${"a1B2c3D4e5".repeat(4)}`;

async function brokenSum(): Promise<Place> {
  const place = new Place(BROKEN_SUM);
  await place.commitAll();
  return place;
}

describe("omk goal run --until-ready", () => {
  test("takes a failing test to ready, red at the base and green after, with a proof that holds", async () => {
    using place = await brokenSum();
    const engine = place.script({ turns: [{ steps: REPAIR }] });
    const ran = await place.run("goal", "run", GOAL, ...DRIVE, "--engine", engine);
    expect(ran).toMatchObject({ status: 0 });
    expect(ran.stdout).toContain("Status: ready");
    const proof = place.json("proof.json");
    expect(proof).toMatchObject({ status: "ready", changed_files: ["sum.js"], known_gaps: [] });
    expect(proof["gates"]).toMatchObject([{ name: "tests", verdict: "passed", base: "failed" }]);
    expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });
    expect(await place.git("status", "--porcelain")).toBe(" M sum.js\n");
  });

  test("hands failing output back and gets there with the second attempt", async () => {
    using place = await brokenSum();
    const wrong = [{ edit: "sum.js", replace: "a - b", with: "a * b" }, { say: "done" }];
    const right = [{ edit: "sum.js", replace: "a * b", with: "a + b" }, { say: "now it adds" }];
    const engine = place.script({
      turns: [{ steps: wrong }, { match: { attempt: 2, prompt: "Gate tests" }, steps: right }],
    });
    const ran = await place.run("goal", "run", GOAL, ...DRIVE, "--engine", engine);
    expect(ran).toMatchObject({ status: 0 });
    const attempts = place.events().filter(({ kind }) => kind === "task_claimed");
    expect(attempts).toHaveLength(2);
    expect(place.json("proof.json")["attempts"]).toMatchObject([{ number: 1 }, { number: 2 }]);
  });

  test("waits for acceptance without --auto-accept, and accept makes it ready", async () => {
    using place = await brokenSum();
    const engine = place.script({ turns: [{ steps: REPAIR }] });
    expect(await place.run("goal", "run", GOAL, "--until-ready", "--engine", engine)).toMatchObject({
      status: 3,
    });
    expect(place.json("goal.json")).toMatchObject({ status: "not_ready", reason_code: "acceptance_needed" });
    const accepted = await place.run("goal", "accept", "--summary", "looked at it");
    expect(accepted).toMatchObject({ status: 0 });
    expect(accepted.stdout).toContain("Acceptance: ready");
    expect(accepted.stdout).toContain("ready: integration and oracle evidence passed");
    expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });
  });

  test("works in a folder without git, and says that the evidence is missing", async () => {
    using place = new Place(BROKEN_SUM);
    const engine = place.script({ turns: [{ steps: REPAIR }] });
    const ran = await place.run("goal", "run", GOAL, ...DRIVE, "--engine", engine);
    expect(ran).toMatchObject({ status: 0 });
    expect(place.json("proof.json")["git"]).toBeUndefined();
    expect(ran.stderr).toContain("no git repository");
  });

  test("leaves the user's earlier changes out of the changed files", async () => {
    using place = await brokenSum();
    place.write({ "notes.txt": "mine", "package.json": `${BROKEN_SUM["package.json"]}\n` });
    const engine = place.script({ turns: [{ steps: REPAIR }] });
    expect(await place.run("goal", "run", GOAL, ...DRIVE, "--engine", engine)).toMatchObject({ status: 0 });
    expect(place.json("proof.json")["changed_files"]).toEqual(["sum.js"]);
  });

  test("lists what gates write as their side effect, not as the agent's change", async () => {
    using place = await brokenSum();
    place.write({
      "package.json": BROKEN_SUM["package.json"].replace("node --test", "echo x >> gate.txt; node --test"),
    });
    const engine = place.script({ turns: [{ steps: REPAIR }] });
    expect(await place.run("goal", "run", GOAL, ...DRIVE, "--engine", engine)).toMatchObject({ status: 0 });
    expect(place.json("proof.json")).toMatchObject({ changed_files: ["sum.js"], side_effects: ["gate.txt"] });
    const liar = place.script({ default: [{ say: "done" }] }, "liar.json");
    await place.run("goal", "run", "Add a test for sum", ...DRIVE, "--max-attempts", "1", "--engine", liar);
    expect(place.json("goal.json")).toMatchObject({ status: "not_ready", reason_code: "nothing_changed" });
  });

  test("goes on after a Ctrl-C while a gate runs", async () => {
    using place = await brokenSum();
    const wait = "node -e \"const i=setInterval(()=>require('fs').existsSync('go')&&process.exit(0),20)\"";
    const engine = place.script({ turns: [{ steps: [{ write: "go", text: "" }, ...REPAIR] }] });
    const run = ["goal", "run", GOAL, ...DRIVE, "--engine", engine, "--gate", `tests=${wait}; node --test`];
    const running = place.start(...run);
    await running.says("gate tests (");
    running.child.kill("SIGINT");
    expect(await running.ended).toMatchObject({ status: 130 });
    expect(place.json("goal.json")).toMatchObject({ status: "paused" });
    place.write({ go: "" });
    expect(await place.run("goal", "resume")).toMatchObject({ status: 0 });
  });

  test("resumes to the same answer, without another turn, when only acceptance is missing", async () => {
    using place = await brokenSum();
    const engine = place.script({ turns: [{ steps: REPAIR }, { steps: [{ delete: "sum.js" }] }] });
    expect(await place.run("goal", "run", GOAL, "--until-ready", "--engine", engine)).toMatchObject({
      status: 3,
    });
    expect(await place.run("goal", "resume")).toMatchObject({ status: 3 });
    expect(place.events().filter(({ kind }) => kind === "task_claimed")).toHaveLength(1);
    place.write({ "sum.js": "export const sum = () => 5;\n" });
    const accepted = await place.run("goal", "accept", "--summary", "fine");
    expect(accepted).toMatchObject({ status: 1 });
    expect(place.json("goal.json")).toMatchObject({ reason_code: "result_changed" });
  });

  test("looks for gates in the result where there were none before, and says so when there are none there either", async () => {
    using place = new Place({ "notes.txt": "nothing to test here\n" });
    const engine = place.script({ default: [{ write: "made.txt", text: "x" }] });
    const ran = await place.run("goal", "run", GOAL, ...DRIVE, "--engine", engine);
    expect(ran).toMatchObject({ status: 1 });
    expect(place.json("goal.json")).toMatchObject({ reason_code: "no_gates" });
    expect(ran.stderr).toContain("gates: the result suggests none");
    // One turn shows it as well as three.
    expect(place.events().filter(({ kind }) => kind === "task_claimed")).toHaveLength(1);
  });

  test("ends with 4, charging nothing, when the agent is not there", async () => {
    using place = await brokenSum();
    const ran = await place.run("goal", "run", GOAL, ...DRIVE, "--engine", "acp:no-such-agent-anywhere");
    expect(ran).toMatchObject({ status: 4 });
    expect(ran.stdout).toContain("no-such-agent-anywhere");
  });

  test("goes on after a pause from another process", async () => {
    using place = await brokenSum();
    const engine = place.script({
      turns: [
        {
          match: { attempt: 1 },
          steps: [{ say: "thinking" }, { wait_for: "go", timeout_ms: 60_000 }, ...REPAIR],
        },
      ],
    });
    const running = place.start("goal", "run", GOAL, ...DRIVE, "--engine", engine);
    await running.says("attempt 1");
    const paused = await place.run("goal", "pause");
    expect(paused).toMatchObject({ status: 0 });
    expect(paused.stdout).toContain("Resume with: omk goal resume");
    expect(await running.ended).toMatchObject({ status: 6 });
    expect(place.json("goal.json")).toMatchObject({ status: "paused" });
    place.write({ go: "" });
    expect(await place.run("goal", "resume")).toMatchObject({ status: 0 });
    expect(place.json("proof.json")).toMatchObject({ status: "ready" });
  });

  test("ends with 130 on Ctrl-C, keeps everything and says how to go on", async () => {
    using place = await brokenSum();
    const engine = place.script({ turns: [{ steps: [{ wait_for: "go", timeout_ms: 60_000 }, ...REPAIR] }] });
    const running = place.start("goal", "run", GOAL, ...DRIVE, "--engine", engine);
    await running.says("attempt 1");
    running.child.kill("SIGINT");
    const ended = await running.ended;
    expect(ended).toMatchObject({ status: 130 });
    expect(`${ended.stdout}${ended.stderr}`).toContain("omk goal resume");
    place.write({ go: "" });
    expect(await place.run("goal", "resume")).toMatchObject({ status: 0 });
  });

  test("goes on after a kill in the middle of the agent's turn, without counting it", async () => {
    using place = await brokenSum();
    const engine = place.script({ turns: [{ steps: [{ wait_for: "go", timeout_ms: 60_000 }, ...REPAIR] }] });
    const running = place.start("goal", "run", GOAL, ...DRIVE, "--max-attempts", "1", "--engine", engine);
    await running.says("attempt 1");
    running.child.kill("SIGKILL");
    await running.ended;
    const status = await place.run("goal", "status");
    expect(status.stdout).toContain("omk goal resume");
    place.write({ go: "" });
    expect(await place.run("goal", "resume")).toMatchObject({ status: 0 });
    const attempts = place.json("work.json")["attempts"];
    expect(attempts).toMatchObject([
      { number: 1, status: "interrupted", counted: false },
      { number: 1, status: "ended", outcome: "finished" },
    ]);
  });

  test("lets one goal at a time work in a directory", async () => {
    using place = await brokenSum();
    const engine = place.script({ turns: [{ steps: [{ wait_for: "go", timeout_ms: 60_000 }, ...REPAIR] }] });
    const first = place.start("goal", "run", GOAL, ...DRIVE, "--engine", engine);
    await first.says("attempt 1");
    const second = await place.run("goal", "run", GOAL, ...DRIVE, "--engine", engine);
    expect(second).toMatchObject({ status: 75 });
    expect(second.stderr).toContain(String(first.child.pid));
    expect(readdirSync(join(place.state, "goals"))).toHaveLength(1);
    place.write({ go: "" });
    expect(await first.ended).toMatchObject({ status: 0 });
  });
});

// Further ones are in fakes.test.ts.
describe("a false success", () => {
  const cases: [string, object[], string][] = [
    ["deletes the test file", [{ delete: "sum.test.js" }, { say: "done" }], "any"],
    [
      "replaces the test script by true",
      [{ edit: "package.json", replace: "node --test", with: "true" }, { say: "done" }],
      "any",
    ],
    ["says nothing and does nothing", [], "agent_not_executed"],
    [
      "lets the sources end the runner and adds a test that passes",
      [
        { write: "sum.js", text: "process.exit(0);\nexport const sum = () => 0;\n" },
        { write: "a.test.js", text: 'import { test } from "node:test";\ntest("trivial", () => {});\n' },
        { say: "done" },
      ],
      "protected_input_changed",
    ],
    [
      "adds a test that overwrites the result when it is over",
      [
        ...REPAIR,
        {
          write: "b.test.js",
          text: 'import { after, test } from "node:test";\nimport fs from "node:fs";\ntest("fine", () => {});\nafter(() => fs.writeFileSync("sum.js", "broken"));\n',
        },
      ],
      "any",
    ],
    ["crashes after a claim", [{ say: "All done, tests pass" }, { crash: 1 }], "agent_not_executed"],
  ];
  test.each(cases)("of an agent that %s never becomes ready", async (_name, steps, code) => {
    using place = await brokenSum();
    const engine = place.script({ default: steps });
    const ran = await place.run("goal", "run", GOAL, ...DRIVE, "--max-attempts", "1", "--engine", engine);
    expect(ran).toMatchObject({ status: 1 });
    const goal = place.json("goal.json");
    expect(goal["status"]).toBe("not_ready");
    if (code !== "any") expect(goal["reason_code"]).toBe(code);
    expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });
  });
});

describe("a proof", () => {
  test("is refused, naming the file, after one byte of any evidence was changed", async () => {
    using place = await brokenSum();
    const engine = place.script({ turns: [{ steps: REPAIR }] });
    await place.run("goal", "run", GOAL, ...DRIVE, "--engine", engine);
    const { evidence } = place.json("proof.json") as { evidence: { path: string }[] };
    expect(evidence.length).toBeGreaterThan(4);
    for (const { path } of [
      ...evidence,
      { path: "proof.json" },
      { path: "goal.json" },
      { path: "events.jsonl" },
    ]) {
      const file = join(place.goalFolder(), path);
      const bytes = readFileSync(file);
      if (bytes.length === 0) continue;
      const bent = Buffer.from(bytes);
      const at = Math.floor(bytes.length / 2);
      bent[at] = (bytes[at] ?? 0) ^ 1;
      writeFileSync(file, bent);
      const ran = await place.run("proof", "verify");
      expect(ran.status, path).not.toBe(0);
      expect(`${ran.stdout}${ran.stderr}`, path).toContain(path);
      writeFileSync(file, bytes);
    }
    expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });
  });
});

describe("bad input", () => {
  const refused: [string, string[], number, string][] = [
    ["an empty goal", ["goal", "run", ""], 2, "cannot be empty"],
    ["a blank goal", ["goal", "run", "   "], 2, "omk goal run"],
    ["an unknown id", ["goal", "status", "missing-9999"], 1, "not found"],
    ["a path-like id", ["goal", "status", "../../etc"], 2, ""],
    ["no goals", ["goal", "show"], 1, "No goals found"],
    ["a bad duration", ["goal", "run", GOAL, "--budget-time", "nope"], 2, "invalid duration 'nope'"],
    [
      "zero tokens",
      ["goal", "run", GOAL, "--budget-tokens", "0"],
      2,
      "--budget-tokens must be greater than zero",
    ],
    [
      "negative dollars",
      ["goal", "run", GOAL, "--budget-usd=-5"],
      2,
      "--budget-usd must be a positive, finite number",
    ],
    ["dollars that are no number", ["goal", "run", GOAL, "--budget-usd", "NaN"], 2, "positive, finite"],
    ["zero agents", ["goal", "run", GOAL, "--max-agents", "0"], 2, "--max-agents must be greater than zero"],
    ["a text for a number", ["goal", "run", GOAL, "--max-attempts", "many"], 2, "--max-attempts"],
    ["an unknown flag", ["goal", "run", GOAL, "--nonsense"], 2, "--nonsense"],
    ["--json beside --format", ["goal", "show", "--json", "--format", "text"], 2, "--format"],
    ["a bad gate", ["goal", "run", GOAL, "--gate", "nonsense"], 2, "nonsense"],
    ["a gate with a secret", ["goal", "run", GOAL, "--gate", `x=echo ${SECRET}`], 2, "environment variable"],
    [
      "an engine with a secret",
      ["goal", "run", GOAL, "--engine", `acp:a ${SECRET}`],
      2,
      "environment variable",
    ],
    ["no engine for a drive", ["goal", "run", GOAL, "--until-ready"], 4, "--engine"],
    [
      "an engine's script that is not there",
      ["goal", "run", GOAL, "--engine", "scripted:none.json"],
      78,
      "none.json",
    ],
    ["an unknown schema", ["schema", "nonsense"], 1, "nonsense"],
  ];
  test.each(refused)("%s is refused before anything is made", async (_name, args, status, text) => {
    using place = await brokenSum();
    const ran = await place.run(...args);
    expect(ran.stderr).toContain(text);
    expect(ran).toMatchObject({ status });
    expect(existsSync(join(place.state, "goals")) ? readdirSync(join(place.state, "goals")) : []).toEqual([]);
  });

  test("a broken gates.toml ends with 78 and names the file", async () => {
    using place = await brokenSum();
    place.write({ ".omk/gates.toml": "[[gates]\nname = 1" });
    const ran = await place.run("goal", "create", GOAL);
    expect(ran).toMatchObject({ status: 78 });
    expect(ran.stderr).toContain("gates.toml");
  });

  test("a goal nobody can test asks a question and can be made no further", async () => {
    using place = await brokenSum();
    const ran = await place.run("goal", "run", "Make it awesome");
    expect(ran).toMatchObject({ status: 3 });
    expect(ran.stdout).toContain("testable success criteria");
    expect(place.json("proof.json")).toMatchObject({ status: "blocked_on_human" });
    expect(await place.run("goal", "execute")).toMatchObject({ status: 1 });
  });

  test("a damaged goal.json beside healthy goals hides nothing and is made again from the log", async () => {
    using place = await brokenSum();
    await place.run("goal", "create", GOAL);
    writeFileSync(join(place.goalFolder(), "goal.json"), "{half");
    await place.run("goal", "create", GOAL);
    mkdirSync(join(place.state, "goals", "goal-damaged"));
    writeFileSync(join(place.state, "goals", "goal-damaged", "goal.json"), "{half");
    const list = await place.run("goal", "list");
    expect(list).toMatchObject({ status: 0 });
    expect(list.stdout).toContain("Goals (2)");
    expect(list.stderr).toContain("goal-damaged");
  });

  test("a goal.json of a newer version is left alone and named", async () => {
    using place = await brokenSum();
    const folder = join(place.state, "goals", "goal-newer");
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const text = JSON.stringify({ version: 7, goal_id: "goal-newer" });
    writeFileSync(join(folder, "goal.json"), text);
    const ran = await place.run("goal", "verify", "goal-newer");
    expect(ran).toMatchObject({ status: 78 });
    expect(ran.stderr).toContain("version 7");
    expect(readFileSync(join(folder, "goal.json"), "utf8")).toBe(text);
    expect(readdirSync(folder)).toEqual(["goal.json"]);
  });

  test("a state folder that others may write is refused with 77", async () => {
    using place = await brokenSum();
    mkdirSync(place.state);
    rmSync(place.state, { recursive: true });
    mkdirSync(place.state, { mode: 0o777 });
    await place.git("config", "core.fileMode", "true");
    const { chmodSync } = await import("node:fs");
    chmodSync(place.state, 0o777);
    const ran = await place.run("goal", "create", GOAL);
    expect(ran).toMatchObject({ status: 77 });
    expect(ran.stderr).toContain("chmod");
  });
});

describe("the steps by hand", () => {
  test("verify, execute, review and accept reach what the loop reaches", async () => {
    using place = await brokenSum();
    const engine = place.script({ turns: [{ steps: REPAIR }] });
    expect(await place.run("goal", "create", GOAL, "--engine", engine)).toMatchObject({ status: 0 });
    const verified = await place.run("goal", "verify");
    expect(verified).toMatchObject({ status: 1 });
    expect(verified.stdout).toContain("tests: failed");
    expect(await place.run("goal", "execute")).toMatchObject({ status: 0 });
    expect(await place.run("goal", "review")).toMatchObject({ status: 0 });
    expect(await place.run("goal", "accept", "--summary", "fine")).toMatchObject({ status: 0 });
    expect(place.json("goal.json")).toMatchObject({ status: "ready" });
    expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });
    const again = await place.run("goal", "verify");
    expect(again).toMatchObject({ status: 1 });
    expect(again.stderr).toContain("--again");
    expect(await place.run("goal", "verify", "latest", "--again")).toMatchObject({ status: 0 });
  });

  test("each names the command that comes next, all the way from a goal that was only created", async () => {
    using place = await brokenSum();
    const engine = place.script({ turns: [{ steps: REPAIR }] });
    const created = await place.run("goal", "create", GOAL);
    const id = place.goalFolder().split("/").at(-1) ?? "";
    expect(created.stdout).toContain(`omk goal resume ${id} --until-ready --engine <engine>`);
    expect((await place.run("goal", "status")).stdout).toContain(`omk goal execute ${id}`);
    const missing = await place.run("goal", "execute");
    expect(missing).toMatchObject({ status: 4 });
    expect(place.json("goal.json")).toMatchObject({ status: "not_ready" });
    expect((await place.run("goal", "verify")).stdout).toContain(`omk goal execute ${id}`);
    const executed = await place.run("goal", "execute", "latest", "--engine", engine);
    expect(executed).toMatchObject({ status: 0 });
    expect(executed.stdout).toContain(`Next: omk goal review ${id}`);
    const reviewed = await place.run("goal", "review");
    expect(reviewed.stdout).toContain(`omk goal accept ${id} --summary`);
    const accepted = await place.run("goal", "accept", "--summary", "fine");
    expect(accepted.stdout).toContain(`omk proof verify ${id}`);
    const proof = place.json("proof.json") as { engine: { version: unknown } };
    expect(proof.engine.version).toEqual(expect.any(String));
    expect(place.json("goal.json")["base_commit"]).toMatch(/^[0-9a-f]{40}$/);
  });

  test("a goal that was only planned is driven by resume, with the engine given there", async () => {
    using place = await brokenSum();
    const engine = place.script({ turns: [{ steps: REPAIR }] });
    await place.run("goal", "plan", GOAL);
    const ran = await place.run("goal", "resume", "latest", "--until-ready", "--engine", engine);
    expect(ran).toMatchObject({ status: 3 });
    expect(ran.stdout).toContain("omk goal accept");
  });

  test("verify takes a gate where the project has none, and it counts from then on", async () => {
    using place = new Place({ "notes.txt": "nothing to test here\n" });
    const engine = place.script({ default: [{ write: "made.txt", text: "x" }] });
    await place.run("goal", "create", "Add a file made.txt", "--engine", engine);
    expect((await place.run("goal", "status")).stdout).toContain("omk goal verify");
    const verified = await place.run("goal", "verify", "latest", "--gate", "made=test -f made.txt");
    expect(verified).toMatchObject({ status: 1 });
    expect(verified.stdout).toContain("made: failed");
    expect(await place.run("goal", "execute")).toMatchObject({ status: 0 });
    expect(place.json("proof.json")["gates"]).toMatchObject([
      { name: "made", verdict: "passed", base: "failed", source: "flag" },
    ]);
    expect(await place.run("goal", "verify", "latest", "--gate", "nonsense")).toMatchObject({ status: 2 });
  });

  test("reject keeps the reason and a plan to roll back", async () => {
    using place = await brokenSum();
    const engine = place.script({ turns: [{ steps: REPAIR }] });
    await place.run("goal", "run", GOAL, "--until-ready", "--engine", engine);
    const rejected = await place.run("goal", "reject", "--reason", "not what I meant");
    expect(rejected).toMatchObject({ status: 0 });
    expect(rejected.stdout).toContain("not what I meant");
    expect(place.json("goal.json")).toMatchObject({ status: "not_ready", reason_code: "rejected" });
    expect(place.json("goal.json")["failure"]).toMatchObject({ reason: "not what I meant" });
    const plan = /^Rollback plan: (.+)$/m.exec(rejected.stdout)?.[1] ?? "";
    expect(existsSync(plan)).toBe(true);
    const undo = /^Undo the change: (.+)$/m.exec(rejected.stdout)?.[1] ?? "";
    expect(await place.shell(undo)).toBe(0);
    expect(readFileSync(join(place.work, "sum.js"), "utf8")).toBe(BROKEN_SUM["sum.js"]);
  });
});

describe("the undo command", () => {
  test.each([
    ["a repository", "", true],
    ["a subdirectory of a repository", "packages/sum", true],
    ["a folder without git", "", false],
  ])("takes the work back in %s", async (_name, below, git) => {
    using place = new Place(below === "" ? BROKEN_SUM : {});
    if (below !== "")
      place.write(
        Object.fromEntries(Object.entries(BROKEN_SUM).map(([name, text]) => [`${below}/${name}`, text])),
      );
    if (git) await place.commitAll();
    place.work = join(place.project, below);
    const engine = place.script({ turns: [{ steps: [...REPAIR, { write: "new.txt", text: "new\n" }] }] });
    const ran = await place.run("goal", "run", GOAL, ...DRIVE, "--engine", engine);
    expect(ran).toMatchObject({ status: 0 });
    const undo = /^undo: (.+)$/m.exec(ran.stderr)?.[1] ?? "";
    expect(await place.shell(undo)).toBe(0);
    expect(readFileSync(join(place.work, "sum.js"), "utf8")).toBe(BROKEN_SUM["sum.js"]);
    expect(existsSync(join(place.work, "new.txt"))).toBe(false);
  });
});

test("a secret behind a zero byte does not get past the review", async () => {
  using place = await brokenSum();
  const secret = { write: "notes.txt", text: `\0 key ghp_${"a1B2c3D4e5".repeat(4)}\n` };
  const engine = place.script({ default: [secret, ...REPAIR] });
  const ran = await place.run("goal", "run", GOAL, ...DRIVE, "--max-attempts", "1", "--engine", engine);
  expect(ran).toMatchObject({ status: 1 });
  expect(place.json("proof.json")).toMatchObject({ status: "not_ready", reason_code: "review_blocked" });
});

test("help for a command of a command is the same as its own", async () => {
  using place = new Place();
  const own = await place.run("goal", "run", "--help");
  expect(own.stdout).toContain("omk goal run");
  expect(await place.run("help", "goal", "run")).toMatchObject({ status: 0, stdout: own.stdout });
  expect((await place.run("help")).stdout).toBe((await place.run("--help")).stdout);
  expect(await place.run("help", "goal", "nonsense")).toMatchObject({ status: 2 });
});

test("a budget for a planner that asks nobody is said to have no effect", async () => {
  using place = await brokenSum();
  const ran = await place.run("goal", "create", GOAL, "--no-llm-planner", "--planner-token-budget", "100");
  expect(ran).toMatchObject({ status: 0 });
  expect(ran.stderr).toContain("--planner-token-budget has no effect");
});
