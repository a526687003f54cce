/**
 * What of the user's repository decides what git does there: hooks, settings that name programs, attributes. omk's own git
 * heeds none of it. It is read so that what an agent has planted is seen before its work is delivered: the user's own git
 * would run it. Reading runs nothing: git only ever parses text that it is handed.
 */
import { dirname, join, relative, resolve } from "node:path";

import { systemCode } from "../errors.ts";
import type { SteeringChange, SteeringEntry, SteeringKind } from "../format/steering.ts";
import { sha256 } from "../store/event-line.ts";
import { isInside, splitNul, succeeded, type PrivateGit } from "./private-git.ts";

/** All of it as it is now. */
export interface Steering {
  entries: SteeringSeen[];
}

/** An entry with what a person is shown of it: the values of a setting, the text of a hook. */
export interface SteeringSeen extends SteeringEntry {
  text: string;
}

/** Differences that run something, or lead git to where it may, and all others. */
export interface SteeringChanges {
  stops: SteeringChange[];
  others: SteeringChange[];
}

/** Larger files, and what is beyond these counts, are told apart by size and time alone. */
const FILE_BYTES_MAX = 1024 * 1024;
const FILES_MAX = 2_000;
const CONFIG_FILES_MAX = 200;
const INCLUDE_DEPTH_MAX = 10;
const FOLDER_DEPTH_MAX = 8;
const TEXT_CHARACTERS_MAX = 4_000;

/** Reads what steers git in the user's repository; nothing where there is none. */
export async function readSteering(git: PrivateGit, signal: AbortSignal): Promise<Steering> {
  const reading = new Reading(git, signal);
  for (const gitDir of reading.gitDirs()) await reading.readGitDir(gitDir);
  return { entries: reading.entries() };
}

/** How two states differ, in the order of names. */
export function compareSteering(
  before: { entries: readonly SteeringEntry[] },
  after: { entries: readonly SteeringEntry[] },
): SteeringChanges {
  const old = new Map(before.entries.map((entry) => [keyOf(entry), entry]));
  const now = new Map(after.entries.map((entry) => [keyOf(entry), entry]));
  const changes: SteeringChange[] = [];
  for (const [key, { kind, name, digest }] of now) {
    const known = old.get(key);
    if (known?.digest === digest) continue;
    changes.push({ kind, name, how: known ? "changed" : "added", digest });
  }
  for (const [key, { kind, name }] of old)
    if (!now.has(key)) changes.push({ kind, name, how: "removed", digest: null });
  changes.sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  return { stops: changes.filter(stopsDelivery), others: changes.filter((one) => !stopsDelivery(one)) };
}

function keyOf({ kind, name }: Pick<SteeringEntry, "kind" | "name">): string {
  return `${kind}\0${name}`;
}

/** What runs nothing by itself. */
const HARMLESS: readonly SteeringKind[] = ["attributes", "configuration"];

function stopsDelivery({ kind, how }: SteeringChange): boolean {
  if (HARMLESS.includes(kind)) return false;
  // What is gone runs no more; but another hook path gone puts the hooks of the repository in its place.
  return how !== "removed" || kind === "hook_path";
}

/** Settings that name something to run, by the form of their key; the first that fits counts. */
const KINDS: readonly (readonly [RegExp, SteeringKind])[] = [
  [/^hook\./, "hook"],
  [/^core\.hookspath$/, "hook_path"],
  [/^core\.fsmonitor$/, "fsmonitor"],
  [/^filter\./, "filter"],
  [/^merge\.(.+\.driver|default)$/, "merge_driver"],
  [/^diff\.(.+\.(textconv|command)|external)$/, "diff_driver"],
  [/^alias\./, "alias"],
  [/^credential\.(.+\.)?helper$/, "credential_helper"],
  [/^core\.sshcommand$/, "ssh_command"],
  [/^include(if\..*)?\.path$/s, "include"],
  [
    /^(core\.(editor|pager|askpass|gitproxy|alternaterefscommand)|sequence\.editor|interactive\.difffilter|pager\..+|web\.browser)$/,
    "program",
  ],
  [
    /^(gpg(\..+)?\.(program|defaultkeycommand)|uploadpack\.packobjectshook|init\.templatedir|man\..+)$/,
    "program",
  ],
  [
    /^(remote\..+\.(uploadpack|receivepack|vcs)|protocol\.(.+\.)?allow|imap\.tunnel|sendemail\.smtpserver)$/s,
    "program",
  ],
  // Addresses that begin with the name of a program, e.g. `ext::sh -c …`.
  [/^url\.[a-z][a-z0-9+.-]*::/i, "program"],
  [
    /\.(cmd|command|cmdline|process|helper|driver|textconv|program|path|tocmd|cccmd|sendmailcmd)$/s,
    "program",
  ],
];

