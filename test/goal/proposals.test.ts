/** What agents propose in their turns, through whole goals on a simulated machine. */
import { describe, expect, test } from "vitest";

import type { Engine, EngineEvent, Prompt, Turn } from "../../src/engine/engine.ts";
import type { Event } from "../../src/format/event.ts";
import { runGoal } from "../../src/goal/run-goal.ts";
import { findGoal } from "../../src/goal/find.ts";
import { PROPOSAL_RULE, readProposals } from "../../src/goal/proposals.ts";
import { foldFolder } from "../../src/store/journal.ts";
import { createRedactor } from "../../src/store/redact.ts";
import { ASKING } from "../support/fakes.ts";
import { SimulatedDisk } from "../support/simulated-disk.ts";
import { GROUND, PROJECT, ROOT, simulatedPorts, SimulatedProject } from "../support/simulated-goal.ts";

const never = new AbortController().signal;
const redactor = createRedactor({ environment: {} });
const TOKEN = `ghp_${"a1B2c3D4e5".repeat(4)}`;

const DOCS = {
  id: "write-docs",
  title: "Write it down",
  description: "Say in the read-me what the function does.",
  acceptance: ["The read-me names the function."],
};

interface Played {
  turns: { task: string; text: string }[];
  events: Event[];
  file: (name: string) => Record<string, unknown>;
}

/** A goal whose agent says what is given for each task, in a project that its first turn repairs. */
async function played(say: (task: string) => Partial<Turn>, more: object = {}): Promise<Played> {
  const project = new SimulatedProject(1);
  const ports = simulatedPorts(new SimulatedDisk(GROUND), project, 1);
  const turns: Played["turns"] = [];
  const usage = { input_tokens: 10, output_tokens: 5, quality: "exact" as const };
  ports.engineNamed = () =>
    ({
      name: "played",
      capabilities: ASKING,
      start: (options: { takesProposals?: boolean; onEvent: (event: EngineEvent) => void }) =>
        Promise.resolve({
          id: "s",
          run: (prompt: Prompt): Promise<Turn> => {
            expect(options.takesProposals).toBe(true);
            turns.push({ task: prompt.meta.task, text: prompt.text });
            project.turn = 1;
            const turn: Turn = { status: "finished", text: "done", toolCalls: 1, usage, proposals: [] };
            return Promise.resolve({ ...turn, ...say(prompt.meta.task) });
          },
          stop: () => Promise.resolve(),
        }),
    }) as unknown as Engine;
  const request = {
    text: "Fix the failing test",
    projectDir: PROJECT,
    engine: "played",
    noLlmPlanner: true,
    untilReady: true,
    autoAccept: true,
    ...more,
  };
  await runGoal(request, ports, never, () => undefined);
  const { folder } = findGoal(ROOT, "latest", ports);
  const events: Event[] = [];
  const { documents } = foldFolder(folder, ports, (event) => void events.push(event));
  const file = (name: string): Record<string, unknown> =>
    (documents.get(name) ??
      JSON.parse(Buffer.from(ports.disk.readFile(`${folder}/${name}`)).toString())) as Record<
      string,
      unknown
    >;
  return { turns, events, file };
}

/** Proposes in the first task only. */
function first(turn: Partial<Turn>): (task: string) => Partial<Turn> {
  return (task) => (task === "goal-agent-execute" ? turn : {});
}

function payloads(events: readonly Event[], kind: string): Record<string, unknown>[] {
  return events.filter((event) => event.kind === kind).map(({ payload = {} }) => payload);
}

function tasksOf(graph: Record<string, unknown>): Record<string, unknown>[] {
  return graph["tasks"] as Record<string, unknown>[];
}

