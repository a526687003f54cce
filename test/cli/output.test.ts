/** What commands print: labels that scripts look for, JSON that parses, and nothing that steers a terminal. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { describe, expect, test } from "vitest";

import { BROKEN_SUM, Place, REPAIR, type Ran } from "../support/cli.ts";

const GOAL = "Fix the failing test in sum.test.js";
const ENTRY = fileURLToPath(new URL("../../bin/omk.cjs", import.meta.url));
const TIME = String.raw`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? UTC`;

/** The output matches these patterns, one a line, in this order; lines in between are allowed. */
function expectLines(ran: Ran, ...patterns: (string | RegExp)[]): void {
  const lines = ran.stdout.split("\n");
  let at = 0;
  for (const pattern of patterns) {
    const found = lines.findIndex((line, index) => {
      if (index < at) return false;
      return typeof pattern === "string"
        ? line === pattern
        : new RegExp(`^(?:${pattern.source})$`).test(line);
    });
    if (found === -1)
      throw new Error(`no line ${pattern.toString()} from line ${at} on in:\n${ran.stdout}${ran.stderr}`);
    at = found + 1;
  }
}

async function brokenSum(): Promise<Place> {
  const place = new Place(BROKEN_SUM);
  await place.commitAll();
  return place;
}

describe("the text of a command", () => {
  test("has the labels of a goal's life, step by step", { timeout: 60_000 }, async () => {
    using place = await brokenSum();
    const engine = place.script({ turns: [{ steps: REPAIR }] });
    const created = await place.run(
      "goal",
      "run",
      GOAL,
      "--engine",
      engine,
      "--budget-usd",
      "2.5",
      "--budget-time",
      "8h",
      "--max-agents",
      "1",
    );
    const folder = place.goalFolder();
    const id = folder.split("/").at(-1) ?? "";
    expect(created.status).toBe(0);
    expectLines(
      created,
      `Goal scaffold created: ${id}`,
      "  Status: not_ready",
      "  Phase:  proof",
      `  State:  ${folder}`,
      `  Proof:  ${folder}/proof.json`,
      "",
      "Next steps:",
      / {2}1\. .*omk goal show latest.*/,
      / {2}2\. .*omk goal verify latest.*/,
      / {2}3\. .*omk goal execute latest.*/,
      / {2}4\. .*omk goal review latest.*/,
    );

    expectLines(await place.run("goal", "list"), "Goals (1):", `  [not_ready] ${id}  ${GOAL}`);
    expectLines(
      await place.run("goal", "status"),
      `Goal status -- ${id}`,
      "  Status:  not_ready",
      "  Phase:   proof",
      `  Goal:    ${GOAL}`,
      new RegExp(`  Updated: ${TIME}`),
    );
    expectLines(
      await place.run("goal", "show"),
      `Goal ${id}`,
      "Status: not_ready",
      "Phase: proof",
      `Goal: ${GOAL}`,
      "Until ready: false",
      "Budget time: 8h",
      "Budget USD: 2.500000",
      "Max agents: 1",
      "Artifacts:",
      "  prd: prd.md",
      "  proof: proof.json",
      `Proof: ${folder}/proof.json`,
      `State: ${folder}`,
    );
    expectLines(
      await place.run("goal", "show", "-f", "md"),
      `# Goal ${id}`,
      "- Status: `not_ready`",
      "- Phase: `proof`",
      `- Goal: ${GOAL}`,
      `- State: \`${folder}\``,
      `- Proof: \`${folder}/proof.json\``,
      "## Artifacts",
      "- `prd`: `prd.md`",
    );

    expectLines(
      await place.run("goal", "verify"),
      "Verification: not_ready",
      /Readiness: not ready: .+/,
      "Gates:",
      / {2}tests: failed.*/,
      "Proof: proof.json",
    );
    expectLines(
      await place.run("goal", "execute"),
      "Execution: not_ready",
      /Readiness: .+/,
      "Done tasks: 4/6",
      "goal-local-verify: done",
      "goal-agent-execute: done",
      "goal-review: pending",
      "goal-security-review: pending",
      "Proof: proof.json",
    );
    expectLines(
      await place.run("goal", "review"),
      "Review: not_ready",
      /Readiness: .*integration acceptance.*/,
      "Done tasks: 6/6",
      "goal-review: done",
      "goal-security-review: done",
      "Proof: proof.json",
    );
    expectLines(
      await place.run("goal", "proof"),
      `Goal proof ${id}`,
      "Status: not_ready",
      /Readiness: .+/,
      "Tasks: 6",
      "Known gaps:",
      / {2}- .*integration acceptance.*/,
    );
    expectLines(
      await place.run("goal", "proof", "-f", "md"),
      `# Goal Proof ${id}`,
      "- Status: `not_ready`",
      /- Readiness: .+/,
      "## Known Gaps",
      /- .+/,
    );
    const accepted = await place.run("goal", "accept", "--summary", "fine");
    expectLines(accepted, "Acceptance: ready", /Readiness: ready: .+/);
    expect(accepted.stdout).not.toContain("Known gaps:");
    expectLines(
      await place.run("goal", "replay"),
      `Goal replay ${id}`,
      "Status: ready",
      "Phase: proof",
      /Events: \d+/,
      "Tasks: 6/6 done",
      "Timeline:",
      new RegExp(`  ${TIME}  run_started {12}.*`),
      new RegExp(`  ${TIME}  gate_failed {12}gate_id=tests, name=tests`),
      new RegExp(`  ${TIME}  gate_passed {12}gate_id=tests, name=tests`),
      new RegExp(`  ${TIME}  proof_written {10}status=ready`),
    );
    expectLines(
      await place.run("goal", "replay", "-f", "md"),
      `# Goal Replay ${id}`,
      "- Status: `ready`",
      "- Phase: `proof`",
      /- Events: \d+/,
      "- Tasks: 6/6 done",
      "## Timeline",
      /- .* run_started .*/,
    );
  });

  test(
    "has the labels of pausing, resuming, adding to a budget, rejecting and cancelling",
    { timeout: 60_000 },
    async () => {
      using place = await brokenSum();
      expectLines(await place.run("goal", "list"), "No goals found.", "", /.*omk goal run.*/);
      const planned = await place.run("goal", "plan", GOAL, "--budget-time", "1h");
      const folder = place.goalFolder();
      const id = folder.split("/").at(-1) ?? "";
      expectLines(
        planned,
        `Goal plan created: ${id}`,
        "  Status: not_ready",
        `  State:  ${folder}`,
        "Next steps:",
        /.*omk goal show latest.*/,
        /.*omk goal run .*--until-ready/,
      );
      expectLines(
        await place.run("goal", "pause"),
        `Goal ${id} paused`,
        "Status: paused",
        "Phase: proof",
        new RegExp(`Updated: ${TIME}`),
        "",
        `Resume with: omk goal resume ${id}`,
      );
      const refused = await place.run("goal", "execute");
      expect(refused.status).toBe(1);
      expect(refused.stderr).toMatch(new RegExp(`^Error: .*paused.*\n.*omk goal resume ${id}\n$`));
      expectLines(
        await place.run("goal", "budget-add", "--time", "30m", "--tokens", "5", "--usd", "1.5"),
        `Budget added: ${id}`,
        "Status: paused",
        "Budget time: 90m",
        "Budget tokens: unbounded",
        "Budget USD: unbounded",
        "Time added: 30m",
        "Tokens added: 5",
        "USD added: 1.500000",
        "Nothing changes for tokens, dollars: the goal has no limit there.",
      );
      expectLines(
        await place.run("goal", "resume"),
        `Goal ${id} resumed`,
        "Status: not_ready",
        "Phase: proof",
        new RegExp(`Updated: ${TIME}`),
      );
      expectLines(
        await place.run("goal", "reject", "--reason", "not this"),
        "Acceptance: not_ready",
        "Readiness: not ready: not this",
        "Known gaps:",
      );
      expectLines(
        await place.run("goal", "cancel"),
        `Goal ${id} cancelled`,
        "Status: cancelled",
        `Failure artifact: ${folder}/failure.json`,
      );
      expect(JSON.parse(readFileSync(join(folder, "failure.json"), "utf8"))).toMatchObject({
        status: "cancelled",
      });
    },
  );

  test("of a goal that nobody can test asks for a decision, in the proof, too", async () => {
    using place = await brokenSum();
    const ran = await place.run("goal", "run", "Make it awesome");
    expectLines(
      ran,
      "  Status: blocked_on_human",
      /Decision needed: .*testable success criteria.*/,
      "",
      /Next: refine the goal.*/,
      /.*omk goal answer.*/,
    );
    const proof = place.json("proof.json") as {
      readiness: string;
      known_gaps: string[];
      human_decisions_required: string[];
    };
    expect(proof.readiness).toMatch(/^blocked on human: /);
    expect(proof.known_gaps.join("\n")).toContain("goal oracle is not testable");
    expect(proof.human_decisions_required).toHaveLength(1);
  });

  test(
    "of a driven goal tells each step once, and nothing it did itself as a next step",
    { timeout: 60_000 },
    async () => {
      using place = await brokenSum();
      const wrong = [{ edit: "sum.js", replace: "a - b", with: "a * b" }, { say: "done" }];
      const engine = place.script({ turns: [{ steps: wrong }] });
      const ran = await place.run(
        "goal",
        "run",
        GOAL,
        "--until-ready",
        "--max-attempts",
        "2",
        "--engine",
        engine,
      );
      expect(ran.status).toBe(1);
      expectLines(
        ran,
        /Goal run completed: goal-.+/,
        "  Status: not_ready",
        "  Phase:  proof",
        /  State:  .+/,
        /  Proof:  .+proof\.json/,
        "  Ended:  what there is does not show that the goal is reached",
        "",
        "Narrative:",
        / {2}0\. 📋 plan — .+/,
        / {2}1\. 🔍 verify — .+/,
        / {2}2\. ⚡ execute — .+/,
        / {2}3\. ⚡ execute — .+/,
        "",
        /Blocked: .*required verification gates failed.*/,
      );
      expect(ran.stdout.match(/\bexecute\b/g)).toHaveLength(2);
      expect(ran.stdout).not.toMatch(/omk goal (?:verify|execute|review) latest/);
      expect(ran.stdout).not.toContain("Decision needed");
    },
  );
});

