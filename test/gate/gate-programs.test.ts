import { describe, expect, test } from "vitest";

import { gatePrograms } from "../../src/gate/gate-programs.ts";

/** The programs of gates that run these commands in a project with these files. */
function programs(
  command: string | string[],
  files: Record<string, string>,
  added: string[] = [],
): Promise<string[]> {
  const argv = typeof command === "string" ? ["sh", "-c", command] : command;
  const [program = "", ...args] = argv;
  return gatePrograms([{ command: program, args, skip: false }], {
    has: (path) => Object.hasOwn(files, path),
    read: (path) => Promise.resolve(files[path]),
    paths: Object.keys(files),
    isNew: (path) => added.includes(path),
  });
}

const FILES = {
  "check.js": "",
  "check.sh": "",
  "scripts/test.sh": "",
  "src/cli.js": "",
  "setup.mjs": "",
  "a.json": "",
};

describe("a gate is made of", () => {
  test.each<[string | string[], string[]]>([
    [["node", "check.js"], ["check.js"]],
    [["sh", "check.sh"], ["check.sh"]],
    [["./scripts/test.sh"], ["scripts/test.sh"]],
    [["scripts/test.sh", "src/cli.js"], ["scripts/test.sh"]],
    ["node check.js", ["check.js"]],
    ["CI=1 node --import ./setup.mjs check.js src/cli.js", ["setup.mjs", "check.js"]],
    ["cd scripts && sh test.sh", ["scripts/test.sh"]],
    ["set -e; timeout 60 bash check.sh && node check.js a.json", ["check.sh", "check.js"]],
    ["npx tsx check.js", ["check.js"]],
    ["! sh './check.sh' >/dev/null; true", []],
    ["sh check.sh 2>&1", ["check.sh"]],
  ])("the programs that %j starts", async (command, expected) => {
    expect(await programs(command, FILES)).toEqual(expected);
  });

  test.each<[string | string[]]>([
    // What it prints is looked at, so it is what is tested.
    ["node src/cli.js --version | grep 2.0"],
    ['test "$(node src/cli.js)" = ok'],
    ["node src/cli.js > out.txt"],
    ["python3 -m flake8 check.js"],
    ["node -e 'process.exit(0)' check.txt"],
    ["/bin/sh /elsewhere/check.sh"],
    ["sh ../check.sh"],
    ["make -s"],
    ["'unclosed"],
  ])("nothing of the project in %j", async (command) => {
    expect(await programs(command, FILES)).toEqual([]);
  });

  test("what the scripts of the manifest start, each once, also where they call each other in a circle", async () => {
    const scripts = {
      pretest: "node setup.mjs",
      test: "npm run unit && npm run lint -- --quiet",
      unit: "node check.js",
      lint: "pnpm test && sh check.sh",
      other: "node src/cli.js",
    };
    const files = { ...FILES, "package.json": JSON.stringify({ scripts }) };
    expect(await programs(["npm", "test"], files)).toEqual(["setup.mjs", "check.js", "check.sh"]);
  });

  test("what a makefile starts", async () => {
    const files = { ...FILES, Makefile: "test:\n\t@sh check.sh\n" };
    expect(await programs(["make", "test"], files)).toEqual(["check.sh"]);
  });

  test("what its shell scripts plainly start", async () => {
    const files = {
      ...FILES,
      "scripts/test.sh":
        '#!/bin/sh\nset -eu\ncd "$(dirname "$0")/.."\nnode check.js \\\n  --all\n"$(dirname "$0")"/deeper.sh\n',
      "scripts/deeper.sh": "node src/cli.js\n",
    };
    expect(await programs(["scripts/test.sh"], files)).toEqual([
      "scripts/test.sh",
      "check.js",
      "scripts/deeper.sh",
      "src/cli.js",
    ]);
  });

  test.each<[string, string[], Record<string, string>]>([
    ["python3 -m checker", ["checker.py"], { "checker.py": "" }],
    ["python3 -m checks.all", ["checks/all/__main__.py"], { "checks/all/__main__.py": "" }],
    [
      "node --test checks/*.js",
      ["checks/a.js", "checks/b.js"],
      { "checks/a.js": "", "checks/b.js": "", "checks/c.md": "" },
    ],
    ["node --test checks/", ["checks/deep/a.mjs"], { "checks/deep/a.mjs": "", "checks/c.md": "" }],
    ["mocha 'checks/**/*.js'", ["checks/deep/a.js"], { "checks/deep/a.js": "" }],
    ['for f in checks/*.sh; do sh "$f" || exit 1; done', ["checks/a.sh"], { "checks/a.sh": "" }],
    ["for f in checks/*.sh; do ./$f; done", ["checks/a.sh"], { "checks/a.sh": "" }],
    ['"$NODE" check.js', ["check.js"], { "check.js": "" }],
    // What is only read, and where sources lie, is what is looked at.
    ["for f in code/*.js; do node --check $f; done", [], { "code/a.js": "" }],
    ["for f in code/*.sh; do sh -n $f; done", [], { "code/a.sh": "" }],
    ["node --test src/*.js", [], { "src/a.js": "" }],
    ["node --test '**/*.js'", [], { "a.js": "" }],
    ["[ -f out.js ]", [], { "out.js": "" }],
  ])("by %j: %j", async (command, expected, files) => {
    expect(await programs(command, files)).toEqual(expected);
  });

  test("what a makefile starts by its variables, and by what it includes", async () => {
    const files = {
      Makefile: "NODE ?= node\nDIR := checks\n-include local.mk rules.mk\ntest:\n\t$(NODE) $(DIR)/a.js\n",
      "rules.mk": "other:\n\t$(NODE) check.js\n",
      "check.js": "",
      "checks/a.js": "",
    };
    const found = ["rules.mk", "checks/a.js", "check.js"];
    expect(await programs(["make", "test"], files)).toEqual(found);
    const scripts = { test: "make test" };
    expect(
      await programs(["npm", "test"], { ...files, "package.json": JSON.stringify({ scripts }) }),
    ).toEqual(found);
  });

  test.each<[string, Record<string, string>, string[]]>([
    [
      "vitest.config.ts",
      { "vitest.config.ts": 'test: { setupFiles: ["./src/setup.ts", "tools/x.js"], environment: "node" }' },
      ["src/setup.ts", "tools/x.js"],
    ],
    [
      "a setup without its ending",
      { "jest.config.js": 'module.exports = { globalSetup: "<rootDir>/src/setup" }' },
      ["src/setup.ts"],
    ],
    [
      "package.json",
      {
        "package.json": JSON.stringify({
          mocha: { require: ["./tools/x.js"] },
          exports: { require: "./src/setup.ts" },
        }),
      },
      ["tools/x.js"],
    ],
    [
      ".mocharc.yml",
      { ".mocharc.yml": "require:\n  - ./tools/x.js\nfile: ./src/setup.ts\n" },
      ["tools/x.js", "src/setup.ts"],
    ],
    [
      "plug-ins of pytest",
      { "pytest.ini": "[pytest]\naddopts = -q -p plug\n", "conftest.py": 'pytest_plugins = ["more.plug"]\n' },
      ["plug.py", "more/plug.py"],
    ],
  ])("what the configuration of its runner names: %s", async (_name, files, expected) => {
    const all = { ...files, "src/setup.ts": "", "tools/x.js": "", "plug.py": "", "more/plug.py": "" };
    expect(await programs(["npm", "test"], all)).toEqual(expected);
  });

  test.each<[string, Record<string, string>, string[], string[]]>([
    [
      "sourced where it is there",
      { "check.sh": "[ -f env.sh ] && . ./env.sh\ntrue\n" },
      ["env.sh"],
      ["check.sh", "env.sh"],
    ],
    ["included where it is there", { Makefile: "-include local.mk\n" }, ["local.mk"], ["local.mk"]],
    [
      "one more of many",
      { "check.sh": "node --test checks/*.js\n", "checks/a.js": "" },
      ["checks/b.js"],
      ["check.sh", "checks/a.js", "checks/b.js"],
    ],
    [
      "what was to be made",
      { "check.sh": "node cli.js && [ -f out.txt ] && node --test checks/*.js\n" },
      ["cli.js", "out.txt", "checks/b.js"],
      ["check.sh"],
    ],
  ])(
    "of files that a change adds, by what a gate does without: %s",
    async (_name, files, added, expected) => {
      const all = { ...files, ...Object.fromEntries(added.map((path) => [path, ""])) };
      const command = "Makefile" in files ? ["make", "test"] : ["sh", "check.sh"];
      expect(await programs(command, all, added)).toEqual(expected);
    },
  );
});
