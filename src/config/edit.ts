/** Changes one key of a configuration file and nothing else: comments, order and layout are the user's. */
import { isDeepStrictEqual } from "node:util";

import { parse, stringify, TomlError } from "smol-toml";

/** What a line of TOML can hold after a key without going on in the next line, then spaces and a comment. */
const VALUE = /^(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^#\r]*?)(?<rest>[ \t]*(?:#.*)?\r?)$/;

/**
 * The text with a top-level key set, or undefined where one line cannot do it (the key has a table of its own, or a value
 * over several lines). The result was read again: it says what it said before, but for this key.
 */
export function setKey(text: string, key: string, value: unknown): string | undefined {
  const line = stringify({ [key]: value }).trimEnd();
  const edited = line.includes("\n") ? setLine(text, key, inlineOf(key, value)) : setLine(text, key, line);
  return isSame(edited, { ...parse(text), [key]: value }) ? edited : undefined;
}

/** A table in one line: the library writes them as blocks. */
function inlineOf(key: string, value: unknown): string {
  const inline = (part: unknown): string => {
    if (typeof part !== "object" || part === null)
      return stringify({ x: part }).trimEnd().slice("x = ".length);
    if (Array.isArray(part)) return `[${part.map(inline).join(", ")}]`;
    return `{ ${Object.entries(part)
      .map(([name, item]) => `${name} = ${inline(item)}`)
      .join(", ")} }`;
  };
  return `${key} = ${inline(value)}`;
}

function setLine(text: string, key: string, line: string): string {
  const lines = text.split("\n");
  const end = text.includes("\r\n") ? "\r" : "";
  const head = lines.findIndex((one) => /^\s*\[/.test(one));
  const top = head === -1 ? lines.length : head;
  const at = lines.slice(0, top).findIndex((one) => new RegExp(`^\\s*${key}\\s*=`).test(one));
  if (at !== -1) {
    const old = lines[at] ?? "";
    const rest = VALUE.exec(old.slice(old.indexOf("=") + 1).trimStart())?.groups?.["rest"] ?? end;
    return lines.with(at, `${line}${rest}`).join("\n");
  }
  // After the last key that stands above all tables; comments right above the first table belong to that.
  let after = top;
  while (after > 0 && /^\s*(?:#.*)?$/.test(lines[after - 1] ?? "")) after--;
  // A file that starts with comments, before its first table or its end, keeps them on top.
  if (after === 0) after = head === -1 ? lines.length - (lines.at(-1) === "" ? 1 : 0) : head;
  const added = [`${line}${end}`, ...(after === head ? [end] : [])];
  return lines.toSpliced(after, 0, ...(after === lines.length ? [...added, ""] : added)).join("\n");
}

function isSame(text: string, wanted: Record<string, unknown>): boolean {
  try {
    return isDeepStrictEqual(plain(parse(text)), plain(wanted));
  } catch (error) {
    // One line was not enough: the edit broke what stood around it.
    if (error instanceof TomlError) return false;
    throw error;
  }
}

/** Without prototypes, which the parser's tables have none of. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null || value instanceof Date) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
}