describe("--json", () => {
  test("of every command is one JSON value and nothing else on stdout", { timeout: 60_000 }, async () => {
    using place = await brokenSum();
    const engine = place.script({ turns: [{ steps: REPAIR }] });
    const commands: string[][] = [
      ["goal", "create", GOAL, "--engine", engine],
      ["goal", "plan", GOAL, "--engine", engine],
      ["goal", "run", GOAL, "--engine", engine],
      ["goal", "list"],
      ["goal", "status"],
      ["goal", "verify"],
      ["goal", "execute"],
      ["goal", "review"],
      ["goal", "reject", "--reason", "no"],
      ["goal", "accept", "--summary", "yes"],
      ["goal", "show"],
      ["goal", "proof"],
      ["goal", "replay"],
      ["proof", "verify"],
      ["goal", "run", GOAL, "--until-ready", "--engine", engine],
      ["goal", "pause"],
      ["goal", "budget-add", "--tokens", "1"],
      ["goal", "resume"],
      ["goal", "cancel"],
    ];
    for (const args of commands) {
      const { stdout, stderr } = await place.run(...args, "--json");
      expect(() => JSON.parse(stdout), `${args.join(" ")}: ${stdout}${stderr}`).not.toThrow();
    }
    const { stdout } = await place.run("goal", "show", "--format", "json");
    expect(JSON.parse(stdout)).toMatchObject({ status: "cancelled" });
    expect(JSON.parse((await place.run("schema", "goal")).stdout)).toMatchObject({ type: "object" });
  });
});

