// The folder of an attempt, ready to work in, against bare `git worktree add`: alone, and eight at once (git: in a row).
import { execFile, execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { promisify } from "node:util";

import { interleave, result, timed } from "./measure.mjs";

export const names = ["worktree/one", "worktree/eight"];

const FILES = 500;
const ROUNDS = 15;
const { signal } = new AbortController();
const call = promisify(execFile);

export async function* run(wanted, { folder: parent, measured, environment, quick }) {
  const folder = path.join(parent, "worktree");
  const project = path.join(folder, "project");
  const goalDir = path.join(folder, "goal");
  for (const one of [folder, project, goalDir]) fs.mkdirSync(one);
  const base = makeRepository(project, environment);
  const request = { projectDir: project, goalDir, goalId: "goal-1", environment };
  const git = await measured.openPrivateGit(request, measured.createWorld(), signal);
  const rounds = quick ? 5 : ROUNDS;
  let made = 0;
  for (const [name, count] of [
    ["worktree/one", 1],
    ["worktree/eight", 8],
  ]) {
    if (!wanted.has(name)) continue;
    const side = [...Array(count).keys()];
    const times = await interleave(rounds, {
      async omk() {
        let attempts = [];
        const ms = await timed(async () => {
          attempts = await Promise.all(
            side.map(() => {
              const fence = ++made;
              const branch = `omk/goal/goal-1/task-${fence}`;
              return measured.makeAttemptTree(git, { name: "task", fence, branch, base }, signal);
            }),
          );
        });
        for (const attempt of attempts) {
          if (fs.readdirSync(attempt.folder).length < 20) throw new Error(`${attempt.folder} is not whole`);
          await measured.removeAttemptTree(git, attempt, { unsaved: [] }, signal);
        }
        return ms;
      },
      async git() {
        const places = side.map(() => path.join(folder, `linked-${++made}`));
        const options = { cwd: project, env: environment };
        // One after another: run at once they look at each other's half-made entries and fail.
        const ms = await timed(async () => {
          for (const place of places)
            await call("git", ["worktree", "add", "-q", "-b", path.basename(place), place, base], options);
        });
        for (const place of places) {
          execFileSync("git", ["worktree", "remove", "--force", place], { ...options, stdio: "ignore" });
          execFileSync("git", ["branch", "-D", path.basename(place)], { ...options, stdio: "ignore" });
        }
        return ms;
      },
    });
    yield result(name, times.omk, times.git, { target: 1.5, each: count, note: `${FILES} files` });
  }
}

/** A commit of some thousand small files in some folders; its id. */
function makeRepository(project, environment) {
  for (let n = 0; n < FILES; n++) {
    const file = path.join(project, `d${n % 40}`, `f${n}.txt`);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, `${n}\n`.repeat(50));
  }
  const git = (...args) =>
    execFileSync("git", ["-c", "user.name=bench", "-c", "user.email=bench@omk.invalid", ...args], {
      cwd: project,
      env: environment,
      encoding: "utf8",
    });
  git("init", "-q");
  git("add", "-A");
  git("commit", "-q", "-m", "base");
  return git("rev-parse", "HEAD").trim();
}
