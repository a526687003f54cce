/** Finding the JSON that a model was asked for: it may stand alone, in a fence, or between sentences. */
import { tryJson } from "./json.ts";

/** The list that a text is, or the first list of objects in its prose, or what else stands in brackets. */
export function listIn(text: string): unknown[] | undefined {
  const whole = listOf(text);
  if (whole) return whole;
  // Prose has brackets of its own ("[3 parts]", "see [1]"); only a list of objects begins like this.
  for (const found of piecesIn(text, /\[\s*\{/g)) {
    // Cut off: a list further inside is a part of an element, and no answer.
    if (found === undefined) return undefined;
    const list = listOf(found);
    if (list) return list;
  }
  // No answer: what else is in brackets says what was answered instead.
  return listOf(text.slice(text.indexOf("["), text.lastIndexOf("]") + 1));
}

/** The object that a text is, or the first one in its prose that has a key. */
export function objectIn(text: string, key: string): Record<string, unknown> | undefined {
  const whole = objectOf(text);
  if (whole) return whole;
  for (const found of piecesIn(text, /\{\s*"/g)) {
    if (found === undefined) return undefined;
    const object = objectOf(found);
    if (object && Object.hasOwn(object, key)) return object;
  }
  return undefined;
}

/** What stands in brackets that begin as the pattern says, one piece after another; undefined for one that is never closed. */
function* piecesIn(text: string, begin: RegExp): Generator<string | undefined> {
  for (let found = begin.exec(text); found; found = begin.exec(text)) {
    const end = endOfBrackets(text, found.index);
    yield end === undefined ? undefined : text.slice(found.index, end);
    if (end === undefined) return;
    begin.lastIndex = end;
  }
}

function listOf(text: string): unknown[] | undefined {
  const value = tryJson(text);
  return Array.isArray(value) ? value : undefined;
}

function objectOf(text: string): Record<string, unknown> | undefined {
  const value = tryJson(text);
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  return isObject ? (value as Record<string, unknown>) : undefined;
}

/** Behind the bracket that closes the one at `start`; brackets in strings do not count. */
export function endOfBrackets(text: string, start: number): number | undefined {
  let depth = 0;
  let isString = false;
  for (let at = start; at < text.length; at++) {
    const sign = text[at];
    if (isString) {
      if (sign === "\\") at++;
      else if (sign === '"') isString = false;
    } else if (sign === '"') isString = true;
    else if (sign === "[" || sign === "{") depth++;
    else if ((sign === "]" || sign === "}") && --depth === 0) return at + 1;
  }
  return undefined;
}