describe("--help", () => {
  const SUBCOMMANDS =
    "run create plan list status show proof replay verify execute review accept reject resume pause cancel budget-add".split(
      " ",
    );

  test("of every command ends with an Examples block", { timeout: 60_000 }, async () => {
    using place = new Place();
    const all = [
      [],
      ["goal"],
      ...SUBCOMMANDS.map((name) => ["goal", name]),
      ["proof"],
      ["proof", "verify"],
      ["demo"],
      ["schema"],
    ];
    for (const command of all) {
      const ran = await place.run(...command, "--help");
      expect(ran, command.join(" ")).toMatchObject({ status: 0, stderr: "" });
      expect(ran.stdout, command.join(" ")).toMatch(/\nExamples:\n(?: {2}omk .+\n)+\n?$/);
    }
  });

  const fragments: [string[], string[]][] = [
    [
      ["goal"],
      [
        "Goal runtime",
        "Examples:",
        "omk goal run",
        "omk goal show latest --json",
        "Goal state is stored",
        ...SUBCOMMANDS,
      ],
    ],
    [
      ["goal", "run"],
      [
        "Fix all failing cargo tests",
        "suffix s/m/h/d",
        "must be > 0",
        "one-command controller",
        "verify -> execute -> review",
        "manual recovery",
        "--enforce-protection",
        "--no-llm-planner",
        "--planner-token-budget",
        "Default: 8000",
      ],
    ],
    [["goal", "budget-add"], ["At least one of --time / --tokens / --usd must be provided."]],
    [
      ["goal", "show"],
      ["--format", "--json", "Shortcut for"],
    ],
  ];
  test.each(fragments)("of %j has what scripts and people look for", async (command, texts) => {
    using place = new Place();
    const { stdout } = await place.run(...command, "--help");
    // Help is wrapped to the width of the terminal; the words are what counts.
    const words = stdout.replace(/\s+/g, " ");
    for (const text of texts) expect(words).toContain(text);
  });
});

