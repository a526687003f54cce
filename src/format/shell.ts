/** Command lines to copy. */

/** One argument of a command line: no shell finds anything to expand in it. */
export function shellQuoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
