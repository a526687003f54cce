import { describe, expect, test } from "vitest";

import { isTestFile, protectedTestChanges } from "../../src/gate/protected.ts";

describe("a test file", () => {
  test.each([
    "sum.test.js",
    "src/deep/sum.spec.tsx",
    "test.js",
    "tests.py",
    "test/helper.js",
    "packages/a/tests/data/input.txt",
    "src/__tests__/sum.js",
    "src/__snapshots__/sum.test.js.snap",
    "pkg/sum_test.go",
    "pkg/testdata/golden.json",
    "test_sum.py",
    "tests/conftest.py",
    "app/conftest.py",
    "spec/models/user_spec.rb",
    "spec/spec_helper.rb",
    "src/test/java/org/SumHelper.java",
    "src/main/SumTest.java",
    "Tests/SumTests.swift",
    "SumTests.cs",
    "SumTestCase.php",
    "lib/TestSum.kt",
    "tests/integration.rs",
    "e2e/login.ts",
    "cypress/support/index.js",
    "cypress/login.cy.ts",
    "test/sum.bats",
    "t/sum.t",
    "features/login.feature",
    "lib/sum_test.exs",
    "sum-test.mjs",
    "test-sum.cjs",
  ])("is %s", (path) => {
    expect(isTestFile(path)).toBe(true);
  });

  test.each([
    "sum.js",
    "src/latest.js",
    "src/contest.py",
    "src/attestation.go",
    "lib/testament.rb",
    "Latest.java",
    "src/protest/index.js",
    "docs/spec/format.md",
    "README.md",
    "docs/test-plan.md",
    "package.json",
    "src/inspect.ts",
  ])("is not %s", (path) => {
    expect(isTestFile(path)).toBe(false);
  });
});

test("tests may be added, but not touched unseen", () => {
  const changes = [
    { path: "a.test.js", kind: "added" },
    { path: "b.test.js", kind: "modified" },
    { path: "c.test.js", kind: "deleted" },
    { path: "d.test.js", kind: "type_changed" },
    { path: "sum.js", kind: "modified" },
  ];
  expect(protectedTestChanges(changes)).toEqual(["b.test.js", "c.test.js", "d.test.js"]);
});
