/** What people decide about a result on the command line: accept with waivers, attest, reject and roll back; and `--rerun`. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import { BROKEN_SUM, Place, REPAIR } from "../support/cli.ts";

const GOAL = "Fix the failing test in sum.test.js";
const RUN = ["goal", "run", GOAL, "--no-llm-planner", "--until-ready"];

/** A change of the test itself: the base's copy of it stays red. */
const CHEAT = [{ edit: "sum.test.js", replace: "5", with: "-1" }, { say: "done" }];

async function ranTo(
  status: number,
  steps: object[],
  files: Record<string, string> = {},
  ...flags: string[]
): Promise<Place> {
  const place = new Place({ ...BROKEN_SUM, ...files });
  await place.commitAll();
  const turns = [1, 2, 3].map((attempt) =>
    attempt === 1 ? { steps } : { match: { attempt }, steps: [{ say: "?" }] },
  );
  const ran = await place.run(...RUN, "--max-attempts", "1", "--engine", place.script({ turns }), ...flags);
  expect(ran, `${ran.stdout}${ran.stderr}`).toMatchObject({ status });
  return place;
}

const codes = (place: Place) =>
  (place.json("proof.json")["gaps"] as { code: string }[]).map(({ code }) => code);

describe("omk goal accept", () => {
  test("lets a protected change pass by its path and a reason, in one write with the acceptance", async () => {
    using place = await ranTo(1, CHEAT);
    expect(codes(place)).toContain("protected_input_changed");
    const plain = await place.run("goal", "accept", "--summary", "fine");
    expect(plain).toMatchObject({ status: 1 });
    expect(plain.stdout).toContain("sum.test.js");
    const why = ["--allow-change", "sum.test.js", "--reason", "the test expected too much"];
    const accepted = await place.run("goal", "accept", "--summary", "fine", ...why);
    expect(accepted, accepted.stdout).toMatchObject({ status: 0 });
    const events = place.events() as { kind: string; batch?: number; seq: number }[];
    const [waiver, decision] = events
      .filter(({ kind, seq }) => seq > 0 && /^(waiver_given|goal_accepted)$/.test(kind))
      .slice(-2);
    expect([waiver?.kind, decision?.kind]).toEqual(["waiver_given", "goal_accepted"]);
    expect(decision).toMatchObject({ seq: (waiver?.seq ?? 0) + 1, batch: waiver?.seq });
    const proof = place.json("proof.json");
    expect(proof).toMatchObject({
      status: "ready",
      known_gaps: [],
      waivers: [{ kind: "change", what: "sum.test.js", reason: "the test expected too much" }],
    });
    expect(JSON.stringify(proof["protected_inputs"])).toContain("allowed");
    expect(readFileSync(join(place.goalFolder(), "proof.md"), "utf8")).toContain(
      "the test expected too much",
    );
    expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });
  });

  test("refuses to let pass what nobody asks about, and says what there is", async () => {
    using place = await ranTo(1, CHEAT);
    const before = place.events().length;
    for (const [flags, said] of [
      [["--allow-change", "sum.js", "--reason", "x"], "sum.test.js"],
      [["--allow-change", "../sum.test.js", "--reason", "x"], "sum.test.js"],
      [["--allow-change", "sum.test.js"], "--reason"],
      [["--allow-change", "sum.test.js", "--reason", "  "], "--reason"],
      [["--waive", "0123456789ab", "--reason", "x"], "There are none"],
      [["--approve-gates"], "no gates of this goal wait"],
      [["--reason", "x"], "--allow-change"],
      [["--attest", "smoke=yes"], "regression"],
    ] as const) {
      const ran = await place.run("goal", "accept", "--summary", "fine", ...flags);
      expect(ran, flags.join(" ")).toMatchObject({ status: 2, stdout: "" });
      expect(ran.stderr, flags.join(" ")).toContain(said);
    }
    expect(place.events()).toHaveLength(before);
    expect(place.json("work.json")["waivers"]).toEqual([]);
  });

  test("lets a finding of the review pass by its id", async () => {
    const secret = `ghp_${"a1B2c3D4e5".repeat(4)}`;
    using place = await ranTo(1, [
      ...REPAIR.slice(0, 1),
      { write: "notes.js", text: `const t = "${secret}";\n` },
      { say: "ok" },
    ]);
    const sections = place.json("proof.json")["review_artifacts"] as {
      findings?: { id: string; path: string }[];
    }[];
    const findings = sections
      .flatMap((section) => section.findings ?? [])
      .filter(({ path }) => path === "notes.js");
    expect(findings.length).toBeGreaterThan(0);
    expect(codes(place)).toContain("review_blocked");
    const waived = findings.flatMap(({ id }) => ["--waive", id]);
    const accepted = await place.run(
      "goal",
      "accept",
      "--summary",
      "a test token",
      ...waived,
      "--reason",
      "it is revoked",
    );
    expect(accepted, accepted.stdout).toMatchObject({ status: 0 });
    expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });
    expect(readFileSync(join(place.goalFolder(), "proof.json"), "utf8")).not.toContain(secret);
  });

  test("approves gates that were found in the result", async () => {
    const { "package.json": manifest, "sum.test.js": tests, ...sources } = BROKEN_SUM;
    using place = new Place(sources);
    await place.commitAll();
    const steps = [
      ...REPAIR.slice(0, 1),
      { write: "package.json", text: manifest },
      { write: "sum.test.js", text: tests },
      { say: "with tests" },
    ];
    const ran = await place.run(
      ...RUN,
      "--max-attempts",
      "1",
      "--engine",
      place.script({ turns: [{ steps }] }),
    );
    expect(codes(place), ran.stdout).toContain("gates_unapproved");
    const unapproved = await place.run(
      "goal",
      "accept",
      "--summary",
      "fine",
      "--attest",
      "regression=saw it",
    );
    expect(unapproved, unapproved.stdout).toMatchObject({ status: 3 });
    const approve = ["--approve-gates", "--attest", "regression=saw it"];
    const accepted = await place.run("goal", "accept", "--summary", "fine", ...approve);
    expect(accepted, accepted.stdout).toMatchObject({ status: 0 });
    expect(place.json("proof.json")["waivers"]).toMatchObject([{ kind: "gates", reason: "fine" }]);
    expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });
  });

  test("shows a check that a person vouches for as attested, and never as passed", async () => {
    using place = new Place({
      ...BROKEN_SUM,
      ".omk/gates.toml": '[[gates]]\nname = "syntax"\ncommand = "node"\nargs = ["--check", "sum.js"]\n',
    });
    await place.commitAll();
    const engine = place.script({ turns: [{ steps: REPAIR }] });
    expect(await place.run(...RUN, "--auto-accept", "--engine", engine)).toMatchObject({ status: 1 });
    expect(codes(place)).toContain("oracle_missing");
    const vouch = ["--attest", "regression=tried it by hand"];
    expect(await place.run("goal", "accept", "--summary", "fine", ...vouch)).toMatchObject({ status: 0 });
    expect(place.json("proof.json")["oracle_evidence"]).toMatchObject({
      checks: [{ name: "regression", status: "attested", reason: "tried it by hand" }],
    });
    expect(readFileSync(join(place.goalFolder(), "proof.md"), "utf8")).toContain("regression: attested");
  });

  test("never happens by itself for what only a person may let pass", async () => {
    using place = await ranTo(1, CHEAT, {}, "--auto-accept");
    expect(place.json("work.json")).toMatchObject({ waivers: [], acceptance: null });
  });
});

