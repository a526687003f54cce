/** Goals in slices through the command line: worked on side by side in worktrees, merged, and delivered as a branch. */
import { existsSync, readdirSync, readFileSync, watch } from "node:fs";
import { dirname, join } from "node:path";

import { describe, expect, test } from "vitest";

import { Place } from "../support/cli.ts";
import { fixing, GOAL, PARTS, THREE_PARTS } from "../support/three-parts.ts";

const SLICED = ["--until-ready", "--auto-accept", "--approval-policy", "yolo", "--slice-execution"];

/** A plan of three parts: the first two touch nothing in common, the third may write what the second writes. */
function overlapping(): object {
  const sets = { sum: ["sum.js"], mul: ["mul.js"], neg: ["neg.js", "mul.js"] };
  const slices = PARTS.map((part) => ({
    id: part,
    title: `Mend ${part}`,
    description: `The function in ${part}.js is wrong.`,
    write_set: sets[part],
    acceptance: [`The test of ${part} passes.`],
  }));
  return { match: { role: "plan" }, steps: [{ say: JSON.stringify({ kind: "repair", slices }) }] };
}

/** A turn that says that it is at work, and goes on only when the other one is, too. */
function meeting(place: Place, own: "sum" | "mul"): object {
  const { match, steps } = fixing(own);
  const sign = (name: string): string => join(place.folder, name);
  const other = own === "sum" ? "mul" : "sum";
  const meet = [
    { write: sign(own), text: "here\n" },
    { wait_for: sign(other), timeout_ms: 60_000 },
  ];
  return { match, steps: [...meet, ...steps] };
}

async function threeParts(): Promise<Place> {
  const place = new Place(THREE_PARTS);
  await place.commitAll();
  return place;
}

