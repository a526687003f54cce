/** Test 3 of the reliability suite: the built command line, killed at random moments, and again while it recovers. */
import fc from "fast-check";
import { expect, test } from "vitest";

import { BROKEN_SUM, Place, REPAIR } from "../support/cli.ts";

const KILLS = Number(process.env["OMK_TEST_KILLS"] ?? 6);
const GOAL = "Fix the failing test in sum.test.js";
const WRONG = [{ edit: "sum.js", replace: "a - b", with: "a * b" }, { say: "done" }];
const STEPS = [
  { delete: "sum.js" },
  { write: "sum.js", text: BROKEN_SUM["sum.js"].replace("a - b", "a + b") },
  ...REPAIR.slice(1),
];

/** Kills a command after so many milliseconds, unless it ends before. */
async function killed(place: Place, afterMs: number, ...args: string[]): Promise<boolean> {
  const running = place.start(...args);
  const timer = setTimeout(() => running.child.kill("SIGKILL"), afterMs);
  const { signal } = await running.ended;
  clearTimeout(timer);
  return signal === "SIGKILL";
}

test(
  `${KILLS} runs killed at random moments all go on to ready, with every event that was there`,
  { timeout: 1_800_000 },
  async () => {
    let kills = 0;
    for (const [first, second] of fc.sample(
      fc.tuple(fc.integer({ min: 1, max: 2_600 }), fc.integer({ min: 1, max: 1_500 })),
      KILLS * 4,
    )) {
      if (kills >= KILLS) break;
      using place = new Place(BROKEN_SUM);
      await place.commitAll();
      const engine = place.script({ turns: [{ steps: WRONG }, { match: { attempt: 2 }, steps: STEPS }] });
      const run = ["goal", "run", GOAL, "--until-ready", "--auto-accept", "--engine", engine];
      if (await killed(place, first, ...run)) kills++;
      const before = place.wholeLines();
      if (before.length === 0) continue; // killed before there was a goal: nothing was promised
      if (kills % 2 === 0 && (await killed(place, second, "goal", "resume"))) kills++;
      const between = place.wholeLines();
      expect(between.slice(0, before.length)).toEqual(before);
      const resumed = await place.run("goal", "resume");
      const where = `killed after ${first} ms: ${resumed.stdout}${resumed.stderr}`;
      expect(resumed.status, where).toBe(0);
      expect(place.json("goal.json")["status"], where).toBe("ready");
      expect(place.wholeLines().slice(0, between.length), where).toEqual(between);
      expect(await place.run("proof", "verify"), where).toMatchObject({ status: 0 });
    }
    console.log(`kills: ${kills} processes killed with SIGKILL`);
    expect(kills).toBeGreaterThanOrEqual(KILLS);
  },
);
