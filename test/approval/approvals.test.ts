/** Requests that wait for a person: time-outs, parallel ones, late answers, and what a crash leaves of them. */
import { describe, expect, test } from "vitest";

import { Approvals, type AskPerson, type AttemptScope, type Question } from "../../src/approval/approvals.ts";
import { ApprovalBook } from "../../src/approval/book.ts";
import { approvalSettings, refuseUnasking, type RecordedApprovals } from "../../src/approval/settings.ts";
import type { Engine, PermissionAnswer, PermissionRequest } from "../../src/engine/engine.ts";
import type { Event } from "../../src/format/event.ts";
import { foldFolder, Journal } from "../../src/store/journal.ts";
import { createRedactor } from "../../src/store/redact.ts";
import { CountingRandom, ManualClock, NoProcesses } from "../support/fakes.ts";
import { crashStates, SimulatedDisk } from "../support/simulated-disk.ts";

const FOLDER = "/state/goals/g1";
const REQUEST = { runId: "g1", command: "test", what: "Goal g1", snapshots: [] };
const never = new AbortController().signal;
const SCOPE: AttemptScope = { task: "work", fence: 1, worker: "worker-0", cwd: "/project" };
const MINUTE = 60_000;

function request(more: Partial<PermissionRequest> = {}): PermissionRequest {
  return {
    id: "1",
    toolCallId: "call-1",
    title: "a tool",
    name: null,
    kind: "execute",
    command: "npm test",
    locations: [],
    rawInput: undefined,
    content: [],
    options: [],
    ...more,
  };
}

interface RigOptions {
  recorded?: RecordedApprovals;
  disk?: SimulatedDisk;
  pid?: number;
  askPerson?: AskPerson;
}

/** The approvals of a goal that this process controls. */
async function rig({ recorded, disk = new SimulatedDisk(), pid = 1, askPerson }: RigOptions = {}) {
  const clock = new ManualClock();
  const told: string[] = [];
  const ports = {
    disk,
    clock,
    random: new CountingRandom(pid),
    processes: new NoProcesses({ self: { pid } }),
    redactor: createRedactor({ environment: { API_TOKEN: "correct-horse-battery" } }),
    environment: {},
    tell: (line: string) => void told.push(line),
    ...(askPerson && { askPerson }),
  };
  const journal = await Journal.open(FOLDER, REQUEST, ports, never);
  const book = new ApprovalBook(
    {
      id: "g1",
      kind: "goal",
      folder: FOLDER,
      record: async (...events) => (await journal.append(...events)).map(({ seq }) => seq),
      documents: journal.documents,
    },
    ports,
  );
  const settings = approvalSettings({ approval_policy: "never", ...recorded }, askPerson !== undefined);
  const approvals = new Approvals(book, settings, () => [], ports);
  // Whoever holds a claim sleeps until it has to be renewed.
  const others = clock.sleepers;
  const waiting = (count = 1) => clock.someoneSleeps(others + count);
  return { approvals, book, clock, disk, told, others, waiting };
}

function eventsOf(disk: SimulatedDisk): Event[] {
  const events: Event[] = [];
  foldFolder(FOLDER, { disk }, (event) => void events.push(event));
  return events;
}

const kinds = (disk: SimulatedDisk) => eventsOf(disk).map(({ kind }) => kind);
const payloads = (disk: SimulatedDisk, wanted: string) =>
  eventsOf(disk)
    .filter(({ kind }) => kind === wanted)
    .map(({ payload }) => payload ?? {});
const approve = { decision: "approve", note: null, by: "test" } as const;
const reject = { decision: "reject", note: "not on a Friday", by: "test" } as const;

