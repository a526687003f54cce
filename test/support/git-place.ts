/** A repository, a goal's folder and a home of their own, for tests of what omk does with git. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

import { openPrivateGit, type PrivateGit } from "../../src/git/private-git.ts";
import type { World } from "../../src/ports.ts";
import { createWorld } from "../../src/world.ts";

/** Gone when the test ends. */
export class GitPlace implements Disposable {
  readonly folder = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), "git-"));
  readonly project = path.join(this.folder, "project");
  readonly goalDir = path.join(this.folder, "state", "goals", "goal-1");
  readonly home = path.join(this.folder, "home");
  readonly signal = new AbortController().signal;
  /** What an attempt's recorded instant is. */
  readonly at = new Date("2026-01-02T03:04:05Z");

  /** With files, these are the first commit of a repository; without, there is an empty folder. Or as another one is. */
  constructor(files?: Readonly<Record<string, string>> | GitPlace) {
    for (const folder of [this.project, this.goalDir, this.home]) fs.mkdirSync(folder, { recursive: true });
    if (files instanceof GitPlace)
      fs.cpSync(files.project, this.project, { recursive: true, preserveTimestamps: true });
    if (!files || files instanceof GitPlace) return;
    this.git("init", "--quiet", "--initial-branch=main");
    this.write(this.project, files);
    this.commitAll();
  }

  /** The user's own git, as they would call it. */
  git(...args: string[]): string {
    return this.gitIn(this.project, ...args);
  }

  gitIn(cwd: string, ...args: string[]): string {
    const who = ["-c", "user.name=user", "-c", "user.email=user@example.org", "-c", "commit.gpgSign=false"];
    return execFileSync("git", [...who, ...args], {
      cwd,
      env: { PATH: process.env["PATH"] ?? "", HOME: this.home, GIT_CONFIG_NOSYSTEM: "1" },
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
  }

  commitAll(message = "as it is"): string {
    this.git("add", "--all");
    this.git("commit", "--quiet", "--message", message);
    return this.head();
  }

  head(): string {
    return this.git("rev-parse", "HEAD").trim();
  }

  /** Files below a folder; null removes one. */
  write(folder: string, files: Readonly<Record<string, string | null>>): void {
    for (const [name, text] of Object.entries(files)) {
      const file = path.join(folder, name);
      if (text === null) {
        fs.rmSync(file, { recursive: true });
        continue;
      }
      fs.mkdirSync(path.dirname(file), { recursive: true });
      fs.writeFileSync(file, text);
    }
  }

  open(world: World = createWorld(), projectDir = this.project): Promise<PrivateGit> {
    const environment = { PATH: process.env["PATH"] ?? "", HOME: this.home };
    return openPrivateGit(
      { projectDir, goalDir: this.goalDir, goalId: "goal-1", environment },
      world,
      this.signal,
    );
  }

  /** All files below a folder but those of git, with their texts. */
  files(folder: string): Record<string, string> {
    const found: Record<string, string> = {};
    const look = (below: string): void => {
      for (const entry of fs.readdirSync(path.join(folder, below), { withFileTypes: true })) {
        const name = path.join(below, entry.name);
        if (entry.name === ".git") continue;
        if (entry.isDirectory()) look(name);
        else
          found[name] = entry.isSymbolicLink()
            ? `-> ${fs.readlinkSync(path.join(folder, name))}`
            : fs.readFileSync(path.join(folder, name), "utf8");
      }
    };
    look("");
    return found;
  }

  /** What of the user's must never change: HEAD, index, branches, configuration and files. */
  users(): object {
    const own = path.join(this.project, ".git");
    return {
      git: ["HEAD", "index", "config"].map((name) =>
        fs.readFileSync(path.join(own, name)).toString("latin1"),
      ),
      refs: this.git("for-each-ref").replace(/^.*\trefs\/(omk\/|heads\/omk\/).*\n/gm, ""),
      files: this.files(this.project),
    };
  }

  [Symbol.dispose](): void {
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A world whose git fails from the n-th call on, as if omk had died there; `after` lets that call still do its work. */
export function worldFailingAt(n: number, after: boolean): { world: World; calls(): number } {
  const real = createWorld();
  let calls = 0;
  const run: World["processes"]["run"] = async (request, signal) => {
    if (request.argv[0] !== "git") return real.processes.run(request, signal);
    calls++;
    if (calls > n || (calls === n && !after)) throw new Error("cut off");
    const done = await real.processes.run(request, signal);
    if (calls === n) throw new Error("cut off");
    return done;
  };
  const processes = Object.assign(Object.create(real.processes) as World["processes"], { run });
  return { world: { ...real, processes }, calls: () => calls };
}
