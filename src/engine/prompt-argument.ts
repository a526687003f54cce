import { basename, join } from "node:path";

import type { Failure } from "./engine.ts";
import { ioFailure, writeAll } from "../store/files.ts";
import type { Clock, Disk } from "../ports.ts";

/** What a word of a template may hold: the prompt itself, or the path of a private file with it. */
const PROMPT = "{prompt}";
const PROMPT_FILE = "{prompt_file}";

/** Linux takes 128 KiB in one argument, its end included; other systems take more. */
const ARGUMENT_BYTES_MAX = 128 * 1024 - 1;
const FOLDER_PREFIX = "omk-prompt-";
/** No turn takes as long: what is older was left by an omk that was killed. */
const LEFT_BEHIND_MS = 24 * 3_600_000;

/** What keeping a prompt in a file needs. */
interface PromptPorts {
  disk: Pick<Disk, "makeFolder" | "open" | "removeTree" | "list" | "stat">;
  clock: Clock;
}

/** A command line with its prompt in place. */
export interface PlacedPrompt {
  argv: readonly [string, ...string[]];
  /** What to write to its stdin, which is closed from the start when there is nothing. */
  stdin: Uint8Array | undefined;
  /** Removes what was made for it. */
  remove(): void;
}

/** Programs that run what is written on their command line, and the flags before that. */
const INTERPRETERS = /^(?:(?:ba|z|da|k|fi|a)?sh|busybox|pwsh|node|bun|deno|python[\d.]*|ruby|perl|php|lua)$/;
const CODE_FLAG = /^(?:-[a-zA-Z]*[ceEr]|--eval|--print|-Command|eval)$/;
/** What is no part of a value but of a script or a text with a syntax of its own. */
const SYNTAX = /["'`$;|&<>(){}\\\n]/;

/**
 * The first word of a template in which the prompt would become part of a script: prompts hold text of issues, gates and
 * agents, and whoever wrote that could run commands with it. Undefined when there is none.
 */
export function scriptWithPrompt(template: readonly string[]): string | undefined {
  for (const [at, word] of template.entries()) {
    if (!word.includes(PROMPT)) continue;
    if (SYNTAX.test(word.replaceAll(PROMPT, "").replaceAll(PROMPT_FILE, ""))) return word;
    // Behind `-c` the whole word is a script; what follows it are that script's arguments.
    let before = at - 1;
    while (before > 0 && template[before]?.startsWith("-") === true) before--;
    const isCode = template.slice(before + 1, at).some((flag) => CODE_FLAG.test(flag));
    if (isCode && INTERPRETERS.test(basename(template[before] ?? ""))) return word;
  }
  return undefined;
}

/**
 * Puts the prompt where the template wants it: as an argument, in a file, or, where it names neither, on stdin. A failure
 * when it does not fit. Throws when the file cannot be written.
 */
export function placePrompt(
  template: readonly [string, ...string[]],
  prompt: string,
  { folder, name }: { folder: string; name: string },
  ports: PromptPorts,
): PlacedPrompt | Failure {
  const inArgument = template.some((word) => word.includes(PROMPT));
  const inFile = template.some((word) => word.includes(PROMPT_FILE));
  // No argument can hold a zero byte. One that looks like an option or a command of the agent's own would be taken for it.
  const words = /^[-/]/.test(prompt) ? `Request: ${prompt}` : prompt;
  const argument = words.replaceAll("\0", "\u{fffd}");
  const fill = (path: string): readonly [string, ...string[]] => {
    const [program, ...rest] = template;
    // Split and joined: a prompt that holds a placeholder itself stays as it is.
    const args = rest.map((word) =>
      word
        .split(PROMPT_FILE)
        .map((part) => part.split(PROMPT).join(argument))
        .join(path),
    );
    return [program, ...args];
  };
  const longest = Math.max(...fill("").map((word) => new TextEncoder().encode(word).length));
  if (longest > ARGUMENT_BYTES_MAX) {
    const message =
      `The prompt makes an argument of ${longest} bytes, and one argument holds ${ARGUMENT_BYTES_MAX}. Let the agent read ` +
      `it from its stdin (a command line without ${PROMPT}) or from a file (${PROMPT_FILE}).`;
    return { class: "config", message, retryable: false };
  }
  if (!inFile) {
    const stdin = inArgument ? undefined : new TextEncoder().encode(prompt);
    return { argv: fill(""), stdin, remove: () => undefined };
  }
  sweepLeftBehind(folder, ports);
  const own = join(folder, `${FOLDER_PREFIX}${name}`);
  const path = join(own, "prompt.md");
  const remove = (): void => ports.disk.removeTree(own);
  try {
    ports.disk.makeFolder(own);
  } catch (error) {
    // Whose folder that is, if one is there, is not ours to clear.
    throw ioFailure("create", own, error);
  }
  try {
    const file = ports.disk.open(path, "create");
    try {
      writeAll(file, new TextEncoder().encode(prompt));
    } finally {
      file.close();
    }
  } catch (error) {
    remove();
    throw ioFailure("write", path, error);
  }
  return { argv: fill(path), stdin: undefined, remove };
}

/** Removes prompts that nobody reads any more. */
function sweepLeftBehind(folder: string, { disk, clock }: PromptPorts): void {
  const now = clock.now().getTime();
  try {
    for (const name of disk.list(folder)) {
      if (!name.startsWith(FOLDER_PREFIX)) continue;
      const info = disk.stat(join(folder, name));
      if (info?.kind === "folder" && now - info.modifiedMs > LEFT_BEHIND_MS)
        disk.removeTree(join(folder, name));
    }
  } catch {
    // Another user's, or removed by another omk at the same time: neither is in the way of this turn.
  }
}
