/**
 * One goal with everything that evidence can be: a plan of the engine, a request to a person, proposals of tasks, golden
 * observations. No byte of it can change unseen, and no file is forgotten.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { afterAll, beforeAll, expect, test } from "vitest";

import { verifyProof } from "../../src/goal/verify-proof.ts";
import { Bender } from "../support/bent-disk.ts";
import { BROKEN_SUM, Place, REPAIR } from "../support/cli.ts";
import { SimulatedDisk } from "../support/simulated-disk.ts";

const PLAN = {
  kind: "repair",
  slices: [
    {
      id: "sum",
      title: "Mend sum",
      description: "It subtracts.",
      write_set: ["sum.js"],
      acceptance: ["The test passes."],
    },
  ],
};
const PROPOSAL =
  'done\nOMK_TASK_PROPOSAL: {"id": "more", "title": "Rewrite everything", "write_set": ["../x"]}';

let place: Place;
/** The goal's folder, on a disk in memory: thousands of checks read it. */
const FOLDER = "/goal";
let disk: SimulatedDisk;
let id: string;
let names: string[];

beforeAll(async () => {
  place = new Place({ ...BROKEN_SUM, "tool.js": 'console.log("as ever");\n' });
  await place.commitAll();
  const work = [
    { ask: "Look something up", kind: "execute", input: { command: "date" }, on_reject: [] },
    ...REPAIR.slice(0, 1),
    { say: PROPOSAL },
  ];
  const engine = place.script({
    turns: [
      { match: { role: "plan" }, steps: [{ say: JSON.stringify(PLAN) }] },
      { match: { role: "work" }, steps: work },
    ],
  });
  const approvals = [
    "--approval-policy",
    "never",
    "--approval-timeout",
    "1s",
    "--approval-on-timeout",
    "reject",
  ];
  const create = await place.run(
    "goal",
    "create",
    "Fix the failing test in sum.test.js",
    "--engine",
    engine,
    ...approvals,
  );
  expect(create, create.stderr).toMatchObject({ status: 0 });
  const golden = await place.run("goal", "golden", "record", "--name", "tool", "--cmd", "node tool.js");
  expect(golden, golden.stderr).toMatchObject({ status: 0 });
  const driven = await place.run("goal", "resume", "--until-ready");
  expect(driven, `${driven.stdout}${driven.stderr}`).toMatchObject({ status: 3 });
  const accepted = await place.run("goal", "accept", "--summary", "fine");
  expect(accepted, accepted.stdout).toMatchObject({ status: 0 });
  id = String(place.json("goal.json")["goal_id"]);
  const folder = place.goalFolder();
  names = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .filter((name) => !name.startsWith("git/"));
  const files = Object.fromEntries(
    names.map((name) => [join(FOLDER, name), readFileSync(join(folder, name)) as Uint8Array]),
  );
  const folders = [...new Set(names.flatMap((name) => parents(name)))].map((one) => join(FOLDER, one));
  disk = new SimulatedDisk({ folders: [FOLDER, ...folders.toSorted()], files });
}, 120_000);

afterAll(() => place[Symbol.dispose]());

/** Every folder above a name, the outermost first. */
function parents(name: string): string[] {
  const parts = name.split("/").slice(0, -1);
  return parts.map((_, at) => parts.slice(0, at + 1).join("/"));
}

const isChecked = (name: string) =>
  (place.json("proof.json")["evidence"] as { path: string }[]).some(({ path }) => path === name) ||
  /^(proof\.json|proof\.md|goal\.json|work\.json|task-graph\.json|events\.jsonl|approvals\/[^/]+\.json)$/.test(
    name,
  );

test("the goal has every kind of evidence, and all of it is checked", () => {
  expect(verifyProof(FOLDER, id, { disk })).toMatchObject({ valid: true, status: "ready" });
  const checked = names.filter(isChecked);
  for (const kind of [/^approvals\//, /golden\//, /task-policy\.json$/, /gates\//, /transcript|plan/])
    expect(
      checked.filter((name) => kind.test(name)),
      String(kind),
    ).not.toEqual([]);
  // What is made for readers, copied under the names of 0.5.0, or says who controlled the goal.
  const forReaders =
    /^[a-z-]+\.(md|json|jsonl)$|^controller\/|^commands\/|^artifacts\/oracle\/|^artifacts\/reviews\/[^/]+\.md$|^artifacts\/integration\/integrator-accept\.json$/;
  expect(names.filter((name) => !isChecked(name) && !forReaders.test(name))).toEqual([]);
});

test("a flipped bit is found in every one of its files: everywhere in small ones, at many places in large ones", () => {
  const bender = new Bender(disk, FOLDER, (other) => verifyProof(FOLDER, id, { disk: other }));
  const checked = names.filter(
    (name) => isChecked(name) && name !== "events.jsonl" && bender.bytesOf(name).length > 0,
  );
  const sizes = new Map(checked.map((name) => [name, bender.bytesOf(name).length]));
  const tries = 600;
  for (let round = 0; round < tries; round++) {
    // A file that is larger than the rounds are is tried at places all over it.
    const at = (name: string) => {
      const size = sizes.get(name) ?? 0;
      return size <= tries ? round : Math.floor((round * size) / tries);
    };
    const chosen = checked.filter((name) => at(name) < (sizes.get(name) ?? 0));
    const bent = Object.fromEntries(chosen.map((name) => [name, bender.bent(name, at(name))]));
    const { valid, faults } = bender.check(bent);
    const named = new Set(faults.map(({ file }) => file));
    expect(valid).toBe(false);
    expect(
      chosen.filter((name) => !named.has(name)),
      `round ${round}`,
    ).toEqual([]);
  }
}, 120_000);