describe("a task that an agent proposes", () => {
  test("is done by a turn of its own before the gates run, however it was proposed", async () => {
    const marked = { ...DOCS, id: "second", dependencies: ["write-docs"] };
    const text = `Done.\nOMK_TASK_PROPOSAL: ${JSON.stringify(marked)}\nThat is all.`;
    const { turns, events, file } = await played(first({ proposals: [DOCS], text }));
    expect(turns.map(({ task }) => task)).toEqual(["goal-agent-execute", "write-docs", "second"]);
    expect(turns[0]?.text).toContain(PROPOSAL_RULE);
    expect(turns[1]?.text).toContain(DOCS.description);
    const graph = tasksOf(file("task-graph.json"));
    expect(graph.find(({ id }) => id === "write-docs")).toMatchObject({
      status: "done",
      owner_role: "executor",
      budget_secs: 300,
      dependencies: ["goal-agent-execute"],
    });
    expect(graph.find(({ id }) => id === "goal-local-verify")).toMatchObject({
      dependencies: ["goal-agent-execute", "write-docs", "second"],
    });
    const kinds = events.map(({ kind }) => kind);
    expect(kinds.lastIndexOf("gate_passed")).toBeGreaterThan(kinds.lastIndexOf("task_claimed"));
  });

  test("is in the log with every decision, and in a file that the proof names", async () => {
    const bad = { ...DOCS, id: "bad", write_set: ["../elsewhere"] };
    const { events, file } = await played(first({ proposals: [DOCS, bad] }));
    expect(payloads(events, "task_proposed")).toMatchObject([
      { task_id: "write-docs", title: DOCS.title, budget_secs: 300, reason: null },
      { task_id: "bad" },
    ]);
    expect(payloads(events, "task_rejected")).toMatchObject([{ task_id: "bad", code: "unsafe_path" }]);
    expect(payloads(events, "task_accepted")).toMatchObject([
      {
        task_id: "write-docs",
        code: "accepted",
        budget_snapshot: { task_budget_secs: 300, budget_time: null },
      },
    ]);
    const [mutated] = payloads(events, "task_graph_mutated");
    expect(mutated).toMatchObject({
      action: "task_added",
      source: "agent_proposal",
      task_id: "write-docs",
      task_graph_path: "task-graph.json",
    });
    const path = String(mutated?.["proposal_path"]);
    expect(path).toMatch(/^artifacts\/agent-runs\/goal-agent-execute\/\d+\/agent-task-proposals\.json$/);
    expect(file(path)).toMatchObject({
      max_agents: 1,
      accepted_tasks: [{ id: "write-docs" }],
      rejected_tasks: [{ task: { id: "bad" }, code: "unsafe_path" }],
    });
    const evidence = file("proof.json")["evidence"] as { path: string }[];
    expect(evidence.map((one) => one.path)).toContain(path);
  });

  test("finds each dispatch written down as a policy of one task", async () => {
    const { events, file } = await played(first({ proposals: [{ ...DOCS, budget_secs: 60 }] }));
    const fences = events.filter(({ kind }) => kind === "task_claimed").map(({ seq }) => seq);
    expect(file(`artifacts/agent-runs/write-docs/${fences[1]}/task-policy.json`)).toMatchObject({
      proposed_tasks: [{ id: "write-docs", budget_secs: 60 }],
      accepted_tasks: [{ id: "write-docs" }],
      rejected_tasks: [],
    });
  });

  test("does not make the turn longer than the goal's time, and is refused where that does not reach", async () => {
    const { events } = await played(first({ proposals: [DOCS] }), { budgetTime: "2m" });
    expect(payloads(events, "task_rejected")).toMatchObject([{ code: "time_budget" }]);
  });

  test.each([
    ["malformed", { id: "x", title: "no description" }],
    ["malformed", "a text"],
    ["blank_title", { ...DOCS, title: "" }],
    ["no_acceptance", { ...DOCS, acceptance: [] }],
    ["publishing", { ...DOCS, risk: "external-side-effect" }],
    ["unsafe_path", { ...DOCS, write_set: [".git/hooks/post-commit"] }],
    ["id_in_graph", { ...DOCS, id: "goal-review" }],
    ["unsafe_id", { ...DOCS, id: "../../../home" }],
    ["unknown_dependency", { ...DOCS, dependencies: ["nothing"] }],
  ])("is refused with the code %s, and changes nothing: %j", async (code, proposal) => {
    const { turns, events, file } = await played(first({ proposals: [proposal] }));
    expect(turns).toHaveLength(1);
    expect(payloads(events, "task_rejected")).toMatchObject([{ code }]);
    expect(payloads(events, "task_graph_mutated")).toEqual([]);
    expect(tasksOf(file("task-graph.json"))).toHaveLength(6);
    expect(events.map(({ kind }) => kind)).toContain("gate_passed");
  });

  test("that comes again with a later attempt is known already", async () => {
    const { turns, events } = await played(() => ({ proposals: [DOCS] }));
    expect(turns.map(({ task }) => task)).toEqual(["goal-agent-execute", "write-docs"]);
    expect(payloads(events, "task_rejected")).toMatchObject([{ code: "id_in_graph" }]);
  });

  test("brings no key of its own into the graph, and no secret into any file", async () => {
    const proposal = { ...DOCS, status: "done", owner_role: "omk", description: `Use ${TOKEN} for it.` };
    const { turns, events, file } = await played(first({ proposals: [proposal] }));
    expect(turns).toHaveLength(2);
    expect(JSON.stringify([events, file("task-graph.json")])).not.toContain(TOKEN);
    expect(turns[1]?.text).not.toContain(TOKEN);
    expect(tasksOf(file("task-graph.json")).at(-1)).toMatchObject({ owner_role: "executor" });
  });
});

describe("what is read of a text", () => {
  const read = (text: string) => readProposals({ text, proposals: [] }, redactor);

  test("objects behind markers, with braces and quotes in their strings", () => {
    const tricky = { ...DOCS, description: 'Say "{" and \\ and "}}" in it.' };
    const text = `x OMK_TASK_PROPOSAL:\n\n\`\`\`json\n${JSON.stringify(tricky, null, 2)}\n\`\`\` { no: marker }\nOMK_TASK_PROPOSAL:{"id":1}`;
    const { proposals, malformed } = read(text);
    expect(proposals).toMatchObject([tricky]);
    expect(proposals[0]).toMatchObject({ budget_secs: 300, risk: "moderate", dependencies: [], priority: 0 });
    expect(malformed).toHaveLength(1);
  });

  test("nothing without a marker, and nothing behind one that is never closed", () => {
    expect(read(JSON.stringify(DOCS))).toEqual({ proposals: [], malformed: [] });
    expect(read("OMK_TASK_PROPOSAL: soon")).toEqual({ proposals: [], malformed: [] });
    expect(read(`OMK_TASK_PROPOSAL: {"id": "x" OMK_TASK_PROPOSAL: ${JSON.stringify(DOCS)}`)).toMatchObject({
      proposals: [],
      malformed: [{ reason: "not a JSON object" }],
    });
  });

  test("a bounded number, whatever the text is", () => {
    const flood = `OMK_TASK_PROPOSAL: ${JSON.stringify(DOCS)}\n`.repeat(3_000);
    const { proposals, malformed } = read(flood);
    expect(proposals).toHaveLength(100);
    expect(malformed).toMatchObject([{ reason: expect.stringContaining("more than 100") as unknown }]);
    const sent = readProposals({ text: "", proposals: Array.from({ length: 150 }, () => DOCS) }, redactor);
    expect(sent.proposals).toHaveLength(100);
    expect(sent.malformed).toEqual(malformed);
    const open = "OMK_TASK_PROPOSAL: {".repeat(50_000);
    expect(read(open).malformed).toHaveLength(1);
  });
});