/** Controls, bidirectional marks and the like; newline and tab are fine. */
const UNSAFE = /(?![\n\t])[\p{Cc}\p{Cf}\p{Co}\p{Cs}]/u;

describe("untrusted text", () => {
  const EVIL = "\u001b[2J\u001b]0;owned\u0007\u009b31m\u202e\u0000x\r";

  test(
    "never steers the terminal, whether it comes from the goal, the agent, a gate or a file's name",
    { timeout: 60_000 },
    async () => {
      using place = await brokenSum();
      const engine = place.script({
        turns: [
          {
            steps: [
              ...REPAIR,
              { write: "evil\u001b[31m\nStatus: ready\n.js", text: `console.log("${EVIL}");\n` },
              { say: `All done ${EVIL}\nStatus: ready` },
            ],
          },
        ],
      });
      const gate = String.raw`noise=printf '\033[2J\033]0;owned\007 said\n'; exit 1`;
      const text = `Fix the failing test ${EVIL.replaceAll("\0", "")}in sum.test.js`;
      const ran = await place.run(
        "goal",
        "run",
        text,
        "--until-ready",
        "--max-attempts",
        "1",
        "--engine",
        engine,
        "--gate",
        "tests=node --test",
        "--gate",
        gate,
      );
      const outputs = [ran];
      for (const args of [
        ["list"],
        ["status"],
        ["show"],
        ["show", "-f", "md"],
        ["proof"],
        ["proof", "-f", "md"],
        ["replay"],
        ["replay", "-f", "md"],
        ["show", "--json"],
        ["proof", "--json"],
        ["replay", "--json"],
        ["list", "--json"],
      ]) {
        outputs.push(await place.run("goal", ...args));
      }
      for (const { stdout, stderr } of outputs) {
        expect(stdout).not.toMatch(UNSAFE);
        expect(stderr).not.toMatch(UNSAFE);
        // Nor does it put a line of its own among ours.
        expect(`${stdout}\n${stderr}`.split("\n")).not.toContain("Status: ready");
      }
      // It is shown, not lost: what JSON says is the very text.
      const shown = JSON.parse(outputs[9]?.stdout ?? "") as { original_goal: string };
      expect(shown.original_goal).toContain("\u001b[2J\u001b]0;owned\u0007");
      expect(place.json("proof.json")["changed_files"]).toContain("evil\u001b[31m\nStatus: ready\n.js");
    },
  );

  test("on the command line itself is not sent back raw", async () => {
    using place = new Place();
    for (const args of [
      [`--\u001b[31mflag`],
      ["goal", "show", "\u001b[31m"],
      ["goal", "run", "x y z", "--budget-time", "\u001b[31m"],
    ]) {
      const ran = await place.run(...args);
      expect(ran.status).toBe(2);
      expect(`${ran.stdout}${ran.stderr}`).not.toMatch(UNSAFE);
    }
  });
});

