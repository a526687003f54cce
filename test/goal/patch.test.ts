import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { addedLines, shownFiles } from "../../src/goal/patch.ts";
import { patchOf } from "../support/patches.ts";

describe("the lines that a patch adds", () => {
  test("are told from headers by the hunk's length, so that a file cannot pretend to be another", () => {
    const lines = ["+++ b/elsewhere.js", "+--- a/x", "+@@ -1,9 +1,9 @@", "+++ c"];
    expect([...addedLines(patchOf("real.js", lines))]).toEqual([
      { path: "real.js", line: 1, text: "++ b/elsewhere.js" },
      { path: "real.js", line: 2, text: "--- a/x" },
      { path: "real.js", line: 3, text: "@@ -1,9 +1,9 @@" },
      { path: "real.js", line: 4, text: "++ c" },
    ]);
  });

  test("are those that git says, for any content and for unusual names of files", () => {
    const folder = mkdtempSync(join(tmpdir(), "omk-patch-"));
    const git = (...args: string[]) => execFileSync("git", args, { cwd: folder, encoding: "utf8" });
    try {
      git("init", "--quiet");
      // The last part is what omk calls git with: other characters than these stay as they are.
      const names = [
        'qu"ote.js',
        "back\\slash.js",
        "tab\there.js",
        "new\nline.js",
        "naïve 数.js",
        " leading.js",
        "b/b/b.js",
        "\u0001.js",
      ];
      const line = fc.string({
        unit: fc.constantFrom("+", "-", " ", "@", "a", "\\", '"', "\r"),
        maxLength: 6,
      });
      const contents = fc.sample(fc.array(line, { minLength: 1, maxLength: 8 }), names.length);
      names.forEach((name, at) => {
        mkdirSync(dirname(join(folder, name)), { recursive: true });
        writeFileSync(join(folder, name), contents[at]?.map((text) => `${text}\n`).join("") ?? "");
      });
      git("add", "--all");
      const tree = git("write-tree").trim();
      const empty = git("hash-object", "-t", "tree", "/dev/null").trim();
      const patch = git("-c", "core.quotePath=false", "diff-tree", "-r", "-p", empty, tree);
      const expected = names.flatMap((path, at) =>
        (contents[at] ?? []).map((text, line) => ({ path, line: line + 1, text })),
      );
      const byPlace = (a: { path: string; line: number }, b: { path: string; line: number }) =>
        a.path < b.path ? -1 : a.path > b.path ? 1 : a.line - b.line;
      expect([...addedLines(patch)].sort(byPlace)).toEqual(expected.sort(byPlace));
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  test("keep counting over a line that ends the file without a newline", () => {
    const patch = patchOf("a.js", [
      "-old",
      "\\ No newline at end of file",
      "+new",
      "\\ No newline at end of file",
    ]);
    expect([...addedLines(patch)]).toEqual([{ path: "a.js", line: 1, text: "new" }]);
  });

  test("are none of a file that is shown as binary, which is no shown file", () => {
    const binary = "diff --git a/x.bin b/x.bin\nindex 1..2 100644\nBinary files a/x.bin and b/x.bin differ\n";
    const patch = `${binary}${patchOf("a.js", ["+one"])}`;
    expect([...shownFiles(patch)]).toEqual(["a.js"]);
    expect([...addedLines(patch)]).toHaveLength(1);
  });

  test("of several hunks and files have the numbers they get in the file", () => {
    const patch = `${["--- a/a.js", "+++ b/a.js", "@@ -1 +1,2 @@", " one", "+two", "@@ -10,2 +11 @@", "-x", "-y", "+eleven"].join("\n")}\n${patchOf("b.js", ["+first"])}`;
    expect([...addedLines(patch)]).toEqual([
      { path: "a.js", line: 2, text: "two" },
      { path: "a.js", line: 11, text: "eleven" },
      { path: "b.js", line: 1, text: "first" },
    ]);
  });
});
