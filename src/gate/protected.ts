/** Test files: what a change may add freely, but must not weaken. Pure. */

/** Whether a path (relative, `/` between its parts) is a test, a helper of tests or data of tests, as ecosystems name them. */
export function isTestFile(path: string): boolean {
  const parts = path.split("/");
  const name = parts.pop() ?? "";
  if (TEST_NAMES.some((pattern) => pattern.test(name))) return true;
  if (parts.some((folder) => TEST_FOLDERS.has(folder.toLowerCase()))) return true;
  // A folder of that name also holds specifications for people to read.
  return parts.some((folder) => /^specs?$/i.test(folder)) && !/\.(?:md|mdx|rst|adoc|txt|pdf)$/i.test(name);
}

/**
 * The test files of the base that a change touched, in the order given: modified, deleted or turned into something else.
 * Added ones are free.
 */
export function protectedTestChanges(changes: readonly { path: string; kind: string }[]): string[] {
  return changes.filter(({ path, kind }) => kind !== "added" && isTestFile(path)).map(({ path }) => path);
}

/** Files that decide how a test runner runs, by name: with one of them a change could make any test pass. */
export function isRunnerConfiguration(path: string): boolean {
  return RUNNER_CONFIGURATION.test(path.split("/").pop() ?? "");
}

const RUNNER_CONFIGURATION =
  /^(?:\.npmrc|\.yarnrc(?:\.yml)?|bunfig\.toml|pytest\.ini|tox\.ini|setup\.cfg|conftest\.py|\.mocharc\.[a-z]+|(?:vitest|vite|jest|playwright|karma|ava)\.config\.[a-z]+|(?:GNU)?[Mm]akefile)$/;

const TEST_FOLDERS: ReadonlySet<string> = new Set([
  "test",
  "tests",
  "testing",
  "unittest",
  "unittests",
  "__tests__",
  "__mocks__",
  "__snapshots__",
  "__fixtures__",
  "testdata",
  "test-data",
  "test_data",
  "test-fixtures",
  "test_fixtures",
  "androidtest",
  "integrationtest",
  "integration-tests",
  "integration_tests",
  "e2e",
  "cypress",
]);

const TEST_NAMES: readonly RegExp[] = [
  // sum.test.js, sum.spec.ts, sum.e2e.ts, Button.cy.tsx, sum.test.ts.snap
  /\.(?:test|tests|spec|specs|e2e|cy)\.[^.]+(?:\.[^.]+)?$/i,
  // test.js, tests.py, tests.rs; sum-test.js, sum_test.go, sum_spec.rb; test-sum.js, test_sum.py
  /^(?:tests?|spec)\.(?!md$|txt$)[^.]+$/i,
  /[-_](?:tests?|spec)\.(?!md$|txt$)[^.]+$/i,
  /^tests?[-_].*\.(?!md$|txt$)[^.]+$/i,
  /^conftest\.py$/,
  // SumTest.java, SumTests.cs, SumTestCase.php, SumIT.java, SumSpec.scala
  /[a-z0-9_](?:Tests?|TestCase|IT|Spec)\.(?:java|kt|kts|scala|groovy|php|swift|cs|fs|vb|m|mm|dart|hs|purs)$/,
  /^Test[A-Z0-9_].*\.(?:java|kt|scala|groovy|php|swift|cs)$/,
  /\.(?:snap|bats|feature|t)$/,
];