describe("without a terminal", () => {
  test(
    "there is no colour and no question, even with FORCE_COLOR and an open stdin",
    { timeout: 60_000 },
    async () => {
      using place = await brokenSum();
      const engine = place.script({ turns: [{ steps: REPAIR }] });
      const child = spawn(
        process.execPath,
        [ENTRY, "goal", "run", GOAL, "--until-ready", "--engine", engine],
        {
          cwd: place.project,
          env: { ...place.environment, FORCE_COLOR: "3", CLICOLOR_FORCE: "1", TERM: "xterm-256color" },
          stdio: ["pipe", "pipe", "pipe"],
        },
      );
      let printed = "";
      for (const stream of [child.stdout, child.stderr])
        stream.setEncoding("utf8").on("data", (text: string) => (printed += text));
      const [status] = (await once(child, "close")) as [number];
      child.stdin.destroy();
      expect(status).toBe(3);
      expect(printed).not.toMatch(UNSAFE);
    },
  );

  test("a reader that has gone is no failure", { timeout: 60_000 }, async () => {
    using place = await brokenSum();
    await place.run("goal", "create", GOAL);
    for (const args of [
      ["goal", "list"],
      ["goal", "show", "--json"],
      ["goal", "replay"],
      ["goal", "--help"],
      ["goal", "show", "missing"],
    ]) {
      const child = spawn(process.execPath, [ENTRY, ...args], {
        cwd: place.project,
        env: place.environment,
        stdio: ["ignore", "pipe", "pipe"],
      });
      child.stdout.destroy();
      let said = "";
      child.stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
      const [status] = (await once(child, "close")) as [number];
      expect(said, args.join(" ")).not.toMatch(/EPIPE|node:|at .*\.cjs/);
      expect(status, args.join(" ")).toBe(args.includes("missing") ? 1 : 0);
    }
  });

  test("a goal goes on to its end when nobody reads its story any more", { timeout: 60_000 }, async () => {
    using place = await brokenSum();
    const engine = place.script({ turns: [{ steps: REPAIR }] });
    const child = spawn(
      process.execPath,
      [ENTRY, "goal", "run", GOAL, "--until-ready", "--auto-accept", "--engine", engine],
      {
        cwd: place.project,
        env: place.environment,
        stdio: ["ignore", "pipe", "pipe"],
      },
    );
    child.stdout.destroy();
    child.stderr.destroy();
    const [status] = (await once(child, "close")) as [number];
    expect(status).toBe(0);
    expect(place.json("goal.json")).toMatchObject({ status: "ready" });
  });

  test.runIf(process.platform === "linux")(
    "an answer that does not fit on the disk is a failure and says so",
    async () => {
      using place = await brokenSum();
      await place.run("goal", "create", GOAL);
      const full = openSync("/dev/full", "w");
      try {
        const child = spawn(process.execPath, [ENTRY, "goal", "show"], {
          cwd: place.project,
          env: place.environment,
          stdio: ["ignore", full, "pipe"],
        });
        let said = "";
        child.stderr?.setEncoding("utf8").on("data", (text: string) => (said += text));
        const [status] = (await once(child, "close")) as [number];
        expect(status).toBe(74);
        expect(said).toContain("stdout");
      } finally {
        closeSync(full);
      }
    },
  );
});

test(
  "the demo leaves nothing behind, neither in the state folder nor in the temporary one",
  { timeout: 60_000 },
  async () => {
    using place = new Place();
    const temporary = join(place.folder, "tmp");
    mkdirSync(temporary, { mode: 0o700 });
    place.environment["TMPDIR"] = temporary;
    expect(await place.run("demo")).toMatchObject({ status: 0 });
    expect(await place.run("demo", "--lie")).toMatchObject({ status: 1 });
    expect(readdirSync(temporary)).toEqual([]);
    expect(existsSync(place.state)).toBe(false);
  },
);

describe("OMK_COMPAT=0.5", () => {
  test(
    "ends with 0 whatever was found, with 1 on errors and with 2 on misuse",
    { timeout: 60_000 },
    async () => {
      using place = await brokenSum();
      const engine = place.script({ default: [{ say: "All tests pass." }] });
      const drive = ["goal", "run", GOAL, "--until-ready", "--max-attempts", "1", "--engine", engine];
      const cases: [string[], number, number][] = [
        [drive, 1, 0],
        [["goal", "verify"], 1, 0],
        [["goal", "accept", "--summary", "x"], 1, 0],
        [["goal", "run", "Make it awesome"], 3, 0],
        [["goal", "execute"], 1, 1],
        [["goal", "show", "missing"], 1, 1],
        [["goal", "run", GOAL, "--until-ready"], 4, 1],
        [["goal", "show", "--nonsense"], 2, 2],
        [["goal", "run", GOAL, "--budget-time", "nope"], 2, 2],
      ];
      for (const [args, now, before] of cases) {
        expect((await place.run(...args)).status, args.join(" ")).toBe(now);
        place.environment["OMK_COMPAT"] = "0.5";
        expect((await place.run(...args)).status, `as 0.5: ${args.join(" ")}`).toBe(before);
        delete place.environment["OMK_COMPAT"];
      }
    },
  );
});
