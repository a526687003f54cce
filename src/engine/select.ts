import { resolve } from "node:path";
import { acpEngine } from "./acp.ts";
import type { AgentProcesses } from "./agent-process.ts";
import { loadScript } from "./scripted/script.ts";
import type { Engine } from "./engine.ts";
import type { Clock, Disk } from "../ports.ts";
import type { Redactor } from "../store/redact.ts";
import { OmkError } from "../errors.ts";

const KNOWN = "Known are `scripted:<file>` and `acp:<command line>`.";

/** What choosing an engine needs besides its name. */
export interface EngineOptions {
  /** How omk itself is started, as program and first arguments: the scripted agent is one of its commands. */
  launcher: readonly [string, ...string[]];
  /** What a script's relative path is relative to. */
  baseDir: string;
  /** For the version call of `probe`. */
  environment?: Readonly<Record<string, string>>;
  clientVersion?: string;
}

/** The same engine, named so that it means the same from every folder: a script's path becomes an absolute one. */
export function absoluteEngine(text: string, baseDir: string): string {
  const [, path] = /^scripted:\s*(.+)$/s.exec(text) ?? [];
  return path === undefined ? text : `scripted:${resolve(baseDir, path.trim())}`;
}

/**
 * The engine a user named: `scripted:<file>`, `acp:<command line>` or `auto`. A script is read and checked here, so
 * that a broken one is an error (`engine.script`) before anything starts. `auto` finds none yet: `engine.missing`.
 */
export function engineNamed(
  text: string,
  options: EngineOptions,
  ports: { disk: Pick<Disk, "readFile">; processes: AgentProcesses; clock: Clock },
): Engine {
  const common = {
    ...(options.environment ? { environment: options.environment } : {}),
    ...(options.clientVersion === undefined ? {} : { clientVersion: options.clientVersion }),
  };
  if (text === "auto" || text === "") {
    throw new OmkError("engine.missing", "No coding agent is configured.", {
      hint:
        "Install an agent that speaks the Agent Client Protocol and name its command, e.g. " +
        "`--engine 'acp:opencode acp'`, or rehearse without one: `--engine scripted:<file>`.",
    });
  }
  const colon = text.indexOf(":");
  const kind = colon === -1 ? text : text.slice(0, colon);
  const rest = colon === -1 ? "" : text.slice(colon + 1).trim();
  if (kind === "scripted" && rest !== "") {
    const path = resolve(options.baseDir, rest);
    loadScript(path, ports.disk);
    const argv = [...options.launcher, "scripted-agent", path] as [string, ...string[]];
    const versionArgv = [...options.launcher, "--version"] as [string, ...string[]];
    return acpEngine({ name: "scripted", argv, versionArgv, ...common }, ports);
  }
  if (kind === "acp" && rest !== "") {
    return acpEngine({ name: "acp", argv: commandWords(rest), ...common }, ports);
  }
  throw new OmkError("usage.invalid", `${JSON.stringify(text)} names no engine.`, { hint: KNOWN });
}

/**
 * Refuses an engine whose text holds what looks like a secret: what is kept is redacted, so another command would be run
 * than was asked for, and every user of the machine sees a command line.
 */
export function refuseSecretEngine(text: string, redactor: Pick<Redactor, "text">): void {
  const shown = redactor.text(text);
  if (shown === text) return;
  throw new OmkError("usage.invalid", `--engine ${shown} holds what looks like a secret.`, {
    hint:
      "Keep it out of the command line: let the agent read it from an environment variable or its own configuration, " +
      "for example with a small script that sets the variable and starts the agent.",
  });
}

/**
 * The words of a command line: split at white space, with quotes, and without anything else a shell does. Inside
 * double quotes `\"` and `\\` are escapes; elsewhere a backslash is itself. Throws `usage.invalid`.
 */
export function commandWords(line: string): [string, ...string[]] {
  const words: string[] = [];
  let word: string | undefined;
  let quote: string | undefined;
  for (let at = 0; at < line.length; at++) {
    const character = line.charAt(at);
    if (quote !== undefined) {
      const next = line.charAt(at + 1);
      if (character === quote) quote = undefined;
      else if (quote === '"' && character === "\\" && (next === '"' || next === "\\")) {
        word = (word ?? "") + next;
        at++;
      } else word = (word ?? "") + character;
    } else if (character === '"' || character === "'") {
      quote = character;
      // Two quotes with nothing between them are a word, too.
      word ??= "";
    } else if (/\s/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else word = (word ?? "") + character;
  }
  if (quote !== undefined) {
    throw new OmkError(
      "usage.invalid",
      `A quote in the command line ${JSON.stringify(line)} is not closed.`,
      { hint: KNOWN },
    );
  }
  if (word !== undefined) words.push(word);
  const [program, ...rest] = words;
  if (program === undefined || program === "") {
    throw new OmkError("usage.invalid", `The command line ${JSON.stringify(line)} names no program.`, {
      hint: KNOWN,
    });
  }
  return [program, ...rest];
}
