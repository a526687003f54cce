import fs from "node:fs";
import os from "node:os";
import path from "node:path";

import { describe, expect, onTestFinished, test } from "vitest";

import { OmkError } from "../../src/errors.ts";
import {
  candidateSet,
  changedDefinitions,
  loadGates,
  parseGateFlag,
  refuseSecrets,
  refuseUnknownGates,
  withGateFlags,
  withoutFlags,
} from "../../src/gate/definitions.ts";
import { createRedactor } from "../../src/store/redact.ts";
import { createWorld } from "../../src/world.ts";

const world = createWorld();

/** A project folder with these files. */
function project(files: Record<string, string>): string {
  const folder = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), "gates-"));
  onTestFinished(() => fs.rmSync(folder, { recursive: true }));
  for (const [name, text] of Object.entries(files)) {
    fs.mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
    fs.writeFileSync(path.join(folder, name), text);
  }
  return folder;
}

const load = (files: Record<string, string>, ...flags: string[]) =>
  loadGates({ projectDir: project(files), flags }, world);

/** `name: command line` of each gate. */
const commands = (files: Record<string, string>, ...flags: string[]) =>
  load(files, ...flags).definitions.map(
    ({ name, command, args }) => `${name}: ${[command, ...args].join(" ")}`,
  );

function failure(work: () => unknown): OmkError {
  try {
    work();
  } catch (error) {
    if (error instanceof OmkError) return error;
    throw error;
  }
  throw new Error("It did not fail.");
}

