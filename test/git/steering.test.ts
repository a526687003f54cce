/** What of a repository decides what git does there, and what of its changes stops delivery. */
import fs from "node:fs";
import path from "node:path";

import fc from "fast-check";
import { expect, test } from "vitest";

import type { SteeringEntry } from "../../src/format/steering.ts";
import { compareSteering, readSteering, type Steering } from "../../src/git/steering.ts";
import { GitPlace } from "../support/git-place.ts";
import { EVIL_SETTINGS, plantInGitDir, plantSettings, settingText, Trap } from "../support/planted.ts";

/** What is found before and after `change`, compared. */
async function changesBy(place: GitPlace, change: () => void) {
  const git = await place.open();
  const before = await readSteering(git, place.signal);
  change();
  return compareSteering(before, await readSteering(git, place.signal));
}

function named(changes: readonly { kind: string; name: string; how: string }[]): string[] {
  return changes.map(({ kind, name, how }) => `${how} ${kind} ${name}`);
}

test("every setting that names a program, and whatever leads git to more of them, stops delivery", async () => {
  using place = new GitPlace({ "a.txt": "a\n" });
  using trap = new Trap();
  const git = await place.open();
  const config = path.join(place.project, ".git", "config");
  const before = await readSteering(git, place.signal);
  const plain = fs.readFileSync(config);
  for (const [kind, key, value] of EVIL_SETTINGS) {
    fs.appendFileSync(config, settingText(trap.in(key), trap.in(value)));
    const { stops, others } = compareSteering(before, await readSteering(git, place.signal));
    const own = stops.filter((one) => one.kind !== "hook" || kind === "hook");
    expect([key, ...own.map((one) => one.kind)]).toEqual([key, kind]);
    expect(others).toEqual([]);
    fs.writeFileSync(config, plain);
  }
  expect(trap.marks()).toEqual([]);
});

test.each([
  ["remote.origin.url", "https://example.org/a.git"],
  ["remote.origin.proxy", "http://localhost:1"],
  ["url.https://example.org/.insteadOf", "ex:"],
  ["branch.main.remote", "origin"],
  ["user.name", "somebody"],
  ["core.worktree", "/nowhere"],
  ["commit.gpgSign", "true"],
])("%s is listed and stops nothing", async (key, value) => {
  using place = new GitPlace({ "a.txt": "a\n" });
  const changes = await changesBy(place, () => place.git("config", key, value));
  expect(changes.stops).toEqual([]);
  expect(changes.others).toMatchObject([{ kind: "configuration", how: "added" }]);
});

test("hooks that are new, other, or may be run now stop delivery; samples and what is gone do not", async () => {
  using place = new GitPlace({ "a.txt": "a\n" });
  const hooks = path.join(place.project, ".git", "hooks");
  fs.rmSync(hooks, { recursive: true, force: true });
  for (const name of ["same", "other", "mode", "gone"])
    place.write(hooks, { [`post-${name}`]: `# ${name}\n` });
  const changes = await changesBy(place, () => {
    place.write(hooks, {
      "post-other": "# else\n",
      "post-gone": null,
      "post-new.sample": "#\n",
      "_/helper": "#\n",
    });
    fs.chmodSync(path.join(hooks, "post-mode"), 0o755);
    fs.symlinkSync("../../a.txt", path.join(hooks, "post-link"));
  });
  expect(named(changes.stops)).toEqual([
    "added hook hooks/_/helper",
    "added hook hooks/post-link",
    "changed hook hooks/post-mode",
    "changed hook hooks/post-other",
  ]);
  expect(named(changes.others)).toEqual(["removed hook hooks/post-gone"]);
});

test("hooks of another folder count as well, and so does that the folder is no longer named", async () => {
  using place = new GitPlace({ "a.txt": "a\n", ".husky/pre-commit": "true\n" });
  place.git("config", "core.hooksPath", ".husky");
  const changed = await changesBy(place, () =>
    place.write(place.project, { ".husky/pre-commit": "false\n" }),
  );
  expect(named(changed.stops)).toEqual(["changed hook .husky/pre-commit"]);
  const gone = await changesBy(place, () => place.git("config", "--unset", "core.hooksPath"));
  expect(named(gone.stops)).toEqual(["removed hook_path core.hookspath"]);
});