describe("what nobody has to be asked about", () => {
  test("is decided by the role, then the policy, and every request and decision is in the log", async () => {
    const { approvals, disk } = await rig({ recorded: { approval_policy: "workspace" } });
    const roleRefuses = (kind: string) => (kind === "edit" ? "role reader may not edit" : undefined);
    const attempt = approvals.attempt({ ...SCOPE, roleRefuses });
    expect(await attempt.decide(request(), never)).toMatchObject({ decision: "allow" });
    expect(await attempt.decide(request({ id: "2", kind: "edit", command: null }), never)).toEqual({
      decision: "reject",
      rule: "role reader may not edit",
    });
    expect(attempt.refused).toBe("role reader may not edit: a tool");
    expect(kinds(disk)).toEqual([
      "approval_requested",
      "approval_decided",
      "approval_requested",
      "approval_decided",
    ]);
    expect(payloads(disk, "approval_requested")[0]).toMatchObject({
      task_id: "work",
      worker_id: "worker-0",
      request_id: "1",
      action: "execute",
      command: "npm test",
    });
    expect(payloads(disk, "approval_decided")).toMatchObject([
      { decision: "approve", by: "policy", rule: "policy workspace: a command in the project" },
      { decision: "reject", by: "role" },
    ]);
  });

  test("is refused by the role also for what a request of another kind would do", async () => {
    const { approvals } = await rig({ recorded: { approval_policy: "yolo" } });
    const roleRefuses = (kind: string) => (/^(?:edit|execute)$/.test(kind) ? `may not ${kind}` : undefined);
    const attempt = approvals.attempt({ ...SCOPE, roleRefuses });
    const rules = async (more: Partial<PermissionRequest>) =>
      (await attempt.decide(request({ kind: "read", command: null, ...more }), never)).rule;
    expect(await rules({ locations: ["a"] })).toBe("policy yolo");
    expect(await rules({ rawInput: { command: "ls" } })).toBe("may not execute");
    expect(await rules({ locations: ["a"], content: [{ type: "diff", path: "a", newText: "" }] })).toBe(
      "may not edit",
    );
    expect(await rules({ kind: "EDIT" })).toMatch(/^may not /);
  });

  test("does not hand out omk's own files", async () => {
    const disk = new SimulatedDisk();
    const { approvals } = await rig({ disk, recorded: { approval_policy: "workspace" } });
    const attempt = approvals.attempt(SCOPE);
    const stop = new AbortController();
    const asked = request({ kind: "read", command: null, locations: [`${FOLDER}/events.jsonl`] });
    const deciding = attempt.decide(asked, stop.signal);
    stop.abort(new Error("over"));
    expect((await deciding).decision).toBe("reject");
  });

  test("of a turn that only reads: reading is granted, all else refused, and nobody is asked", async () => {
    const { approvals, book } = await rig();
    const attempt = approvals.attempt({ ...SCOPE, readsOnly: true });
    const reading = request({ kind: "read", command: null, locations: ["a"] });
    expect((await attempt.decide(reading, never)).decision).toBe("allow");
    expect((await attempt.decide(request({ id: "2" }), never)).decision).toBe("reject");
    expect(book.records).toEqual([]);
  });
});

