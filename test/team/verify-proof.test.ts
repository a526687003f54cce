/** One finished team run on the simulated disk, of which every byte is bent once: `omk proof verify` must see each. */
import { join } from "node:path";

import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";

import type { Engine, Prompt, StartOptions, Turn } from "../../src/engine/engine.ts";
import { renderDocument } from "../../src/format/json.ts";
import type { Disk } from "../../src/ports.ts";
import { sha256 } from "../../src/store/event-line.ts";
import { writeAll } from "../../src/store/files.ts";
import { OpenRun, type RunPorts } from "../../src/team/open.ts";
import { resumeRun, startRun, type RunRequest } from "../../src/team/run.ts";
import { verifyRunProof } from "../../src/team/verify-proof.ts";
import { Bender, withFiles, type OtherBytes } from "../support/bent-disk.ts";
import { ASKING, AutoClock, NoProcesses } from "../support/fakes.ts";
import { SimulatedDisk } from "../support/simulated-disk.ts";
import { GROUND, PROJECT, ROOT, simulatedPorts, SimulatedProject } from "../support/simulated-goal.ts";

const never = new AbortController().signal;
const ID = "pair";
const FOLDER = `team/${ID}`;
const LOG = `${FOLDER}/events.jsonl`;

const REQUEST: RunRequest = {
  name: ID,
  text: "Fix the failing tests",
  projectDir: PROJECT,
  workers: 2,
  role: {
    id: "executor",
    name: "executor",
    description: "",
    systemPrompt: "",
    tools: ["read", "write", "shell"],
    defaultSkills: [],
    suggestedWorkerCount: 1,
  },
  engine: "simulated",
  gates: {
    source: "config",
    digest: "0".repeat(64),
    definitions: [
      {
        name: "tests",
        command: "npm",
        args: ["test"],
        required: true,
        timeout_secs: 60,
        skip: false,
        covers: [],
        env: [],
        kind: "test",
        source: "config",
      },
    ],
  },
  maxAttempts: 3,
  budget: {},
  idleMs: 600_000,
  leaseMs: null,
};

/** What a scripted agent does with a prompt; it works on the project when it finishes a task. */
type Answer = (meta: Prompt["meta"]) => Partial<Turn>;

const SUBTASKS = [
  { id: "one", description: "Repair one.js.", write_set: ["one.js"] },
  { id: "two", description: "Repair two.js.", write_set: ["two.js"] },
];

/** Splits the task in two; the first try of one of them crashes. */
const helpful: Answer = ({ role, task, attempt }) => {
  if (role === "decompose") return { text: JSON.stringify(SUBTASKS) };
  if (task === "one" && attempt === 1) {
    return {
      status: "failed",
      text: "",
      failure: { class: "crashed", message: "it crashed", retryable: true },
    };
  }
  return { text: `${task} is done` };
};

function portsOf(disk: SimulatedDisk, project: SimulatedProject, stream: number, answer: Answer): RunPorts {
  const given = simulatedPorts(disk, project, stream);
  return {
    ...given,
    clock: new AutoClock(),
    processes: new NoProcesses({ self: { pid: 4242 + stream } }),
    engineNamed: () => scriptedEngine(project, answer),
    runGates: async (run, signal) => {
      const results = await given.runGates(run, signal);
      return results.map((result, at) => {
        const output_path = join(run.logFolder, `gate-${at}.log`);
        for (let made = ROOT, rest = run.logFolder.slice(ROOT.length + 1).split("/"); rest.length > 0;) {
          made = join(made, rest.shift() ?? "");
          if (!disk.stat(made)) disk.makeFolder(made);
        }
        const file = disk.open(output_path, "create");
        writeAll(file, Buffer.from(`${result.stdout}of ${run.tree}\n`));
        file.close();
        return { ...result, output_path };
      });
    },
  };
}

function scriptedEngine(project: SimulatedProject, answer: Answer): Engine {
  const finished: Turn = {
    status: "finished",
    text: "done",
    toolCalls: 1,
    usage: { input_tokens: 10, output_tokens: 5, cost_usd: 0.000_1, quality: "exact" },
    proposals: [],
  };
  return {
    name: "simulated",
    capabilities: ASKING,
    probe: () => Promise.resolve({ found: true, program: "simulated", version: "1.0", warnings: [] }),
    start: (options: StartOptions) =>
      Promise.resolve({
        id: "session",
        run: ({ meta }: Prompt) => {
          const turn: Turn = { ...finished, ...answer(meta) };
          options.onEvent({ kind: "text", text: turn.text, thinking: false } as never);
          if (meta.role === "work" && turn.status === "finished") project.turn++;
          return Promise.resolve(turn);
        },
        stop: () => Promise.resolve(),
      }),
  };
}

