/**
 * Text for a terminal. Whatever came from an agent, a file or a tool may hold escape sequences, marks that turn the
 * direction of writing, and bytes that are no text: they are shown, not sent.
 */

/** Newline and tab are the only controls that text needs. */
const UNSAFE = /(?![\n\t])[\p{Cc}\p{Cf}\p{Co}\p{Cs}]/gu;
/** On one line, line and paragraph separators are as bad as newlines. */
const UNSAFE_ON_ONE_LINE = /(?!\t)[\p{Cc}\p{Cf}\p{Co}\p{Cs}\u2028\u2029]/gu;

/**
 * The text with every control, format, private-use and surrogate code point as `\u{…}`. Tabs stay; newlines stay unless
 * `oneLine` is set.
 */
export function printable(text: string, options: { oneLine?: boolean } = {}): string {
  return text.replace(options.oneLine === true ? UNSAFE_ON_ONE_LINE : UNSAFE, escapeCodePoint);
}

function escapeCodePoint(character: string): string {
  return `\\u{${character.codePointAt(0)?.toString(16)}}`;
}
