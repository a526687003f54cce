import { describe, expect, test } from "vitest";

import type { WorkTree } from "../../src/git/work-tree.ts";
import { brokenLinks, isDocumentation, isReport, saysMore } from "../../src/goal/docs-links.ts";
import { readAllBy } from "../support/read-all.ts";

const never = new AbortController().signal;

function broken(markdown: string, ...files: string[]): Promise<string[]> {
  const tree = {
    files: () => Promise.resolve(["docs/guide.md", ...files]),
    readAll: readAllBy(() => Buffer.from(markdown)),
  } as unknown as WorkTree;
  return brokenLinks(tree, "t1", ["docs/guide.md"], never);
}

describe("links of documentation", () => {
  test("lead to files and folders of the project, whatever stands behind the name", async () => {
    const text = "[a](a.md#part) [b](../src/) [c](../src/x.js?raw) [d](<with space.md>) [e](with%20space.md)";
    expect(await broken(text, "docs/a.md", "src/x.js", "docs/with space.md")).toEqual([]);
    expect(await broken(text)).toHaveLength(5);
  });

  test("are also found in definitions", async () => {
    expect(await broken("[see][1]\n\n[1]: gone.md\n")).toEqual(["docs/guide.md: gone.md"]);
    expect(await broken("Text[^1]\n\n[^1]: a note, no link\n")).toEqual([]);
  });

  test("are none in code, to elsewhere, or out of the project", async () => {
    const fenced = "```md\n[x](gone.md)\n```\n`[y](gone.md)`\n~~~\n[z](gone.md)\n~~~\n";
    const elsewhere =
      "[a](https://example.org/x) [b](#here) [c](mailto:a@b.c) [d](/root.md) [e](../../up.md)\n";
    expect(await broken(fenced + elsewhere)).toEqual([]);
    expect(await broken("```\n```\n[x](gone.md)\n")).toHaveLength(1);
  });

  test("are looked for in Markdown only, and lists for tools are no documentation", () => {
    for (const path of ["README", "docs/logo.svg", "CHANGELOG.md", "a.rst"])
      expect(isDocumentation(path), path).toBe(true);
    for (const path of [
      "requirements.txt",
      "requirements-dev.txt",
      "CMakeLists.txt",
      "readme.js",
      "docs/x.js",
    ])
      expect(isDocumentation(path), path).toBe(false);
  });

  test("are part of what may be a report, which a picture or a program is not", () => {
    for (const path of ["AUDIT.md", "docs/audit.html", "a.txt"]) expect(isReport(path), path).toBe(true);
    for (const path of ["docs/x.js", "docs/logo.svg", "x.html"]) expect(isReport(path), path).toBe(false);
  });

  test("and a text that differs in blanks says no more than before", () => {
    expect(saysMore("# Title\n\nText.", "# Title\nText.\n\n")).toBe(false);
    expect(saysMore("", "\n\n")).toBe(false);
    expect(saysMore("# Title", "# Title\n\nMore.")).toBe(true);
  });
});
