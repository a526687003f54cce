import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import type { Disk } from "../../src/ports.ts";
import { foldFolder } from "../../src/store/journal.ts";
import { findRun, findTeam } from "../../src/team/find.ts";
import { cleanUpTeams, renameTeam } from "../../src/team/housekeeping.ts";
import { imageOf, NOW, Runs } from "./rig.ts";

const never = new AbortController().signal;
const DAY = 24 * 60 * 60;

/** Sets when a folder was changed last. */
function aged(path: string, days: number): void {
  const at = NOW.getTime() / 1_000 - days * DAY - 1;
  utimesSync(path, at, at);
}

describe("cleaning up", () => {
  test("removes teams of that age with their manifests, and no others", async () => {
    await using runs = new Runs();
    for (const [name, days] of [
      ["young", 6],
      ["old", 7],
      ["older", 400],
      ["tomorrow", -3],
    ] as const) {
      runs.old(name);
      aged(runs.team(name), days);
    }
    const request = { olderThanDays: 7, dryRun: true };
    const before = imageOf(runs.root);
    const would = await cleanUpTeams(runs.root, request, runs.ports, never);
    expect(would.map(({ name, outcome }) => [name, outcome])).toEqual([
      ["old", "would_remove"],
      ["older", "would_remove"],
    ]);
    expect(imageOf(runs.root)).toEqual(before);
    const did = await cleanUpTeams(runs.root, { ...request, dryRun: false }, runs.ports, never);
    expect(did.map(({ bytes }) => bytes)).toEqual(would.map(({ bytes }) => bytes));
    expect(did[0]?.bytes).toBeGreaterThan(3_000);
    expect([readdirSync(join(runs.root, "team")), readdirSync(join(runs.root, "runs"))]).toEqual([
      ["tomorrow", "young"],
      ["tomorrow", "young"],
    ]);
    expect(
      await cleanUpTeams(runs.root, { olderThanDays: 1_000_000, dryRun: false }, runs.ports, never),
    ).toEqual([]);
    await cleanUpTeams(runs.root, { olderThanDays: null, dryRun: false }, runs.ports, never);
    expect(readdirSync(join(runs.root, "team"))).toEqual([]);
  });

  test("spares what somebody works on, or may work on, whatever its age", async () => {
    await using runs = new Runs();
    await runs.ours("working", { phase: "Executing", holder: "alive" });
    await runs.ours("killed", { phase: "Executing", holder: "dead" });
    await runs.ours("done");
    runs.old("old-one-at-work");
    runs.worker("old-one-at-work", "worker-1", { status: "alive", ts: NOW.toISOString() });
    const broken = runs.old("broken-claim");
    mkdirSync(join(broken, "controller"));
    writeFileSync(join(broken, "controller", "1.json"), "{");
    const entries = await cleanUpTeams(runs.root, { olderThanDays: null, dryRun: false }, runs.ports, never);
    expect(Object.fromEntries(entries.map(({ name, outcome }) => [name, outcome]))).toEqual({
      "broken-claim": "failed",
      done: "removed",
      killed: "removed",
      "old-one-at-work": "spared",
      working: "spared",
    });
    expect(readdirSync(join(runs.root, "team"))).toEqual(["broken-claim", "old-one-at-work", "working"]);
  });

  test("follows no link, and takes only folders", async () => {
    await using runs = new Runs();
    const outside = join(runs.folder, "outside");
    mkdirSync(join(outside, "deep"), { recursive: true });
    writeFileSync(join(outside, "deep", "file"), "mine");
    symlinkSync(outside, runs.team("link"));
    symlinkSync(outside, runs.run("done"));
    writeFileSync(runs.team("file"), "x");
    runs.old("other");
    symlinkSync(outside, join(runs.team("other"), "workers", "link"));
    mkdirSync(runs.team("done"));
    const entries = await cleanUpTeams(runs.root, { olderThanDays: null, dryRun: false }, runs.ports, never);
    expect(entries.map(({ name, outcome }) => [name, outcome])).toEqual([
      ["done", "removed"],
      ["link", "spared"],
      ["other", "removed"],
    ]);
    expect(readFileSync(join(outside, "deep", "file"), "utf8")).toBe("mine");
    expect(readdirSync(join(runs.root, "team"))).toEqual(["file", "link"]);
  });

  test("sweeps what a command left that died while it removed or made a run, when it is old", async () => {
    await using runs = new Runs();
    for (const place of [(name: string) => runs.team(name), (name: string) => runs.run(name)]) {
      for (const name of [".removed-a", ".import-a", ".mine"]) {
        mkdirSync(place(name));
        writeFileSync(join(place(name), "left"), "");
        aged(place(name), 1);
      }
      mkdirSync(place(".import-new"));
      utimesSync(place(".import-new"), NOW.getTime() / 1_000, NOW.getTime() / 1_000);
    }
    const before = imageOf(runs.root);
    expect(await cleanUpTeams(runs.root, { olderThanDays: 7, dryRun: true }, runs.ports, never)).toEqual([]);
    expect(imageOf(runs.root)).toEqual(before);
    expect(await cleanUpTeams(runs.root, { olderThanDays: 7, dryRun: false }, runs.ports, never)).toEqual([]);
    for (const section of ["team", "runs"])
      expect(readdirSync(join(runs.root, section)), section).toEqual([".import-new", ".mine"]);
  });

  test("that was cut off at any moment is done when it is asked for again", async () => {
    for (let changes = 0; ; changes++) {
      await using runs = new Runs();
      runs.old("fix");
      for (const path of [runs.team("fix"), runs.run("fix")]) aged(path, 7);
      const { disk } = runs.ports;
      let left = changes;
      const die = () => {
        if (left-- <= 0) throw Object.assign(new Error("gone"), { code: "EIO", syscall: "rename" });
      };
      const dying: Disk = {
        ...disk,
        rename: (from, to) => (die(), disk.rename(from, to)),
        removeTree: (path) => (die(), disk.removeTree(path)),
      };
      const request = { olderThanDays: 7, dryRun: false };
      const [entry] = await cleanUpTeams(runs.root, request, { ...runs.ports, disk: dying }, never);
      await cleanUpTeams(runs.root, request, runs.ports, never);
      for (const section of ["team", "runs"])
        expect(readdirSync(join(runs.root, section)), `${section} after ${changes}`).toEqual([]);
      if (entry?.outcome === "removed") break;
    }
  });

  test("goes on with the others when one cannot be removed", async () => {
    await using runs = new Runs();
    for (const name of ["a", "b", "c"]) runs.old(name);
    const { disk } = runs.ports;
    const stubborn: Disk = {
      ...disk,
      rename(from, to) {
        if (from === runs.team("b"))
          throw Object.assign(new Error("no"), { code: "EACCES", path: from, syscall: "rename" });
        disk.rename(from, to);
      },
    };
    const entries = await cleanUpTeams(
      runs.root,
      { olderThanDays: null, dryRun: false },
      { ...runs.ports, disk: stubborn },
      never,
    );
    expect(entries.map(({ outcome }) => outcome)).toEqual(["removed", "failed", "removed"]);
    expect(entries[1]?.because).toContain("EACCES");
    expect(findTeam(runs.root, "b", runs.ports).name).toBe("b");
  });
});