let disk: SimulatedDisk;
let bender: Bender;
let evidence: string[];

/** How a check names a file of the state root. */
function nameOf(path: string): string {
  return path.startsWith(`${FOLDER}/`) ? path.slice(FOLDER.length + 1) : path;
}

function verify(on: Disk) {
  return verifyRunProof(join(ROOT, FOLDER), ID, { disk: on });
}

function check(files: OtherBytes) {
  return verify(withFiles(disk, ROOT, files));
}

const VIEWS = [`${FOLDER}/team-state.json`, `runs/${ID}/manifest.json`, `runs/${ID}/tasks.jsonl`];
const DOCUMENTS = [`${FOLDER}/proof.json`, `${FOLDER}/team-work.json`, ...VIEWS];

beforeAll(async () => {
  disk = new SimulatedDisk(GROUND);
  const { open, verdict } = await startRun(
    REQUEST,
    portsOf(disk, new SimulatedProject(2), 1, helpful),
    never,
    () => undefined,
  );
  expect(verdict).toEqual({ status: "ready", code: "ready", gaps: [] });
  expect(open.proof).toMatchObject({ retries: [{ task_id: "one", attempt: 1, reason: "it crashed" }] });
  bender = new Bender(disk, ROOT, verify, nameOf);
  evidence = (open.proof as unknown as { evidence: { path: string }[] }).evidence.map(
    ({ path }) => `${FOLDER}/${path}`,
  );
  // Two gate runs, the split, the summary and three attempts.
  expect(evidence).toHaveLength(7);
});

describe("the proof of a team run", () => {
  test("that nobody touched holds", () => {
    expect(check({})).toMatchObject({
      run_id: ID,
      status: "ready",
      valid: true,
      faults: [],
      evidence_files: 7,
      later_events: [],
    });
  });

  test(
    "is found out, by name, when any byte is another in it or in what was rendered with it",
    { timeout: 120_000 },
    () => {
      expect(bender.bendTogether(DOCUMENTS)).toBeGreaterThan(10_000);
    },
  );

  test("is found out, by name, when any byte of its evidence is another", { timeout: 60_000 }, () => {
    expect(bender.bendTogether(evidence)).toBeGreaterThan(1_000);
  });

  test(
    "is found out when a byte of the log is another: all of one line, and a sample of all",
    { timeout: 120_000 },
    () => {
      const text = Buffer.from(bender.bytesOf(LOG));
      const lastLine = text.subarray(0, -1).lastIndexOf("\n") + 1;
      const secondLine = text.indexOf("\n") + 1;
      const thirdLine = text.indexOf("\n", secondLine) + 1;
      const places = fc.sample(fc.nat(text.length - 1), 1_000);
      for (let at = secondLine; at < thirdLine; at++) places.push(at);
      // The end is where a flip might pass for a write that was cut off.
      for (const at of [0, lastLine - 1, lastLine, text.length - 2, text.length - 1]) places.push(at);
      for (const at of places) {
        const { valid, faults } = check({ [LOG]: bender.bent(LOG, at) });
        expect(valid, `byte ${at}`).toBe(false);
        expect(faults[0]?.file, `byte ${at}`).toBe("events.jsonl");
      }
    },
  );

  test("is found out when lines of the log are gone, doubled or exchanged", () => {
    const lines = Buffer.from(bender.bytesOf(LOG)).toString("utf8").split("\n").slice(0, -1);
    expect(bender.checkLines(LOG, lines).valid).toBe(true);
    lines.forEach((line, at) => {
      expect(bender.checkLines(LOG, lines.toSpliced(at, 1)).valid, `without line ${at}`).toBe(false);
      expect(bender.checkLines(LOG, lines.toSpliced(at, 0, line)).valid, `line ${at} twice`).toBe(false);
      const next = lines[at + 1];
      if (next !== undefined)
        expect(bender.checkLines(LOG, lines.toSpliced(at, 2, next, line)).valid, `line ${at} exchanged`).toBe(
          false,
        );
    });
  });

  test("is found out, by name, when a file is missing, empty, longer, shorter or laid out otherwise", () => {
    for (const name of [...DOCUMENTS, ...evidence]) {
      const bytes = bender.bytesOf(name);
      for (const other of [
        null,
        new Uint8Array(),
        Buffer.concat([bytes, Buffer.from("\n")]),
        bytes.subarray(0, -1),
      ]) {
        const { valid, faults } = check({ [name]: other });
        expect(valid, name).toBe(false);
        expect(
          faults.map(({ file }) => file),
          name,
        ).toContain(nameOf(name));
      }
    }
  });

  test("that names evidence outside the run's folder is found out without reading it", () => {
    const proof = JSON.parse(Buffer.from(bender.bytesOf(`${FOLDER}/proof.json`)).toString("utf8")) as {
      evidence: { path: string }[];
    };
    for (const path of ["/etc/passwd", "../../other/proof.json", "artifacts/../../x"]) {
      proof.evidence = [{ ...proof.evidence[0], path }];
      const { faults } = check({ [`${FOLDER}/proof.json`]: Buffer.from(JSON.stringify(proof)) });
      expect(faults).toContainEqual({
        file: path,
        because: "evidence must lie inside the folder of its proof",
      });
    }
  });

  test("is found out when a correct log records another one than follows from it", async () => {
    const failure = { task_id: null, worker_id: null, description: "x", timestamp: "2026-01-01T00:00:00Z" };
    const changes: [key: string, value: unknown, because?: string][] = [
      ["status", "not_ready", "it says not_ready, but the log says ready (ready)"],
      ["reason_code", "no_gates"],
      ["known_gaps", ["nothing was done"]],
      ["retries", []],
      ["failures", [failure]],
      ["changed_files", []],
      ["gates", []],
      ["tasks", []],
      ["attempts", []],
      ["evidence", []],
      ["added", true],
    ];
    for (const [key, value, because = `its "${key}" is not what follows from the log`] of changes) {
      const other = disk.survivor();
      const ports = portsOf(other, new SimulatedProject(2, 2), 3, helpful);
      const open = await OpenRun.open(ID, "test", ports, never);
      const proof = { ...(open.proof as object), [key]: value } as Record<string, unknown>;
      // Digest, chain and snapshots are right: only what the log says besides can tell.
      await open.record({
        kind: "proof_written",
        actor: null,
        payload: { status: proof["status"], sha256: sha256(renderDocument(proof)) },
        changes: [
          { file: "proof.json", set: {}, unset: Object.keys(proof) },
          { file: "proof.json", set: proof },
        ],
      });
      await open.saveViews();
      await open.close();
      const { valid, faults } = verify(other);
      expect(valid, key).toBe(false);
      expect(faults, key).toEqual([{ file: "proof.json", because }]);
    }
  });

  test("of another run is not the proof of this one", () => {
    const other = disk.survivor();
    other.rename(join(ROOT, FOLDER), join(ROOT, "team/other"));
    other.rename(join(ROOT, "runs", ID), join(ROOT, "runs/other"));
    const { valid, faults } = verifyRunProof(join(ROOT, "team/other"), "other", { disk: other });
    expect(valid).toBe(false);
    expect(faults).toEqual([{ file: "events.jsonl", because: `it is the log of ${ID}` }]);
  });

  test("is missing, and not wrong, while the run has none", async () => {
    const own = new SimulatedDisk(GROUND);
    const refusals: unknown[] = [];
    const watching: Answer = (meta) => {
      try {
        verify(own);
      } catch (error) {
        refusals.push(error);
      }
      return helpful(meta);
    };
    await startRun(REQUEST, portsOf(own, new SimulatedProject(2), 1, watching), never, () => undefined);
    expect(refusals).toHaveLength(5);
    for (const refusal of refusals) expect(refusal).toMatchObject({ code: "proof.missing" });
  });
});

