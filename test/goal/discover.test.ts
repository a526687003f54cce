import fc from "fast-check";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";

import type { WorkTree } from "../../src/git/work-tree.ts";
import { definedNames, isLookedAt, keywordsOf, ranked, scoreOf } from "../../src/goal/discover.ts";
import { contextLines, repoContext, testFoldersOf } from "../../src/goal/repo-context.ts";
import { createWorld } from "../../src/world.ts";

describe("the words of a goal", () => {
  test("are those that say something, each once, split at everything that is no letter or digit", () => {
    expect(keywordsOf("Fix the parse_config bug: PARSE the config, and make it fast")).toEqual([
      "fix",
      "parse",
      "config",
      "bug",
      "fast",
    ]);
    expect(keywordsOf("do it now")).toEqual([]);
  });
});

describe("defined names", () => {
  test.each([
    ["a.rs", "pub async fn parse_it<T>() {}\nimpl X { fn new() {} }", ["parse_it", "new"]],
    [
      "a.go",
      "func (c *Config) Parse(x int) error {\nfunc main() {\nfunc Map[T any](a T) {",
      ["Parse", "main", "Map"],
    ],
    [
      "a.py",
      "class A:\n    async def fetch(self):\n  def 名前(x):\ndef plain():",
      ["fetch", "名前", "plain"],
    ],
    [
      "a.js",
      "function one() {}\nexport default async function* two() {\nconst x = function three() {",
      ["one", "two", "three"],
    ],
    ["a.ts", "const arrow = (a: number) => a;\nexport const many = async (\n", ["arrow", "many"]],
    ["a.tsx", "const typed: (a: string) => void = (a) => {};\nlet one = x => x;", ["typed", "one"]],
    [
      "a.ts",
      "class A {\n  async load(path: string): Promise<void> {\n  #hidden() {\n  field = () => 1;",
      ["load", "hidden", "field"],
    ],
    ["a.ts", "  if (parse(x)) {\n  for (const a of b) {\n  const n = compute(1);\n  return parse(x) {", []],
    ["a.ts", "// function commented() {}\n * function inDoc() {}\n", []],
  ])("in %s %j", (path, text, expected) => {
    expect(definedNames(path, text)).toEqual(expected);
  });

  test("are found in no time, whatever the text", () => {
    const pieces = fc.constantFrom(
      "(",
      ")",
      "=",
      ">",
      "<",
      "async ",
      "static ",
      "const a",
      " ",
      "{",
      "fn ",
      "func (",
      "#",
    );
    fc.assert(
      fc.property(fc.array(pieces, { minLength: 200, maxLength: 900 }), (parts) => {
        for (const path of ["a.ts", "a.go", "a.rs", "a.py"]) definedNames(path, parts.join(""));
      }),
      { numRuns: 30 },
    );
    for (const bad of [
      "static ".repeat(280),
      " ".repeat(1_999),
      `const a${" ".repeat(1_900)}`,
      "(".repeat(1_999),
    ])
      for (const path of ["a.ts", "a.go", "a.rs", "a.py"])
        expect(definedNames(path, `${bad}\n`.repeat(50))).toEqual([]);
  });
});

describe("which files are looked at", () => {
  test.each([
    ["src/a.ts", true],
    ["a.pyi", true],
    ["node_modules/a/a.js", false],
    ["src/.hidden/a.ts", false],
    [".a.ts", false],
    ["a/target/b.rs", false],
    ["README.md", false],
    ["go", false],
    [`${"a/".repeat(30)}b.ts`, false],
  ])("%s: %s", (path, expected) => {
    expect(isLookedAt(path)).toBe(expected);
  });

  test("the score is how many names hold a word; ties are in the order of the paths", () => {
    expect(
      scoreOf("a.ts", "function parseConfig() {}\nfunction other() {}\nfunction reparse() {}", [
        "parse",
        "config",
      ]),
    ).toBe(2);
    const scores = new Map([
      ["b.ts", 2],
      ["a.ts", 2],
      ["c.ts", 5],
      ["d.ts", 0],
    ]);
    expect(ranked(scores, 20)).toEqual(["c.ts", "a.ts", "b.ts"]);
    expect(ranked(scores, 2)).toEqual(["c.ts", "a.ts"]);
  });
});

describe("a project's context", () => {
  test("is what its files say: relevant ones, layout, tests, CI and the README, and the same each time", async () => {
    const root = mkdtempSync(join(tmpdir(), "omk-context-"));
    try {
      const files: Record<string, string> = {
        ".github/workflows/ci.yml": "on: push\n",
        "README.md": "# A thing\n",
        "huge.ts": `function parseHuge() {}\n${" ".repeat(300 * 1024)}`,
        "src/b.ts": "export const parseArgs = (x: string) => x;\nfunction parseMore() {}\n",
        "src/c.ts": "function unrelated() {}\n",
        "test/b.test.ts": "",
      };
      for (const [path, text] of Object.entries(files)) {
        mkdirSync(join(root, dirname(path)), { recursive: true });
        writeFileSync(join(root, path), text);
      }
      symlinkSync("/etc/passwd", join(root, "link.ts"));
      const listed = [...Object.keys(files), "gone.ts", "link.ts"].sort();
      const tree = { root, files: () => Promise.resolve(listed) } as unknown as WorkTree;
      const world = createWorld();
      const given = { tree, snapshot: "t", goal: "make parse faster", gates: [] };
      const context = await repoContext(given, world, new AbortController().signal);
      expect(context).toMatchObject({
        fileCount: 8,
        topLevel: [".github/", "README.md", "gone.ts", "huge.ts", "link.ts", "src/", "test/"],
        testFolders: ["test"],
        ciFiles: [".github/workflows/ci.yml"],
        readme: "# A thing\n",
        relevantFiles: ["src/b.ts"],
        isCut: false,
      });
      expect(context.languages[0]).toEqual(["ts", 6]);
      expect(JSON.parse(contextLines(context))).toMatchObject({
        file_count: 8,
        relevant_files: ["src/b.ts"],
      });
      expect(await repoContext(given, world, new AbortController().signal)).toEqual(context);
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
  });

  test("knows the folders of tests, also those of packages", () => {
    expect(
      testFoldersOf(["a.ts", "packages/x/tests/deep/a.py", "src/__tests__/b.ts", "test/a.ts", "test/b.ts"]),
    ).toEqual(["packages/x/tests", "src/__tests__", "test"]);
  });
});
