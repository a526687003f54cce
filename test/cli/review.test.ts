import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import { BROKEN_SUM, Place, REPAIR } from "../support/cli.ts";

const GOAL = "Fix the failing test in sum.test.js";
const RUN = ["goal", "run", GOAL, "--no-llm-planner", "--until-ready", "--auto-accept", "--engine"];
const SECRET = `ghp_${"a1B2c3D4e5".repeat(4)}`;
const LEAK = [{ write: "client.js", text: `export const key = "${SECRET}";\n` }, ...REPAIR];

async function brokenSum(files: Readonly<Record<string, string>> = {}): Promise<Place> {
  const place = new Place({ ...BROKEN_SUM, ...files });
  await place.commitAll();
  return place;
}

interface Section {
  pass: string;
  status: string;
  blocked_by?: string;
  findings: { id: string; path: string; kind: string; severity: string }[];
  waived?: { finding: string; reason: string }[];
}

function section(place: Place, pass: string): Section {
  const sections = place.json("proof.json")["review_artifacts"] as Section[];
  const found = sections.find((one) => one.pass === pass);
  if (!found) throw new Error(`the proof has no section ${pass}`);
  return found;
}

/** Every file below a folder that holds a text; git's own objects are compressed and hold the files of the project. */
function filesWith(text: string, folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) return filesWith(text, path);
    return readFileSync(path).includes(text) ? [path] : [];
  });
}

function claimed(place: Place): unknown[] {
  return place
    .events()
    .filter(({ kind }) => kind === "task_claimed")
    .map(({ payload }) => payload?.["task_id"]);
}

describe("a secret that the agent writes", () => {
  test("goes back as a task of its own, is taken out, and the goal gets ready", async () => {
    using place = await brokenSum();
    const engine = place.script({
      turns: [
        {
          match: { task: "goal-agent-security-cleanup-*", prompt: "client.js:1" },
          steps: [
            { write: "client.js", text: "export const key = process.env.KEY;\n" },
            { say: "taken out" },
          ],
        },
        { steps: LEAK },
      ],
    });
    expect(await place.run(...RUN, engine)).toMatchObject({ status: 0 });
    expect(claimed(place)).toEqual(["goal-agent-execute", "goal-agent-security-cleanup-goal-agent-execute"]);
    expect(section(place, "security")).toMatchObject({ status: "passed", findings: [] });
    expect(filesWith(SECRET, place.goalFolder())).toEqual([]);
  });

  test("and never takes out keeps the goal from being ready, and its value is nowhere in the records", async () => {
    using place = await brokenSum();
    const engine = place.script({
      turns: [{ match: { task: "*cleanup*" }, steps: [{ say: "no" }] }, { steps: LEAK }],
    });
    const ran = await place.run(...RUN, engine, "--max-attempts", "2");
    expect(ran).toMatchObject({ status: 1 });
    expect(place.json("proof.json")).toMatchObject({ status: "not_ready", readiness_code: "review_blocked" });
    const { findings } = section(place, "security");
    expect(findings).toMatchObject([{ path: "client.js", kind: "github-token", severity: "high" }]);
    expect(`${ran.stdout}${ran.stderr}`).not.toContain(SECRET);
    expect(filesWith(SECRET, place.goalFolder())).toEqual([]);
    const review = readFileSync(
      join(place.goalFolder(), "artifacts/reviews/goal-security-review.md"),
      "utf8",
    );
    expect(review).toContain(findings[0]?.id);
  });

  test("passes when a person lets it, with the reason in the proof", async () => {
    using place = await brokenSum();
    const engine = place.script({
      turns: [{ match: { task: "*cleanup*" }, steps: [{ say: "no" }] }, { steps: LEAK }],
    });
    await place.run(...RUN, engine, "--max-attempts", "1");
    const id = section(place, "security").findings[0]?.id ?? "";
    const waive = ["--waive", id, "--reason", "a key of the test server"];
    const accepted = await place.run("goal", "accept", "--summary", "looked at it", ...waive);
    expect(accepted).toMatchObject({ status: 0 });
    expect(section(place, "security")).toMatchObject({
      status: "passed",
      waived: [{ finding: id, reason: "a key of the test server" }],
    });
    expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });
    const { tasks } = place.json("task-graph.json") as { tasks: { id: string; status: string }[] };
    expect(tasks.filter(({ status }) => status === "blocked")).toEqual([]);
  });

  test("is no finding where the list of the base allows it; what the agent adds to the list means nothing", async () => {
    const allow = '[[allow]]\npath = "client.js"\nreason = "a key of the test server"\n';
    using place = await brokenSum({ ".omk/allowed-secrets.toml": allow });
    expect(await place.run(...RUN, place.script({ turns: [{ steps: LEAK }] }))).toMatchObject({ status: 0 });

    using other = await brokenSum();
    const steps = [{ write: ".omk/allowed-secrets.toml", text: allow }, ...LEAK];
    const ran = await other.run(...RUN, other.script({ turns: [{ steps }] }), "--max-attempts", "1");
    expect(ran.status).toBe(1);
    expect(section(other, "security").status).toBe("blocked");
  });

  test("a broken list stops the goal before it is made", async () => {
    using place = await brokenSum({ ".omk/allowed-secrets.toml": '[[allow]]\npath = "a"\n' });
    const ran = await place.run(...RUN, place.script({ turns: [{ steps: REPAIR }] }));
    expect(ran).toMatchObject({ status: 78 });
    expect(ran.stderr).toContain(".omk/allowed-secrets.toml");
  });
});

