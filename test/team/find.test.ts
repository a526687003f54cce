import {
  appendFileSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import {
  findRun,
  findTeam,
  interruptedRuns,
  isInterrupted,
  listRuns,
  listTeams,
  resumableTeam,
} from "../../src/team/find.ts";
import { imageOf, Runs } from "./rig.ts";

const complete = (id: string) => ({
  kind: "task_completed",
  actor: "worker-0",
  payload: { task_id: id, worker_id: "worker-0" },
  changes: [
    { file: "tasks.jsonl", id, set: { state: "completed", completed_at: "2026-05-25T10:05:00.000Z" } },
  ],
});

const phase = (to: string) => ({
  kind: "verification_started",
  actor: "scheduler",
  changes: [{ file: "team-state.json", set: { phase: to } }],
});

describe("a list of teams", () => {
  test("has those of 0.5.0 and ours, and names what cannot be read without hiding anything", async () => {
    await using runs = new Runs();
    runs.old("demo");
    await runs.ours("fix");
    mkdirSync(runs.team("empty"));
    mkdirSync(runs.team(".import-half"));
    for (const [name, text] of [
      ["no-json", "{"],
      ["a-list", "[]"],
      ["no-phase", '{"name":"x","task":"t","created_at":"2026-05-25T10:00:00Z","tasks":[]}'],
      ["wrong-phase", '{"name":"x","task":"t","created_at":"x","phase":"Dancing","tasks":[]}'],
      ["newer", '{"version":9}'],
    ] as const) {
      mkdirSync(runs.team(name));
      writeFileSync(join(runs.team(name), "team-state.json"), text);
    }
    mkdirSync(runs.team("a:colon"));
    symlinkSync(runs.team("demo"), runs.team("link"));
    writeFileSync(runs.team("file"), "");
    const claimless = runs.old("bad-claim");
    mkdirSync(join(claimless, "controller"));
    writeFileSync(join(claimless, "controller", "1.json"), "{");
    const { teams, unreadable } = listTeams(runs.root, runs.ports);
    expect(teams.map(({ name }) => name)).toEqual(["fix", "demo"]);
    expect(unreadable.map(({ name }) => name).sort()).toEqual(
      ["a-list", "a:colon", "bad-claim", "newer", "no-json", "no-phase", "wrong-phase"].sort(),
    );
  });

  test("refuses a folder of teams that is a link", async () => {
    await using runs = new Runs();
    rmSync(join(runs.root, "team"), { recursive: true });
    symlinkSync("/tmp", join(runs.root, "team"));
    expect(() => listTeams(runs.root, runs.ports)).toThrow(
      expect.objectContaining({ code: "state.permissions" }) as Error,
    );
  });
});

describe("how a team stands", () => {
  test("comes from the events behind its snapshot, and looking writes nothing", async () => {
    await using runs = new Runs();
    const tasks = [
      { id: "a", state: "running", owner: "worker-0" },
      { id: "b", state: "pending" },
    ];
    await runs.ours("fix", {
      phase: "Executing",
      tasks,
      later: [complete("a"), phase("Verifying")],
      holder: "alive",
    });
    const before = imageOf(runs.root);
    const team = findTeam(runs.root, "fix", runs.ports);
    expect(team).toMatchObject({ phase: "Verifying", controller: "alive", isImported: false });
    expect(team.tasks.map(({ id, status }) => [id, status])).toEqual([
      ["a", "Done"],
      ["b", "Pending"],
    ]);
    expect(isInterrupted(team)).toBe(false);
    expect(imageOf(runs.root)).toEqual(before);
    // What lies before the snapshot is not looked at.
    const log = join(runs.team("fix"), "events.jsonl");
    writeFileSync(log, `{${"x".repeat(20)}${readFileSync(log, "utf8").slice(21)}`);
    expect(findTeam(runs.root, "fix", runs.ports).phase).toBe("Verifying");
  });

  test("comes from the whole log when the snapshot is missing, damaged, or does not say its place in it", async () => {
    await using runs = new Runs();
    const tasks = [{ id: "a", state: "running", owner: "worker-0" }];
    const folder = await runs.ours("fix", { phase: "Executing", tasks, later: [complete("a")] });
    const path = join(folder, "team-state.json");
    const whole = readFileSync(path, "utf8");
    const expected = { phase: "Executing", tasks: [{ id: "a", status: "Done" }] };
    const look = () => findTeam(runs.root, "fix", runs.ports);
    rmSync(path);
    expect(look()).toMatchObject(expected);
    writeFileSync(path, "{");
    expect(look()).toMatchObject(expected);
    writeFileSync(path, whole);
    const work = join(folder, "team-work.json");
    const place = JSON.parse(readFileSync(work, "utf8")) as { seq: number; log_bytes: number };
    for (const text of [
      "{",
      "{}",
      JSON.stringify({ ...place, log_bytes: 10_000_000 }),
      JSON.stringify({ ...place, seq: 99 }),
    ]) {
      writeFileSync(work, text);
      expect(look(), text).toMatchObject(expected);
    }
  });

  test("is not disturbed by a torn end of the log", async () => {
    await using runs = new Runs();
    const folder = await runs.ours("fix", { phase: "Executing", later: [phase("Verifying")] });
    appendFileSync(join(folder, "events.jsonl"), '{"id":"torn');
    expect(findTeam(runs.root, "fix", runs.ports).phase).toBe("Verifying");
  });

  test("is interrupted when it says that it works and nobody does", async () => {
    await using runs = new Runs();
    await runs.ours("killed", { phase: "Executing", holder: "dead" });
    await runs.ours("gave-up", { phase: "Verifying" });
    await runs.ours("stopped", { phase: "Shutdown" });
    await runs.ours("done", { phase: "Complete" });
    await runs.ours("failed", { phase: "Failed", holder: "dead" });
    await runs.ours("working", { phase: "Executing", holder: "alive" });
    runs.old("old");
    const interrupted = listTeams(runs.root, runs.ports).teams.filter(isInterrupted);
    expect(interrupted.map(({ name }) => name).sort()).toEqual(["gave-up", "killed"]);
    expect(interruptedRuns(runs.root, runs.ports).sort()).toEqual(["gave-up", "killed", "stopped"]);
    expect(resumableTeam(runs.root, "killed", runs.ports).name).toBe("killed");
    expect(() => resumableTeam(runs.root, "old", runs.ports)).toThrow("older omk");
  });
});

describe("finding a run", () => {
  test("refuses names that are paths, whatever lies there", async () => {
    await using runs = new Runs();
    runs.old("demo");
    for (const name of ["../runs/demo", "..", "demo/", "/etc", ".import-x", "a:b", ""]) {
      for (const find of [findTeam, findRun]) {
        expect(() => find(runs.root, name, runs.ports), name).toThrow(
          expect.objectContaining({ exitStatus: 2 }) as Error,
        );
      }
    }
  });

  test("says where it looked, and what a goal's name is good for", async () => {
    await using runs = new Runs();
    expect(() => findTeam(runs.root, "nope", runs.ports)).toThrow(join(runs.root, "team", "nope"));
    expect(() => findRun(runs.root, "latest", runs.ports)).toThrow("No runs found");
    mkdirSync(join(runs.root, "goals", "g1"), { recursive: true });
    expect(() => findRun(runs.root, "g1", runs.ports)).toThrow(
      expect.objectContaining({
        code: "team.not_found",
        hint: expect.stringContaining("omk goal proof g1") as string,
      }) as Error,
    );
    symlinkSync("/etc", runs.team("link"));
    expect(() => findRun(runs.root, "link", runs.ports)).toThrow("not found");
  });

  test("takes for latest the folder changed last, then the last name, and manifests only where there is no team", async () => {
    await using runs = new Runs();
    mkdirSync(runs.run("only-a-manifest"));
    expect(findRun(runs.root, "latest", runs.ports)).toMatchObject({
      id: "only-a-manifest",
      mode: "scheduler",
    });
    for (const name of ["a", "b", "c"]) runs.old(name);
    const at = (name: string, seconds: number) => utimesSync(runs.team(name), seconds, seconds);
    at("a", 3_000);
    at("b", 2_000);
    at("c", 1_000);
    expect(findRun(runs.root, "latest", runs.ports)).toMatchObject({ id: "a", mode: "team" });
    at("c", 3_000);
    expect(findTeam(runs.root, "latest", runs.ports).name).toBe("c");
  });

  test("lists a team's run once, though it lies in both places", async () => {
    await using runs = new Runs();
    runs.old("demo");
    await runs.ours("fix");
    mkdirSync(runs.run("wave"));
    expect(listRuns(runs.root, runs.ports).runs.map(({ id, mode }) => [id, mode])).toEqual([
      ["wave", "scheduler"],
      ["fix", "team"],
      ["demo", "team"],
    ]);
  });
});
