/** The built command line with a goal in slices, two agents side by side, killed at random moments: it always goes on to ready. */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";

import fc from "fast-check";
import { expect, test } from "vitest";

import { Place } from "../support/cli.ts";
import { failingTwice, GOAL, PARTS, THREE_PARTS } from "../support/three-parts.ts";

const KILLS = Number(process.env["OMK_TEST_SLICE_KILLS"] ?? 3);
const FLAGS = ["--until-ready", "--auto-accept", "--slice-execution", "--max-agents", "2"];

test(
  `${KILLS} kills of goals in slices lose nothing, land each slice once, and end ready`,
  { timeout: 1_800_000 },
  async () => {
    const moments = fc.sample(fc.integer({ min: 20, max: 4_000 }), KILLS);
    let kills = 0;
    for (let at = 0; at < moments.length;) {
      using place = new Place(THREE_PARTS);
      await place.commitAll();
      const engine = place.script({ turns: failingTwice() });
      let lines: string[] = [];
      let status: number | null = null;
      for (let tries = 0; status === null && tries < 4; tries++) {
        const made = lines.length > 0;
        const running = made
          ? place.start("goal", "resume")
          : place.start("goal", "run", GOAL, ...FLAGS, "--engine", engine);
        const afterMs = at < moments.length && tries < 3 ? moments[at++] : undefined;
        const timer =
          afterMs === undefined ? undefined : setTimeout(() => running.child.kill("SIGKILL"), afterMs);
        const ended = await running.ended;
        clearTimeout(timer);
        if (ended.signal === "SIGKILL") kills++;
        else {
          status = ended.status;
          expect(status, ended.stderr).toBe(0);
        }
        const now = place.wholeLines();
        expect(now.slice(0, lines.length), `after ${afterMs} ms`).toEqual(lines);
        lines = now;
      }
      if (lines.length === 0) continue; // killed before there was a goal: nothing was promised
      if (status === null) {
        const resumed = await place.run("goal", "resume");
        expect(resumed, resumed.stderr).toMatchObject({ status: 0 });
      }
      const id = String(place.json("goal.json")["goal_id"]);
      const landed = (await place.git("log", "--format=%s", "--no-merges", `main..omk/result/${id}`))
        .trim()
        .split("\n");
      expect(landed.toSorted()).toEqual(
        PARTS.map((_, at) => `[omk-slice] ${id} / goal-agent-implement-${at}`),
      );
      expect(await place.git("status", "--porcelain")).toBe("");
      const worktrees = join(place.goalFolder(), "worktrees");
      expect(existsSync(worktrees) ? readdirSync(worktrees) : []).toEqual([]);
      expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });
    }
    console.log(`kills: ${kills} of ${KILLS} processes killed before their end`);
    expect(kills).toBeGreaterThan(KILLS / 3);
  },
);