describe("omk goal reject", () => {
  test("leaves a plan whose commands take every kind of change back, and bring it again", async () => {
    using place = await ranTo(
      3,
      [
        ...REPAIR.slice(0, 1),
        { write: "new/file name.txt", text: "new\n" },
        { delete: "old.txt" },
        { write: "crlf.txt", text: "a\r\nc\r\n" },
        { say: "ok" },
      ],
      { "old.txt": "old\n", "crlf.txt": "a\r\nb\r\n", ".gitattributes": "* text=auto\n" },
    );
    const reason = "it breaks the old interface";
    const rejected = await place.run("goal", "reject", "--reason", reason);
    expect(rejected, rejected.stderr).toMatchObject({ status: 0 });
    const plan = readFileSync(
      join(place.goalFolder(), "artifacts/integration/rollback-rejected-slice.md"),
      "utf8",
    );
    expect(plan).toContain(reason);
    expect(plan).toContain("- `new/file name.txt` (added)");
    const commands = [...plan.matchAll(/^ {7}(git .*)$/gm)].map(([, line]) => line ?? "");
    expect(commands).toHaveLength(2);
    const [look = "", undo = ""] = commands;
    const { base, result } = place.json("proof.json") as { base: { tree: string }; result: { tree: string } };
    const index = `GIT_INDEX_FILE='${join(place.folder, "index")}' git -c core.attributesFile=/dev/null`;
    const isBase = `${index} add --all && test "$(${index} write-tree)" = "$(git rev-parse 'HEAD^{tree}')"`;
    expect(await place.shell(look)).toBe(0);
    expect(existsSync(join(place.project, "new/file name.txt"))).toBe(true);
    expect(await place.shell(undo)).toBe(0);
    expect(await place.shell(isBase)).toBe(0);
    expect(await place.git("status", "--porcelain")).toBe("");
    expect(readFileSync(join(place.project, "crlf.txt"), "utf8")).toBe("a\r\nb\r\n");
    expect(await place.shell(`${undo} -R`)).toBe(0);
    expect(readFileSync(join(place.project, "sum.js"), "utf8")).toContain("a + b");
    expect(readFileSync(join(place.project, "crlf.txt"), "utf8")).toBe("a\r\nc\r\n");
    expect(existsSync(join(place.project, "old.txt"))).toBe(false);
    expect(base.tree).not.toBe(result.tree);
    expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });
  });
});