test("included files, linked worktrees and submodules are looked into", async () => {
  using place = new GitPlace({ "a.txt": "a\n", "shared.config": "[user]\n\tname = a\n" });
  place.git("config", "include.path", "../shared.config");
  place.git("worktree", "add", "--quiet", "-b", "side", path.join(place.folder, "side"));
  const common = path.join(place.project, ".git");
  const module = path.join(common, "modules", "lib", "inner");
  place.write(module, { HEAD: "ref: refs/heads/main\n", config: "" });
  const changes = await changesBy(place, () => {
    // In a loop, too.
    fs.appendFileSync(
      path.join(place.project, "shared.config"),
      "[alias]\n\tx = !y\n[include]\n\tpath = shared.config\n\tpath = more.config\n",
    );
    fs.writeFileSync(path.join(place.project, "more.config"), '[filter "f"]\n\tclean = y\n');
    place.write(common, { "worktrees/side/config.worktree": "[core]\n\tfsmonitor = y\n" });
    place.write(module, { config: "[core]\n\tfsmonitor = y\n", "hooks/post-checkout": "y\n" });
  });
  expect(named(changes.stops)).toEqual([
    "added alias alias.x",
    "added filter filter.f.clean",
    "added fsmonitor modules/lib/inner: core.fsmonitor",
    "added fsmonitor worktrees/side: core.fsmonitor",
    "added hook modules/lib/inner: hooks/post-checkout",
    "changed include include.path",
  ]);
});

test("what git cannot read, what is no file and what is too large stop delivery rather than being passed by", async () => {
  using place = new GitPlace({ "a.txt": "a\n" });
  const common = path.join(place.project, ".git");
  place.git("config", "include.path", path.join(place.folder, "included"));
  const changes = await changesBy(place, () => {
    fs.writeFileSync(path.join(common, "config.worktree"), "[junk");
    fs.writeFileSync(path.join(place.folder, "included"), `#${"x".repeat(2_000_000)}\n[alias]\n\tx = !y\n`);
    place.write(common, { "hooks/pre-push": "x".repeat(2_000_000) });
    fs.mkdirSync(path.join(common, "worktrees", "w", "config"), { recursive: true });
  });
  expect(named(changes.stops)).toEqual([
    "added hook hooks/pre-push",
    `added unreadable ${path.join(place.folder, "included")}`,
    "added unreadable config.worktree",
    "added unreadable worktrees/w: worktrees/w/config",
  ]);
});

test("attributes are listed, and those that are committed are ordinary files", async () => {
  using place = new GitPlace({ "a.txt": "a\n" });
  place.git("config", "core.attributesFile", path.join(place.folder, "attributes"));
  const changes = await changesBy(place, () => {
    place.write(place.project, {
      ".gitattributes": "* filter=lfs\n",
      ".git/info/attributes": "* filter=lfs\n",
    });
    place.write(place.folder, { attributes: "* filter=lfs\n" });
  });
  expect(changes.stops).toEqual([]);
  expect(named(changes.others)).toEqual([
    `added attributes ${path.join(place.folder, "attributes")}`,
    "added attributes info/attributes",
  ]);
});

test("everything that can be planted is seen, and nothing of it runs", async () => {
  using place = new GitPlace({ "a.txt": "a\n" });
  using trap = new Trap();
  const common = path.join(place.project, ".git");
  const { stops } = await changesBy(place, () => {
    plantSettings(path.join(common, "config"), trap);
    plantInGitDir(common, trap);
  });
  expect(stops.length).toBeGreaterThan(40);
  expect(trap.marks()).toEqual([]);
});

test("a folder without a repository has nothing that steers git", async () => {
  using place = new GitPlace();
  expect(await readSteering(await place.open(), place.signal)).toEqual({ entries: [] } satisfies Steering);
});

const entry = fc.record({
  kind: fc.constantFrom("hook", "hook_path", "alias", "attributes", "configuration"),
  name: fc.constantFrom("a", "b", "c"),
  digest: fc.constantFrom("1", "2"),
}) as fc.Arbitrary<SteeringEntry>;
const state = fc
  .uniqueArray(entry, { selector: ({ kind, name }) => `${kind} ${name}` })
  .map((entries) => ({ entries }));

test("every difference is told once, whatever the order, and equal states differ in nothing", () => {
  fc.assert(
    fc.property(state, state, (before, after) => {
      const { stops, others } = compareSteering(before, after);
      expect(compareSteering(after, after)).toEqual({ stops: [], others: [] });
      const reversed = { entries: after.entries.toReversed() };
      expect(compareSteering(before, reversed)).toEqual({ stops, others });
      const has = (one: SteeringEntry, { entries }: typeof before) =>
        entries.some(
          ({ kind, name, digest }) => kind === one.kind && name === one.name && digest === one.digest,
        );
      const differing = new Set(
        [
          ...before.entries.filter((one) => !has(one, after)),
          ...after.entries.filter((one) => !has(one, before)),
        ].map(({ kind, name }) => `${kind} ${name}`),
      );
      expect([...stops, ...others].map(({ kind, name }) => `${kind} ${name}`).toSorted()).toEqual(
        [...differing].toSorted(),
      );
      // What may run now was never passed by.
      for (const { kind, how } of others)
        expect(kind === "attributes" || kind === "configuration" || how === "removed").toBe(true);
    }),
  );
});
