/** What a unified diff of git says: the lines it adds, file by file. Pure. */

/** A line that a change adds, with the number it gets in its file. */
export interface AddedLine {
  path: string;
  line: number;
  text: string;
}

/** The lines a unified diff adds, with the file and the line number they get. */
export function* addedLines(patch: string): Iterable<AddedLine> {
  for (const { path, line, text, isHeader } of walk(patch)) if (!isHeader) yield { path, line, text };
}

/** The files whose lines a unified diff shows: others are binary, empty, or only changed their mode. */
export function shownFiles(patch: string): Set<string> {
  const shown = new Set<string>();
  for (const { path, isHeader } of walk(patch)) if (isHeader) shown.add(path);
  return shown;
}

/** The headers `+++ ` and the added lines. Hunks say how long they are, so that no content can pass for a header. */
function* walk(patch: string): Iterable<AddedLine & { isHeader: boolean }> {
  let path = "";
  let line = 0;
  let added = 0;
  let removed = 0;
  for (const text of linesOf(patch)) {
    if (added <= 0 && removed <= 0) {
      const hunk = /^@@ -\d+(?:,(\d+))? \+(\d+)(?:,(\d+))? @@/.exec(text);
      if (hunk) {
        removed = Number(hunk[1] ?? 1);
        line = Number(hunk[2]);
        added = Number(hunk[3] ?? 1);
      } else if (text.startsWith("+++ ")) {
        path = targetOf(text.slice(4));
        yield { path, line: 0, text: "", isHeader: true };
      }
    } else if (text.startsWith("+")) {
      yield { path, line, text: text.slice(1), isHeader: false };
      line++;
      added--;
    } else if (text.startsWith(" ")) {
      line++;
      added--;
      removed--;
    } else if (text.startsWith("-")) removed--;
  }
}

/** Without a copy of the whole text as an array of lines: patches are large. */
function* linesOf(text: string): Iterable<string> {
  for (let at = 0; at <= text.length;) {
    const end = text.indexOf("\n", at);
    const stop = end === -1 ? text.length : end;
    yield text.slice(at, stop);
    at = stop + 1;
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