function kindOf(key: string, values: readonly string[]): SteeringKind {
  const kind = KINDS.find(([form]) => form.test(key))?.[1];
  if (kind !== undefined) return kind;
  // `!command`, as `submodule.<name>.update` takes it, and addresses that name a helper, e.g. `ext::sh -c …`.
  const isProgram = values.some((value) => /^!|^[a-z][a-z0-9+.-]*::/i.test(value));
  return isProgram ? "program" : "configuration";
}

/** A git directory of the repository: its own, a linked worktree's, a submodule's. */
interface GitDir {
  path: string;
  /** What its entries' names begin with. */
  label: string;
  /** Where a relative hook path leads from. */
  top: string | undefined;
}

class Reading {
  readonly #git: PrivateGit;
  readonly #signal: AbortSignal;
  readonly #values = new Map<string, string[]>();
  readonly #found: SteeringSeen[] = [];
  #files = 0;
  #configs = 0;

  constructor(git: PrivateGit, signal: AbortSignal) {
    this.#git = git;
    this.#signal = signal;
  }

  entries(): SteeringSeen[] {
    return [...this.#found].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  }

  gitDirs(): GitDir[] {
    const { user } = this.#git;
    if (!user) return [];
    const found: GitDir[] = [{ path: user.commonDir, label: "", top: user.top }];
    if (user.gitDir !== user.commonDir) found.push({ path: user.gitDir, label: "worktree: ", top: user.top });
    const linked = join(user.commonDir, "worktrees");
    for (const name of this.#names(linked)) {
      const path = join(linked, name);
      if (path !== user.gitDir) found.push({ path, label: `worktrees/${name}: `, top: undefined });
    }
    this.#submodules(join(user.commonDir, "modules"), 0, found);
    return found;
  }

  /** Names of submodules may have slashes, so what is no git directory is looked into. */
  #submodules(folder: string, depth: number, found: GitDir[]): void {
    if (depth > FOLDER_DEPTH_MAX) return;
    const { disk } = this.#git.ports;
    for (const name of this.#names(folder)) {
      if (found.length >= CONFIG_FILES_MAX) return;
      const path = join(folder, name);
      const isGitDir = disk.stat(join(path, "HEAD")) !== undefined;
      if (isGitDir) {
        const label = `${relative(this.#git.user?.commonDir ?? "", path)}: `;
        found.push({ path, label, top: undefined });
      }
      this.#submodules(isGitDir ? join(path, "modules") : path, depth + 1, found);
    }
  }

  async readGitDir({ path, label, top }: GitDir): Promise<void> {
    this.#values.clear();
    for (const name of ["config", "config.worktree"]) await this.#config(join(path, name), label, 0);
    const hookPaths = this.#values.get("core.hookspath") ?? [];
    const attributes = this.#values.get("core.attributesfile") ?? [];
    for (const [key, values] of this.#values) {
      const text = values.join("\n");
      this.#add(kindOf(key, values), `${label}${key}`, JSON.stringify(values), text);
    }
    this.#folder("hook", join(path, "hooks"), `${label}hooks`, 0);
    for (const one of new Set(hookPaths)) {
      const folder = placeNamed(one, top ?? path);
      if (folder !== undefined && folder !== join(path, "hooks"))
        this.#folder("hook", folder, `${label}${one}`, 0);
    }
    this.#file("attributes", join(path, "info", "attributes"), `${label}info/attributes`);
    for (const one of new Set(attributes)) {
      const file = placeNamed(one, top ?? path);
      if (file !== undefined) this.#file("attributes", file, `${label}${one}`);
    }
  }

  /** The settings of a file, in the order in which git takes them, with those of the files it includes. */
  async #config(path: string, label: string, depth: number): Promise<void> {
    const content = this.#read(path);
    if (content === undefined) return;
    const why =
      typeof content === "string"
        ? content
        : ++this.#configs > CONFIG_FILES_MAX || depth > INCLUDE_DEPTH_MAX
          ? "too many files are included"
          : undefined;
    // Handed over as text: git opens nothing by itself, and follows no link that came between.
    const args = ["config", "--file", "-", "--no-includes", "-z", "--list"];
    const listed =
      why === undefined && typeof content !== "string"
        ? await this.#git.run(args, { stdin: content }, this.#signal)
        : undefined;
    if (!listed || !succeeded(listed)) {
      const digest = typeof content === "string" ? content : sha256(content);
      const said = why ?? "git cannot read it";
      this.#add("unreadable", `${label}${this.#shown(path)}`, digest, said);
      return;
    }
    for (const entry of splitNul(Buffer.from(listed.stdout))) {
      const text = entry.toString("utf8");
      const end = text.indexOf("\n");
      const key = end === -1 ? text : text.slice(0, end);
      const value = end === -1 ? "true" : text.slice(end + 1);
      this.#values.set(key, [...(this.#values.get(key) ?? []), value]);
      // A condition that does not hold now may hold later.
      const included = /^include(if\..*)?\.path$/s.test(key) ? placeNamed(value, dirname(path)) : undefined;
      if (included !== undefined && included !== path) await this.#config(included, label, depth + 1);
    }
  }

