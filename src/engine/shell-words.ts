/** Command lines as agents tell them: lists of words, lines, and scripts for a shell. */
import { asRecord } from "./rpc.ts";

/** The script of `sh -c <script>`. */
export function scriptOf(argv: readonly string[]): string | undefined {
  const [program = "", flag = "", script] = argv;
  const isShell =
    argv.length === 3 &&
    /^(?:(?:\/usr(?:\/local)?)?\/bin\/)?(?:ba|z|da)?sh$/.test(program) &&
    /^-l?c$/.test(flag);
  return isShell ? script : undefined;
}

/** A word as a shell takes it for one. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** The command line that an input names, as one text; null also where not all of it can be read. */
export function commandOf(input: unknown): string | null {
  const record = asRecord(input);
  for (const key of ["command", "cmd", "argv", "script"]) {
    const value = record[key];
    const isText = typeof value === "string" && value.trim() !== "";
    if (!isText && (!Array.isArray(value) || value.length === 0)) continue;
    const more = ["args", "arguments"].map((name) => record[name]).find((one) => !isNothing(one));
    const words = Array.isArray(value) ? (value as unknown[]) : [];
    const all = [...words, ...(Array.isArray(more) ? (more as unknown[]) : isNothing(more) ? [] : [more])];
    if (!all.every((word): word is string => typeof word === "string")) return null;
    // A text is a line already, and what follows it is single words.
    return [...(isText ? [value] : []), ...all.map(quoted)].join(" ");
  }
  return null;
}

/** Whether a field says nothing. */
export function isNothing(value: unknown): boolean {
  return value === undefined || value === null || (Array.isArray(value) && value.length === 0);
}