describe("the proof of a run that was stopped", () => {
  test("holds, and what came later is listed, until the run has another one", async () => {
    const own = new SimulatedDisk(GROUND);
    const project = new SimulatedProject(2);
    const stop = new AbortController();
    const stopping: Answer = (meta) => {
      if (meta.role === "work") stop.abort(new Error("stopped"));
      return meta.role === "work" ? { status: "cancelled", text: "" } : helpful(meta);
    };
    const first = await startRun(REQUEST, portsOf(own, project, 1, stopping), stop.signal, () => undefined);
    expect(first.verdict).toMatchObject({ status: "failed", code: "interrupted" });
    expect(verify(own)).toMatchObject({ status: "failed", valid: true, faults: [], later_events: [] });

    // The second controller dies before it ends: the old proof stands, and is not judged by what came after it.
    const atWork: { disk: SimulatedDisk | undefined } = { disk: undefined };
    const watching: Answer = (meta) => {
      if (meta.role === "synthesize") atWork.disk = own.survivor();
      return helpful(meta);
    };
    const second = await resumeRun(ID, { budget: {} }, portsOf(own, project, 2, watching), never);
    expect(second.verdict.status).toBe("ready");
    expect(verify(own)).toMatchObject({ status: "ready", valid: true, faults: [], later_events: [] });
    const between = atWork.disk && verify(atWork.disk);
    expect(between).toMatchObject({ status: "failed", valid: true, faults: [] });
    expect(between?.later_events.map(({ kind }) => kind)).toEqual(
      expect.arrayContaining(["run_resumed", "task_completed"]),
    );
  });
});