describe("a request that waits", () => {
  test("is a file and a line of the story, and takes the answer at once", async () => {
    const { approvals, book, clock, disk, told, waiting, others } = await rig();
    const deciding = approvals.attempt(SCOPE).decide(request(), never);
    await waiting();
    const [open] = book.open;
    const id = open?.id ?? "";
    expect(JSON.parse(Buffer.from(disk.readFile(`${FOLDER}/approvals/${id}.json`)).toString())).toMatchObject(
      {
        id,
        status: "open",
        command: "npm test",
        task_id: "work",
      },
    );
    expect(told.join("\n")).toContain(`omk approvals answer ${id} approve|reject`);
    expect(await book.answer(id, approve, "r1")).toEqual({ outcome: "taken", isLate: false });
    expect(await deciding).toEqual({ decision: "allow", rule: `a person approved ${id}` });
    expect(book.records).toMatchObject([{ status: "approved", decided_by: "test", used_fence: 1 }]);
    expect(clock.sleepers).toBe(others);
  });

  test("tells the agent why a person said no", async () => {
    const { approvals, book, waiting } = await rig();
    const deciding = approvals.attempt(SCOPE).decide(request(), never);
    await waiting();
    await book.answer(book.open[0]?.id ?? "", reject, null);
    expect(await deciding).toMatchObject({
      decision: "reject",
      feedback: "A person said no: not on a Friday",
    });
  });

  test("takes one answer: a second one is refused, also in the same moment", async () => {
    const { approvals, book, waiting } = await rig();
    const deciding = approvals.attempt(SCOPE).decide(request(), never);
    await waiting();
    const id = book.open[0]?.id ?? "";
    const [first, second] = await Promise.all([
      book.answer(id, reject, null),
      book.answer(id, approve, null),
    ]);
    expect([first.outcome, second.outcome]).toEqual(["taken", "refused"]);
    expect((await deciding).decision).toBe("reject");
    expect(await book.answer(id, approve, null)).toMatchObject({ outcome: "refused" });
    expect(await book.answer("ap-nothing", approve, null)).toMatchObject({ outcome: "refused" });
  });

  test("is a no after its time where silence is one, and can be answered no more", async () => {
    const { approvals, book, clock, disk, waiting } = await rig({
      recorded: { approval_on_timeout: "reject" },
    });
    const attempt = approvals.attempt(SCOPE);
    const deciding = attempt.decide(request(), never);
    await waiting();
    await clock.advance(5 * MINUTE - 1);
    expect(book.open).toHaveLength(1);
    await clock.advance(1);
    expect((await deciding).decision).toBe("reject");
    expect(attempt.blocked.signal.aborted).toBe(false);
    expect(book.records[0]?.status).toBe("expired");
    expect(payloads(disk, "approval_decided")).toMatchObject([{ decision: "reject", by: "timeout" }]);
    expect(await book.answer(book.records[0]?.id ?? "", approve, null)).toMatchObject({ outcome: "refused" });
  });

  test("stops the attempt after its time where nobody sits at a terminal, and stays open", async () => {
    const { approvals, book, clock, disk, waiting } = await rig({ recorded: { approval_timeout_secs: 60 } });
    const attempt = approvals.attempt(SCOPE);
    const deciding = attempt.decide(request(), never);
    await waiting();
    await clock.advance(MINUTE);
    expect((await deciding).decision).toBe("reject");
    expect(attempt.blocked).toMatchObject({ status: "blocked", signal: { aborted: true } });
    expect(attempt.unanswered).toContain(book.open[0]?.id ?? "none");
    expect(payloads(disk, "approval_decided")).toMatchObject([{ decision: "cancelled", by: "timeout" }]);
  });

  test("is withdrawn when its turn ends for another reason", async () => {
    const { approvals, book, waiting } = await rig();
    const turn = new AbortController();
    const attempt = approvals.attempt(SCOPE);
    const deciding = attempt.decide(request(), turn.signal);
    await waiting();
    turn.abort(new Error("the user pauses"));
    await attempt.settled();
    expect((await deciding).decision).toBe("reject");
    expect(book.records[0]?.status).toBe("withdrawn");
  });

  test("stays open when its turn ends over another one that waits", async () => {
    const { approvals, book, clock, waiting } = await rig();
    const attempt = approvals.attempt(SCOPE);
    const turn = AbortSignal.any([attempt.blocked.signal]);
    const first = attempt.decide(request(), turn);
    await waiting();
    await clock.advance(MINUTE);
    const second = attempt.decide(request({ id: "2", command: "npm publish" }), turn);
    await waiting(2);
    await clock.advance(4 * MINUTE);
    await Promise.all([first, second, attempt.settled()]);
    expect(book.open.map(({ command }) => command)).toEqual(["npm test", "npm publish"]);
  });

  test("is one of many: each gets its own answer", async () => {
    const { approvals, book, waiting } = await rig();
    const attempt = approvals.attempt(SCOPE);
    const deciding = ["a", "b", "c"].map((command, at) =>
      attempt.decide(request({ id: `${at}`, command }), never),
    );
    await waiting(3);
    for (const { id, command } of book.open) await book.answer(id, command === "b" ? approve : reject, null);
    const decisions = (await Promise.all(deciding)).map(({ decision }) => decision);
    expect(decisions).toEqual(["reject", "allow", "reject"]);
  });

  test("is refused when a hundred wait already", async () => {
    const { approvals, book, clock, waiting } = await rig();
    const attempt = approvals.attempt(SCOPE);
    const deciding = Array.from({ length: 105 }, (_, at) =>
      attempt.decide(request({ id: `${at}`, command: `run ${at}` }), never),
    );
    await waiting(100);
    const answers = await Promise.all(deciding.slice(100));
    expect(answers.every(({ rule }) => rule.startsWith("limit.open_approvals"))).toBe(true);
    expect(book.open).toHaveLength(100);
    await book.withdrawAll("the test is over");
    await clock.advance(5 * MINUTE);
  });

  test("is refused when it is too long to be shown whole", async () => {
    const { approvals, book } = await rig();
    const content = "x".repeat(140_000);
    const asked = request({ kind: "edit", command: null, rawInput: { path: "a", content } });
    const answer = await approvals.attempt(SCOPE).decide(asked, never);
    expect(answer).toMatchObject({ decision: "reject" });
    expect(answer.rule).toMatch(/^limit\.request_characters: it says 140\d{3}/);
    expect(book.records).toEqual([]);
  });

  test("is kept whole, and at the terminal says where the rest of a long one is", async () => {
    const questions: Question[] = [];
    const { approvals, book } = await rig({
      askPerson: (question) => {
        questions.push(question);
        return Promise.resolve("approve");
      },
    });
    const command = `a ${"b".repeat(30_000)}`;
    await approvals.attempt(SCOPE).decide(request({ command }), never);
    const [record] = book.records;
    expect(record?.shown.find(({ label }) => label === "command")?.text).toBe(command);
    expect(questions[0]?.shown.at(-1)).toEqual({
      label: "left out",
      text: `see all of it: omk approvals show ${record?.id} --full`,
    });
  });

  test("is asked at the terminal, whose question goes when the answer comes from elsewhere", async () => {
    let asked: { id: string; signal: AbortSignal } | undefined;
    const { approvals, book, waiting } = await rig({
      askPerson: ({ id }, signal) => {
        asked = { id, signal };
        return new Promise((resolve) => {
          signal.addEventListener("abort", () => resolve(undefined));
        });
      },
    });
    const deciding = approvals.attempt(SCOPE).decide(request(), never);
    await waiting();
    expect(asked?.signal.aborted).toBe(false);
    await book.answer(asked?.id ?? "", approve, null);
    expect((await deciding).decision).toBe("allow");
    expect(asked?.signal.aborted).toBe(true);
  });

  test("takes the answer of the terminal", async () => {
    const { approvals, book } = await rig({ askPerson: () => Promise.resolve("approve") });
    expect((await approvals.attempt(SCOPE).decide(request(), never)).decision).toBe("allow");
    expect(book.records).toMatchObject([{ status: "approved", decided_by: "terminal" }]);
  });

  test("shows no secret, in the log, the file or the story", async () => {
    const { approvals, disk, told, book, waiting } = await rig();
    const command = "curl -H correct-horse-battery";
    const deciding = approvals.attempt(SCOPE).decide(request({ command, title: command }), never);
    await waiting();
    const file = Buffer.from(disk.readFile(`${FOLDER}/approvals/${book.open[0]?.id}.json`)).toString();
    const log = Buffer.from(disk.readFile(`${FOLDER}/events.jsonl`)).toString();
    expect(file + log + told.join("\n")).not.toContain("correct-horse-battery");
    await book.answer(book.open[0]?.id ?? "", reject, null);
    await deciding;
  });
});