describe("omk proof verify --rerun", () => {
  test("repeats the gates elsewhere, writes nothing, and says each gate on a line", async () => {
    using place = await ranTo(3, REPAIR);
    const before = filesBelow(place.goalFolder());
    // What lies in the project by now is not what the proof is about.
    place.write({ "sum.js": "export const sum = () => 0;\n" });
    const ran = await place.run("proof", "verify", "--rerun");
    expect(ran, ran.stdout).toMatchObject({ status: 0 });
    expect(ran.stdout).toContain("tests: passed, as recorded");
    expect(filesBelow(place.goalFolder())).toEqual(before);
    expect(readFileSync(join(place.project, "sum.js"), "utf8")).toContain("=> 0");
    const json = JSON.parse((await place.run("proof", "verify", "--rerun", "--json")).stdout) as object;
    expect(json).toMatchObject({
      valid: true,
      rerun: {
        valid: true,
        gates: [{ name: "tests", recorded: "passed", now: "passed", where: "clean" }],
        notes: [],
      },
    });
  });

  test("is red where a gate says something else now, and runs nothing for a proof that does not hold", async () => {
    using place = new Place({
      ...BROKEN_SUM,
      ".omk/gates.toml": gate("tests", 'test ! -e "$HOME/stop" && npm test'),
    });
    await place.commitAll();
    const engine = place.script({ turns: [{ steps: REPAIR }] });
    const ran = await place.run(...RUN, "--auto-accept", "--engine", engine);
    expect(ran, ran.stdout).toMatchObject({ status: 0 });
    writeFileSync(join(place.environment["HOME"] ?? "", "stop"), "");
    const red = await place.run("proof", "verify", "--rerun");
    expect(red).toMatchObject({ status: 1 });
    expect(red.stdout).toMatch(/tests: \S+, but passed was recorded/);
    const path = join(place.goalFolder(), "proof.json");
    writeFileSync(path, `${readFileSync(path, "utf8")} `);
    const spoilt = await place.run("proof", "verify", "--rerun");
    expect(spoilt).toMatchObject({ status: 1, stderr: "" });
    expect(spoilt.stdout).not.toContain("was recorded");
  });

  test("says so when the gates need what git ignores, and copies that in", async () => {
    using place = new Place({
      ...BROKEN_SUM,
      ".gitignore": "vendor/\n",
      "vendor/tool.js": "process.exitCode = 0;\n",
      ".omk/gates.toml": `${gate("tests", "npm test")}${gate("tool", "node vendor/tool.js")}`,
    });
    await place.commitAll();
    const engine = place.script({ turns: [{ steps: REPAIR }] });
    const goal = await place.run(...RUN, "--auto-accept", "--engine", engine);
    expect(goal, goal.stdout).toMatchObject({ status: 0 });
    const ran = await place.run("proof", "verify", "--rerun");
    expect(ran, ran.stdout).toMatchObject({ status: 0 });
    expect(ran.stdout).toContain("tool: passed, as recorded, with ignored files copied in");
    expect(ran.stdout).toMatch(/tests: passed, as recorded\n/);
    expect(ran.stdout).toContain("1 ignored paths of the project copied in");
  });
});

/** A gate of a line of shell. */
function gate(name: string, line: string): string {
  return `[[gates]]\nname = "${name}"\ncommand = "sh"\nargs = ["-c", ${JSON.stringify(line)}]\n`;
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(
      (entry) =>
        `${entry.parentPath}/${entry.name} ${readFileSync(join(entry.parentPath, entry.name)).length}`,
    )
    .sort();
}
