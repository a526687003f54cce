/**
 * How many tests a runner says it ran. Only ever used against a gate (a runner that ran nothing proves nothing), so a
 * program that prints invented numbers gains nothing that it would not have by exiting with 0.
 */
import { stripVTControlCharacters } from "node:util";

import type { TestCounts } from "../format/gate.ts";

/** Summaries are short; longer lines are a program's own output. */
const LINE_CHARACTERS_MAX = 2_000;

/** Collects what one kind of runner says, line by line. */
interface Reader {
  /** `at` is the line's place in `lines`. */
  line(text: string, at: number, lines: readonly string[]): void;
  /** Everything it said together, or undefined when this kind of runner said nothing. */
  counts(): TestCounts | undefined;
}

/**
 * The counts of all runners that speak in an output, summed up, or undefined when none is recognised: then nothing is
 * known, which is not the same as none. Where the command names its runner, only that one is listened to. `go test`
 * without `-v` names packages only: each that ran tests counts as one test.
 */
export function countTests(output: string, argv: readonly string[]): TestCounts | undefined {
  const readers = readersFor(argv);
  const lines = stripVTControlCharacters(output).split(/\r?\n/);
  for (const [at, line] of lines.entries()) {
    if (line.length > LINE_CHARACTERS_MAX || !MAY_SPEAK.test(line)) continue;
    for (const reader of readers) reader.line(line, at, lines);
  }
  const said = readers.map((reader) => reader.counts()).filter((counts) => counts !== undefined);
  return said.length === 0 ? undefined : said.reduce(add);
}

