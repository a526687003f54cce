/** Whether tests check anything: one that only calls what it tests is red without it, and shows no more. Pure. */
import { isGeneratedPath, languageOf, splitLine, type Language } from "./source-text.ts";

/** Helpers of tests are called by such words, too: only what checks nothing by any name is told. */
export const CHECKS =
  /expect|assert|should|verif|check|throw|raise|reject|fail|error|fatal|snapshot|match|equal|must|ensure|require|prove|property|\bt\.\w+\(|\bt\.Run/i;

/** Lines after one that opens a check, in which its values may stand. */
const VALUE_LINES_MAX = 6;

/**
 * Whether a test's text checks something that it does not say itself: `expect(true).toBe(true)` does not. Texts of no
 * known language are given the benefit of the doubt, data of tests is not asked.
 */
export function checksSomething(path: string, text: string): boolean {
  if (isGeneratedPath(path) || DATA.test(path)) return false;
  const language = languageOf(path);
  if (!language) return true;
  const lines = text.split("\n").map((line) => splitLine(line, language).code);
  return lines.some((code, at) => {
    if (!CHECKS.test(code) || bringsIn(code, language)) return false;
    const assertion = ASSERTION.exec(code);
    if (!assertion) return true;
    const values = [code.slice(assertion.index), ...lines.slice(at + 1, at + 1 + VALUE_LINES_MAX)];
    return namesSomething(firstStatement(values));
  });
}

const DATA = /\.(?:json|ya?ml|toml|txt|md|csv|tsv|xml|html|css|snap|sql|lock|png|svg)$|\/$/i;
const ASSERTION = /\b(?:assert|expect)\w*/i;

/** Lines that only make words known. */
function bringsIn(code: string, language: Language): boolean {
  if (/^\s*(?:import\b|from\b|use\b|using\b|package\b|#include\b|extern crate\b|export \*)/.test(code))
    return true;
  return (
    (language === "js" || language === "ts") && /\brequire\(/.test(code) && !/\)\s*[.;]?\s*\w+\(/.test(code)
  );
}

/** From an assertion to where its brackets close. */
function firstStatement(lines: readonly string[]): string {
  let depth = 0;
  const kept: string[] = [];
  for (const line of lines) {
    for (let at = 0; at < line.length; at++) {
      const character = line[at] ?? "";
      if ("([{".includes(character)) depth++;
      if (")]}".includes(character)) depth--;
      if (depth < 0 || (depth === 0 && character === ";")) return [...kept, line.slice(0, at)].join(" ");
    }
    kept.push(line);
    if (depth <= 0) break;
  }
  return kept.join(" ");
}

/** Whether anything is named beside the words of assertions and values that say themselves. */
function namesSomething(code: string): boolean {
  const bare = code.replace(/(["'`])\1/g, "");
  return (bare.match(/[A-Za-z_$][\w$]*/g) ?? []).some((word) => !OF_ASSERTIONS.test(word));
}

const OF_ASSERTIONS =
  /^(?:assert(?:s|ions|_eq|_ne|_equal|_equals|_true|That|True|False|Equals?|NotEquals?|Null|NotNull|Nil|Same|Is|IsNone|In)?|Assert|expect|should|to|be|an?|is|that|not|ok|equals?|strictEqual|deepEqual|deepStrictEqual|notEqual|notStrictEqual|notDeepEqual|eql|to[A-Z]\w*|be[A-Z]\w*|is[A-Z]\w*|self|this|cls|t|[Tt]rue|[Ff]alse|null|None|undefined|nil|NaN|Infinity|and|or|in|new|await|async|return|typeof|Object|Array|String|Number|Boolean)$/;
