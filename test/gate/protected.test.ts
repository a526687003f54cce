import { describe, expect, test } from "vitest";

import { isTestFile, protectedClass } from "../../src/gate/protected.ts";

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

test.each([
  ["src/sum.test.js", "test"],
  ["conftest.py", "test"],
  ["vitest.config.ts", "runner_configuration"],
  ["packages/a/.npmrc", "runner_configuration"],
  ["Makefile", "runner_configuration"],
  [".cargo/config.toml", "runner_configuration"],
  ["tox.ini", "runner_configuration"],
  [".omk/gates.toml", "gate_configuration"],
  ["eslint.config.js", "gate_configuration"],
  [".flake8", "gate_configuration"],
  [".husky/pre-commit", "gate_configuration"],
  [".github/workflows/ci.yml", "ci"],
  [".gitlab-ci.yml", "ci"],
  [".circleci/config.yml", "ci"],
  ["azure-pipelines.yml", "ci"],
  ["Jenkinsfile", "ci"],
  ["AGENTS.md", "agent_configuration"],
  ["docs/CLAUDE.md", "agent_configuration"],
  [".claude/settings.json", "agent_configuration"],
  [".cursorrules", "agent_configuration"],
  [".opencode/agent/reviewer.md", "agent_configuration"],
  ["opencode.json", "agent_configuration"],
  [".kimi/config.toml", "agent_configuration"],
  [".omk/config.toml", "agent_configuration"],
  ["src/sum.js", undefined],
  ["docs/agents.md", undefined],
  ["config.toml", undefined],
  ["src/Jenkins.java", undefined],
  ["package.json", undefined],
])("%s is protected as %s", (path, expected) => {
  expect(protectedClass(path)).toBe(expected);
});
