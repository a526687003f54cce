import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { describe, expect, test } from "vitest";

import { BROKEN_SUM, Place, REPAIR, type Ran } from "../support/cli.ts";

const ENTRY = fileURLToPath(new URL("../../bin/omk.cjs", import.meta.url));
const DRIVE = ["--until-ready", "--auto-accept", "--no-llm-planner"];
const SUM = { ...BROKEN_SUM, "sum.js": "export function sum(a, b) {\n  return a + b;\n}\n" };

/** A small program: greets everybody named on stdin, and counts them in a file. */
const GREET = {
  "package.json": JSON.stringify({
    name: "greet",
    private: true,
    type: "module",
    scripts: { test: "node --test" },
  }),
  "greet.js": [
    'import { readFileSync, writeFileSync } from "node:fs";',
    "let n = 0;",
    'for (const line of readFileSync(0, "utf8").split("\\n")) {',
    '  if (line === "") continue;',
    "  n = n + 1;",
    '  process.stdout.write("Hello, " + line + "!\\n");',
    "}",
    'if (n === 0) { process.stderr.write("nobody\\n"); process.exitCode = 2; }',
    'writeFileSync("count.txt", n + "\\n");',
    "",
  ].join("\n"),
  "greet.test.js": [
    'import assert from "node:assert/strict";',
    'import { test } from "node:test";',
    'test("numbers add up", () => assert.equal(1 + 1, 2));',
    "",
  ].join("\n"),
};
const REWRITTEN = [
  'import { readFileSync, writeFileSync } from "node:fs";',
  'const names = readFileSync(0, "utf8").split("\\n").filter(Boolean);',
  "names.forEach((name) => console.log(`Hello, ${name}!`));",
  "if (names.length === 0) {",
  '  console.error("nobody");',
  "  process.exitCode = 2;",
  "}",
  'writeFileSync("count.txt", `${names.length}\\n`);',
  "",
].join("\n");

async function placed(files: Readonly<Record<string, string>>): Promise<Place> {
  const place = new Place(files);
  await place.commitAll();
  return place;
}

function goal(place: Place, text: string, steps: object[], ...flags: string[]): Promise<Ran> {
  const engine = place.script({ turns: [{ steps: [...steps, { say: "done" }] }] });
  return place.run("goal", "run", text, ...DRIVE, "--max-attempts", "1", "--engine", engine, ...flags);
}

interface Check {
  name: string;
  status: string;
  gate: string | null;
  reason?: string;
}

function oracle(place: Place): { kind: string; status: string; checks: Check[] } {
  return place.json("proof.json")["oracle_evidence"] as { kind: string; status: string; checks: Check[] };
}

function missing(place: Place): string {
  const gaps = place.json("proof.json")["gaps"] as { code: string; text: string }[];
  return gaps.find(({ code }) => code === "oracle_missing")?.text ?? "nothing";
}

describe("a bugfix goal", { timeout: 60_000 }, () => {
  test("is ready when a gate turned green, and the oracle says which", async () => {
    using place = await placed(BROKEN_SUM);
    expect(await goal(place, "Fix the failing test in sum.test.js", REPAIR)).toMatchObject({ status: 0 });
    expect(oracle(place)).toMatchObject({
      kind: "bugfix",
      status: "passed",
      checks: [{ name: "regression", status: "passed", gate: null }],
    });
    expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });
  });

  test("stops for want of a regression test when nothing was red before", async () => {
    using place = await placed(SUM);
    const steps = [{ edit: "sum.js", replace: "a + b", with: "b + a" }];
    expect(await goal(place, "Fix the order of the summands", steps)).toMatchObject({ status: 1 });
    expect(place.json("goal.json")).toMatchObject({ status: "not_ready", reason_code: "oracle_missing" });
    expect(missing(place)).toContain("bugfix goal is missing: regression");
  });
});

