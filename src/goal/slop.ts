/** Signs of haste in what a change adds, by language. They advise; only much of it in few files blocks. Pure. */
import { printable } from "../format/printable.ts";
import type { ReviewFinding } from "../format/proof.ts";
import { isTestFile } from "../gate/protected.ts";
import { addedLines } from "./patch.ts";
import { findingId } from "./review-findings.ts";
import { isGeneratedPath, languageOf, saysGenerated, splitLine, type Language } from "./source-text.ts";
import { CHECKS } from "./test-checks.ts";

const FINDINGS_MAX = 100;
/** A file with a longer line was not written by hand, or at least not to be read. */
const LINE_CHARACTERS_MAX = 1_000;
/** More lines than this in a file that had fewer: 0.5.0's bound. */
const FILE_LINES_MAX = 400;
/** So many lines that say something, twice in the same order, were copied. */
const COPIED_LINES_MIN = 8;
/** More added lines are not searched for copies. */
const COPY_SEARCH_LINES_MAX = 100_000;

/** A line that a change adds, split. `above` is the added line directly above. */
interface Line {
  path: string;
  line: number;
  text: string;
  code: string;
  comment: string;
  language: Language;
  above: Line | undefined;
}

/** The added lines of one file. */
interface AddedFile {
  path: string;
  language: Language;
  lines: Line[];
  isTest: boolean;
}

interface Rule {
  kind: string;
  languages?: readonly Language[];
  /** Searched in code without the contents of strings, or in the comment. */
  code?: RegExp;
  comment?: RegExp;
  /** For what two lines say together: the code of the line above. */
  above?: RegExp;
  /** Files where this is no sign of haste. */
  except?: RegExp;
  weight: number;
  text: string;
}

const JS: readonly Language[] = ["js", "ts"];
/** What talks to a person at a terminal prints. */
const PRINTS =
  /(?:^|\/)(?:bin|cli|scripts?|tools?|examples?|bench(?:marks?)?|cmd)\/|(?:^|\/)(?:cli|main|manage|setup)\.[a-z]+$|(?:^|\/)[^/]*(?:cli|script)[^/]*\.[a-z]+$/i;

