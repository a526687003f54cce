/** Splitting a shell command line into the commands it runs, as far as that can be done without being a shell. */

/** Longer lines are nobody's to judge by rule. */
const CHARACTERS_MAX = 64 * 1024;

/** What starts something that only a shell can take apart, outside single quotes. */
const SUBSTITUTION = /[$`]/;

/**
 * The simple commands of a line, in order, each trimmed. Undefined when it holds what cannot be split with certainty:
 * substitutions, redirections to files, groups, comments, or quotes that do not end.
 */
export function commandParts(line: string): string[] | undefined {
  if (line.length > CHARACTERS_MAX) return undefined;
  const parts: string[] = [];
  let part = "";
  const end = () => {
    if (part.trim() !== "") parts.push(part.trim());
    part = "";
  };
  for (let at = 0; at < line.length; at++) {
    const character = line[at] as string;
    if (character === "'") {
      const close = line.indexOf("'", at + 1);
      if (close < 0) return undefined;
      part += line.slice(at, close + 1);
      at = close;
    } else if (character === '"') {
      const close = closeOf(line, at);
      if (close === undefined) return undefined;
      part += line.slice(at, close + 1);
      at = close;
    } else if (character === "\\") {
      const next = line[at + 1];
      // A line that goes on in the next one, or ends in the middle.
      if (next === undefined || next === "\n" || next === "\r") return undefined;
      part += character + next;
      at++;
    } else if (character === "\n" || character === ";") end();
    else if (character === "&" || character === "|") {
      if (line[at + 1] === character || (character === "|" && line[at + 1] === "&")) at++;
      end();
    } else if (character === ">") {
      const duplicate = DUPLICATE.exec(line.slice(at, at + 16));
      if (!duplicate) return undefined;
      part += duplicate[0];
      at += duplicate[0].length - 1;
    } else if (isUnsplittable(character, part)) return undefined;
    else part += character;
  }
  end();
  return parts;
}

/** A redirection that makes no file: to another stream, or to nowhere. */
const DUPLICATE = /^(?:>&[12](?=[\s;&|]|$)|>>? ?\/dev\/null(?=[\s;&|]|$))/;

/** The other end of a double quote; undefined when it has none or holds what a shell would replace. */
function closeOf(line: string, open: number): number | undefined {
  for (let at = open + 1; at < line.length; at++) {
    const character = line[at] as string;
    if (character === '"') return at;
    if (character === "\\") at++;
    else if (SUBSTITUTION.test(character)) return undefined;
  }
  return undefined;
}

function isUnsplittable(character: string, before: string): boolean {
  if (SUBSTITUTION.test(character) || "<(){}".includes(character)) return true;
  if (character === "#") return before === "" || /\s$/.test(before);
  // oxlint-disable-next-line no-control-regex -- exactly those are meant: what shows nothing and separates nothing
  return /[\u0000-\u0008\u000b-\u001f\u007f]/.test(character);
}