describe("gates.toml", () => {
  const toml = (text: string) => ({ ".omk/gates.toml": text, "Cargo.toml": "" });

  test("gives the gates, with what it leaves out filled in", () => {
    const set = load(
      toml(`
[[gates]]
name = "tests"
command = "npm"
args = ["test"]
required = true
timeout_secs = 600
covers = ["regression"]
report = "out/junit.xml"
min_tests = 3
network = false
env = ["DATABASE_URL"]

[[gates]]
name = "build"
command = "make"
later_key = "left alone"

[later_table]
command = "npm ci"
`),
    );
    expect(set.source).toBe("config");
    expect(set.definitions).toEqual([
      {
        name: "tests",
        command: "npm",
        args: ["test"],
        required: true,
        timeout_secs: 600,
        skip: false,
        covers: ["regression"],
        report: "out/junit.xml",
        min_tests: 3,
        network: false,
        env: ["DATABASE_URL"],
        kind: "test",
        source: "config",
      },
      {
        name: "build",
        command: "make",
        args: [],
        required: true,
        timeout_secs: 0,
        skip: false,
        covers: [],
        env: [],
        kind: "other",
        source: "config",
      },
    ]);
  });

  test("makes a gate optional that may fail or is skipped, under either name of the key", () => {
    const gate = (key: string) => `[[gates]]\nname = "${key}"\ncommand = "x"\n${key} = true\n`;
    const { definitions } = load(toml(["allow_fail", "allow-fail", "skip", "skipped"].map(gate).join("")));
    expect(definitions.map(({ name, required, skip }) => [name, required, skip])).toEqual([
      ["allow_fail", false, false],
      ["allow-fail", false, false],
      ["skip", false, true],
      ["skipped", false, true],
    ]);
  });

  test("with an empty list means that there are no gates, whatever the project has", () => {
    expect(load(toml("gates = []"))).toMatchObject({ source: "config", definitions: [] });
  });

  test("accepts a time limit of a day", () => {
    expect(
      load(toml('[[gates]]\nname="a"\ncommand="x"\ntimeout_secs=86400')).definitions[0]?.timeout_secs,
    ).toBe(86_400);
  });

  test.each([
    ["is no TOML", 'gates = [\n[[gates]]\nname = "a"', /gates\.toml:\d+: /],
    ["has no gates", 'title = "x"', /gates\.toml: "gates" is missing\.$/],
    [
      "has gates that are no list",
      'gates = "none"',
      /"gates" must be a list of tables, each begun by \[\[gates\]\]\.$/,
    ],
    ["lacks a command", '\n[[gates]]\nname = "a"\n', /gates\.toml:2: gate 1: command is missing\.$/],
    [
      "has a blank name",
      '[[gates]]\ncommand = "x"\nname = "  "',
      /gates\.toml:3: gate 1: name must not be blank\.$/,
    ],
    [
      "has a blank command",
      '[[gates]]\nname = "a"\ncommand = ""',
      /gates\.toml:3: gate 1: command must not be blank\.$/,
    ],
    [
      "has one name twice",
      '[[gates]]\nname = "a"\ncommand = "x"\n[[gates]]\nname = "a"\ncommand = "y"',
      /gates\.toml:5: gate 2: name is taken by an earlier gate\.$/,
    ],
    [
      "allows more than a day",
      '[[gates]]\nname = "a"\ncommand = "x"\ntimeout_secs = 86401',
      /gates\.toml:4: gate 1: timeout_secs must be at most 86400 seconds, a day\.$/,
    ],
    [
      "has text where a number belongs",
      '[[gates]]\nname = "a"\ncommand = "x"\ntimeout_secs = "60"',
      /gates\.toml:4: gate 1: timeout_secs must be a whole number of seconds\.$/,
    ],
    [
      "has arguments that are no text",
      '[[gates]]\nname = "a"\ncommand = "x"\nargs = ["-j", 2]',
      /gates\.toml:4: gate 1: args 2 must be text\.$/,
    ],
    [
      "has a key beside its other name",
      '[[gates]]\nname = "a"\ncommand = "x"\nskip = true\nskipped = false',
      /gates\.toml:5: gate 1: skipped means the same as skip: keep one of them\.$/,
    ],
    [
      "has a report outside the project",
      '[[gates]]\nname = "a"\ncommand = "x"\nreport = "../junit.xml"',
      /gates\.toml:4: gate 1: report must be a path inside the project, relative to its root\.$/,
    ],
    [
      "names no variable",
      '[[gates]]\nname = "a"\ncommand = "x"\nenv = ["A=1"]',
      /gates\.toml:4: gate 1: env 1 must be the name of a variable\.$/,
    ],
    [
      "has gates in one line that are wrong",
      'gates = [{ name = "a" }]',
      /gates\.toml: gate 1: command is missing\.$/,
    ],
  ])("that %s is an error that says where and what", (_title, text, message) => {
    const error = failure(() => load(toml(text)));
    expect(error).toMatchObject({ code: "gates.invalid", exitStatus: 78 });
    expect(error.message).toMatch(message);
    expect(error.message.split("\n")).toHaveLength(1);
    expect(error.hint).toBeDefined();
  });

  test("that is no text, a folder or a link to nowhere is an error, not a missing file", () => {
    const folder = project({ ".omk/other": "" });
    const file = path.join(folder, ".omk/gates.toml");
    const message = () => failure(() => loadGates({ projectDir: folder, flags: [] }, world)).message;
    fs.writeFileSync(file, Buffer.from([0x61, 0xff]));
    expect(message()).toMatch(/it is not valid UTF-8\.$/);
    fs.rmSync(file);
    fs.symlinkSync("nowhere", file);
    expect(message()).toMatch(/it is a link that leads nowhere\.$/);
    fs.rmSync(file);
    fs.mkdirSync(file);
    expect(message()).toMatch(/it cannot be read \(EISDIR\)\.$/);
  });
});

