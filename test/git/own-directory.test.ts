/** An agent knows where omk's git keeps its objects: what it writes there steers nothing, and what it removes comes back. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";

import { describe, expect, test } from "vitest";

import { makeAttemptTree } from "../../src/git/attempt-tree.ts";
import { openPrivateGit, type PrivateGit } from "../../src/git/private-git.ts";
import { workTreeOf } from "../../src/git/work-tree.ts";
import { createWorld } from "../../src/world.ts";
import { GitPlace } from "../support/git-place.ts";

const FILES = { "a.txt": "a\n", "b.txt": "b\n" };

class Meddled extends GitPlace {
  readonly told: string[] = [];
  readonly store = path.join(this.goalDir, "git");
  readonly mark = path.join(this.folder, "PWNED");

  async opened(): Promise<PrivateGit> {
    const { project: projectDir, goalDir, home: HOME } = this;
    const environment = { PATH: process.env["PATH"] ?? "", HOME };
    const request = { projectDir, goalDir, goalId: "goal-1", environment };
    const tell = (line: string): void => void this.told.push(line);
    return openPrivateGit(request, { ...createWorld(), tell }, this.signal);
  }

  /** All directories by which a git could be steered there. */
  steering(): string[] {
    const own = fs.readdirSync(this.store).filter((name) => name.startsWith("own-"));
    return [this.store, ...own.map((name) => path.join(this.store, name))];
  }

  plantFilter(folder: string): void {
    const filter = `touch '${this.mark}'`;
    fs.appendFileSync(path.join(folder, "config"), `[filter "x"]\n\tclean = ${filter}\n`);
    fs.writeFileSync(path.join(folder, "info", "attributes"), "* filter=x\n");
  }
}

describe("what an agent writes into omk's own git directory", () => {
  test("runs nothing and falsifies no snapshot; it is put back and told", async () => {
    using place = new Meddled(FILES);
    const git = await place.opened();
    const attempt = await makeAttemptTree(
      git,
      { name: "task", fence: 1, branch: "omk/goal/goal-1/task", base: place.head() },
      place.signal,
    );
    fs.writeFileSync(path.join(attempt.folder, "a.txt"), "changed\n");
    for (const folder of place.steering()) place.plantFilter(folder);
    // The trap is one: git that is steered by it runs it.
    const options = { cwd: attempt.folder, stdio: "ignore" } as const;
    const index = { ...process.env, GIT_INDEX_FILE: path.join(place.folder, "index") };
    const add = [`--git-dir=${place.store}`, "--work-tree=.", "add", "a.txt"];
    execFileSync("git", add, { ...options, env: index });
    expect(fs.existsSync(place.mark)).toBe(true);
    fs.rmSync(place.mark);

    const tree = await attempt.snapshot(place.signal);
    expect(fs.existsSync(place.mark)).toBe(false);
    const read = await workTreeOf(git).read(tree, "a.txt", 100, place.signal);
    expect(Buffer.from(read ?? "").toString()).toBe("changed\n");
    expect(place.told).toHaveLength(1);
    expect(place.told[0]).toContain("git/info/attributes");
    expect(git.takeRestored().flat()).toContain("git/config");
    for (const folder of place.steering()) {
      expect(fs.readFileSync(path.join(folder, "config"), "utf8")).not.toContain("filter");
      expect(fs.readFileSync(path.join(folder, "info", "attributes"), "utf8")).not.toContain("filter=x");
    }
  });

  test.each([
    ["a link in place of the settings", (file: string, outside: string) => fs.symlinkSync(outside, file)],
    ["a pipe", (file: string) => void execFileSync("mkfifo", [file])],
    ["a folder", (file: string) => fs.mkdirSync(file)],
  ])("leads git nowhere: %s", async (_what, plant) => {
    using place = new Meddled(FILES);
    const git = await place.opened();
    const outside = path.join(place.folder, "outside");
    fs.writeFileSync(outside, fs.readFileSync(path.join(place.store, "config")));
    for (const folder of place.steering()) {
      for (const name of [
        "config",
        "HEAD",
        "info/attributes",
        "info/grafts",
        "config.worktree",
        "commondir",
      ]) {
        fs.rmSync(path.join(folder, name), { force: true });
        plant(path.join(folder, name), outside);
      }
    }
    const head = await git.treeOf(place.head(), place.signal);
    expect(await workTreeOf(git).snapshot(place.signal)).toBe(head);
    // Nor the omk that comes next.
    for (const name of ["config", "HEAD", "commondir"]) {
      fs.rmSync(path.join(place.store, name), { force: true });
      plant(path.join(place.store, name), outside);
    }
    expect(await workTreeOf(await place.opened()).snapshot(place.signal)).toBe(head);
  });

  test("shows no object in place of another one", async () => {
    using place = new Meddled(FILES);
    const git = await place.opened();
    const tree = await git.treeOf(place.head(), place.signal);
    const empty = await git.emptyTree(place.signal);
    await git.call(["update-ref", `refs/replace/${tree}`, empty], {}, place.signal);
    expect((await git.entries(tree, place.signal)).size).toBe(2);
  });
});

describe("what an agent removes of omk's own git directory", () => {
  test.each(["", "refs", "objects", "objects/info/alternates", "HEAD"])(
    "comes back, and a snapshot sees the files: git/%s",
    async (gone) => {
      using place = new Meddled(FILES);
      const git = await place.opened();
      const request = { name: "task", fence: 1, branch: "omk/goal/goal-1/task", base: place.head() };
      const attempt = await makeAttemptTree(git, request, place.signal);
      fs.writeFileSync(path.join(attempt.folder, "a.txt"), "changed\n");
      fs.rmSync(path.join(place.store, gone), { recursive: true });
      const tree = await attempt.snapshot(place.signal);
      expect(await git.changes(place.head(), tree, place.signal)).toMatchObject([{ path: "a.txt" }]);
      expect(place.told).toHaveLength(1);
      const next = await makeAttemptTree(git, { ...request, fence: 2 }, place.signal);
      expect(fs.readFileSync(path.join(next.folder, "a.txt"), "utf8")).toBe("a\n");
    },
  );
});
