import { expect, test } from "vitest";

import { matchesGlobs } from "../../src/gate/globs.ts";

test.each([
  ["test/sum.test.js", ["test/**"], true],
  ["test/sum.test.js", ["test"], true],
  ["test/sum.test.js", ["./test/"], true],
  ["testing/sum.js", ["test"], false],
  [".github/workflows/ci.yml", ["**/*.yml"], true],
  ["a/b.md", ["*.md"], false],
  ["package.json", ["package.json"], true],
  ["a[1].js", ["a[1].js"], true],
  ["sum.js", [], false],
  ["sum.js", ["", "  "], false],
])("%s by %j: %s", (path, globs, expected) => {
  expect(matchesGlobs(path, globs)).toBe(expected);
});
