import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { addedLines, scanChanges } from "../../src/goal/secret-scan.ts";
import { slopFindings } from "../../src/goal/slop.ts";
import { createRedactor } from "../../src/store/redact.ts";

const TOKEN = `ghp_${"a1B2".repeat(9)}`;
const redactor = createRedactor({ environment: { DEPLOY_TOKEN: "correct-horse-battery" } });

function patchOf(path: string, lines: readonly string[]): string {
  const added = lines.filter((line) => /^[+ ]/.test(line)).length;
  const removed = lines.filter((line) => /^[- ]/.test(line)).length;
  const head = [`diff --git a/${path} b/${path}`, "index 1..2 100644", `--- a/${path}`, `+++ b/${path}`];
  return [...head, `@@ -1,${removed} +1,${added} @@`, ...lines, ""].join("\n");
}

function scan(text: string) {
  return scanChanges({ text, truncated: false }, redactor);
}

describe("the secret scan", () => {
  const found: [string, string, string][] = [
    ["a token of a known family", `const key = "${TOKEN}";`, "github-token"],
    ["a key id", "AKIAABCDEFGHIJKLMNOP", "aws-key-id"],
    ["a secret of this machine's environment", "echo correct-horse-battery", "environment"],
    ["an assignment", 'password: "hunter2-Uf93kd82"', "assignment"],
    ["a private key", "-----BEGIN RSA PRIVATE KEY-----", "private-key"],
    ["credentials in a URL", "postgres://app:x7Kd93mQp2@db.example.com/app", "url-credentials"],
  ];
  test.each(found)("finds %s in an added line, with its place and without its value", (_name, text, kind) => {
    const findings = scan(patchOf("src/a.js", [" one", `+${text}`, " three"]));
    expect(findings).toEqual([{ path: "src/a.js", line: 2, kind }]);
    expect(JSON.stringify(findings)).not.toContain(text);
  });

  test.each(found)("finds no %s in a line that is removed or only stands beside", (_name, text) => {
    expect(scan(patchOf("src/a.js", [` ${text}`, `-${text}`, "+harmless"]))).toEqual([]);
  });

  test("takes a mark that was there before for no secret", () => {
    expect(scan(patchOf("log.txt", ["+token: [REDACTED:github-token]"]))).toEqual([]);
  });

  test("names the first secret of a line once, and every line", () => {
    const findings = scan(patchOf("a.js", [`+${TOKEN} ${TOKEN}`, "+fine", `+${TOKEN}`]));
    expect(findings.map(({ line }) => line)).toEqual([1, 3]);
  });

  test("says when the change was too large to be seen whole", () => {
    const { length } = scanChanges({ text: "", truncated: true }, redactor);
    expect(length).toBe(1);
    expect(scanChanges({ text: "", truncated: true }, redactor)[0]?.kind).toBe("too_large_to_scan");
  });

  test("stops at a hundred findings", () => {
    expect(
      scan(
        patchOf(
          "a.js",
          Array.from({ length: 500 }, () => `+${TOKEN}`),
        ),
      ).length,
    ).toBe(100);
  });
});

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

  test("of several hunks and files have the numbers they get in the file", () => {
    const patch = `${["--- a/a.js", "+++ b/a.js", "@@ -1 +1,2 @@", " one", "+two", "@@ -10,2 +11 @@", "-x", "-y", "+eleven"].join("\n")}\n${patchOf("b.js", ["+first"])}`;
    expect([...addedLines(patch)]).toEqual([
      { path: "a.js", line: 2, text: "two" },
      { path: "a.js", line: 11, text: "eleven" },
      { path: "b.js", line: 1, text: "first" },
    ]);
  });
});

describe("the signs of haste", () => {
  const told: [string, string, string][] = [
    ["a.ts", "// TODO later", "an unfinished mark"],
    ["a.py", "x = 1  # FIXME", "an unfinished mark"],
    ["a.rs", "let x = y.unwrap();", "a panic on failure"],
    ["a.js", "try { x() } catch (e) {}", "an error swallowed"],
    ["a.mts", "try { x() } catch { }", "an error swallowed"],
    ["a.py", "except: pass", "an error swallowed"],
    ["a.test.ts", 'test.skip("later", () => {});', "a test left out"],
  ];
  test.each(told)("in %s: %j", (path, text, what) => {
    expect(slopFindings(patchOf(path, [" before", `+${text}`]))).toEqual([`${path}:2 ${what}`]);
    expect(slopFindings(patchOf(path, [`-${text}`, ` ${text}`]))).toEqual([]);
  });

  const fine: [string, string][] = [
    ["a.py", "value.unwrap()"],
    ["a.js", "const TODO = list();"],
    ["a.ts", "catch (error) { report(error); }"],
    ["package-lock.json", "// TODO"],
    ["deep/Cargo.lock", "# FIXME"],
    ["README.md", "TODO: write this"],
    ["Makefile", "# TODO"],
  ];
  test.each(fine)("are not seen in %s: %j", (path, text) => {
    expect(slopFindings(patchOf(path, [`+${text}`]))).toEqual([]);
  });

  test("are at most twenty", () => {
    expect(
      slopFindings(
        patchOf(
          "a.js",
          Array.from({ length: 50 }, () => "+// TODO"),
        ),
      ).length,
    ).toBe(20);
  });
});