/** Blocks over one request, and gives a late answer to it. */
async function answeredLate(answer: typeof approve | typeof reject, asked = request()) {
  const made = await rig();
  const deciding = made.approvals.attempt(SCOPE).decide(asked, never);
  await made.waiting();
  await made.clock.advance(5 * MINUTE);
  await deciding;
  const id = made.book.open[0]?.id ?? "";
  expect(await made.book.answer(id, answer, null)).toEqual({ outcome: "taken", isLate: true });
  return { ...made, id };
}

describe("an answer given late", () => {
  test("serves the first identical request of the same task, and no second one", async () => {
    const { approvals, book, id, waiting } = await answeredLate(approve);
    const attempt = approvals.attempt({ ...SCOPE, fence: 2 });
    const again = request({ id: "99", toolCallId: "call-77" });
    const both = [attempt.decide(again, never), attempt.decide({ ...again, id: "100" }, never)];
    expect(await both[0]).toEqual({ decision: "allow", rule: `a person approved ${id}` });
    expect(book.records[0]).toMatchObject({ status: "approved", used_fence: 2 });
    await waiting();
    expect(book.open).toHaveLength(1);
    await book.answer(book.open[0]?.id ?? "", reject, null);
    expect((await both[1])?.decision).toBe("reject");
  });

  test("that was a no is one again, once, with what the person said", async () => {
    const { approvals, book } = await answeredLate(reject);
    const answer = await approvals.attempt({ ...SCOPE, fence: 2 }).decide(request({ id: "9" }), never);
    expect(answer).toMatchObject({ decision: "reject", feedback: "A person said no: not on a Friday" });
    expect(book.records[0]?.used_fence).toBe(2);
  });

  test.each<[string, Partial<PermissionRequest>, Partial<AttemptScope>]>([
    ["another command", { command: "npm test; rm -rf x" }, {}],
    ["another tool", { name: "Shell" }, {}],
    ["another target", { locations: ["b"] }, {}],
    ["other content", { rawInput: { stdin: "yes" } }, {}],
    ["another task", {}, { task: "other" }],
  ])("does not serve %s", async (_what, more, scope) => {
    const { approvals, book, waiting } = await answeredLate(approve);
    const deciding = approvals.attempt({ ...SCOPE, fence: 2, ...scope }).decide(request(more), never);
    await waiting();
    expect(book.open).toHaveLength(1);
    await book.answer(book.open[0]?.id ?? "", reject, null);
    expect((await deciding).decision).toBe("reject");
  });
});