describe("a greenfield goal", { timeout: 60_000 }, () => {
  const code = { write: "product.js", text: "export const product = (a, b) => a * b;\n" };
  const itsTest = {
    write: "product.test.js",
    text: [
      'import assert from "node:assert/strict";',
      'import { test } from "node:test";',
      'import { product } from "./product.js";',
      'test("multiplies", () => assert.equal(product(2, 3), 6));',
      "",
    ].join("\n"),
  };

  test("is ready when tests that it adds fail without it and pass with it", async () => {
    using place = await placed(SUM);
    expect(await goal(place, "Add a product function", [code, itsTest])).toMatchObject({ status: 0 });
    expect(oracle(place)).toMatchObject({
      kind: "greenfield",
      checks: [
        { name: "acceptance", status: "passed", gate: null },
        { name: "smoke", status: "passed", gate: null },
        { name: "demo", status: "not_applicable" },
      ],
    });
    expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });
  });

  test("stops for want of acceptance when it adds no test", async () => {
    using place = await placed(SUM);
    expect(await goal(place, "Add a product function", [code])).toMatchObject({ status: 1 });
    expect(missing(place)).toContain("greenfield goal is missing: acceptance");
  });

  test("tells the agent what is missing, which then adds it", async () => {
    using place = await placed(SUM);
    const engine = place.script({
      turns: [
        {
          match: { prompt: "Nothing shows yet that the goal itself is reached (acceptance)" },
          steps: [itsTest],
        },
        { steps: [code] },
      ],
    });
    const ran = await place.run(
      "goal",
      "run",
      "Add a product function",
      "--until-ready",
      "--auto-accept",
      "--engine",
      engine,
    );
    expect(ran).toMatchObject({ status: 0 });
    expect(place.json("work.json")["attempts"]).toHaveLength(2);
  });
});