describe("without gates.toml the project's files decide:", () => {
  test.each<[string, Record<string, string>, string[]]>([
    [
      "Cargo",
      { "Cargo.toml": "", "package.json": "{}" },
      [
        "format: cargo fmt --check",
        "check: cargo check --all-targets",
        "lint: cargo clippy -- -D warnings",
        "tests: cargo test",
      ],
    ],
    [
      "npm scripts that exist",
      { "package.json": '{"scripts":{"test":"node --test","lint":"eslint ."}}' },
      ["tests: npm test", "lint: npm run lint"],
    ],
    ["only those", { "package.json": '{"scripts":{"lint":"eslint ."}}' }, ["lint: npm run lint"]],
    ["pnpm", { "package.json": '{"scripts":{"test":"x"}}', "pnpm-lock.yaml": "" }, ["tests: pnpm test"]],
    ["yarn", { "package.json": '{"scripts":{"test":"x"}}', "yarn.lock": "" }, ["tests: yarn test"]],
    [
      "bun, by the script",
      { "package.json": '{"scripts":{"test":"x"}}', "bun.lock": "" },
      ["tests: bun run test"],
    ],
    [
      "npm's own placeholder is no test",
      { "package.json": JSON.stringify({ scripts: { test: 'echo "Error: no test specified" && exit 1' } }) },
      [],
    ],
    [
      "a package without scripts lets the next marker speak",
      { "package.json": "{}", "pom.xml": "" },
      ["tests: mvn --batch-mode test"],
    ],
    [
      "a broken package.json does not mean that there are no tests",
      { "package.json": "{" },
      ["tests: npm test"],
    ],
    ["pytest", { "requirements.txt": "" }, ["tests: python -m pytest", "lint: python -m flake8 ."]],
    [
      "uv",
      { "pyproject.toml": "", "uv.lock": "" },
      ["tests: uv run python -m pytest", "lint: uv run python -m flake8 ."],
    ],
    ["Gradle", { "build.gradle.kts": "", gradlew: "" }, ["tests: ./gradlew --no-daemon test"]],
    ["Maven's wrapper", { "pom.xml": "", mvnw: "" }, ["tests: ./mvnw --batch-mode test"]],
    ["make with such a target", { Makefile: "all:\n\ttrue\nlint test: all\n\ttrue\n" }, ["tests: make test"]],
    [
      "not make with a variable or a recipe of that name",
      { Makefile: "test := 1\ntest ::= 2\nall:\n\ttest: x\n.PHONY: test\n" },
      [],
    ],
    ["nothing", { "README.md": "" }, []],
  ])("%s", (_title, files, expected) => {
    expect(commands(files)).toEqual(expected);
  });

  test("Go's formatter is a gate that can fail", () => {
    const [format, ...others] = commands({ "go.mod": "module x" });
    expect(format).toMatch(/^format: sh -c .*gofmt -l/);
    expect(others).toEqual(["vet: go vet ./...", "tests: go test -v ./..."]);
  });

  test("gates that run tests are known as such", () => {
    const { source, definitions } = load({ "go.mod": "module x" });
    expect(source).toBe("detected");
    expect(definitions.map(({ name, kind }) => [name, kind])).toEqual([
      ["format", "other"],
      ["vet", "other"],
      ["tests", "test"],
    ]);
    expect(load({}).source).toBe("none");
  });
});

describe("--gate", () => {
  test("adds a gate behind the others, or takes the place of the one of that name", () => {
    const files = { "package.json": '{"scripts":{"test":"x","lint":"y"}}' };
    expect(commands(files, "tests=npm run test:unit", "types = tsc && echo fine")).toEqual([
      "tests: sh -c npm run test:unit",
      "lint: npm run lint",
      "types: sh -c tsc && echo fine",
    ]);
  });

  test("alone makes a set of its own", () => {
    expect(load({}, "a=true")).toMatchObject({
      source: "flag",
      definitions: [{ name: "a", source: "flag", required: true }],
    });
  });

  test.each([
    ["unit=make check", "test"],
    ["all=npm test", "test"],
    ["all=npm run test:unit", "test"],
    ["all=cd web && npx vitest run", "test"],
    ["all=node --test", "test"],
    ["all=cargo test -p core", "test"],
    ["all=python -m pytest -q", "test"],
    ["latest=./fastest.sh", "other"],
    ["format=x=$(gofmt -l .); test -z $x", "other"],
    ["there=test -f out.txt", "other"],
  ])("%s is a gate of kind %s", (flag, kind) => {
    expect(parseGateFlag(flag).kind).toBe(kind);
  });

  test.each(["npm test", "=npm test", "tests=", " = x", "a\nb=x", ""])("%j is refused", (flag) => {
    expect(failure(() => parseGateFlag(flag))).toMatchObject({ code: "usage.invalid", exitStatus: 2 });
  });

  test("twice with one name is refused", () => {
    expect(failure(() => load({}, "a=x", "a=y")).message).toBe('Two --gate flags define "a".');
  });
});