describe("a crash", () => {
  test("anywhere leaves requests that can be answered, and never an allow that the log does not have", async () => {
    const disk = new SimulatedDisk();
    const before = await rig({ disk });
    const answers: PermissionAnswer[] = [];
    const attempt = before.approvals.attempt(SCOPE);
    const deciding = attempt.decide(request(), never).then((one) => answers.push(one));
    await before.waiting();
    await before.book.answer(before.book.open[0]?.id ?? "", approve, null);
    await deciding;
    const toldAt = disk.operationCount;
    const waiting = before.approvals.attempt({ ...SCOPE, fence: 2 });
    const blocked = waiting.decide(request({ command: "npm publish" }), never);
    await before.waiting();
    await before.clock.advance(5 * MINUTE);
    await blocked;
    let seen = 0;
    for (const state of crashStates(disk, { seed: 1, perPointMax: 3, acknowledgedAt: [toldAt] })) {
      const after = await rig({ disk: state.disk, pid: 2 });
      await after.book.renderMissing();
      // Whoever had been told of the approval finds it in the log, as used.
      if (state.at >= toldAt) {
        expect(after.book.records[0]).toMatchObject({ status: "approved", used_fence: 1 });
      }
      for (const { id } of after.book.records) {
        expect(after.disk.stat(`${FOLDER}/approvals/${id}.json`)?.kind).toBe("file");
      }
      // What was open stays so, and the same request of a new attempt is not granted by anything that was left.
      const retry = after.approvals.attempt({ ...SCOPE, fence: 9 });
      for (const open of after.book.open) {
        expect(await after.book.answer(open.id, reject, null)).toEqual({ outcome: "taken", isLate: true });
      }
      const stop = new AbortController();
      const again = retry.decide(request({ command: "npm publish" }), stop.signal);
      const first = after.book.records.find(({ command }) => command === "npm publish");
      if (!first) {
        await after.waiting();
        stop.abort(new Error("over"));
      }
      expect((await again).decision).toBe("reject");
      await retry.settled();
      seen++;
    }
    expect(seen).toBeGreaterThan(20);
  });

  test("with its time over is a no at the next look, where silence is one", async () => {
    const disk = new SimulatedDisk();
    const before = await rig({ disk, recorded: { approval_on_timeout: "reject" } });
    void before.approvals.attempt(SCOPE).decide(request(), never);
    await before.waiting();
    const [left] = crashStates(disk, { at: disk.operationCount, seed: 1, perPointMax: 1 });
    if (!left) throw new Error("A crash leaves something.");
    const after = await rig({ disk: left.disk, pid: 2 });
    await after.book.expireOld();
    expect(after.book.open).toHaveLength(1);
    await after.clock.advance(5 * MINUTE);
    await after.book.expireOld();
    expect(after.book.records[0]?.status).toBe("expired");
  });
});

test("an agent that never asks is refused where requests are to be decided", () => {
  const engine = { name: "command", capabilities: { approvals: "none" } } as unknown as Engine;
  const pattern = { pattern: { patterns: ["^read"] } };
  for (const approval_policy of ["never", "safe", pattern] as const)
    expect(() => refuseUnasking(engine, { approval_policy })).toThrow(/never asks/);
  for (const approval_policy of ["workspace", "yolo"] as const)
    expect(() => refuseUnasking(engine, { approval_policy })).not.toThrow();
});

describe("a request that somebody else ends while its agent waits", () => {
  test.each([
    ["before the turn is told to end", true],
    ["and the turn goes on", false],
  ])("%s is answered with a no at once", async (_when, stops) => {
    const { approvals, book, disk, waiting } = await rig();
    const stop = new AbortController();
    const deciding = approvals.attempt(SCOPE).decide(request({ command: "npm publish" }), stop.signal);
    await waiting();
    await book.withdrawAll("the goal was cancelled");
    if (stops) stop.abort(new Error("cancelled"));
    expect(await deciding).toEqual({ decision: "reject", rule: "the turn has ended" });
    expect(book.records).toMatchObject([{ status: "withdrawn" }]);
    expect(kinds(disk).slice(-2)).toEqual(["approval_withdrawn", "approval_decided"]);
  });
});