describe("a rewrite goal", { timeout: 120_000 }, () => {
  const TEXT = "Rewrite greet.js in a functional style";

  test("is ready when the new program does what was recorded of the old one, told what differs on the way", async () => {
    using place = await placed(GREET);
    writeFileSync(join(place.folder, "names.txt"), "Ada\nGrace\n");
    expect(await place.run("goal", "create", TEXT, "--no-llm-planner")).toMatchObject({ status: 0 });
    const record = (name: string, ...flags: string[]) =>
      place.run("goal", "golden", "record", "latest", "--name", name, "--cmd", "node greet.js", ...flags);
    const two = await record("two", "--stdin", join(place.folder, "names.txt"), "--file", "count.txt");
    expect(two).toMatchObject({ status: 0 });
    expect(two.stdout).toContain("files/count.txt");
    expect(await record("nobody")).toMatchObject({ status: 0 });
    expect(await record("nobody")).toMatchObject({ status: 1 });
    // The project itself is as it was.
    expect(await place.git("status", "--porcelain")).toBe("");
    const listed = await place.run("goal", "golden", "list");
    expect(listed.stdout).toContain("two: node greet.js");
    expect(await place.run("goal", "golden", "compare")).toMatchObject({ status: 0 });

    const wrong = REWRITTEN.replace("process.exitCode = 2", "process.exitCode = 1");
    const engine = place.script({
      turns: [
        {
          match: { prompt: "The old program was observed" },
          steps: [{ write: "greet.js", text: REWRITTEN }, { say: "ok" }],
        },
        { steps: [{ write: "greet.js", text: wrong }, { say: "rewritten" }] },
      ],
    });
    const ran = await place.run("goal", "resume", "--until-ready", "--engine", engine);
    expect(ran.stderr).toContain("golden: differing from the old program: nobody");
    expect(place.json("goal.json")).toMatchObject({ reason_code: "acceptance_needed" });
    expect(oracle(place)).toMatchObject({
      kind: "rewrite",
      checks: [
        { name: "compatibility", status: "passed" },
        { name: "golden", status: "passed", gate: null, reason: "2 recorded observations match" },
      ],
    });
    expect(await place.run("goal", "accept", "--summary", "looked at it")).toMatchObject({ status: 0 });
    expect(await place.run("goal", "golden", "compare")).toMatchObject({ status: 0 });
    expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });
    // An observation is evidence: one changed byte is found.
    const folder = join(place.goalFolder(), "artifacts", "golden");
    const [first = ""] = readdirSync(folder);
    writeFileSync(join(folder, first, "exit_code.txt"), "7\n");
    expect(await place.run("proof", "verify")).toMatchObject({ status: 1 });
  });

  test("is observed without what git ignores, or beside a copy of it: the project's own files stay as they are", async () => {
    using place = await placed({ ...GREET, ".gitignore": "dist/\n" });
    const built = join(place.project, "dist", "greet.js");
    mkdirSync(join(place.project, "dist"));
    writeFileSync(built, "console.log('built long ago')\n");
    await place.run("goal", "create", TEXT, "--no-llm-planner");
    const record = (name: string, cmd: string) =>
      place.run("goal", "golden", "record", "latest", "--name", name, "--cmd", cmd);
    const build = "mkdir -p dist && cp greet.js dist/greet.js && node dist/greet.js Ada";
    expect(await record("builds", build)).toMatchObject({ status: 0 });
    expect(await record("runs", "node dist/greet.js && echo >> dist/greet.js")).toMatchObject({ status: 0 });
    expect(readFileSync(built, "utf8")).toBe("console.log('built long ago')\n");
    const { golden } = place.json("work.json") as { golden: { name: string; ran_in: string }[] };
    expect(golden.map(({ name, ran_in }) => [name, ran_in])).toEqual([
      ["builds", "clean"],
      ["runs", "with_ignored"],
    ]);
    expect((await place.run("goal", "golden", "list")).stdout).toContain("beside a copy of what git ignores");
    expect(await place.run("goal", "golden", "compare")).toMatchObject({ status: 0 });
    // What lies there by now has no part in what is seen without it.
    writeFileSync(built, "console.log('another')\n");
    const compared = await place.run("goal", "golden", "compare");
    expect(compared.stdout).toContain("builds: matches");
    expect(compared.stdout).toContain("runs: differs");
  });

  test("stops for want of observations, which can still be recorded on the base", async () => {
    using place = await placed(GREET);
    expect(await goal(place, TEXT, [{ write: "greet.js", text: REWRITTEN }])).toMatchObject({ status: 1 });
    expect(missing(place)).toContain("rewrite goal is missing: golden");
    const record = ["goal", "golden", "record", "latest", "--name", "nobody", "--cmd", "node greet.js"];
    const refused = await place.run(...record);
    expect(refused).toMatchObject({ status: 1 });
    expect(refused.stderr).toContain("--at-base");
    expect(await place.run(...record, "--at-base")).toMatchObject({ status: 0 });
    expect(place.json("goal.json")).toMatchObject({ reason_code: "review_missing" });
    expect(await place.run("goal", "review")).toMatchObject({ status: 0 });
    expect(await place.run("goal", "accept", "--summary", "the same")).toMatchObject({ status: 0 });
  });

  test("counts a difference that a person wants, with the reason, in the proof", async () => {
    using place = await placed(GREET);
    await place.run("goal", "create", TEXT, "--no-llm-planner");
    await place.run("goal", "golden", "record", "latest", "--name", "nobody", "--cmd", "node greet.js");
    const changed = REWRITTEN.replace('"nobody"', '"nobody is there"');
    const engine = place.script({ default: [{ write: "greet.js", text: changed }, { say: "done" }] });
    await place.run("goal", "execute", "latest", "--engine", engine);
    await place.run("goal", "review");
    expect(missing(place)).toContain("golden");
    const compared = await place.run("goal", "golden", "compare");
    expect(compared).toMatchObject({ status: 1 });
    expect(compared.stdout).toContain("nobody is there");
    const wanted = ["--intentional", "nobody/stderr=it says more now"];
    expect(await place.run("goal", "golden", "compare", "latest", ...wanted)).toMatchObject({ status: 0 });
    await place.run("goal", "review");
    expect(await place.run("goal", "accept", "--summary", "fine")).toMatchObject({ status: 0 });
    expect(oracle(place).checks.find(({ name }) => name === "golden")?.reason).toContain(
      "1 intentional difference",
    );
  });

  test("lets its agent compare while it works, and neither record nor call a difference wanted", async () => {
    using place = await placed(GREET);
    await place.run("goal", "create", TEXT, "--no-llm-planner");
    await place.run("goal", "golden", "record", "latest", "--name", "nobody", "--cmd", "node greet.js");
    const omk = `OMK_STATE_DIR='${place.state}' '${process.execPath}' '${ENTRY}' goal golden`;
    const wrong = { write: "greet.js", text: "" };
    const engine = place.script({
      default: [
        wrong,
        { run: `${omk} compare > ../compared.txt 2>&1; true` },
        { run: `${omk} record latest --name own --cmd true --at-base > ../recorded.txt 2>&1; true` },
        { run: `${omk} compare latest --intentional nobody/stderr=fine > ../wanted.txt 2>&1; true` },
        { say: "done" },
      ],
    });
    await place.run("goal", "execute", "latest", "--engine", engine);
    const said = (name: string) => readFileSync(join(place.folder, name), "utf8");
    expect(said("compared.txt")).toContain("Not compatible");
    for (const name of ["recorded.txt", "wanted.txt"])
      expect(said(name)).toContain("comes from an agent that works on this");
    expect(place.events().filter(({ kind }) => kind.startsWith("golden_"))).toHaveLength(1);
  });

  test("keeps no observation that changes from run to run, that holds a secret, or that never ends", async () => {
    using place = await placed(GREET);
    await place.run("goal", "create", TEXT, "--no-llm-planner");
    const record = (name: string, cmd: string, ...flags: string[]) =>
      place.run("goal", "golden", "record", "latest", "--name", name, "--cmd", cmd, ...flags);
    const volatile = await record("clock", "echo it is $$");
    expect(volatile).toMatchObject({ status: 1 });
    expect(volatile.stderr).toContain("--ignore");
    expect(await record("clock", "echo it is $$", "--ignore", "[0-9]+")).toMatchObject({ status: 0 });
    const secret = await record(
      "secret",
      "cat token.txt; printf ghp_; printf 'a%.0s' 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36",
    );
    expect(secret).toMatchObject({ status: 1 });
    expect(secret.stderr).toContain("secret");
    expect(await record("slow", "sleep 600", "--timeout", "1")).toMatchObject({ status: 1 });
    expect(await record("gone", "true", "--file", "never.txt")).toMatchObject({ status: 1 });
    expect(await record("out", "true", "--file", "../never.txt")).toMatchObject({ status: 2 });
    expect(await record("regex", "true", "--ignore", "(")).toMatchObject({ status: 2 });
    expect((await place.run("goal", "golden", "list")).stdout.match(/^\w+:/gm)).toEqual(["clock:"]);
    for (const name of ["raw", "checkout"]) {
      const folder = join(place.goalFolder(), name);
      expect(existsSync(folder) ? readdirSync(folder) : []).toEqual([]);
    }
  });
});