describe("haste", () => {
  test("that is certain goes back and is mended; what only advises stays advice", async () => {
    using place = await brokenSum();
    const hasty = [
      { edit: "sum.js", replace: "return a - b;", with: "debugger;\n  return a + b; // TODO check" },
    ];
    const engine = place.script({
      turns: [
        {
          match: { task: "goal-agent-refactor-*", prompt: "debugger" },
          steps: [{ edit: "sum.js", replace: "  debugger;\n", with: "" }, { say: "mended" }],
        },
        { steps: [...hasty, { say: "done" }] },
      ],
    });
    expect(await place.run(...RUN, engine)).toMatchObject({ status: 0 });
    const { status, findings } = section(place, "anti-slop");
    expect([status, findings.map(({ kind }) => kind)]).toEqual(["passed", ["unfinished"]]);
  });
});

describe("the engine's review", () => {
  const answer = (findings: object[]) => ({ say: JSON.stringify({ summary: "looked at it", findings }) });
  const FOUND = {
    path: "sum.js",
    line: 2,
    kind: "overflow",
    severity: "medium",
    text: "large numbers overflow",
  };
  const fine = { match: { role: "review" }, steps: [answer([])] };

  test("sends a finding above low back, and the next round lets the result pass", async () => {
    using place = await brokenSum();
    const engine = place.script({
      turns: [
        { match: { role: "review", task: "code", prompt: "+  return a + b;" }, steps: [answer([FOUND])] },
        fine,
        {
          match: { task: "goal-agent-cleanup-*", prompt: "large numbers overflow" },
          steps: [
            { edit: "sum.js", replace: "return a + b;", with: "return Number(a + b);" },
            { say: "mended" },
          ],
        },
        { steps: REPAIR },
      ],
    });
    const ran = await place.run(...RUN, engine, "--agent-review");
    expect(ran).toMatchObject({ status: 0 });
    const turns = place.json("work.json")["helper_turns"] as { role: string; task: string }[];
    const roles = ["architect", "code", "test", "security"];
    expect(turns.map(({ task }) => task)).toEqual([...roles, ...roles]);
    const graph = place.json("task-graph.json")["tasks"] as { id: string; status: string }[];
    expect(graph.find(({ id }) => id === "goal-agent-verify")).toMatchObject({ status: "done" });
    expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });
  });

  test("blocks until a person lets the finding pass, where the agent does not mend it", async () => {
    using place = await brokenSum();
    const engine = place.script({
      turns: [
        { match: { role: "review", task: "test" }, steps: [answer([FOUND])] },
        fine,
        { match: { task: "*cleanup*" }, steps: [{ say: "it is right as it is" }] },
        { steps: REPAIR },
      ],
    });
    expect(await place.run(...RUN, engine, "--agent-review", "--max-attempts", "1")).toMatchObject({
      status: 1,
    });
    const { status, findings } = section(place, "test");
    expect(status).toBe("blocked");
    const waive = ["--waive", findings[0]?.id ?? "", "--reason", "never that large"];
    const accepted = await place.run("goal", "accept", "--summary", "fine", ...waive);
    expect(accepted).toMatchObject({ status: 0 });
  });

  test("without an answer that can be used blocks after a second try, and passes on nothing", async () => {
    using place = await brokenSum();
    const engine = place.script({
      turns: [
        { match: { role: "review", task: "security" }, steps: [{ say: "Looks good to me!" }] },
        fine,
        { steps: REPAIR },
      ],
    });
    expect(await place.run(...RUN, engine, "--agent-review")).toMatchObject({ status: 1 });
    expect(section(place, "security")).toMatchObject({
      status: "blocked",
      findings: [{ kind: "no_usable_answer" }],
    });
    const turns = place.json("work.json")["helper_turns"] as { task: string }[];
    expect(turns.filter(({ task }) => task === "security")).toHaveLength(2);
  });

  test("is not asked for, and its task is not in the graph, without --agent-review", async () => {
    using place = await brokenSum();
    expect(await place.run(...RUN, place.script({ turns: [{ steps: REPAIR }] }))).toMatchObject({
      status: 0,
    });
    expect(JSON.stringify(place.json("task-graph.json"))).not.toContain("goal-agent-verify");
    expect(place.json("work.json")["helper_turns"]).toEqual([]);
  });
});