  /** Every file of a folder of hooks: hooks may be made of several. */
  #folder(kind: SteeringKind, folder: string, label: string, depth: number): void {
    for (const name of this.#names(folder)) {
      // As git makes them: never run under this name.
      if (depth === 0 && name.endsWith(".sample")) continue;
      const path = join(folder, name);
      const { disk } = this.#git.ports;
      const isFolder = disk.stat(path)?.kind === "folder";
      if (!isFolder) this.#file(kind, path, `${label}/${name}`);
      else if (depth < FOLDER_DEPTH_MAX && name !== ".git")
        this.#folder(kind, path, `${label}/${name}`, depth + 1);
    }
  }

  #file(kind: SteeringKind, path: string, name: string): void {
    const content = this.#read(path);
    if (content === undefined) return;
    const real = this.#git.ports.disk.realPath(path);
    const mode = real === undefined ? 0 : (this.#git.ports.disk.stat(real)?.mode ?? 0);
    // A hook runs once it may be run.
    const runs = (mode & 0o111) !== 0 ? "runs" : "rests";
    const digest = typeof content === "string" ? content : sha256(content);
    const text = typeof content === "string" ? content : Buffer.from(content).toString("utf8");
    this.#add(kind, name, `${runs} ${digest}`, text);
  }

  #add(kind: SteeringKind, name: string, content: string, text: string): void {
    const shown = text.length > TEXT_CHARACTERS_MAX ? `${text.slice(0, TEXT_CHARACTERS_MAX)} […]` : text;
    this.#found.push({ kind, name, digest: sha256(Buffer.from(content)), text: shown });
  }

  /** What a file holds, or in words why that is not looked at; undefined where there is none. */
  #read(path: string): Uint8Array | string | undefined {
    const { disk } = this.#git.ports;
    const real = disk.realPath(path);
    const info = real === undefined ? undefined : disk.stat(real);
    if (real === undefined || !info) return disk.stat(path) ? "a link to nowhere" : undefined;
    if (info.kind !== "file") return `a ${info.kind}`;
    const outline = `${info.size} bytes, inode ${info.inode}, changed at ${info.modifiedMs}`;
    if (info.size > FILE_BYTES_MAX || ++this.#files > FILES_MAX) return outline;
    try {
      return disk.readFile(real, FILE_BYTES_MAX);
    } catch (error) {
      if (systemCode(error) === undefined) throw error;
      // Gone, grown or closed to us in between: told apart from what it was.
      return `${systemCode(error)}, ${outline}`;
    }
  }

  #names(folder: string): string[] {
    const { disk } = this.#git.ports;
    const real = disk.realPath(folder);
    if (real === undefined || disk.stat(real)?.kind !== "folder") return [];
    try {
      return disk.list(real).slice(0, FILES_MAX);
    } catch (error) {
      // Closed to us: then it is to the user's git as well.
      if (systemCode(error) === undefined) throw error;
      return [];
    }
  }

  #shown(path: string): string {
    const { user } = this.#git;
    return user && isInside(path, user.commonDir) ? relative(user.commonDir, path) : path;
  }
}

/** Where a setting leads; undefined where only the user's own home tells. */
function placeNamed(value: string, from: string): string | undefined {
  return value === "" || value.startsWith("~") || value.startsWith("%(") ? undefined : resolve(from, value);
}