describe("a refactor goal", { timeout: 60_000 }, () => {
  const steps = [{ edit: "sum.js", replace: "return a + b;", with: "const total = a + b;\n  return total;" }];

  test("is ready when the tests that were green are green, without observations", async () => {
    using place = await placed(SUM);
    expect(await goal(place, "Refactor the sum module", steps)).toMatchObject({ status: 0 });
    expect(oracle(place)).toMatchObject({
      kind: "refactor",
      checks: [
        { name: "compatibility", status: "passed", gate: null },
        { name: "golden", status: "passed", gate: null },
      ],
    });
    expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });
  });

  test("stops for want of compatibility when no test was green before", async () => {
    using place = await placed({ "sum.js": SUM["sum.js"] });
    const gate = ["--gate", "syntax=node --check sum.js"];
    expect(await goal(place, "Refactor the sum module", steps, ...gate)).toMatchObject({ status: 1 });
    expect(missing(place)).toMatch(/refactor goal is missing: compatibility \(.*\), golden \(/);
  });
});

describe("a docs goal", { timeout: 60_000 }, () => {
  const TEXT = "Describe the sum function in the README";

  test("is ready when documentation changed and its links lead somewhere", async () => {
    using place = await placed(SUM);
    const steps = [{ write: "README.md", text: "# Sum\n\n[The function](sum.js) adds.\n" }];
    expect(await goal(place, TEXT, steps)).toMatchObject({ status: 0 });
    expect(oracle(place)).toMatchObject({
      kind: "docs",
      checks: [{ name: "docs", status: "passed", gate: null }],
    });
    expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });
  });

  test("stops for want of documentation, or of what its links name", async () => {
    using place = await placed(SUM);
    expect(await goal(place, TEXT, [{ edit: "sum.js", replace: "a + b", with: "b + a" }])).toMatchObject({
      status: 1,
    });
    expect(missing(place)).toContain("docs goal is missing: docs");
    using other = await placed(SUM);
    const broken = [{ write: "README.md", text: "# Sum\n\n[The function](add.js) adds.\n" }];
    expect(await goal(other, TEXT, broken)).toMatchObject({ status: 1 });
    expect(oracle(other).checks[0]?.reason).toContain("add.js");
  });
});

describe("the kind of a goal", { timeout: 60_000 }, () => {
  test("can be said where words mislead, is checked, and is recorded", async () => {
    using place = await placed(BROKEN_SUM);
    const text = "Rewrite the sum so that its test passes";
    expect(await goal(place, text, REPAIR, "--kind", "bugfix")).toMatchObject({ status: 0 });
    expect(place.json("goal.json")).toMatchObject({ kind: "bugfix" });
    expect(oracle(place)).toMatchObject({ kind: "bugfix" });
    const wrong = await place.run("goal", "create", text, "--kind", "bug");
    expect(wrong).toMatchObject({ status: 2 });
    expect(wrong.stderr).toContain("bugfix");
    const spec = readFileSync(join(place.goalFolder(), "test-spec.md"), "utf8");
    expect(spec).toContain("Oracle kind: `bugfix`");
  });
});