/** What holds in a program, tests apart. */
const CODE_RULES: readonly Rule[] = [
  {
    kind: "debugger",
    languages: JS,
    code: /^\s*debugger\s*;?\s*$/,
    weight: 0.6,
    text: "a breakpoint was left",
  },
  {
    kind: "debugger",
    languages: ["py"],
    code: /^\s*(?:import i?pdb\s*;\s*)?(?:breakpoint\(\)|i?pdb\.set_trace\(\))\s*$/,
    weight: 0.6,
    text: "a breakpoint was left",
  },
  {
    kind: "debugger",
    languages: ["rb"],
    code: /^\s*(?:binding\.(?:pry|irb)|byebug)\s*$/,
    weight: 0.6,
    text: "a breakpoint was left",
  },
  {
    kind: "debug-output",
    languages: JS,
    code: /\bconsole\.(?:log|debug|trace|dir)\(/,
    except: PRINTS,
    weight: 0.1,
    text: "prints to the console",
  },
  {
    kind: "debug-output",
    languages: ["py"],
    code: /^\s*print\(/,
    except: PRINTS,
    weight: 0.1,
    text: "prints",
  },
  {
    kind: "debug-output",
    languages: ["rs"],
    code: /\bdbg!\(/,
    weight: 0.2,
    text: "prints for debugging",
  },
  {
    kind: "debug-output",
    languages: ["jvm"],
    code: /\bSystem\.(?:out|err)\.print|\.printStackTrace\(\)/,
    except: PRINTS,
    weight: 0.1,
    text: "prints",
  },
  {
    kind: "debug-output",
    languages: ["php"],
    code: /\b(?:var_dump|print_r)\(/,
    weight: 0.2,
    text: "prints for debugging",
  },
  {
    kind: "error-swallowed",
    languages: ["js", "ts", "jvm", "cs", "php", "swift", "c"],
    code: /\bcatch\s*(?:\([^)]{0,200}\))?\s*\{\s*\}/,
    weight: 0.3,
    text: "an error is caught and forgotten",
  },
  {
    kind: "error-swallowed",
    languages: ["js", "ts", "jvm", "cs", "php", "swift", "c"],
    above: /\bcatch\s*(?:\([^)]{0,200}\))?\s*\{\s*$/,
    code: /^\s*\}/,
    weight: 0.3,
    text: "an error is caught and forgotten",
  },
  {
    kind: "error-swallowed",
    languages: JS,
    code: /\.catch\(\s*(?:\(\s*\w*\s*\)|\w+)\s*=>\s*(?:\{\s*\}|undefined|null)\s*\)/,
    weight: 0.2,
    text: "a rejection is caught and forgotten",
  },
  {
    kind: "error-swallowed",
    languages: ["py"],
    code: /^\s*except(?:\s+(?:Base)?Exception(?:\s+as\s+\w+)?)?\s*:\s*pass\s*$/,
    weight: 0.3,
    text: "an error is caught and forgotten",
  },
  {
    kind: "error-swallowed",
    languages: ["py"],
    above: /^\s*except(?:\s+(?:Base)?Exception(?:\s+as\s+\w+)?)?\s*:\s*$/,
    code: /^\s*(?:pass|\.\.\.)\s*$/,
    weight: 0.3,
    text: "an error is caught and forgotten",
  },
  {
    kind: "error-swallowed",
    languages: ["go"],
    above: /\bif\s+(?:[^;{]{1,200};\s*)?err\s*!=\s*nil\s*\{\s*$/,
    code: /^\s*\}\s*$/,
    weight: 0.3,
    text: "an error is looked at and forgotten",
  },
  {
    kind: "error-swallowed",
    languages: ["go"],
    code: /^\s*_\s*=\s*(?:err\b|[\w.]{1,200}\([^)]{0,200}\)\s*$)/,
    weight: 0.1,
    text: "a result is thrown away",
  },
  {
    kind: "error-swallowed",
    languages: ["rb"],
    above: /^\s*rescue\b/,
    code: /^\s*(?:nil\s*)?(?:end)?\s*$/,
    weight: 0.2,
    text: "an error is caught and forgotten",
  },
  {
    kind: "bare-except",
    languages: ["py"],
    code: /^\s*except\s*:/,
    weight: 0.2,
    text: "everything is caught, also what ends the program",
  },
  {
    kind: "panic",
    languages: ["rs"],
    code: /\.unwrap\(\)|\bpanic!\(/,
    weight: 0.2,
    text: "a failure ends the program",
  },
  {
    kind: "panic",
    languages: ["go"],
    code: /(?:^|[^.\w])panic\(/,
    weight: 0.2,
    text: "a failure ends the program",
  },
  {
    kind: "not-implemented",
    languages: ["rs"],
    code: /\b(?:todo|unimplemented)!\(/,
    weight: 0.4,
    text: "a part is not written yet",
  },
  {
    kind: "any-type",
    languages: ["ts"],
    code: /\bas any\b|[:<|&,]\s*any\s*(?:[,;)>=\]|&{]|$)/,
    weight: 0.1,
    text: "the type says nothing",
  },
  {
    kind: "check-turned-off",
    languages: JS,
    // With a reason behind it, it was thought about.
    comment: /@ts-(?:ignore|nocheck)\b|\b(?:eslint|oxlint|tslint)-disable(?!.* -- \S)/,
    weight: 0.15,
    text: "a check is turned off",
  },
  {
    kind: "check-turned-off",
    languages: ["py"],
    // One that names what it turns off was thought about.
    comment: /#\s*(?:type:\s*ignore(?!\[)|noqa(?!:))\b/,
    weight: 0.1,
    text: "a check is turned off",
  },
  {
    kind: "check-turned-off",
    languages: ["go"],
    comment: /\/\/\s?nolint\b/,
    weight: 0.1,
    text: "a check is turned off",
  },
  {
    kind: "check-turned-off",
    languages: ["rs"],
    code: /#!?\[allow\(/,
    weight: 0.05,
    text: "a check is turned off",
  },
];

/** What holds everywhere. */
const COMMENT_RULES: readonly Rule[] = [
  {
    kind: "unfinished",
    comment: /(?:^|[^\w`"'])(?:TODO|FIXME|HACK|XXX)(?![\w`"'-])/,
    weight: 0.1,
    text: "a comment says that it is not finished",
  },
];

/** What holds in tests. */
const TEST_RULES: readonly Rule[] = [
  {
    kind: "only-this-test",
    languages: JS,
    code: /^\s*(?:(?:it|test|describe|suite|context)(?:\.\w+)?\.only\b|(?:fit|fdescribe)\()/,
    weight: 0.6,
    text: "all other tests are left out",
  },
  {
    kind: "test-left-out",
    languages: JS,
    code: /^\s*(?:(?:it|test|describe|suite|context)(?:\.\w+)?\.(?:skip|todo)\s*\(|(?:xit|xtest|xdescribe)\()/,
    weight: 0.3,
    text: "a test is left out",
  },
  {
    kind: "test-left-out",
    languages: ["py"],
    code: /^\s*@(?:pytest\.mark\.(?:skip|xfail)\b(?!if)|(?:unittest\.)?skip\b)/,
    weight: 0.3,
    text: "a test is left out",
  },
  {
    kind: "test-left-out",
    languages: ["rs"],
    code: /^\s*#\[ignore\b/,
    weight: 0.3,
    text: "a test is left out",
  },
  {
    kind: "test-left-out",
    languages: ["jvm", "cs", "swift"],
    code: /^\s*(?:@(?:Disabled|Ignore)\b|\[Ignore\b|\[Fact\(Skip\b)/,
    weight: 0.3,
    text: "a test is left out",
  },
  {
    kind: "checks-nothing",
    languages: JS,
    code: /\bexpect\(\s*(true|false|1|0)\s*\)\s*\.to(?:Be|Equal|StrictEqual)\(\s*\1\s*\)|\bassert(?:\.ok)?\(\s*true\s*[,)]/,
    weight: 0.4,
    text: "a check that cannot fail",
  },
  {
    kind: "checks-nothing",
    languages: ["py"],
    code: /^\s*(?:assert True\b|self\.assertTrue\(True\))/,
    weight: 0.4,
    text: "a check that cannot fail",
  },
  {
    kind: "checks-nothing",
    languages: ["rs"],
    code: /\bassert!\(true\)/,
    weight: 0.4,
    text: "a check that cannot fail",
  },
];

/** Skips of Go stand in a condition when they have a reason. */
const GO_SKIP = /^\s*[tb]\.Skip(?:f|Now)?\(/;

/** What the patch cannot tell: how long files are now and were before. */
export interface FileLengths {
  before: number;
  after: number;
}

/** Finds signs of haste in the added lines. `lengths` has the files whose whole length is known. */
export function slopFindings(
  patch: string,
  lengths: ReadonlyMap<string, FileLengths> = new Map(),
): ReviewFinding[] {
  const files = addedFiles(patch);
  const findings: ReviewFinding[] = [];
  for (const file of files) {
    const add = (line: number | null, kind: string, weight: number, text: string, essence: string) =>
      void findings.push({
        id: findingId(kind, file.path, essence),
        path: file.path,
        line,
        kind,
        severity: weight >= 0.3 ? "medium" : "low",
        confidence: weight,
        text,
      });
    judgeLines(file, add);
    if (file.isTest) judgeTests(file, add);
    else judgeComments(file, add);
    const { before = 0, after = 0 } = lengths.get(file.path) ?? {};
    if (!file.isTest && before <= FILE_LINES_MAX && after > FILE_LINES_MAX)
      add(null, "file-too-long", 0.15, `the change makes it ${after} lines long`, "");
  }
  findings.push(...copies(files));
  return findings.slice(0, FINDINGS_MAX);
}

type Add = (line: number | null, kind: string, weight: number, text: string, essence: string) => void;

/** Paths whose whole length a judgement needs: the change adds enough lines for it to matter. */
export function filesToMeasure(patch: string): { path: string; added: number }[] {
  return addedFiles(patch)
    .filter(({ isTest }) => !isTest)
    .map(({ path, lines }) => ({ path, added: lines.length }))
    .filter(({ added }) => added >= 20);
}

function addedFiles(patch: string): AddedFile[] {
  const files = new Map<string, AddedFile | null>();
  let previous: Line | undefined;
  for (const { path, line, text } of addedLines(patch)) {
    let file = files.get(path);
    if (file === undefined) {
      const language = isGeneratedPath(path) ? undefined : languageOf(path);
      file = language ? { path, language, lines: [], isTest: isTestFile(path) } : null;
      files.set(path, file);
    }
    if (file === null) continue;
    // Minified, or by a generator: nothing of it was written in haste.
    if (text.length > LINE_CHARACTERS_MAX || (line <= 20 && saysGenerated(text))) {
      files.set(path, null);
      continue;
    }
    const isNext = previous?.path === path && previous.line === line - 1;
    const made: Line = {
      path,
      line,
      text,
      ...splitLine(text, file.language),
      language: file.language,
      above: isNext ? previous : undefined,
    };
    file.lines.push(made);
    previous = made;
  }
  return [...files.values()].filter((file) => file !== null);
}

function judgeLines({ path, language, lines, isTest }: AddedFile, add: Add): void {
  // From there on, a hunk of Rust holds the tests of the file above it.
  let inTests = false;
  for (const line of lines) {
    if (!line.above) inTests = false;
    if (language === "rs" && /#\[(?:cfg\(test\)|test)\]/.test(line.code)) inTests = true;
    const own = isTest || inTests ? TEST_RULES : CODE_RULES;
    // Tests that lie beside the code are told by what they call.
    const rules = [...COMMENT_RULES, ...own, ...(isTest ? [] : TEST_RULES.filter(isUnmistakable))];
    for (const rule of rules) {
      if (rule.languages && !rule.languages.includes(language)) continue;
      if (rule.except?.test(path) === true || !applies(rule, line)) continue;
      add(line.line, rule.kind, rule.weight, rule.text, line.text.trim());
      break;
    }
    if (isTest && language === "go" && GO_SKIP.test(line.code) && !/\bif\b/.test(line.above?.code ?? "if"))
      add(line.line, "test-left-out", 0.3, "a test is left out", line.text.trim());
  }
}

function isComment(line: Line | undefined): boolean {
  return line !== undefined && line.comment !== "" && line.code.trim() === "";
}

function isUnmistakable({ kind, languages }: Rule): boolean {
  return languages === JS ? kind === "only-this-test" : false;
}

function applies({ kind, code, comment, above }: Rule, line: Line): boolean {
  // A comment there, or alone above, says why.
  if (kind === "error-swallowed" && (line.comment !== "" || isComment(line.above))) return false;
  if (above && (!line.above || line.above.comment !== "" || !above.test(line.above.code))) return false;
  if (code && (line.code.trim() === "" || !code.test(line.code))) return false;
  return !comment || comment.test(line.comment);
}

// ---- Comments that were code

const COMMENTED_LINES_MIN = 3;
const LOOKS_LIKE_CODE =
  /[;{}]\s*$|^\s*(?:const|let|var|if|for|while|return|import|from|def|class|function|func|fn|pub|use|elif|else|print)\b.*[:;({=)]|^\s*[\w.]+\s*(?:=|\+=)\s*\S|^\s*[\w.]+\(.*\)\s*;?\s*$/;

function judgeComments({ lines }: AddedFile, add: Add): void {
  let block: Line[] = [];
  const end = () => {
    const code = block.filter(({ comment }) => LOOKS_LIKE_CODE.test(comment.replace(/^\s*(?:\/\/|#)/, "")));
    const [first] = block;
    if (first && block.length >= COMMENTED_LINES_MIN && code.length * 3 >= block.length * 2)
      add(
        first.line,
        "commented-out-code",
        0.2,
        `${block.length} lines of code are commented out`,
        first.text.trim(),
      );
    block = [];
  };
  for (const line of lines) {
    const isPlain = line.code.trim() === "" && /^\s*(?:\/\/(?![/!])|#(?![!:]))/.test(line.comment);
    if (!isPlain || (block.length > 0 && line.above !== block.at(-1))) end();
    if (isPlain) block.push(line);
  }
  end();
}

// ---- Tests that check nothing

const TEST_STARTS: Partial<Record<Language, RegExp>> = {
  js: /^(\s*)(?:it|test)\s*\(.*(?:=>|function\b.*\))\s*\{\s*$/,
  ts: /^(\s*)(?:it|test)\s*\(.*(?:=>|function\b.*\))\s*\{\s*$/,
  py: /^(\s*)(?:async )?def test_\w*\(.*\).*:\s*$/,
  go: /^()func Test\w*\(.*\)\s*\{\s*$/,
};
/** The same on one line. */
const WHOLE_TEST = /^\s*(?:it|test)\s*\([^,]*,.*(?:=>|function\b.*\))\s*(.*)\)\s*;?\s*$/;

function judgeTests({ lines, language }: AddedFile, add: Add): void {
  const start = TEST_STARTS[language];
  if (!start) return;
  let open: { first: Line; indent: string; body: Line[] } | undefined;
  for (const line of lines) {
    if (open && line.above !== (open.body.at(-1) ?? open.first)) open = undefined;
    if (open) {
      const isInside =
        line.text.trim() === "" ||
        /^\s*/.exec(line.text)?.[0].startsWith(`${open.indent} `) === true ||
        /^\s*/.exec(line.text)?.[0].startsWith(`${open.indent}\t`) === true;
      if (isInside) {
        open.body.push(line);
        continue;
      }
      const said = open.body.filter(({ code }) => code.trim() !== "");
      if (said.length > 0 && !said.some(({ code }) => CHECKS.test(code)))
        add(open.first.line, "checks-nothing", 0.2, "a test that checks nothing", open.first.text.trim());
      open = undefined;
    }
    const whole = language === "js" || language === "ts" ? WHOLE_TEST.exec(line.code)?.[1] : undefined;
    if (whole !== undefined && !CHECKS.test(whole))
      add(line.line, "checks-nothing", 0.2, "a test that checks nothing", line.text.trim());
    const indent = start.exec(line.text)?.[1];
    if (indent !== undefined) open = { first: line, indent, body: [] };
  }
}

// ---- Copies

const TRIVIAL = /^[\s{}()[\];,]*$|^\s*(?:import|from|use|using|package|#include|export \*)\b/;

/** Blocks of code that the change adds twice. */
function copies(files: readonly AddedFile[]): ReviewFinding[] {
  const findings: ReviewFinding[] = [];
  const seen = new Map<string, Line>();
  let left = COPY_SEARCH_LINES_MAX;
  for (const { path, lines, isTest } of files) {
    if (isTest) continue;
    left -= lines.length;
    if (left < 0) break;
    let window: Line[] = [];
    let quietUntil = 0;
    let last: Line | undefined;
    for (const line of lines) {
      if (line.above !== last) window = [];
      last = line;
      if (TRIVIAL.test(line.code)) continue;
      window.push(line);
      if (window.length > COPIED_LINES_MIN) window.shift();
      const [first] = window;
      if (!first || window.length < COPIED_LINES_MIN) continue;
      const key = window.map(({ text }) => text.trim()).join("\n");
      const before = seen.get(key);
      if (!before) seen.set(key, first);
      else if (
        first.line > quietUntil &&
        !(before.path === path && before.line >= first.line - COPIED_LINES_MIN)
      ) {
        const where = `${printable(before.path, { oneLine: true })}:${before.line}`;
        findings.push({
          id: findingId("copied", path, key),
          path,
          line: first.line,
          kind: "copied",
          severity: "low",
          confidence: 0.2,
          text: `the same lines are added at ${where}`,
        });
        // One finding for a copy, however long it is.
        quietUntil = line.line + COPIED_LINES_MIN;
      } else if (first.line <= quietUntil) quietUntil = line.line + COPIED_LINES_MIN;
    }
  }
  return findings;
}