/** How a line begins that any reader listens to; most lines of a large output are done with after this. */
const MAY_SPEAK =
  /^(?:[ℹ#▶✔] |(?:not )?ok\b|\d|=|--- |\? |\t| {2,}(?:\d|Tests |Your test suite)| Test Files| *Summary |Tests?[ :]|test result|[Nn]o tests?\b|Error: No test|Ran \d|(?:OK|FAILED|NO TESTS RAN) \(|FAIL\t|\[\w+\] (?:Tests run|No tests))/;

/** The counts of a report file: JUnit XML or TAP, told apart by how it begins. Undefined when it is neither. */
export function countReport(text: string): TestCounts | undefined {
  const start = text.replace(/^\uFEFF/, "").trimStart();
  if (start.startsWith("<")) return countJunit(start);
  return countTests(text, ["tap"]);
}

function readersFor(argv: readonly string[]): Reader[] {
  const [program = "", first = ""] = argv.map((word) => word.split(/[/\\]/).pop() ?? word);
  if (program === "cargo") return [cargo(), nextest()];
  if (program === "go" && first === "test") return [go(argv.includes("-v"))];
  if (program === "tap") return [nodeTest(), tap()];
  return [
    nodeTest(),
    tap(),
    vitest(),
    jest(),
    mocha(),
    pytest(),
    unittest(),
    cargo(),
    nextest(),
    go(false),
    surefire(),
  ];
}

const NONE: TestCounts = { tests: 0, passed: 0, failed: 0, skipped: 0 };

function add(left: TestCounts, right: TestCounts): TestCounts {
  return {
    tests: left.tests + right.tests,
    passed: left.passed + right.passed,
    failed: left.failed + right.failed,
    skipped: left.skipped + right.skipped,
  };
}

function countsOf(passed: number, failed: number, skipped: number): TestCounts {
  return { tests: passed + failed + skipped, passed, failed, skipped };
}

/** Sums up the lines that a pattern recognises. */
function summing(pattern: RegExp, read: (found: RegExpExecArray) => TestCounts | undefined): Reader {
  let sum: TestCounts | undefined;
  return {
    line(text) {
      const found = pattern.exec(text);
      const counts = found && read(found);
      if (counts) sum = add(sum ?? NONE, counts);
    },
    counts: () => sum,
  };
}

/** `3 passed, 1 failed`, `2 skipped | 1 todo`: how many of each. */
function tally(text: string): (...words: string[]) => number {
  const found = new Map<string, number>();
  for (const [, count = "0", word = ""] of text.matchAll(/(\d{1,9}) ([a-z]+)/g)) {
    found.set(word, (found.get(word) ?? 0) + Number(count));
  }
  return (...words) => words.reduce((sum, word) => sum + (found.get(word) ?? 0), 0);
}

/**
 * Node's own runner, and others that end TAP with `# tests 3`. It counts a file without any test as one test that
 * passed, named like the file and without subtests: those are taken off again.
 */
function nodeTest(): Reader {
  const sums = new Map<string, number>();
  const parents = new Set<string>();
  const files: string[] = [];
  return {
    line(text, at, lines) {
      const sum = /^(?:ℹ|#) (tests|pass|fail|cancelled|skip|skipped|todo)\s+(\d{1,9})$/.exec(text);
      if (sum) sums.set(sum[1] ?? "", (sums.get(sum[1] ?? "") ?? 0) + Number(sum[2]));
      if (text.startsWith("▶ ")) parents.add(text.slice(2));
      const spec = /^✔ (.+) \([\d.]+ms\)$/.exec(text)?.[1];
      if (spec !== undefined && TEST_FILE.test(spec)) files.push(spec);
      const tap = /^ok \d+ - (.+)$/.exec(text)?.[1];
      // Right behind its own heading: nothing was reported from inside.
      if (tap !== undefined && TEST_FILE.test(tap) && lines[at - 1] === `# Subtest: ${tap}`) files.push(tap);
    },
    counts() {
      const tests = sums.get("tests");
      if (tests === undefined) return undefined;
      const said = (...words: string[]) => words.reduce((sum, word) => sum + (sums.get(word) ?? 0), 0);
      const empty = files.filter((file) => !parents.has(file)).length;
      return {
        tests: Math.max(0, tests - empty),
        passed: Math.max(0, said("pass") - empty),
        failed: said("fail", "cancelled"),
        skipped: said("skip", "skipped", "todo"),
      };
    },
  };
}

/** What Node 20 (whole paths) and later ones (relative paths) call such a file; titles of tests rarely look like it. */
const TEST_FILE =
  /^(?:\/.+|(?:\S*\/)?test\/\S+|(?:\S*\/)?(?:test(?:-[^\s/]*)?|[^\s/]+[._-]test))\.[cm]?[jt]sx?$/;

/** Plain TAP: needs a plan, and steps back where a summary follows, which `nodeTest` reads. */
function tap(): Reader {
  let hasPlan = false;
  let hasSummary = false;
  let sum = NONE;
  return {
    line(text) {
      if (/^1\.\.\d+/.test(text)) hasPlan = true;
      if (/^(?:ℹ|#) tests\s+\d+$/.test(text)) hasSummary = true;
      const found = /^(not )?ok\b(.*)$/.exec(text);
      if (!found) return;
      const skipped = /#\s*(?:skip|todo)/i.test(found[2] ?? "");
      if (skipped) sum = add(sum, countsOf(0, 0, 1));
      else sum = add(sum, found[1] === undefined ? countsOf(1, 0, 0) : countsOf(0, 1, 0));
    },
    counts: () => (hasPlan && !hasSummary ? sum : undefined),
  };
}

/** A file that cannot be loaded counts as one failed test, as in Node's runner; one without tests counts for nothing. */
function withBrokenFiles(counts: TestCounts, failedFiles: number, emptyFiles: number): TestCounts {
  const broken = Math.max(0, failedFiles - emptyFiles);
  return counts.tests === 0 && broken > 0 ? countsOf(0, broken, 0) : counts;
}

function vitest(): Reader {
  let sum: TestCounts | undefined;
  let failedFiles = 0;
  let emptyFiles = 0;
  return {
    line(text) {
      if (text.startsWith("Error: No test suite found in file ")) emptyFiles++;
      if (/^No test files found, exiting with code \d/.test(text)) sum ??= NONE;
      const files = /^ Test Files {2}(.*)$/.exec(text);
      if (files) failedFiles += tally(files[1] ?? "")("failed");
      const tests = /^ {2,}Tests {2}(no tests|\d.*\(\d{1,9}\))$/.exec(text);
      if (!tests) return;
      const said = tally(tests[1] ?? "");
      sum = add(sum ?? NONE, countsOf(said("passed"), said("failed"), said("skipped", "todo")));
    },
    counts: () => sum && withBrokenFiles(sum, failedFiles, emptyFiles),
  };
}

function jest(): Reader {
  let sum: TestCounts | undefined;
  let failedFiles = 0;
  let emptyFiles = 0;
  return {
    line(text) {
      if (/^ +Your test suite must contain at least one test\.$/.test(text)) emptyFiles++;
      if (/^No tests found, exiting with code \d/.test(text)) sum ??= NONE;
      const files = /^Test Suites: +(.*total)$/.exec(text);
      if (files) failedFiles += tally(files[1] ?? "")("failed");
      const tests = /^Tests: +(.*total)$/.exec(text);
      if (!tests) return;
      const said = tally(tests[1] ?? "");
      sum = add(sum ?? NONE, countsOf(said("passed"), said("failed"), said("skipped", "todo")));
    },
    counts: () => sum && withBrokenFiles(sum, failedFiles, emptyFiles),
  };
}

function mocha(): Reader {
  return summing(
    /^ {2}(\d{1,9}) (passing|failing|pending)\b|^Error: No test files found/,
    ([, count, word]) => {
      const many = Number(count ?? 0);
      return countsOf(
        word === "passing" ? many : 0,
        word === "failing" ? many : 0,
        word === "pending" ? many : 0,
      );
    },
  );
}

/** `== 1 passed, 1 skipped in 0.01s ==`, quiet: `1 passed in 0.00s`, and `no tests ran in 0.00s`. */
function pytest(): Reader {
  const words = "passed|failed|skipped|errors?|deselected|xfailed|xpassed";
  const pattern = new RegExp(
    `^(?:=+ )?(?:no tests ran|\\d{1,9} (?:${words}))(?:, .*)? in [\\d.]+s(?: \\([\\d:]+\\))?(?: =+)?$`,
  );
  return summing(pattern, ([line]) => {
    const said = tally(line);
    const failed = said("failed", "error", "errors");
    return countsOf(said("passed", "xpassed"), failed, said("skipped", "xfailed"));
  });
}

/** Python's unittest: `Ran 3 tests in 0.001s`, then `OK (skipped=1)` or `FAILED (failures=1, errors=1)`. */
function unittest(): Reader {
  let sum: TestCounts | undefined;
  return {
    line(text) {
      const ran = /^Ran (\d{1,9}) tests? in [\d.]+s$/.exec(text);
      if (ran) sum = add(sum ?? NONE, countsOf(Number(ran[1]), 0, 0));
      const end = /^(?:OK|FAILED|NO TESTS RAN) \((.*)\)$/.exec(text);
      if (!end || !sum) return;
      const said = (word: string) => Number(new RegExp(`\\b${word}=(\\d{1,9})`).exec(end[1] ?? "")?.[1] ?? 0);
      const failed = said("failures") + said("errors");
      const skipped = said("skipped");
      sum = add(sum, { tests: 0, passed: -Math.min(sum.passed, failed + skipped), failed, skipped });
    },
    counts: () => sum,
  };
}

/** One line per binary, doc tests included. */
function cargo(): Reader {
  return summing(/^test result: (?:ok|FAILED)\. (.*)$/, ([, rest = ""]) => {
    const said = tally(rest);
    return countsOf(said("passed", "measured"), said("failed"), said("ignored"));
  });
}

/** `Summary [   0.005s] 3 tests run: 2 passed, 1 failed, 0 skipped`. */
function nextest(): Reader {
  return summing(/^ *Summary \[.*\] +\d.*\btests? run: (.*)$/, ([, rest = ""]) => {
    const said = tally(rest.replace(/\([^)]*\)/g, ""));
    return countsOf(said("passed"), said("failed", "timed"), said("skipped"));
  });
}

/** With `-v` every test has a line; without, packages do, which a program that ends early also gets. */
function go(isAsked: boolean): Reader {
  let tests: TestCounts | undefined;
  let packages: TestCounts | undefined;
  let isVerbose = isAsked;
  return {
    line(text) {
      if (text.startsWith("=== RUN ")) isVerbose = true;
      const test = /^--- (PASS|FAIL|SKIP): \S+ \([\d.]+s\)$/.exec(text)?.[1];
      if (test === "PASS") tests = add(tests ?? NONE, countsOf(1, 0, 0));
      if (test === "FAIL") tests = add(tests ?? NONE, countsOf(0, 1, 0));
      if (test === "SKIP") tests = add(tests ?? NONE, countsOf(0, 0, 1));
      if (
        /^(?:ok {2}\t\S+\t.*\[no tests to run\]|\? {3}\t\S+\t\[no test files\]|\t\S+\t+coverage: .*)$/.test(
          text,
        )
      ) {
        packages = packages ?? NONE;
      } else if (/^ok {2}\t\S+\t/.test(text)) packages = add(packages ?? NONE, countsOf(1, 0, 0));
      else if (/^FAIL\t\S+/.test(text)) packages = add(packages ?? NONE, countsOf(0, 1, 0));
    },
    counts() {
      if (!packages) return undefined;
      if (!isVerbose) return packages;
      // A package that does not build has no line of its own tests.
      const broken =
        packages.failed > 0 && (tests?.failed ?? 0) === 0 ? countsOf(0, packages.failed, 0) : NONE;
      return add(tests ?? NONE, broken);
    },
  };
}

/** Maven: the sum of each module, which unlike the line of each class has no time. */
function surefire(): Reader {
  const pattern =
    /^(?:\[\w+\] )?(?:No tests to run\.|Tests run: (\d{1,9}), Failures: (\d{1,9}), Errors: (\d{1,9}), Skipped: (\d{1,9}))$/;
  return summing(pattern, ([, run, failures, errors, skips]) => {
    const [tests, failed, skipped] = [
      Number(run ?? 0),
      Number(failures ?? 0) + Number(errors ?? 0),
      Number(skips ?? 0),
    ];
    return { tests, passed: Math.max(0, tests - failed - skipped), failed, skipped };
  });
}

/**
 * Counts the test cases of JUnit XML by its tags. It does not judge the document: what cannot be read counts as absent.
 * One pass, whatever the text, since an agent's tests may have written it.
 */
function countJunit(xml: string): TestCounts | undefined {
  let isJunit = false;
  let sum = NONE;
  let outcome: "passed" | "failed" | "skipped" | undefined;
  const close = (): void => {
    if (outcome === "passed") sum = add(sum, countsOf(1, 0, 0));
    if (outcome === "failed") sum = add(sum, countsOf(0, 1, 0));
    if (outcome === "skipped") sum = add(sum, countsOf(0, 0, 1));
    outcome = undefined;
  };
  for (const tag of tagsOf(xml)) {
    if (tag.name === "testsuite" || tag.name === "testsuites") isJunit = true;
    if (tag.name === "testcase") {
      close();
      if (tag.kind !== "close") outcome = "passed";
      if (tag.kind === "empty") close();
    } else if (outcome !== undefined && tag.kind !== "close") {
      if (tag.name === "failure" || tag.name === "error") outcome = "failed";
      else if (tag.name === "skipped") outcome = "skipped";
    }
  }
  close();
  return isJunit ? sum : undefined;
}

interface Tag {
  name: string;
  kind: "open" | "close" | "empty";
}

/** The tags of an XML text; comments and character data are stepped over. */
function* tagsOf(xml: string): Generator<Tag> {
  let at = xml.indexOf("<");
  while (at !== -1) {
    if (xml.startsWith("<!--", at)) at = behind(xml, "-->", at + 4);
    else if (xml.startsWith("<![CDATA[", at)) at = behind(xml, "]]>", at + 9);
    else {
      const end = endOfTag(xml, at + 1);
      const name = TAG_NAME.exec(xml.slice(at + 1, Math.min(end, at + 102)));
      if (name?.[2] !== undefined) {
        const kind = name[1] === "/" ? "close" : xml[end - 1] === "/" ? "empty" : "open";
        yield { name: name[2], kind };
      }
      at = end;
    }
    at = xml.indexOf("<", at);
  }
}

const TAG_NAME = /^(\/?)([A-Za-z_][\w.-]*)/;

function behind(text: string, end: string, from: number): number {
  const at = text.indexOf(end, from);
  return at === -1 ? text.length : at + end.length;
}

/** Where a tag's `>` is; one inside quotes is text. */
function endOfTag(xml: string, from: number): number {
  let quote = "";
  for (let at = from; at < xml.length; at++) {
    const character = xml.charAt(at);
    if (quote !== "") {
      if (character === quote) quote = "";
    } else if (character === '"' || character === "'") quote = character;
    else if (character === ">") return at;
  }
  return xml.length;
}