describe("a goal in slices", () => {
  test("is worked on side by side as planned, and ends as one branch with all of them; the checkout stays as it was", async () => {
    using place = await threeParts();
    place.write({ "mine.txt": "not committed\n", "sum.js": `${THREE_PARTS["sum.js"] ?? ""}// mine\n` });
    const before = await place.git("status", "--porcelain");
    const turns = [overlapping(), meeting(place, "sum"), meeting(place, "mul"), fixing("neg")];
    const engine = place.script({ turns });
    const ran = await place.run("goal", "run", GOAL, "--engine", engine, ...SLICED, "--max-agents", "3");
    expect(ran, ran.stderr).toMatchObject({ status: 0 });
    expect(ran.stderr).toContain("sum.js");
    const goal = place.json("goal.json");
    const id = String(goal["goal_id"]);
    const events = place.events();
    const seqOf = (kind: string, part: number): number =>
      events.find((one) => one.kind === kind && one.payload?.["task_id"] === `goal-agent-implement-${part}`)
        ?.seq ?? -1;
    for (const part of [0, 1, 2])
      expect(seqOf("slice_landed", part)).toBeGreaterThan(seqOf("slice_started", part));
    // The third may write what the second writes: it begins when that has landed.
    expect(seqOf("slice_started", 2)).toBeGreaterThan(seqOf("slice_landed", 1));
    expect(seqOf("slice_started", 1)).toBeLessThan(seqOf("slice_landed", 0));

    const branch = `omk/result/${id}`;
    const log = await place.git("log", "--format=%s", `main..${branch}`);
    for (const number of [0, 1, 2])
      expect(log).toContain(`[omk-slice] ${id} / goal-agent-implement-${number}\n`);
    expect(await place.git("show", `${branch}:neg.js`)).toContain("return -a");
    expect(await place.git("show", `${branch}:sum.js`)).not.toContain("mine");
    expect(await place.git("status", "--porcelain")).toBe(before);
    expect(existsSync(join(place.goalFolder(), "stage"))).toBe(false);
    const worktrees = join(place.goalFolder(), "worktrees");
    expect(existsSync(worktrees) ? readdirSync(worktrees) : []).toEqual([]);
    const kept = await place.git("for-each-ref", "--format=%(refname)", "refs/omk/rescue/");
    for (const number of [0, 1, 2]) expect(kept).toContain(`/goal-agent-implement-${number}-`);
    expect(await place.run("proof", "verify", id)).toMatchObject({ status: 0 });
  }, 120_000);

  test("with one task that fails its tests at first goes on in a worktree until they pass, and may be laid over the files", async () => {
    using place = await threeParts();
    const all = PARTS.flatMap((part) => fixing(part).steps);
    const breaking = { match: { role: "work", attempt: 1 }, steps: [{ write: "sum.js", text: "broken(\n" }] };
    const engine = place.script({ turns: [breaking, { match: { role: "work" }, steps: all }] });
    const flags = ["--no-llm-planner", "--apply"];
    const ran = await place.run("goal", "run", GOAL, "--engine", engine, ...SLICED, ...flags);
    expect(ran, ran.stderr).toMatchObject({ status: 0 });
    expect(readFileSync(join(place.project, "neg.js"), "utf8")).toContain("return -a");
    expect(await place.git("diff", "--cached", "--name-only")).toBe("");
    expect(ran.stdout).toMatch(
      /deliver — 3 changed files on the branch omk\/result\/.*; laid over your files/,
    );
  }, 120_000);

  test("that add the same file with other words get a task that brings them together", async () => {
    using place = await threeParts();
    const file = "extra.test.js";
    const extra = (part: string): object => ({
      write: file,
      text: `import test from "node:test";\nimport { ${part} } from "./${part}.js";\ntest("${part} is there", () => ${part}(1, 2));\n`,
    });
    const together =
      'import test from "node:test";\nimport { mul } from "./mul.js";\nimport { sum } from "./sum.js";\ntest("both", () => sum(1, 2) + mul(1, 2));\n';
    const solving = {
      match: { role: "work", task: "goal-agent-resolve-*" },
      steps: [{ write: file, text: together }, { say: "both tests stay" }],
    };
    const with_ = (own: "sum" | "mul"): object => {
      const { match, steps } = meeting(place, own) as { match: object; steps: object[] };
      return { match, steps: [extra(own), ...steps] };
    };
    const engine = place.script({
      turns: [overlapping(), solving, with_("sum"), with_("mul"), fixing("neg")],
    });
    const ran = await place.run("goal", "run", GOAL, "--engine", engine, ...SLICED, "--max-agents", "2");
    expect(ran, ran.stderr).toMatchObject({ status: 0 });
    const id = String(place.json("goal.json")["goal_id"]);
    expect(await place.git("show", `omk/result/${id}:${file}`)).toBe(together);
    const evidence = readdirSync(join(place.goalFolder(), "artifacts", "integration"));
    expect(evidence.some((name) => name.startsWith("merge-conflict-"))).toBe(true);
  }, 120_000);

  test.each(["at work", "whose omk was killed"] as const)(
    "and is cancelled %s has everything that was half done in omk rescue",
    async (how) => {
      using place = await threeParts();
      const sign = (name: string): string => join(place.folder, name);
      const half = (part: "sum" | "mul"): object => {
        const { match, steps } = fixing(part);
        const untracked = { write: `${part}-notes.txt`, text: "half done\n" };
        return { match, steps: [...steps, untracked, { write: sign(part), text: "here\n" }, { hang: true }] };
      };
      const engine = place.script({ turns: [overlapping(), half("sum"), half("mul")] });
      const running = place.start("goal", "run", GOAL, "--engine", engine, ...SLICED, "--max-agents", "3");
      await Promise.all([appears(sign("sum")), appears(sign("mul"))]);
      if (how !== "at work") {
        running.child.kill("SIGKILL");
        await running.ended;
      }
      const cancelled = await place.run("goal", "cancel");
      expect(cancelled).toMatchObject({ status: 0 });
      expect(cancelled.stdout).toContain("omk rescue list --goal goal-");
      expect(await running.ended).toMatchObject(how === "at work" ? { status: 6 } : { signal: "SIGKILL" });
      expect(readdirSync(join(place.goalFolder(), "worktrees"))).toEqual([]);
      const listed = await place.run("rescue", "list");
      for (const [at, part] of (["sum", "mul"] as const).entries()) {
        const name =
          listed.stdout.split(/\s+/).find((word) => word.includes(`/goal-agent-implement-${at}-`)) ?? "";
        const to = join(place.folder, `back-${part}`);
        expect(await place.run("rescue", "restore", name, "--to", to)).toMatchObject({ status: 0 });
        expect(readFileSync(join(to, `${part}.js`), "utf8")).toBe(
          (fixing(part).steps[0] as { text: string }).text,
        );
        expect(readFileSync(join(to, `${part}-notes.txt`), "utf8")).toBe("half done\n");
      }
      expect(await place.git("status", "--porcelain")).toBe("");
    },
    120_000,
  );
});

/** Resolves when a file is there. */
async function appears(path: string): Promise<void> {
  const seen = new Promise<void>((resolve) => {
    const watcher = watch(dirname(path), () => {
      if (!existsSync(path)) return;
      watcher.close();
      resolve();
    });
    if (existsSync(path)) {
      watcher.close();
      resolve();
    }
  });
  await seen;
}
