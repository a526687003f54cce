/** Looks for secrets in the lines a change adds: the redactor's families, and what it would take out of an assignment. */
import type { Redactor } from "../store/redact.ts";

/** Where a secret seems to be; its value is never kept. */
export interface Finding {
  path: string;
  line: number;
  kind: string;
}

const FINDINGS_MAX = 100;

/** Scans the added lines of a unified diff. A patch that was cut off is a finding itself: the rest was not seen. */
export function scanChanges(
  patch: { text: string; truncated: boolean },
  redactor: Pick<Redactor, "text">,
): Finding[] {
  const findings: Finding[] = [];
  for (const { path, line, text } of addedLines(patch.text)) {
    if (findings.length >= FINDINGS_MAX) break;
    const kind = kindIn(text, redactor);
    if (kind !== undefined) findings.push({ path, line, kind });
  }
  if (patch.truncated)
    findings.push({ path: "(the rest of the change)", line: 0, kind: "too_large_to_scan" });
  return findings;
}

/** Scans a whole file that a patch shows only as binary: one zero byte must not hide a secret from the scan. */
export function scanBinary(path: string, bytes: Buffer, redactor: Pick<Redactor, "text">): Finding[] {
  const lines = bytes.toString("latin1").replaceAll("\0", "\n").split("\n");
  for (const [at, text] of lines.entries()) {
    const kind = kindIn(text, redactor);
    if (kind !== undefined) return [{ path, line: at + 1, kind }];
  }
  return [];
}

function kindIn(text: string, redactor: Pick<Redactor, "text">): string | undefined {
  return /\[REDACTED:([^\]]+)\]/.exec(newRedactions(text, redactor))?.[1];
}

/** Text that had a redaction mark before it came to us is no finding. */
function newRedactions(text: string, redactor: Pick<Redactor, "text">): string {
  return redactor.text(text.replaceAll("[REDACTED:", "[redacted:"));
}

/** The lines a unified diff adds, with the file and the line number they get. */
export function* addedLines(patch: string): Iterable<{ path: string; line: number; text: string }> {
  let path = "";
  let line = 0;
  let left = 0;
  for (const text of patch.split("\n")) {
    const hunk = /^@@ -\d+(?:,\d+)? \+(\d+)(?:,(\d+))? @@/.exec(text);
    if (hunk) {
      line = Number(hunk[1]);
      left = Number(hunk[2] ?? 1);
    } else if (left > 0 && text.startsWith("+")) {
      yield { path, line, text: text.slice(1) };
      line++;
      left--;
    } else if (left > 0 && text.startsWith(" ")) {
      line++;
      left--;
    } else if (text.startsWith("+++ ")) path = targetOf(text.slice(4));
  }
}

/** The path behind `+++ `: git quotes unusual names as C does, and ends some with a tab. */
function targetOf(text: string): string {
  const bare = text.replace(/\t$/, "");
  const name = bare.startsWith('"') && bare.endsWith('"') ? unquoted(bare.slice(1, -1)) : bare;
  return name.replace(/^b\//, "");
}

const ESCAPES: Readonly<Record<string, number>> = { a: 7, b: 8, t: 9, n: 10, v: 11, f: 12, r: 13 };

/** Undoes git's quoting: `\n`, `\"`, and bytes of UTF-8 as `\303`. */
function unquoted(text: string): string {
  const bytes: Buffer[] = [];
  for (const [, octal, escaped, plain] of text.matchAll(/\\([0-7]{3})|\\([^])|([^\\]+)/g)) {
    if (octal !== undefined) bytes.push(Buffer.from([Number.parseInt(octal, 8)]));
    else if (escaped !== undefined)
      bytes.push(Buffer.from(ESCAPES[escaped] === undefined ? escaped : [ESCAPES[escaped]]));
    else bytes.push(Buffer.from(plain ?? ""));
  }
  return Buffer.concat(bytes).toString("utf8");
}