describe("renaming", () => {
  const json = (path: string) => JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;

  test("moves both places, mends the paths in the files, and adds to the log without rewriting it", async () => {
    await using runs = new Runs();
    const folder = await runs.ours("fix");
    runs.worker("fix", "worker-0");
    const before = readFileSync(join(folder, "events.jsonl"));
    const team = await renameTeam(runs.root, "fix", "login", runs.ports, never);
    expect(team).toMatchObject({ name: "login", phase: "Complete", folder: runs.team("login") });
    expect(existsSync(folder)).toBe(false);
    expect(existsSync(runs.run("fix"))).toBe(false);
    const after = readFileSync(join(team.folder, "events.jsonl"));
    expect(after.subarray(0, before.length).equals(before)).toBe(true);
    const { documents, log } = foldFolder(team.folder, runs.ports);
    expect(log).toMatchObject({ damage: [], torn: false });
    expect(documents.get("team-state.json")).toMatchObject({ name: "login", state_dir: team.folder });
    expect(documents.get("manifest.json")).toMatchObject({ run_id: "login" });
    expect(json(join(team.folder, "team-state.json"))).toMatchObject({
      name: "login",
      state_dir: team.folder,
      seq: log.seq,
    });
    expect(json(join(runs.run("login"), "manifest.json"))).toMatchObject({ run_id: "login" });
    const spec = json(join(team.folder, "workers", "worker-0", "worker-spec.json"));
    expect(spec).toMatchObject({
      inbox: join(team.folder, "workers", "worker-0", "inbox.jsonl"),
      name: "worker-0",
    });
    expect(findRun(runs.root, "login", runs.ports).mode).toBe("team");
    // Once more, and back: the claim it ended with is in nobody's way.
    expect((await renameTeam(runs.root, "login", "fix", runs.ports, never)).name).toBe("fix");
  });

  test("works for a run of 0.5.0, whose log stays as it is", async () => {
    await using runs = new Runs();
    const before = readFileSync(join(runs.old("demo"), "events.jsonl"), "utf8");
    const team = await renameTeam(runs.root, "demo", "new-demo", runs.ports, never);
    expect(readFileSync(join(team.folder, "events.jsonl"), "utf8")).toBe(before);
    expect(json(join(team.folder, "team-state.json"))).toMatchObject({
      name: "new-demo",
      state_dir: team.folder,
      version: 1,
    });
    expect(readFileSync(join(runs.run("new-demo"), "manifest.json"), "utf8")).toContain(
      '"backoff_multiplier": 2.0',
    );
  });

  test("refuses running teams, names that exist and names that are none", async () => {
    await using runs = new Runs();
    await runs.ours("working", { phase: "Executing", holder: "alive" });
    runs.old("demo");
    await runs.ours("fix");
    mkdirSync(runs.run("taken"));
    const before = imageOf(runs.root);
    for (const [from, to, code] of [
      ["working", "other", "team.refused"],
      ["fix", "demo", "team.exists"],
      ["fix", "taken", "team.exists"],
      ["fix", "fix", "team.exists"],
      ["nope", "other", "team.not_found"],
      ["fix", "../x", "usage.invalid"],
      ["fix", "latest", "usage.invalid"],
      ["../fix", "other", "usage.invalid"],
    ] as const) {
      await expect(renameTeam(runs.root, from, to, runs.ports, never), `${from} ${to}`).rejects.toMatchObject(
        { code },
      );
    }
    expect(imageOf(runs.root)).toEqual(before);
  });

  test("that was cut off between its moves goes on when it is asked for again", async () => {
    await using runs = new Runs();
    await runs.ours("fix");
    const { disk } = runs.ports;
    const failing: Disk = {
      ...disk,
      rename(from, to) {
        if (from === runs.team("fix"))
          throw Object.assign(new Error("no"), { code: "EIO", path: from, syscall: "rename" });
        disk.rename(from, to);
      },
    };
    await expect(
      renameTeam(runs.root, "fix", "login", { ...runs.ports, disk: failing }, never),
    ).rejects.toMatchObject({ code: "state.io" });
    expect(existsSync(runs.run("login"))).toBe(true);
    const team = await renameTeam(runs.root, "fix", "login", runs.ports, never);
    expect(team).toMatchObject({ name: "login", phase: "Complete" });
    const renamed = readFileSync(join(team.folder, "events.jsonl"), "utf8").match(/"kind":"team_renamed"/g);
    expect(renamed).toHaveLength(1);
  });
});
