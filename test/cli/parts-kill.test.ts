/** The built command line with a goal of three planned tasks, killed at random moments: it always goes on to ready. */
import fc from "fast-check";
import { expect, test } from "vitest";

import { Place } from "../support/cli.ts";
import { failingTwice, GOAL, THREE_PARTS } from "../support/three-parts.ts";

const KILLS = Number(process.env["OMK_TEST_PART_KILLS"] ?? 3);

test(
  `${KILLS} kills of goals with three tasks, one of which fails twice, lose nothing and end ready`,
  { timeout: 1_800_000 },
  async () => {
    const moments = fc.sample(fc.integer({ min: 20, max: 2_500 }), KILLS);
    let kills = 0;
    for (let at = 0; at < moments.length;) {
      using place = new Place(THREE_PARTS);
      await place.commitAll();
      const engine = place.script({ turns: failingTwice() });
      let lines: string[] = [];
      let status: number | null = null;
      // Killed and resumed, again and again, until it came to its end in between; five in a row without a word would be one.
      for (let tries = 0; status === null && tries < 4; tries++) {
        const made = lines.length > 0;
        const running = made
          ? place.start("goal", "resume")
          : place.start("goal", "run", GOAL, "--until-ready", "--auto-accept", "--engine", engine);
        const afterMs = at < moments.length && tries < 3 ? moments[at++] : undefined;
        const timer =
          afterMs === undefined ? undefined : setTimeout(() => running.child.kill("SIGKILL"), afterMs);
        const ended = await running.ended;
        clearTimeout(timer);
        if (ended.signal === "SIGKILL") kills++;
        else status = ended.status;
        const now = place.wholeLines();
        expect(now.slice(0, lines.length), `after ${afterMs} ms`).toEqual(lines);
        lines = now;
      }
      if (lines.length === 0) continue; // killed before there was a goal: nothing was promised
      if (status === null) status = (await place.run("goal", "resume")).status;
      expect(status).toBe(0);
      const attempts = place.json("proof.json")["attempts"] as { task_id: string; counted: boolean }[];
      expect(attempts.filter(({ task_id, counted }) => counted && task_id.endsWith("-1"))).toHaveLength(3);
      expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });
    }
    console.log(`kills: ${kills} of ${KILLS} processes killed before their end`);
    expect(kills).toBeGreaterThan(KILLS / 3);
  },
);
