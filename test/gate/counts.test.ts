import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { countReport, countTests } from "../../src/gate/counts.ts";

/** `[tests, passed, failed, skipped]`, or undefined. */
function read(output: string, argv: string[] = ["npm", "test"]): number[] | undefined {
  const counts = countTests(output, argv);
  return counts && [counts.tests, counts.passed, counts.failed, counts.skipped];
}

const nodeSpec = (tests: number, pass: number, fail = 0, skipped = 0) =>
  `ℹ tests ${tests}\nℹ suites 0\nℹ pass ${pass}\nℹ fail ${fail}\nℹ cancelled 0\nℹ skipped ${skipped}\nℹ todo 0\nℹ duration_ms 88.8\n`;
const nodeTap = (tests: number, pass: number, fail = 0) => nodeSpec(tests, pass, fail).replaceAll("ℹ", "#");

// As these runners printed it, shortened.
describe("the counts of", () => {
  test.each<[string, string, number[] | undefined]>([
    [
      "node, spec",
      `✔ one (0.6ms)\n✔ two (0.1ms)\n﹣ three (0.08ms) # SKIP\n${nodeSpec(3, 2, 0, 1)}`,
      [3, 2, 0, 1],
    ],
    ["node, TAP", `TAP version 13\n# Subtest: one\nok 1 - one\n1..1\n${nodeTap(1, 1)}`, [1, 1, 0, 0]],
    ["node without any file", `TAP version 13\n1..0\n${nodeTap(0, 0)}`, [0, 0, 0, 0]],
    ["node with an empty file, spec", `✔ a.test.js (25.9ms)\n${nodeSpec(1, 1)}`, [0, 0, 0, 0]],
    [
      "node with an empty file, TAP",
      `TAP version 13\n# Subtest: /tmp/my project/a.test.js\nok 1 - /tmp/my project/a.test.js\n  ---\n  ...\n1..1\n${nodeTap(1, 1)}`,
      [0, 0, 0, 0],
    ],
    [
      "node with an empty file beside others",
      `✔ one (0.6ms)\n✔ b.test.js (22ms)\n✖ c.test.js (30ms)\n${nodeSpec(3, 2, 1)}`,
      [2, 1, 1, 0],
    ],
    [
      "node with a suite named like its file",
      `▶ a.test.js\n  ✔ x (1.3ms)\n✔ a.test.js (2.1ms)\n${nodeSpec(1, 1)}`,
      [1, 1, 0, 0],
    ],
    [
      "node with such a suite, TAP",
      `# Subtest: a.test.js\n    # Subtest: x\n    ok 1 - x\n    1..1\nok 1 - a.test.js\n1..1\n${nodeTap(1, 1)}`,
      [1, 1, 0, 0],
    ],
    [
      "node twice, by npm workspaces",
      `> a@1.0.0 test\n${nodeSpec(2, 2)}> b@1.0.0 test\n${nodeSpec(0, 0)}`,
      [2, 2, 0, 0],
    ],
    [
      "TAP alone",
      "1..4\nok 1 - a\nnot ok 2 - b\nok 3 # SKIP no network\nnot ok 4 # TODO later\n",
      [4, 1, 1, 2],
    ],
    ["TAP that plans nothing", "1..0\n", [0, 0, 0, 0]],
    ["tape", "TAP version 13\n# adds\nok 1 sum\n\n1..1\n# tests 1\n# pass  1\n\n# ok\n", [1, 1, 0, 0]],
    [
      "vitest, in colours",
      "\u001b[2m Test Files \u001b[22m \u001b[1m\u001b[32m1 passed\u001b[39m\u001b[22m\u001b[90m (1)\u001b[39m\n" +
        "\u001b[2m      Tests \u001b[22m \u001b[1m\u001b[32m1 passed\u001b[39m\u001b[22m\u001b[2m | \u001b[22m" +
        "\u001b[33m1 skipped\u001b[39m\u001b[2m | \u001b[22m\u001b[90m1 todo\u001b[39m\u001b[90m (3)\u001b[39m\n",
      [3, 1, 0, 2],
    ],
    ["vitest that allows no tests", " Test Files  1 passed (1)\n      Tests  no tests\n", [0, 0, 0, 0]],
    ["vitest without files", "No test files found, exiting with code 0\n", [0, 0, 0, 0]],
    [
      "vitest with an empty file",
      "Error: No test suite found in file /tmp/a.test.js\n Test Files  1 failed (1)\n      Tests  no tests\n",
      [0, 0, 0, 0],
    ],
    [
      "vitest with a file that cannot be loaded",
      " Test Files  1 failed (1)\n      Tests  no tests\n",
      [1, 0, 1, 0],
    ],
    [
      "jest",
      "Test Suites: 1 passed, 1 total\nTests:       1 skipped, 1 passed, 2 total\nSnapshots:   0 total\n",
      [2, 1, 0, 1],
    ],
    [
      "jest with an empty file",
      "    Your test suite must contain at least one test.\n\nTest Suites: 1 failed, 1 total\nTests:       0 total\n",
      [0, 0, 0, 0],
    ],
    [
      "jest with a file that cannot be loaded",
      "Test Suites: 1 failed, 1 total\nTests:       0 total\n",
      [1, 0, 1, 0],
    ],
    ["jest without files", "No tests found, exiting with code 0\n", [0, 0, 0, 0]],
    ["mocha", "\n  ✔ a\n  - b\n\n  1 passing (2ms)\n  1 pending\n  2 failing\n\n", [4, 1, 2, 1]],
    ["mocha without tests", "\n\n  0 passing (0ms)\n\n", [0, 0, 0, 0]],
    ["mocha without files", 'Error: No test files found: "test"\n', [0, 0, 0, 0]],
    ["pytest", "collected 2 items\n\n=== 1 passed, 1 skipped in 0.01s ===\n", [2, 1, 0, 1]],
    [
      "pytest, quiet",
      ".s   [100%]\n2 failed, 1 passed, 1 xfailed, 3 warnings in 65.00s (0:01:05)\n",
      [4, 1, 2, 1],
    ],
    ["pytest without tests", "collected 0 items\n\n==== no tests ran in 0.00s ====\n", [0, 0, 0, 0]],
    ["pytest where nothing fits", "=== 3 deselected in 0.01s ===\n", [0, 0, 0, 0]],
    ["pytest with a file that cannot be loaded", "=== 1 error in 0.09s ===\n", [1, 0, 1, 0]],
    ["unittest", "Ran 4 tests in 0.001s\n\nFAILED (failures=1, errors=1, skipped=1)\n", [4, 1, 2, 1]],
    ["unittest without tests", "Ran 0 tests in 0.000s\n\nOK\n", [0, 0, 0, 0]],
    [
      "cargo, over all its binaries",
      "running 2 tests\ntest result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n" +
        "running 0 tests\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
      [2, 1, 0, 1],
    ],
    [
      "cargo whose filter fits nothing",
      "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.00s\n",
      [0, 0, 0, 0],
    ],
    ["nextest", "     Summary [   0.005s] 3 tests run: 2 passed, 1 failed, 0 skipped\n", [3, 2, 1, 0]],
    [
      "go, by package",
      "ok  \tx/a\t0.005s\nok  \tx/b\t(cached) [no tests to run]\n?   \tx/c\t[no test files]\nFAIL\tx/d\t0.002s\nFAIL\n",
      [2, 1, 1, 0],
    ],
    ["go without test files", "?   \tx/c\t[no test files]\n", [0, 0, 0, 0]],
    [
      "go -v",
      "=== RUN   TestA\n--- PASS: TestA (0.00s)\n=== RUN   TestS\n--- SKIP: TestS (0.00s)\nPASS\nok  \tx/a\t0.004s\n",
      [2, 1, 0, 1],
    ],
    ["go that does not build", "FAIL\tx/d [setup failed]\nFAIL\n", [1, 0, 1, 0]],
    [
      "Maven, whose lines per class do not count twice",
      "[INFO] Tests run: 3, Failures: 0, Errors: 0, Skipped: 0, Time elapsed: 0.05 s - in org.SumTest\n" +
        "[INFO] Tests run: 3, Failures: 1, Errors: 0, Skipped: 1\n",
      [3, 1, 1, 1],
    ],
    ["Maven without tests", "[INFO] No tests to run.\n", [0, 0, 0, 0]],
    ["a program of which nothing is known", "12 modules transformed in 1.2s\nall good\nok\n", undefined],
    ["silence", "", undefined],
  ])("%s", (_title, output, expected) => {
    expect(read(output)).toEqual(expected);
  });

  test("a command that names its runner are read from that runner alone", () => {
    const output = "  0 passing (1ms)\ntest result: ok. 2 passed; 0 failed; 0 ignored\n";
    expect(read(output, ["cargo", "test"])).toEqual([2, 2, 0, 0]);
    expect(read("ok  \tx/a\t0.005s\nRan 7 tests in 1s\n", ["/usr/local/go/bin/go", "test", "./..."])).toEqual(
      [1, 1, 0, 0],
    );
  });

  test("any text are absent or add up", () => {
    const line = fc.constantFrom(
      "ℹ tests 3",
      "ℹ pass 1",
      "1..2",
      "ok 1 - a.test.js",
      "FAIL\tx",
      "ok  \tx\t1s",
      "2 passing",
      "  1 failing",
    );
    fc.assert(
      fc.property(fc.array(fc.oneof(line, fc.string())), (lines) => {
        const counts = countTests(lines.join("\n"), []);
        for (const count of Object.values(counts ?? {})) expect(count).toBeGreaterThanOrEqual(0);
      }),
    );
  });
});