test("the digest changes with any part of a definition, and with nothing else", () => {
  const gate = (extra: string) =>
    load({ ".omk/gates.toml": `[[gates]]\nname = "a"\ncommand = "x"\n${extra}` }).digest;
  expect(gate("")).toMatch(/^[0-9a-f]{64}$/);
  expect(gate("# a remark\nlater = 1")).toBe(gate(""));
  const changed = [
    'args = ["y"]',
    "timeout_secs = 1",
    "min_tests = 1",
    "required = false",
    'env = ["A"]',
  ].map(gate);
  expect(new Set([...changed, gate("")]).size).toBe(6);
});

describe("gates given later", () => {
  test("replace those of their name or come last, and change the digest", () => {
    const set = load({ "go.mod": "" });
    expect(withGateFlags(set, [])).toBe(set);
    const more = withGateFlags(set, ["tests=go test .", "docs=true"]);
    expect(more.definitions.map(({ name, source }) => `${name} ${source}`)).toEqual([
      "format detected",
      "vet detected",
      "tests flag",
      "docs flag",
    ]);
    expect(more.source).toBe("detected");
    expect(more.digest).not.toBe(set.digest);
    expect(withGateFlags(load({}), ["tests=true"])).toEqual(load({}, "tests=true"));
  });

  test("say what is wrong with a name that holds control characters", () => {
    const error = failure(() => parseGateFlag("a\u001b[2Jb=true"));
    expect(error).toMatchObject({ code: "usage.invalid" });
    expect(error.message).toContain("control characters");
    expect(error.message).not.toContain("\u001b");
  });
});

describe("a secret", () => {
  const token = `ghp_${"a1B2c3D4e5".repeat(4)}`;
  const redactor = createRedactor({ environment: { MY_TOKEN: "canary-canary-canary-7" } });

  test("in a gate is refused without being shown, whoever wrote the gate", () => {
    const byFlag = failure(() => refuseSecrets(load({}, `deploy=curl -H ${token}`), redactor));
    expect(byFlag).toMatchObject({ code: "usage.invalid", exitStatus: 2 });
    const toml = `[[gates]]\nname = "deploy"\ncommand = "curl"\nargs = ["canary-canary-canary-7"]`;
    const byFile = failure(() => refuseSecrets(load({ ".omk/gates.toml": toml }), redactor));
    expect(byFile).toMatchObject({ code: "gates.invalid", exitStatus: 78 });
    for (const { message, hint } of [byFlag, byFile]) {
      expect(message).not.toMatch(/ghp_|canary/);
      expect(hint).toContain("environment variable");
    }
  });

  test("that is only named in a gate is fine", () => {
    const toml = `[[gates]]\nname = "deploy"\ncommand = "sh"\nargs = ["-c", "curl -H $MY_TOKEN"]\nenv = ["MY_TOKEN"]`;
    const set = load({ ".omk/gates.toml": toml }, "x=echo $MY_TOKEN");
    expect(() => refuseSecrets(set, redactor)).not.toThrow();
  });
});

test("the library's own words about a broken file are not shown", () => {
  const error = failure(() => load({ ".omk/gates.toml": "[[gates]]\nname = 1\n[[gates]]\nargs = 3" }));
  expect(error.message).toMatch(/gates\.toml:2: gate 1: name must be text \(and \d more\)\.$/);
  expect(error.cause).toBeUndefined();
});

