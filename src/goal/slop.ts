/** Advice on what a change adds: signs of haste, by language. It never blocks. */
import { extname } from "node:path";

import { printable } from "../format/printable.ts";
import { addedLines } from "./secret-scan.ts";

const FINDINGS_MAX = 20;

interface Rule {
  extensions: ReadonlySet<string>;
  pattern: RegExp;
  what: string;
}

const JS = new Set([".js", ".mjs", ".cjs", ".ts", ".mts", ".cts", ".jsx", ".tsx"]);
const COMMENTED = new Set([...JS, ".rs", ".go", ".java", ".c", ".cc", ".cpp", ".h"]);
const HASHED = new Set([".py", ".rb", ".sh", ".toml", ".yaml", ".yml"]);

const RULES: readonly Rule[] = [
  {
    extensions: COMMENTED,
    pattern: /(?:\/\/|\/\*|^\s*\*).*\b(?:TODO|FIXME|HACK)\b/,
    what: "an unfinished mark",
  },
  { extensions: HASHED, pattern: /#.*\b(?:TODO|FIXME|HACK)\b/, what: "an unfinished mark" },
  { extensions: new Set([".rs"]), pattern: /\bunwrap\(\)|\bpanic!\(/, what: "a panic on failure" },
  { extensions: JS, pattern: /catch\s*(?:\([^)]*\))?\s*\{\s*\}/, what: "an error swallowed" },
  { extensions: new Set([".py"]), pattern: /except\s*:\s*(?:pass)?\s*$/, what: "an error swallowed" },
  { extensions: JS, pattern: /\b(?:it|test|describe)\.(?:skip|only)\(/, what: "a test left out" },
];
const LOCK_FILES =
  /(^|\/)(package-lock\.json|yarn\.lock|pnpm-lock\.yaml|bun\.lockb?|Cargo\.lock|poetry\.lock|uv\.lock|go\.sum)$/;

/** Findings as `path:line what`. Lock files are exempt. */
export function slopFindings(patch: string): string[] {
  const findings: string[] = [];
  for (const { path, line, text } of addedLines(patch)) {
    if (findings.length >= FINDINGS_MAX) break;
    if (LOCK_FILES.test(path)) continue;
    const rule = RULES.find((one) => one.extensions.has(extname(path)) && one.pattern.test(text));
    if (rule) findings.push(`${printable(path, { oneLine: true })}:${line} ${rule.what}`);
  }
  return findings;
}
