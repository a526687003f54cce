import { spawnSync } from "node:child_process";

import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { whyNoBranch } from "../../src/git/ref-name.ts";

describe("a branch", () => {
  const refused = [
    "",
    "@",
    "/a",
    "a/",
    "a//b",
    "a..b",
    "a@{b",
    "a.",
    "a\nb",
    "a\u007f",
    "a b",
    "a~b",
    "a^b",
    "a:b",
    "a?b",
    "a*b",
    "a[b",
    "a\\b",
    ".a",
    "a/.b",
    "a.lock",
    "a.lock/b",
    "-a",
    "--upload-pack=x",
    "a\ud800",
    "HEAD",
    "a.LOCK",
    "x".repeat(241),
  ];
  test.each(refused)("cannot be called %j", (name) => {
    expect(whyNoBranch(name)).toBeDefined();
  });

  test.each(["main", "omk/goal/a/b-7ec7", "größe", "a@b", "a-", "a{b"])("can be called %j", (name) => {
    expect(whyNoBranch(name)).toBeUndefined();
    expect(spawnSync("git", ["check-ref-format", "--branch", name]).status).toBe(0);
  });

  test("that git refuses is refused", () => {
    const unit = fc.constantFrom(..."aé./@{}-~^:?*[\\ \u007f".split(""), ".lock");
    fc.assert(
      fc.property(fc.string({ unit, minLength: 1, maxLength: 8 }), (name) => {
        if (whyNoBranch(name) !== undefined) return;
        expect(spawnSync("git", ["check-ref-format", `refs/heads/${name}`]).status).toBe(0);
      }),
      { numRuns: 150 },
    );
  });
});