describe("[setup]", () => {
  const GATE = '\n[[gates]]\nname = "tests"\ncommand = "make"\n';
  const setup = (text: string) => load({ ".omk/gates.toml": text + GATE }).setup;

  test.each([
    ['[setup]\ncommands = [["npm", "ci"], ["make"]]\ntimeout_secs = 30', ["npm ci 30", "make 30"]],
    [
      '[[setup]]\ncommand = "npm"\nargs = ["ci"]\n[[setup]]\ncommand = "make"\ntimeout_secs = 9',
      ["npm ci 0", "make 9"],
    ],
    ["[setup]\ncommands = []", []],
    ["", undefined],
  ])("as %j is read", (text, expected) => {
    const said = setup(text)?.map(({ command, args, timeout_secs }) =>
      [command, ...args, timeout_secs].join(" "),
    );
    expect(said).toEqual(expected);
  });

  test.each([
    "[setup]\ncommands = [[]]",
    '[setup]\ncommands = ["npm ci"]',
    'setup = "npm ci"',
    '[[setup]]\nargs = ["ci"]',
  ])("as %j is refused", (text) => {
    expect(failure(() => setup(text))).toMatchObject({
      code: "gates.invalid",
      message: expect.stringContaining('"setup" must be a table') as string,
    });
  });

  test("is part of the digest, and may hold no secret", () => {
    const plain = load({ ".omk/gates.toml": GATE });
    const set = load({
      ".omk/gates.toml": `[setup]\ncommands = [["curl", "ghp_${"a1B2c3D4e5".repeat(4)}"]]${GATE}`,
    });
    expect(set.digest).not.toBe(plain.digest);
    const redactor = createRedactor({ environment: {} });
    expect(failure(() => refuseSecrets(set, redactor)).code).toBe("gates.invalid");
  });
});

describe("gates of a result", () => {
  const owned = () =>
    load({ "package.json": '{"scripts":{"test":"node --test","lint":"eslint ."}}' }, "types=tsc");

  test("differ from the goal's by name, whatever their source, without those of --gate", () => {
    const own = owned();
    const now = load({
      ".omk/gates.toml":
        '[setup]\ncommands = [["make"]]\n[[gates]]\nname = "tests"\ncommand = "npm"\nargs = ["test"]\n[[gates]]\nname = "new"\ncommand = "make"\n',
    });
    expect(changedDefinitions(withoutFlags(own), now)).toEqual([
      { name: "lint", how: "removed" },
      { name: "new", how: "added" },
      { name: "[setup]", how: "added" },
    ]);
    expect(changedDefinitions(own, own)).toEqual([]);
    const weaker = { ...own, definitions: own.definitions.map((one) => ({ ...one, command: "true" })) };
    expect(changedDefinitions(own, weaker).map(({ how }) => how)).toEqual(["changed", "changed", "changed"]);
  });

  test("are marked as candidates, by a digest of their own", () => {
    const own = owned();
    const found = candidateSet(own);
    expect(found.source).toBe("candidate");
    expect(new Set(found.definitions.map(({ source }) => source))).toEqual(new Set(["candidate"]));
    expect(found.digest).not.toBe(own.digest);
    expect(candidateSet(load({}))).toMatchObject({ source: "none", definitions: [] });
  });

  test("are refused by name where a person means another", () => {
    const own = owned();
    expect(() => refuseUnknownGates(own, ["lint", "types"], "--allow-red")).not.toThrow();
    expect(failure(() => refuseUnknownGates(own, ["lnit"], "--allow-red"))).toMatchObject({
      code: "usage.invalid",
      hint: "The gates are: tests, lint, types.",
    });
    expect(failure(() => refuseUnknownGates(load({}), ["lint"], "--allow-red")).hint).toContain(
      "has no gates",
    );
  });
});
