/** The built command line in a place of its own: a state folder, a project, and nothing of the user's environment. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ENTRY = fileURLToPath(new URL("../../bin/omk.cjs", import.meta.url));

/** What one run of the command line printed and ended with. */
export interface Ran {
  status: number | null;
  signal: string | null;
  stdout: string;
  stderr: string;
}

/** A running command line. */
export interface Running {
  child: ChildProcess;
  ended: Promise<Ran>;
  /** Resolves when a line of the story contains this text. */
  says(text: string): Promise<void>;
}

/** A project and a state folder; gone when the test ends. */
export class Place implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), "omk-place-"));
  readonly project = join(this.folder, "project");
  readonly state = join(this.folder, "state");
  readonly environment: Record<string, string>;
  /** Where commands are run. */
  work: string;

  constructor(files: Readonly<Record<string, string>> = {}) {
    mkdirSync(this.project);
    this.work = this.project;
    mkdirSync(join(this.folder, "home"));
    this.environment = {
      PATH: process.env["PATH"] ?? "",
      HOME: join(this.folder, "home"),
      TMPDIR: process.env["TMPDIR"] ?? tmpdir(),
      OMK_STATE_DIR: this.state,
    };
    this.write(files);
  }

  write(files: Readonly<Record<string, string>>): void {
    for (const [name, text] of Object.entries(files)) {
      const path = join(this.project, name);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, text);
    }
  }

  /** Writes a script for the scripted agent beside the project and returns the engine's name. */
  script(script: object, name = "script.json"): string {
    const path = join(this.folder, name);
    writeFileSync(path, JSON.stringify({ version: 1, turns: [], ...script }));
    return `scripted:${path}`;
  }

  start(...args: string[]): Running {
    const child = spawn(process.execPath, [ENTRY, ...args], {
      cwd: this.work,
      env: this.environment,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let stdout = "";
    let stderr = "";
    const waiting = new Set<() => void>();
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
      for (const look of waiting) look();
    });
    const ended = once(child, "close").then(([status, signal]) => ({ status, signal, stdout, stderr }));
    const says = (text: string): Promise<void> =>
      new Promise((resolve, reject) => {
        const look = () => {
          if (!stderr.includes(text)) return;
          waiting.delete(look);
          resolve();
        };
        waiting.add(look);
        look();
        void ended.then(() => reject(new Error(`omk ended without saying "${text}":\n${stderr}`)));
      });
    return { child, ended, says };
  }

  run(...args: string[]): Promise<Ran> {
    return this.start(...args).ended;
  }

  /** Runs a line of shell as a user would paste it; its exit status. */
  async shell(line: string): Promise<number | null> {
    const child = spawn("sh", ["-c", line], { cwd: this.work, env: this.environment, stdio: "ignore" });
    const [status] = (await once(child, "close")) as [number | null];
    return status;
  }

  async git(...args: string[]): Promise<string> {
    const identity = ["-c", "user.name=tester", "-c", "user.email=tester@omk.invalid"];
    const child = spawn("git", [...identity, ...args], {
      cwd: this.project,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let out = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (out += text));
    const [status] = (await once(child, "close")) as [number | null];
    if (status !== 0) throw new Error(`git ${args.join(" ")} ended with ${status}: ${out}`);
    return out;
  }

  async commitAll(message = "as it is"): Promise<void> {
    await this.git("init", "--quiet", "--initial-branch=main");
    await this.git("add", "--all");
    await this.git("commit", "--quiet", "-m", message);
  }

  goalFolder(): string {
    const goals = join(this.state, "goals");
    const ids = readdirSync(goals).sort();
    return join(goals, ids.at(-1) ?? "");
  }

  json(name: string): Record<string, unknown> {
    return JSON.parse(readFileSync(join(this.goalFolder(), name), "utf8")) as Record<string, unknown>;
  }

  events(): { seq: number; kind: string; payload?: Record<string, unknown> }[] {
    const text = readFileSync(join(this.goalFolder(), "events.jsonl"), "utf8");
    return text
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line) as { seq: number; kind: string });
  }

  /** Lines of the newest goal's log that are whole, as the disk has them now; none before there is a goal. */
  wholeLines(): string[] {
    const goals = join(this.state, "goals");
    if (!existsSync(goals) || readdirSync(goals).length === 0) return [];
    const log = join(this.goalFolder(), "events.jsonl");
    return existsSync(log) ? readFileSync(log, "utf8").split("\n").slice(0, -1) : [];
  }

  copyState(to: string): void {
    cpSync(this.state, to, { recursive: true });
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A package with one function that is wrong and a test that says so. */
export const BROKEN_SUM = {
  "package.json": JSON.stringify({
    name: "sum",
    private: true,
    type: "module",
    scripts: { test: "node --test" },
  }),
  "sum.js": "export function sum(a, b) {\n  return a - b;\n}\n",
  "sum.test.js": [
    'import assert from "node:assert/strict";',
    'import { test } from "node:test";',
    'import { sum } from "./sum.js";',
    'test("adds", () => assert.equal(sum(2, 3), 5));',
    "",
  ].join("\n"),
};

/** The repair of `BROKEN_SUM`. */
export const REPAIR = [{ edit: "sum.js", replace: "a - b", with: "a + b" }, { say: "sum adds now" }];
