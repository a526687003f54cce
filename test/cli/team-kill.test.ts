/** The built command line, killed at random moments of a team run, with agents that try to outlive it. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

import fc from "fast-check";
import { expect, test } from "vitest";

import { Place } from "../support/cli.ts";
import {
  bearing,
  repair,
  runEvents,
  runFolder,
  runJson,
  threeRepaired,
  THREE_BROKEN,
} from "../support/teams.ts";

const KILLS = Number(process.env["OMK_TEST_TEAM_KILLS"] ?? 6);
const GONE_MS = 2_000;

/** Waits until no process bears the mark, and says how long that took. */
async function goneAfterMs(mark: string): Promise<number> {
  const started = performance.now();
  while (bearing(mark).length > 0) {
    if (performance.now() - started > 10_000) return Number.POSITIVE_INFINITY;
    await new Promise((resolve) => setImmediate(resolve));
  }
  return performance.now() - started;
}

test(
  `${KILLS} team runs killed at random moments all go on to ready; no agent outlives omk by two seconds`,
  { timeout: 1_800_000 },
  async () => {
    let kills = 0;
    let longestMs = 0;
    for (const afterMs of fc.sample(fc.integer({ min: 200, max: 4_000 }), KILLS * 4)) {
      if (kills >= KILLS) break;
      using place = new Place(THREE_BROKEN);
      await place.commitAll();
      const mark = `HOME=${place.environment["HOME"]}`;
      // Every agent leaves a process behind that has a session of its own and nobody above it.
      const turns = (["one", "two", "three"] as const).map((name) => ({
        match: { task: `fix-${name}` },
        steps: [{ daemon: ["sleep", "600"] }, { wait_ms: 300 }, ...repair(name), { wait_ms: 300 }],
      }));
      const run = ["team", "run", "3:executor", "Make all tests pass", "--name", "t"];
      const running = place.start(...run, "--engine", place.script(threeRepaired(turns)));
      const timer = setTimeout(() => running.child.kill("SIGKILL"), afterMs);
      const { signal } = await running.ended;
      clearTimeout(timer);
      if (signal !== "SIGKILL") continue;
      kills++;
      longestMs = Math.max(longestMs, await goneAfterMs(mark));
      const log = join(runFolder(place, "t"), "events.jsonl");
      if (!existsSync(log) || !existsSync(join(runFolder(place, "t"), "team-work.json"))) continue;
      const before = readFileSync(log, "utf8").split("\n").slice(0, -1);
      const done = (): string[] =>
        runEvents(place, "t")
          .filter(({ kind }) => kind === "task_completed")
          .map(({ payload }) => String(payload?.["task_id"]));
      const doneBefore = done();
      const resumed = await place.run("team", "run", "--resume", "--name", "t");
      const where = `killed after ${afterMs} ms: ${resumed.stdout}${resumed.stderr}`;
      expect(resumed.status, where).toBe(0);
      expect(runJson(place, "t", "proof.json")["status"], where).toBe("ready");
      const after = readFileSync(log, "utf8").split("\n").slice(0, -1);
      expect(after.slice(0, before.length), where).toEqual(before);
      expect(done().sort(), where).toEqual(["fix-one", "fix-three", "fix-two", "synthesis"]);
      expect(done().slice(0, doneBefore.length), where).toEqual(doneBefore);
      expect(bearing(mark), where).toEqual([]);
    }
    console.log(`team kills: ${kills}; the longest that anything outlived omk: ${Math.round(longestMs)} ms`);
    expect(kills).toBeGreaterThanOrEqual(KILLS);
    expect(longestMs).toBeLessThan(GONE_MS);
  },
);
