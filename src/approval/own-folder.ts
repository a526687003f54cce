/** Texts without the folder in which their agent works, so that the same words in another attempt's folder are the same. */

/** Longer words are no paths. */
const WORD_CHARACTERS_MAX = 4_096;
/** A path begins after these, and after a quote that follows one of them; after anything else it goes on. */
const BEFORE_WORD = /[\s=(,;|&<>[{]/;
/** A word ends with these. In quotes only the quote ends it. */
const WORD_END = /[\s"'`;|&<>()]/;
const QUOTE = /["'`]/;
/** A word that a quote has closed goes on unless one of these follows. */
const AFTER_QUOTE = /[\s,:;|&<>()\]}]/;
/** It leads out of the folder again. */
const UPWARDS = /(?:^|\/)\.\.(?:$|[/:,\s])/;

/**
 * Puts a sign in place of the folder wherever a path in the text begins with it; each way of spelling the folder has its
 * own. Folders beside it whose names begin alike stay as they are, and so does what leads out of it by `..`. In doubt a text
 * is left alone: then a person is asked once more. Two texts of one attempt never become the same.
 */
export function withoutFolder(text: string, spellings: readonly string[]): string {
  const paths = spellings.map((path) => path.replace(/\/+$/, ""));
  const longestFirst = paths.filter((path) => path !== "").toSorted((a, b) => b.length - a.length);
  const wanted = new RegExp(["\0", ...longestFirst.map(escaped)].join("|"), "g");
  return text.replaceAll(wanted, (found, at: number) => {
    // Signs begin with it, so one that the text has itself is doubled.
    if (found === "\0") return "\0\0";
    return isPath(text, at, found.length) ? `\0${paths.indexOf(found)}` : found;
  });
}

function escaped(path: string): string {
  return path.replaceAll(/[\\^$.*+?()[\]{}|]/g, "\\$&");
}

/** Whether what the text names there is the folder or something in it, and not the middle or the beginning of another path. */
function isPath(text: string, at: number, length: number): boolean {
  const start = text.endsWith("file://", at) ? at - "file://".length : at;
  const before = text.charAt(start - 1);
  const quote = QUOTE.test(before) ? before : undefined;
  const outside = quote === undefined ? before : text.charAt(start - 2);
  if (outside !== "" && !BEFORE_WORD.test(outside)) return false;
  const rest = text.slice(at + length, at + length + WORD_CHARACTERS_MAX);
  // A text that begins with it may be one path, with spaces in it.
  const word = start === 0 ? rest : wordIn(rest, quote);
  if (word === undefined || word.length === WORD_CHARACTERS_MAX) return false;
  return /^(?:$|\/|:\/)/.test(word) && !UPWARDS.test(word.replaceAll("\\", ""));
}

/** What the text begins with up to the end of the word; undefined where that is not clear. */
function wordIn(text: string, quote: string | undefined): string | undefined {
  const closing = quote === undefined ? undefined : text.indexOf(quote);
  if (closing === -1) return undefined;
  // Behind the quote that closes the folder's name a path may go on.
  const from = closing === undefined ? 0 : closing + 1;
  const isOpen = closing === undefined || text.charAt(from) === "/";
  const length = isOpen ? text.slice(from).search(WORD_END) : 0;
  const end = length === -1 ? text.length : from + length;
  const word = (closing === undefined ? "" : text.slice(0, closing)) + text.slice(from, end);
  const next = text.charAt(end);
  if (closing !== undefined && !isOpen) return next === "" || AFTER_QUOTE.test(next) ? word : undefined;
  if (!QUOTE.test(next)) return word;
  const behind = text.charAt(end + 1);
  return closing === undefined && (behind === "" || AFTER_QUOTE.test(behind)) ? word : undefined;
}
