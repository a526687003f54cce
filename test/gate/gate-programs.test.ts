import { describe, expect, test } from "vitest";

import { gatePrograms } from "../../src/gate/gate-programs.ts";

/** The programs of gates that run these commands in a project with these files. */
function programs(command: string | string[], files: Record<string, string>): Promise<string[]> {
  const argv = typeof command === "string" ? ["sh", "-c", command] : command;
  const [program = "", ...args] = argv;
  return gatePrograms([{ command: program, args, skip: false }], {
    has: (path) => Object.hasOwn(files, path),
    read: (path) => Promise.resolve(files[path]),
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

  test("what a shell script of it plainly starts, one step deep", async () => {
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
    ]);
  });
});