describe("a report", () => {
  test("of JUnit is counted by its cases, whatever its suites and texts say", () => {
    const xml = `<?xml version="1.0"?>
<!-- <testcase name="in a comment"/> -->
<testsuites tests="99"><testsuite name="a &gt; b" tests="5">
  <testcase name="one" classname="x > y"/>
  <testcase name="two"><failure message="1 &lt; 2"><![CDATA[<testcase name="quoted"/>]]></failure></testcase>
  <testcase name='three'><skipped/></testcase>
  <testcase name="four"><error>boom</error></testcase>
  <testcase name="five"><system-out>said</system-out></testcase>
</testsuite></testsuites>`;
    expect(countReport(xml)).toEqual({ tests: 5, passed: 2, failed: 2, skipped: 1 });
  });

  test("without cases counts none; one of another kind counts nothing", () => {
    expect(countReport('<testsuite tests="0"/>')).toEqual({ tests: 0, passed: 0, failed: 0, skipped: 0 });
    expect(countReport("<html><body>3 tests</body></html>")).toBeUndefined();
    expect(countReport("{}")).toBeUndefined();
    expect(countReport("")).toBeUndefined();
  });

  test("in TAP is counted by its lines", () => {
    expect(countReport("TAP version 14\n1..2\nok 1\nnot ok 2\n")).toEqual({
      tests: 2,
      passed: 1,
      failed: 1,
      skipped: 0,
    });
  });

  test("that is broken anywhere is read in one pass", () => {
    const pieces = fc.constantFrom(
      "<testcase ",
      '"',
      "'",
      "<![CDATA[",
      "]]>",
      "<!--",
      "-->",
      "<",
      ">",
      "/>",
      "<testsuite>",
      "x",
    );
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 200 }), (parts) => {
        const counts = countReport(`<testsuite>${parts.join("")}`);
        expect(counts).toBeDefined();
      }),
    );
    const hostile = countReport(`<testsuite>${'<testcase name="'.repeat(200_000)}`);
    expect(hostile?.tests).toBe(1);
  });
});
