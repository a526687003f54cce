/** `omk goal resume --auto`: goals whose omk died, by signal or with the machine, go on; all others are left alone. */
import { mkdirSync, readFileSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import { jsonSchema } from "../../src/format/schemas.ts";
import type { ResumedGoals } from "../../src/format/resumed.ts";
import { BROKEN_SUM, Place, REPAIR } from "../support/cli.ts";

const GOAL = "Fix the failing test in sum.test.js";
const DRIVE = ["--until-ready", "--auto-accept"];
const WAITS = { turns: [{ match: { attempt: 1 }, steps: [{ wait_for: "go" }, ...REPAIR] }] };

async function brokenSum(): Promise<Place> {
  const place = new Place(BROKEN_SUM);
  await place.commitAll();
  return place;
}

/** Another project of the same place. */
async function project(place: Place, name: string): Promise<string> {
  const folder = join(place.folder, name);
  mkdirSync(folder);
  for (const [file, text] of Object.entries(BROKEN_SUM)) writeFileSync(join(folder, file), text);
  await place.shell(
    `cd ${name} && git init -q && git add -A && git -c user.name=t -c user.email=t@omk.invalid commit -qm start`,
  );
  return folder;
}

/** A goal in a project whose omk was killed in the middle of the agent's turn. */
async function killedIn(
  place: Place,
  folder: string,
  ...flags: string[]
): Promise<{ id: string; pid: number }> {
  place.work = folder;
  const running = place.start("goal", "run", GOAL, ...DRIVE, "--engine", place.script(WAITS), ...flags);
  await running.says("attempt 1");
  running.child.kill("SIGKILL");
  const { stderr } = await running.ended;
  return { id: /goal (goal-\S+)/.exec(stderr)?.[1] ?? "", pid: running.child.pid ?? 0 };
}

function recordOf(place: Place, id: string, name = "goal.json"): Record<string, unknown> {
  return JSON.parse(readFileSync(join(place.state, "goals", id, name), "utf8")) as Record<string, unknown>;
}

/** Rewrites the newest claim of a goal as another machine, or another boot of this one, would have left it. */
function reclaim(place: Place, id: string, holder: Record<string, unknown>): void {
  const folder = join(place.state, "goals", id, "controller");
  const numbers = readdirSync(folder).flatMap((name) => /^(\d+)\.json$/.exec(name)?.[1] ?? []);
  const path = join(folder, `${Math.max(...numbers.map(Number))}.json`);
  const record = JSON.parse(readFileSync(path, "utf8")) as { holder: object };
  writeFileSync(path, JSON.stringify({ ...record, holder: { ...record.holder, ...holder } }));
}

describe("resume --auto", () => {
  test("says so when there is nothing to go on with, and makes nothing", async () => {
    using place = new Place();
    expect(await place.run("goal", "resume", "--auto")).toMatchObject({
      status: 0,
      stdout: "No orphaned goals found.\n",
    });
    expect(readdirSync(place.folder)).not.toContain("state");
  });

  test(
    "goes on with each goal in its own directory, oldest first, and touches no other",
    { timeout: 60_000 },
    async () => {
      using place = await brokenSum();
      const other = await project(place, "other");
      const first = await killedIn(place, place.project);
      const second = await killedIn(place, other);
      place.work = place.project;
      const [resting] = (await place.run("goal", "create", GOAL)).stdout.match(/goal-\S+/) ?? [];
      expect(await place.run("goal", "pause", resting ?? "")).toMatchObject({ status: 0 });
      const before = recordOf(place, resting ?? "");
      for (const folder of [place.project, other]) writeFileSync(join(folder, "go"), "");

      place.work = place.folder;
      const ran = await place.run("goal", "resume", "--auto");
      expect(ran.status, ran.stderr).toBe(0);
      const stamp = String.raw`\d{4}-\d\d-\d\dT[\d:.]+Z`;
      expect(ran.stdout).toMatch(
        new RegExp(
          `^Found 2 orphaned goal\\(s\\):\n` +
            `  ${first.id} \\(pid=${first.pid}, last_update=${stamp}\\)\n` +
            `  ${second.id} \\(pid=${second.pid}, last_update=${stamp}\\)\n` +
            `Resumed: ${first.id} → status=ready\nResumed: ${second.id} → status=ready\n$`,
        ),
      );
      for (const folder of [place.project, other])
        expect(readFileSync(join(folder, "sum.js"), "utf8")).toContain("a + b");
      expect(recordOf(place, resting ?? "")).toEqual(before);
      // The turn that was cut off is kept and not counted.
      expect(recordOf(place, first.id, "work.json")["attempts"]).toMatchObject([
        { status: "interrupted", counted: false },
        { number: 1, outcome: "finished" },
      ]);
      expect((await place.run("goal", "resume", "--auto")).stdout).toBe("No orphaned goals found.\n");
    },
  );

  test("knows a goal of before the machine's restart, whatever bears its number now, and half-written files", async () => {
    using place = await brokenSum();
    const { id } = await killedIn(place, place.project);
    // This very process lives and has that number, but not in that boot.
    reclaim(place, id, { pid: process.pid, boot_id: "00000000-0000-4000-8000-000000000000" });
    const folder = join(place.state, "goals", id);
    writeFileSync(join(folder, "goal.json"), '{"version":1,"goal_id":"go');
    writeFileSync(join(folder, "work.json.123.abcdef.tmp"), "half");
    const log = readFileSync(join(folder, "events.jsonl"), "utf8");
    writeFileSync(join(folder, "events.jsonl"), `${log}{"id":"half an ev`);
    place.write({ go: "" });
    const ran = await place.run("goal", "resume", "--auto");
    expect(ran.status, ran.stderr).toBe(0);
    expect(ran.stdout).toContain(`Resumed: ${id} → status=ready`);
    expect(readFileSync(join(folder, "events.jsonl"), "utf8").startsWith(log)).toBe(true);
    expect(await place.run("proof", "verify", id)).toMatchObject({ status: 0 });
  });

  test("leaves what a living omk works on, and what only another machine can judge", async () => {
    using place = await brokenSum();
    const running = place.start("goal", "run", GOAL, ...DRIVE, "--engine", place.script(WAITS));
    await running.says("attempt 1");
    expect((await place.run("goal", "resume", "--auto")).stdout).toBe("No orphaned goals found.\n");
    running.child.kill("SIGKILL");
    await running.ended;
    const [id = ""] = readdirSync(join(place.state, "goals"));
    reclaim(place, id, { host: "elsewhere.invalid" });
    const ran = await place.run("goal", "resume", "--auto");
    expect(ran).toMatchObject({ status: 0, stdout: "No orphaned goals found.\n" });
    expect(ran.stderr).toContain(`goal ${id} was left alone: process`);
    expect(ran.stderr).toContain("elsewhere.invalid");
  });

  test(
    "names what keeps one from going on, goes on with the next, and ends with what tells most",
    { timeout: 60_000 },
    async () => {
      using place = await brokenSum();
      const gone = await project(place, "gone");
      const busy = await project(place, "busy");
      const lost = await killedIn(place, gone);
      const held = await killedIn(place, busy);
      const short = await killedIn(place, place.project, "--max-attempts", "1", "--budget-tokens", "5");
      renameSync(gone, `${gone}-elsewhere`);
      place.work = busy;
      const holder = place.start(
        "goal",
        "run",
        "Add a test for sum",
        ...DRIVE,
        "--engine",
        place.script(WAITS),
      );
      await holder.says("attempt 1");
      place.write({ go: "" });

      const ran = await place.run("goal", "resume", "--auto", "--json");
      const { orphans, unjudged } = JSON.parse(ran.stdout) as ResumedGoals;
      expect(unjudged).toEqual([]);
      expect(orphans.map(({ id, status, error }) => [id, status, error?.code ?? null])).toEqual([
        [lost.id, null, "state.io"],
        [held.id, null, "state.busy"],
        [short.id, "ready", null],
      ]);
      expect(ran.stderr).toContain(`${lost.id} was not resumed: The project directory ${gone}`);
      expect(ran.stderr).toContain(`${held.id} was not resumed: The directory`);
      expect(ran.stderr).toContain(String(holder.child.pid));
      expect(ran.status).toBe(74);
      expect(recordOf(place, lost.id)["status"]).toBe("running");
      holder.child.kill("SIGKILL");
      await holder.ended;
      expect(jsonSchema("resumed-goals")).toMatchObject({ required: ["orphans", "unjudged"] });
    },
  );

  test("puts a step by hand that died back, without driving it", async () => {
    using place = await brokenSum();
    expect(await place.run("goal", "create", GOAL)).toMatchObject({ status: 0 });
    const step = place.start("goal", "execute", "--engine", place.script(WAITS));
    await step.says("attempt 1");
    step.child.kill("SIGKILL");
    await step.ended;
    const ran = await place.run("goal", "resume", "--auto");
    expect(ran).toMatchObject({ status: 0 });
    expect(ran.stdout).toMatch(/Resumed: goal-\S+ → status=not_ready/);
    expect(place.json("work.json")["attempts"]).toHaveLength(1);
  });

  test(
    "stopped by Ctrl-C pauses the goal at work and leaves the others to the next call",
    { timeout: 60_000 },
    async () => {
      using place = await brokenSum();
      const other = await project(place, "other");
      const first = await killedIn(place, place.project);
      const second = await killedIn(place, other);
      const ran = place.start("goal", "resume", "--auto");
      await ran.says("attempt 1");
      ran.child.kill("SIGINT");
      const ended = await ran.ended;
      expect(ended.status).toBe(130);
      expect(ended.stderr).toContain("omk goal resume --auto");
      expect(ended.stdout).toContain(`Resumed: ${first.id} → status=paused`);
      expect(recordOf(place, second.id)["status"]).toBe("running");
      expect(recordOf(place, first.id)["status"]).toBe("paused");
    },
  );
});
