/** Files that decide how gates judge: a change may touch them, but its gates must also pass without that. Pure. */
import type { ProtectedInput } from "../format/proof.ts";

type ProtectedClass = ProtectedInput["class"];

/**
 * Which protected file a path is by its name, or undefined. Manifests and programs of gates are not told by their names
 * alone: see `manifests.ts` and `gate-programs.ts`.
 */
export function protectedClass(
  path: string,
): Exclude<ProtectedClass, "manifest" | "gate_program"> | undefined {
  if (PYTHON_CACHE.test(path)) return undefined;
  if (isTestFile(path)) return "test";
  if (isRunnerConfiguration(path)) return "runner_configuration";
  if (GATE_CONFIGURATION.test(path)) return "gate_configuration";
  if (CI.test(path)) return "ci";
  return AGENT_CONFIGURATION.test(path) ? "agent_configuration" : undefined;
}

/** What runs leave behind. Bytecode that is believed unseen is told by its content: see `inputs.ts`. */
const PYTHON_CACHE = /(?:^|\/)(?:__pycache__|\.pytest_cache|\.mypy_cache|\.ruff_cache)\//;

/** omk's own file, those of linters, formatters and compilers, which gates run, and what says which of them is started. */
const GATE_CONFIGURATION =
  /(?:^|\/)(?:\.omk\/gates\.toml|\.eslintrc(?:\.[a-z]+)?|\.eslintignore|eslint\.config\.[a-z]+|\.oxlintrc\.json|biome\.jsonc?|\.prettierrc(?:\.[a-z]+)?|\.prettierignore|prettier\.config\.[a-z]+|\.flake8|\.pylintrc|\.?ruff\.toml|\.?mypy\.ini|\.golangci\.(?:ya?ml|toml|json)|\.?clippy\.toml|\.?rustfmt\.toml|\.rubocop\.yml|\.stylelintrc(?:\.[a-z]+)?|\.pre-commit-config\.yaml|lefthook\.ya?ml|\.husky\/.+|(?:ts|js)config[^/]*\.json|pyrightconfig\.json|\.swcrc|\.babelrc(?:\.[a-z]+)?|babel\.config\.[a-z]+|rust-toolchain(?:\.toml)?|\.(?:node|python|ruby|go)-version|\.nvmrc|\.tool-versions|\.?mise\.toml|\.env(?:\.(?:local|test|ci|test\.local))?|\.envrc)$/;

const CI =
  /(?:^|\/)(?:\.github\/(?:workflows|actions)\/.+|\.gitlab-ci\.ya?ml|\.gitlab\/ci\/.+|\.circleci\/.+|\.?azure-pipelines(?:[-.].*)?\.ya?ml|Jenkinsfile(?:\..+)?|\.travis\.yml|\.?appveyor\.yml|bitbucket-pipelines\.yml|\.drone\.ya?ml|\.buildkite\/.+|\.woodpecker(?:\.ya?ml|\/.+)|\.forgejo\/workflows\/.+|\.gitea\/workflows\/.+|\.cirrus\.ya?ml|\.semaphore\/.+|buildspec\.ya?ml|cloudbuild\.ya?ml)$/;

const AGENT_CONFIGURATION =
  /(?:^|\/)(?:AGENTS(?:\.override)?\.md|CLAUDE(?:\.local)?\.md|GEMINI\.md|KIMI\.md|\.mcp\.json|\.cursorrules|\.windsurfrules|\.clinerules|opencode\.jsonc?|\.github\/copilot-instructions\.md|\.aider\.conf\.yml|(?:\.claude|\.cursor|\.opencode|\.kimi|\.codex|\.gemini|\.windsurf|\.clinerules|\.agents|\.omk)\/.+|\.(?:opencode|kimi)[^/]*)$/;

/** Whether a path (relative, `/` between its parts) is a test, a helper of tests or data of tests, as ecosystems name them. */
export function isTestFile(path: string): boolean {
  if (PYTHON_CACHE.test(path)) return false;
  const parts = path.split("/");
  const name = parts.pop() ?? "";
  if (TEST_NAMES.some((pattern) => pattern.test(name))) return true;
  if (parts.some((folder) => TEST_FOLDERS.has(folder.toLowerCase()))) return true;
  // A folder of that name also holds specifications for people to read.
  return parts.some((folder) => /^specs?$/i.test(folder)) && !/\.(?:md|mdx|rst|adoc|txt|pdf)$/i.test(name);
}

/** Files that decide how a test runner runs, by name: with one of them a change could make any test pass. */
export function isRunnerConfiguration(path: string): boolean {
  return RUNNER_CONFIGURATION.test(path.split("/").pop() ?? "") || CONFIGURATION_FOLDERS.test(path);
}

const RUNNER_CONFIGURATION =
  /^(?:\.npmrc|\.pnpmfile\.[cm]?js|pnpm-workspace\.yaml|lerna\.json|go\.work|jasmine\.json|gradle\.properties|settings\.gradle(?:\.kts)?|gradlew(?:\.bat)?|mvnw(?:\.cmd)?|\.yarnrc(?:\.yml)?|bunfig\.toml|pytest\.ini|\.pytest\.ini|pytest\.toml|tox\.ini|noxfile\.py|\.coveragerc|conftest\.py|sitecustomize\.py|usercustomize\.py|\.mocharc(?:\.[a-z]+)?|\.taprc|\.nycrc(?:\.json)?|\.c8rc\.json|(?:vitest|vite|jest|playwright|karma|ava|cypress|wdio|web-test-runner)\.(?:config|workspace|conf)\.[a-z]+|phpunit\.xml(?:\.dist)?|\.rspec|Rakefile|[Jj]ustfile|Taskfile\.ya?ml|turbo\.json|nx\.json|(?:GNU)?[Mm]akefile)$/;

/** A `runner` of cargo stands in for every test binary; the others start what runs the tests. */
const CONFIGURATION_FOLDERS =
  /(?:^|\/)(?:\.cargo\/config(?:\.toml)?|\.config\/nextest\.toml|gradle\/wrapper\/.+|\.mvn\/.+|\.bundle\/config)$/;

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
