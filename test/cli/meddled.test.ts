/** An agent in a slice that writes to omk's own git directory, through the command line: heeded by nobody, and no crash. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { expect, test } from "vitest";

import { Place } from "../support/cli.ts";
import { fixing, GOAL, PARTS, THREE_PARTS } from "../support/three-parts.ts";

const FLAGS = ["--until-ready", "--auto-accept", "--approval-policy", "yolo", "--slice-execution"];

/** Parts one after another, the second of which runs a line of shell in its folder when it is first tried. */
async function meddling(shell: (place: Place) => string): Promise<{ place: Place; engine: string }> {
  const place = new Place(THREE_PARTS);
  await place.commitAll();
  const slices = PARTS.map((part, at) => ({
    id: part,
    title: `Mend ${part}`,
    description: `The function in ${part}.js is wrong.`,
    write_set: [`${part}.js`],
    dependencies: PARTS.slice(Math.max(0, at - 1), at),
    acceptance: [`The test of ${part} passes.`],
  }));
  const plan = { match: { role: "plan" }, steps: [{ say: JSON.stringify({ kind: "repair", slices }) }] };
  const { match, steps } = fixing("mul");
  const first = { match: { ...match, attempt: 1 }, steps: [{ run: shell(place) }, ...steps] };
  const turns = [plan, fixing("sum"), first, fixing("mul"), fixing("neg")];
  return { place, engine: place.script({ turns }) };
}

test("filters planted where omk's git keeps its objects run nothing, and are recorded", async () => {
  const plant = ({ folder }: Place): string =>
    `for d in ../../git ../../git/own-*; do git config --file $d/config filter.x.clean 'touch ${join(folder, "PWNED")}'; ` +
    "echo '* filter=x' > $d/info/attributes; done";
  const { place, engine } = await meddling(plant);
  using _ = place;
  const ran = await place.run("goal", "run", GOAL, "--engine", engine, ...FLAGS);
  expect(ran, ran.stderr).toMatchObject({ status: 0 });
  expect(existsSync(join(place.folder, "PWNED"))).toBe(false);
  expect(ran.stderr).toContain("somebody changed omk's own git directory");
  const restored = place.events().filter(({ kind }) => kind === "private_git_restored");
  expect(restored).toHaveLength(1);
  expect(restored[0]?.payload?.["paths"]).toContain("git/info/attributes");
}, 60_000);

test("removed under a goal whose first part has landed, it ends the goal with true words, and no resume pays for more", async () => {
  const { place, engine } = await meddling(() => "rm -rf ../../git");
  using _ = place;
  const ran = await place.run("goal", "run", GOAL, "--engine", engine, ...FLAGS);
  expect(ran, ran.stderr).toMatchObject({ status: 74 });
  expect(place.json("goal.json")).toMatchObject({ status: "failed_infra", reason_code: "private_git_lost" });
  expect(ran.stdout).toContain("omk rescue list");
  const log = (): string => readFileSync(join(place.goalFolder(), "events.jsonl"), "utf8");
  const claims = (): number => log().split('"kind":"task_claimed"').length;
  const before = claims();
  const again = await place.run("goal", "resume");
  expect(again, again.stderr).toMatchObject({ status: 74 });
  expect(again.stderr).toContain("what has landed since");
  expect(claims()).toBe(before);
}, 60_000);
