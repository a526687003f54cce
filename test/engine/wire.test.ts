/** The Wire engine against a scripted server: in memory where time or order matter, as a process where processes do. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, onTestFinished, test } from "vitest";

import type {
  EngineEvent,
  HookPort,
  PermissionAnswer,
  PermissionRequest,
  Session,
  StartOptions,
  Turn,
} from "../../src/engine/engine.ts";
import { wireEngine } from "../../src/engine/wire.ts";
import type { Clock } from "../../src/ports.ts";
import { createWorld } from "../../src/world.ts";
import { MemoryProcesses, PROMPT, StoppedClock, never, realClock, startOptions } from "./rig.ts";
import { serveWire, type WireScript, type WireStep } from "./wire-server.mjs";

interface Rig {
  session: Session;
  events: EngineEvent[];
  processes: MemoryProcesses;
  argv: readonly string[];
}

/** A server that plays these steps for every prompt, or a whole script. */
async function started(
  script: readonly WireStep[] | WireScript,
  options: Partial<StartOptions> = {},
  clock: Clock = realClock,
  argv: readonly [string, ...string[]] = ["kimi"],
): Promise<Rig> {
  const events: EngineEvent[] = [];
  let started: readonly string[] = [];
  const processes = new MemoryProcesses((agent) => {
    started = agent.request.argv;
    void serveWire("turns" in script ? script : { turns: () => script }, {
      input: agent.stdin,
      write: (output) => agent.write(output),
      writeError: (output) => agent.writeError(output),
      exit: (code) => agent.exit({ kind: "exited", code }),
      workDir: "/nowhere",
    });
  });
  const engine = wireEngine({ name: "tested", argv, clientVersion: "1" }, { processes, clock });
  const session = await engine.start({ ...startOptions(events), ...options }, never);
  return { session, events, processes, argv: started };
}

async function played(
  script: readonly WireStep[] | WireScript,
  options: Partial<StartOptions> = {},
): Promise<Rig & { turn: Turn }> {
  const rig = await started(script, options);
  const turn = await rig.session.run(PROMPT, never);
  await rig.session.stop();
  return { ...rig, turn };
}

const FINISHED: WireStep = { status: "finished" };

function call(id: string, name: string, input: object): WireStep {
  return {
    event: ["ToolCall", { type: "function", id, function: { name, arguments: JSON.stringify(input) } }],
  };
}

function result(id: string, isError = false, display: object[] = []): WireStep {
  return {
    event: [
      "ToolResult",
      { tool_call_id: id, return_value: { is_error: isError, output: "", message: "", display } },
    ],
  };
}

function approval(id: string, toolCallId: string, more: object = {}): WireStep {
  const asked = {
    id,
    tool_call_id: toolCallId,
    sender: "Shell",
    action: "run command",
    description: "Run command `make`",
    display: [{ type: "shell", language: "bash", command: "make" }],
    source_kind: "foreground_turn",
    agent_id: null,
    ...more,
  };
  return { request: ["ApprovalRequest", asked] };
}

function ofKind<K extends EngineEvent["kind"]>(
  events: readonly EngineEvent[],
  kind: K,
): Extract<EngineEvent, { kind: K }>[] {
  return events.filter((event): event is Extract<EngineEvent, { kind: K }> => event.kind === kind);
}

function notices(events: readonly EngineEvent[]): string[] {
  return events.flatMap((event) => (event.kind === "notice" ? [event.message] : []));
}

/** For `toMatchObject`, to which a bare expression would match everything. */
function matching(expression: RegExp): unknown {
  return expect.stringMatching(expression);
}

function deciding(decide: (request: PermissionRequest) => PermissionAnswer): {
  asked: PermissionRequest[];
  options: Partial<StartOptions>;
} {
  const asked: PermissionRequest[] = [];
  const decidePermission = (request: PermissionRequest): Promise<PermissionAnswer> => {
    asked.push(request);
    return Promise.resolve(decide(request));
  };
  return { asked, options: { decidePermission } };
}

function hooked(event: string, run: HookPort["run"]): Partial<StartOptions> {
  return { hooks: { subscriptions: [{ id: "h1", event, timeoutSecs: 7 }], run } };
}

describe("the handshake", () => {
  test("asks for the newest version, promises no answers to questions and takes what the server says", async () => {
    const { turn, events } = await played([{ tellInitialize: true }, FINISHED]);
    expect(JSON.parse(turn.text)).toEqual({
      protocol_version: "1.10",
      client: { name: "omk", version: "1" },
    });
    expect(events[0]).toMatchObject({
      kind: "session-started",
      agent: "Scripted Wire",
      agent_version: "9.9.9",
      protocol_version: "1.10",
      sequence: 1,
    });
  });

  test("takes a server of an older version, whose answer holds less", async () => {
    const initialize = { result: { protocol_version: "1.2", server: null } };
    const { turn, events } = await played({ initialize, turns: () => [{ text: "hi" }, FINISHED] });
    expect(turn.status).toBe("finished");
    expect(events[0]).toMatchObject({ kind: "session-started", agent: null, protocol_version: "1.2" });
  });

  test("goes on without one where the server knows none", async () => {
    const initialize = { error: { code: -32601, message: "Unexpected method received: initialize" } };
    const { turn, events } = await played({ initialize, turns: () => [{ text: "hi" }, FINISHED] });
    expect(turn).toMatchObject({ status: "finished", text: "hi" });
    expect(events[0]).toMatchObject({ kind: "session-started", protocol_version: "legacy" });
  });

  test("says that servers of tools are left out, rather than to leave them out silently", async () => {
    const mcpServers = [{ name: "db", command: "db", args: [], env: {} }];
    const { events } = await played([{ text: "x" }, FINISHED], { mcpServers });
    expect(notices(events)[0]).toMatch(/servers of tools, so they are left out: 1$/);
  });

  test("that is answered with something else ends the start", async () => {
    const { turn } = await played({ initialize: { result: { version: 1 } }, turns: () => [] });
    expect(turn).toMatchObject({ status: "failed", failure: { class: "protocol" } });
  });

  test("without an answer is given up after its time", async () => {
    const clock = new StoppedClock();
    const starting = started({ initialize: {}, turns: () => [] }, {}, clock);
    await clock.pass(30_000);
    const { session, processes } = await starting;
    expect(await session.run(PROMPT, never)).toMatchObject({
      status: "failed",
      failure: { class: "timeout", retryable: true },
    });
    expect(processes.killed).toBe(1);
  });

  test("with a program that only says that it is retired is no crash, and no second try helps", async () => {
    const steps: WireStep[] = [{ raw: "This program is no longer maintained.\n" }, { exit: 0 }];
    const { turn } = await played({ initialize: { steps }, turns: () => [] });
    expect(turn).toMatchObject({
      status: "failed",
      failure: {
        class: "config",
        retryable: false,
        message: matching(/exit status 0.*no longer maintained/s),
      },
    });
  });

  test("an answer without an id, as servers give to what they cannot read, is passed over", async () => {
    const error = { code: -32600, message: "Invalid request", data: null };
    const raw = `${JSON.stringify({ jsonrpc: "2.0", id: null, error })}\n`;
    const { turn } = await played([{ raw }, { text: "fine" }, FINISHED]);
    expect(turn).toMatchObject({ status: "finished", text: "fine" });
  });

  test.each([
    [["kimi"], ["kimi", "--wire", "--work-dir", "/project"]],
    [
      ["kimi", "--wire", "--model", "m"],
      ["kimi", "--wire", "--model", "m", "--work-dir", "/project"],
    ],
    [
      ["kimi", "--wire", "--work-dir=/other"],
      ["kimi", "--wire", "--work-dir=/other"],
    ],
    [
      ["kimi", "-w", "/other"],
      ["kimi", "-w", "/other", "--wire"],
    ],
  ])("starts %j with what it lacks", async (given, argv) => {
    const rig = await started([], {}, realClock, given as [string]);
    expect(rig.argv).toEqual(argv);
    await rig.session.stop();
  });

  test.each([
    [["kimi"], "asks_all"],
    [["kimi", "--wire", "--yolo"], "none"],
    [["kimi", "-y"], "none"],
    [["kimi", "--afk"], "none"],
    [["npx", "-y", "kimi"], "asks_all"],
  ] as const)("%j promises %s", (argv, approvals) => {
    const processes = new MemoryProcesses(() => undefined);
    const engine = wireEngine({ name: "tested", argv }, { processes, clock: realClock });
    expect(engine.capabilities.approvals).toBe(approvals);
  });
});

describe("what the agent says", () => {
  test("is joined as it was streamed, its thoughts apart", async () => {
    const { turn, events } = await played([
      { event: ["ContentPart", { type: "think", think: "hm", encrypted: null }] },
      { event: ["ContentPart", { type: "text", text: '{"a"' }] },
      { event: ["ContentPart", { type: "text", text: ": 1" }] },
      { event: ["ContentPart", { type: "text", text: "}" }] },
      FINISHED,
    ]);
    expect(turn.text).toBe('{"a": 1}');
    expect(ofKind(events, "text").map(({ text, thinking }) => [text, thinking])).toEqual([
      ["hm", true],
      ['{"a"', false],
      [": 1", false],
      ["}", false],
    ]);
  });

  test("is understood in every spelling of the names", async () => {
    const { turn, events } = await played([
      { event: ["turn_begin"] },
      { event: ["content_part", { text: "a" }] },
      { event: ["content-part", { chunk: "b" }] },
      { event: ["content part", { text: "c" }] },
      { event: ["text", { text: "d" }] },
      { event: ["content", { chunk: "e" }] },
      { event: ["thinking", { text: "f" }] },
      { event: ["MCPLoadingBegin"] },
      { event: ["ApprovalRequestResolved", { request_id: "x", response: "approve" }] },
      FINISHED,
    ]);
    expect(turn.text).toBe("abcde");
    expect(ofKind(events, "unknown")).toEqual([]);
  });

  test("in a step that is tried again counts once", async () => {
    const retry = {
      n: 2,
      next_attempt: 2,
      max_attempts: 3,
      wait_s: 0.5,
      error_type: "APIStatusError",
      status_code: 502,
    };
    const { turn, events } = await played([
      { event: ["StepBegin", { n: 1 }] },
      { text: "First. " },
      { event: ["StepBegin", { n: 2 }] },
      { text: "Half of" },
      call("c1", "Shell", { command: "make" }),
      { event: ["StepRetry", retry] },
      { text: "Second." },
      FINISHED,
    ]);
    expect(turn.text).toBe("First. Second.");
    expect(ofKind(events, "retrying")).toMatchObject([
      { message: matching(/attempt 2 of 3.*APIStatusError 502/) },
    ]);
    expect(ofKind(events, "tool-finished")).toMatchObject([{ tool_id: "c1", outcome: "cancelled" }]);
  });

  test("goes on after an interrupted step and after the end of its turn was told", async () => {
    const { turn } = await played([
      { event: ["StepInterrupted"] },
      { event: ["TurnEnd"] },
      { text: "still here" },
      FINISHED,
    ]);
    expect(turn).toMatchObject({ status: "finished", text: "still here" });
  });

  test("is kept and counted where it is not understood", async () => {
    const { turn, events } = await played([
      { event: ["QuantumLeap", { far: true }] },
      { event: ["ToolCall", { id: 7 }] },
      { raw: '{"jsonrpc":"2.0","method":"gossip","params":{}}\n' },
      { text: "ok" },
      FINISHED,
    ]);
    expect(turn.status).toBe("finished");
    expect(ofKind(events, "unknown").map(({ what, count }) => [what, count])).toEqual([
      ["QuantumLeap", 1],
      ["ToolCall", 2],
      ["gossip", 3],
    ]);
    expect(ofKind(events, "unknown")[0]?.raw).toEqual({ type: "QuantumLeap", payload: { far: true } });
  });

  test("to what begins like a command is about the prompt", async () => {
    const { session } = await started([{ tellPrompt: true }, FINISHED]);
    const turn = await session.run({ ...PROMPT, text: " /clear everything" }, never);
    expect(turn.text).toBe("Request:  /clear everything");
    await session.stop();
  });

  test("by its subagents is no answer of its own", async () => {
    const { turn, events } = await played([
      {
        event: [
          "SubagentEvent",
          {
            parent_tool_call_id: "c1",
            agent_id: "a1",
            event: { type: "ContentPart", payload: { type: "text", text: "mine" } },
          },
        ],
      },
      { text: "ours" },
      FINISHED,
    ]);
    expect(turn.text).toBe("ours");
    expect(ofKind(events, "text")).toMatchObject([
      { text: "mine", thinking: true },
      { text: "ours", thinking: false },
    ]);
  });
});

describe("tool calls", () => {
  test("are joined from their pieces, whatever comes between", async () => {
    const begin = (id: string, name: string, text: string | null): WireStep => ({
      event: ["ToolCall", { type: "function", id, function: { name, arguments: text } }],
    });
    const { turn, events } = await played([
      begin("c1", "WriteFile", null),
      { event: ["ToolCallPart", { arguments_part: '{"path":\n"a.txt",' }] },
      { event: ["ToolCallPart", { arguments_part: '"content":"x"}' }] },
      begin("c2", "Shell", '{"comm'),
      result("c1"),
      { event: ["ToolCallPart", { arguments_part: 'and":"make"}' }] },
      { event: ["ToolCallPart", { arguments_part: null }] },
      result("c2", true),
      FINISHED,
    ]);
    expect(turn).toMatchObject({ status: "finished", toolCalls: 2 });
    expect(ofKind(events, "tool-updated")).toMatchObject([
      { tool_id: "c1", input: { path: "a.txt", content: "x" }, paths: ["a.txt"] },
      { tool_id: "c2", input: { command: "make" } },
    ]);
    expect(ofKind(events, "tool-finished")).toMatchObject([
      { tool_id: "c1", name: "WriteFile", tool_kind: "edit", outcome: "ok" },
      { tool_id: "c2", name: "Shell", tool_kind: "execute", outcome: "failed" },
    ]);
  });

  test("of several agents at once are not mixed up", async () => {
    const of = (agent: string, type: string, payload: object): WireStep => ({
      event: ["SubagentEvent", { parent_tool_call_id: "p", agent_id: agent, event: { type, payload } }],
    });
    const begin = { type: "function", id: "c1", function: { name: "Shell", arguments: '{"command":' } };
    const ok = {
      tool_call_id: "c1",
      return_value: { is_error: false, output: "", message: "", display: [] },
    };
    const { turn, events } = await played([
      of("a", "ToolCall", begin),
      of("b", "ToolCall", begin),
      of("a", "ToolCallPart", { arguments_part: '"one"}' }),
      of("b", "ToolCallPart", { arguments_part: '"two"}' }),
      of("b", "ToolResult", ok),
      of("a", "ToolResult", ok),
      FINISHED,
    ]);
    expect(turn.toolCalls).toBe(2);
    expect(ofKind(events, "tool-updated").map(({ tool_id, input }) => [tool_id, input])).toEqual([
      ["b/c1", { command: "two" }],
      ["a/c1", { command: "one" }],
    ]);
  });

  test("with arguments that are no acceptable object have none to judge by", async () => {
    const { asked, options } = deciding(() => ({ decision: "reject", rule: "test" }));
    const deep = `{"command":${"[".repeat(100)}${"]".repeat(100)}}`;
    await played(
      [
        { event: ["ToolCall", { id: "c1", function: { name: "Shell", arguments: deep } }] },
        approval("r1", "c1"),
        { await: "r1" },
        FINISHED,
      ],
      options,
    );
    expect(asked).toMatchObject([{ command: "make", rawInput: undefined }]);
  });

  test("that show a list of things to do, and plans, become the plan", async () => {
    const items = [{ title: "a", status: "done" }];
    const { events } = await played([
      call("c1", "SetTodoList", {}),
      result("c1", false, [{ type: "todo", items }]),
      { event: ["PlanDisplay", { content: "# Plan", file_path: "/p.md" }] },
      FINISHED,
    ]);
    expect(ofKind(events, "plan").map(({ entries }) => entries)).toEqual([
      [{ content: "a", status: "done" }],
      [{ content: "# Plan", status: "proposed" }],
    ]);
  });

  test("that are open when the turn ends never count as done", async () => {
    const { events } = await played([call("c1", "Shell", { command: "make" }), FINISHED]);
    expect(ofKind(events, "tool-finished")).toMatchObject([{ outcome: "unknown" }]);
  });
});

describe("an approval", () => {
  test("is asked for what the tool really does, and given for this once", async () => {
    const { asked, options } = deciding(() => ({ decision: "allow", rule: "test" }));
    const diff = { type: "diff", path: "/project/src/a.txt", old_text: "x", new_text: "y", old_start: 1 };
    const { turn, events } = await played(
      [
        call("c1", "StrReplaceFile", { path: "src/a.txt", edit: [] }),
        approval("r1", "c1", { sender: "StrReplaceFile", action: "edit file", display: [diff] }),
        { tell: "r1" },
        result("c1"),
        FINISHED,
      ],
      options,
    );
    expect(asked).toEqual([
      {
        id: "r1",
        toolCallId: "c1",
        title: "Run command `make`",
        name: "StrReplaceFile",
        kind: "edit",
        command: null,
        locations: ["src/a.txt", "/project/src/a.txt"],
        rawInput: { path: "src/a.txt", edit: [] },
        content: [{ type: "diff", path: "src/a.txt", oldText: "x", newText: "y", old_start: 1 }],
        options: [
          { id: "approve", name: "Approve once", kind: "allow_once" },
          { id: "reject", name: "Reject", kind: "reject_once" },
        ],
      },
    ]);
    expect(JSON.parse(turn.text)).toEqual({ request_id: "r1", response: "approve" });
    expect(ofKind(events, "approval-answered")).toMatchObject([
      { request_id: "r1", tool_id: "c1", decision: "allow", option_kind: "allow_once" },
    ]);
  });

  test("that is refused carries the reason, so that the agent goes on", async () => {
    const { options } = deciding(() => ({ decision: "reject", rule: "test", feedback: "Use npm." }));
    const { turn, events } = await played(
      [
        call("c1", "Shell", { command: "make" }),
        approval("r1", "c1"),
        { tell: "r1" },
        result("c1", true),
        FINISHED,
      ],
      options,
    );
    expect(turn.status).toBe("finished");
    expect(JSON.parse(turn.text)).toEqual({ request_id: "r1", response: "reject", feedback: "Use npm." });
    expect(ofKind(events, "tool-finished")).toMatchObject([{ outcome: "denied" }]);
  });

  test("that is refused without a reason still carries words: a bare refusal ends the turn", async () => {
    const { options } = deciding(() => ({ decision: "reject", rule: "policy never", feedback: " " }));
    const { turn } = await played([approval("r1", "c1"), { tell: "r1" }, FINISHED], options);
    expect(JSON.parse(turn.text)).toMatchObject({ response: "reject", feedback: matching(/policy never/) });
  });

  test("that was refused and followed by nothing makes the turn a denied one", async () => {
    const { options } = deciding(() => ({ decision: "reject", rule: "test" }));
    const { turn } = await played(
      [
        call("c1", "Shell", { command: "a" }),
        call("c2", "Shell", { command: "b" }),
        approval("r1", "c1"),
        approval("r2", "c2"),
        { await: "r1" },
        { await: "r2" },
        result("c1", true),
        result("c2", true),
        FINISHED,
      ],
      options,
    );
    expect(turn.status).toBe("denied");
  });

  test("does not wait for another one", async () => {
    const answers = new Map<string, (answer: PermissionAnswer) => void>();
    const options: Partial<StartOptions> = {
      decidePermission: ({ id }) =>
        new Promise((resolve) => {
          answers.set(id, resolve);
          // The later one is answered first.
          if (id === "r2") resolve({ decision: "allow", rule: "test" });
        }),
    };
    const { turn } = await played(
      [
        approval("r1", "c1"),
        approval("r2", "c2"),
        { await: "r2" },
        { event: ["StepBegin", { n: 2 }] },
        { text: "second" },
        FINISHED,
      ],
      options,
    );
    expect(turn).toMatchObject({ status: "finished", text: "second" });
    expect([...answers.keys()]).toEqual(["r1", "r2"]);
  });

  test("of a subagent is joined with that agent's call", async () => {
    const { asked, options } = deciding(() => ({ decision: "allow", rule: "test" }));
    const payload = { id: "c1", function: { name: "Shell", arguments: '{"command":"make"}' } };
    await played(
      [
        call("c1", "WriteFile", { path: "a" }),
        { event: ["SubagentEvent", { agent_id: "a1", event: { type: "ToolCall", payload } }] },
        approval("r1", "c1", { agent_id: "a1", subagent_type: "coder" }),
        { await: "r1" },
        FINISHED,
      ],
      options,
    );
    expect(asked).toMatchObject([
      { toolCallId: "a1/c1", name: "Shell", command: "make", rawInput: { command: "make" } },
    ]);
  });

  test("that overtook its tool call waits a moment for what the call says", async () => {
    const { asked, options } = deciding(() => ({ decision: "allow", rule: "test" }));
    const of = (type: string, payload: object): WireStep => ({
      event: ["SubagentEvent", { agent_id: "a1", event: { type, payload } }],
    });
    const request = approval("r1", "c1", {
      agent_id: "a1",
      sender: "query",
      action: "mcp:query",
      display: [],
    });
    const { events } = await played(
      [
        request,
        of("ToolCall", { id: "c1", function: { name: "query", arguments: '{"sql":' } }),
        of("ToolCallPart", { arguments_part: '"drop"}' }),
        { await: "r1" },
        of("ToolResult", {
          tool_call_id: "c1",
          return_value: { is_error: false, output: "", message: "", display: [] },
        }),
        FINISHED,
      ],
      options,
    );
    expect(asked).toMatchObject([{ name: "mcp__query", kind: "other", rawInput: { sql: "drop" } }]);
    expect(ofKind(events, "tool-finished")).toMatchObject([{ tool_id: "a1/c1", name: "mcp__query" }]);
    expect(ofKind(events, "unknown")).toEqual([]);
  });

  test("of an agent in the background is decided although no turn runs", async () => {
    const { asked, options } = deciding(() => ({ decision: "allow", rule: "test" }));
    const late = approval("r2", "c2", { source_kind: "background_agent", agent_id: "b" });
    const script: WireScript = {
      initialize: { result: { protocol_version: "1.10" }, after: [approval("r1", "c1")] },
      turns: (number) =>
        number === 0
          ? [{ await: "r1" }, { text: "one" }, FINISHED, late]
          : [{ await: "r2" }, { text: "two" }, FINISHED],
    };
    const { session } = await started(script, options);
    expect(await session.run(PROMPT, never)).toMatchObject({ text: "one" });
    expect(await session.run(PROMPT, never)).toMatchObject({ text: "two" });
    expect(asked.map(({ id }) => id)).toEqual(["r1", "r2"]);
    await session.stop();
  });

  test("that is open when the turn ends is settled, and its decider hears that", async () => {
    const told: boolean[] = [];
    const options: Partial<StartOptions> = {
      decidePermission: (_request, signal) =>
        new Promise(() => signal.addEventListener("abort", () => told.push(signal.aborted))),
    };
    const { turn, events } = await played(
      {
        turns: () => [
          call("c1", "Shell", { command: "make" }),
          approval("r1", "c1"),
          { text: "enough" },
          FINISHED,
          { tell: "r1" },
        ],
      },
      options,
    );
    expect(turn.status).toBe("finished");
    expect(told).toEqual([true]);
    expect(ofKind(events, "approval-answered")).toMatchObject([{ decision: "cancelled" }]);
    const answer = ofKind(events, "text").at(-1)?.text ?? "";
    expect(JSON.parse(answer)).toMatchObject({
      request_id: "r1",
      response: "reject",
      feedback: matching(/over/),
    });
  });

  test("that could not be decided ends the turn and is thrown", async () => {
    const { session, processes } = await started([approval("r1", "c1"), { await: "r1" }, FINISHED], {
      decidePermission: () => Promise.reject(new Error("no disk")),
    });
    await expect(session.run(PROMPT, never)).rejects.toThrow("no disk");
    await expect(session.stop()).rejects.toThrow("no disk");
    expect(processes.killed).toBe(1);
  });

  test.each([
    [
      "the tool of a server that calls it ReadFile",
      "ReadFile",
      { action: "mcp:ReadFile", display: [] },
      "mcp__ReadFile",
      "other",
    ],
    ["the tool of a plugin", "Grep", { action: "plugin:Grep", display: [] }, "plugin__Grep", "other"],
    ["a command behind a harmless name", "ReadFile", {}, "ReadFile", "execute"],
    ["an edit behind a harmless name", "Glob", { action: "edit file", display: [] }, "Glob", "edit"],
  ])("is not fooled by %s", async (_what, sender, more, name, kind) => {
    const { asked, options } = deciding(() => ({ decision: "reject", rule: "test" }));
    await played([approval("r1", "c1", { sender, ...more }), { await: "r1" }, FINISHED], options);
    expect(asked).toMatchObject([{ name, kind }]);
  });

  test("is marked where the arguments of its call cannot be read, or are too much", async () => {
    const { asked, options } = deciding(() => ({ decision: "reject", rule: "test" }));
    const nested = `${'{"a":'.repeat(200)}1${"}".repeat(200)}`;
    const open = (id: string, text: string): WireStep => ({
      event: ["ToolCall", { type: "function", id, function: { name: "WriteFile", arguments: text } }],
    });
    await played(
      [
        open("c1", nested),
        approval("r1", "c1"),
        { await: "r1" },
        open("c2", '{"path":"a"}'),
        approval("r2", "c2", { sender: "WriteFile", action: "edit file", display: [] }),
        { await: "r2" },
        FINISHED,
      ],
      options,
    );
    expect(asked.map(({ rawInput, isCut }) => [rawInput, isCut])).toEqual([
      [undefined, true],
      [{ path: "a" }, undefined],
    ]);
  });

  test("to change a file is refused in a turn that is to read only, whatever the policy", async () => {
    const { asked, options } = deciding(() => ({ decision: "allow", rule: "test" }));
    const { turn, events } = await played(
      [
        approval("r1", "c1", { sender: "WriteFile", action: "edit file", display: [] }),
        { tell: "r1" },
        approval("r2", "c2"),
        { await: "r2" },
        FINISHED,
      ],
      { ...options, mode: "read_only" },
    );
    expect(JSON.parse(turn.text)).toMatchObject({
      response: "reject",
      feedback: matching(/nothing may be changed/),
    });
    expect(asked.map(({ id }) => id)).toEqual(["r1", "r2"]);
    expect(ofKind(events, "approval-answered")[0]).toMatchObject({ rule: "mode.read_only" });
  });

  test("that cannot be read is refused", async () => {
    const { turn } = await played([{ request: ["ApprovalRequest", { id: "r1" }] }, { tell: "r1" }, FINISHED]);
    expect(JSON.parse(turn.text)).toMatchObject({ error: { code: -32602 } });
  });
});

describe("a hook", () => {
  const ask = (more: object = {}): WireStep => ({
    request: [
      "HookRequest",
      { id: "k1", subscription_id: "h1", event: "PreToolUse", target: "Shell", input_data: {}, ...more },
    ],
  });

  test("is subscribed to for whatever happens, and asked with what the server says", async () => {
    const seen: unknown[] = [];
    const { turn } = await played(
      [{ tellInitialize: true }, ask({ input_data: { tool_name: "Shell" } }), { tell: "k1" }, FINISHED],
      hooked("PreToolUse", (request) => {
        seen.push(request);
        return Promise.resolve({ action: "allow", reason: "fine" });
      }),
    );
    const [initialize, answer] = turn.text.split(/(?<=\})(?=\{)/).map((part) => JSON.parse(part) as object);
    expect(initialize).toMatchObject({
      hooks: [{ id: "h1", event: "PreToolUse", matcher: "", timeout: 7 }],
    });
    expect(seen).toEqual([
      {
        event: "PreToolUse",
        target: "Shell",
        toolKind: "execute",
        subscriptionId: "h1",
        input: { tool_name: "Shell" },
      },
    ]);
    expect(answer).toEqual({ request_id: "k1", action: "allow", reason: "fine" });
  });

  test("that blocks a tool makes its call a denied one", async () => {
    const { turn, events } = await played(
      [
        call("c1", "Shell", { command: "rm" }),
        ask({ input_data: { tool_call_id: "c1" } }),
        { await: "k1" },
        result("c1", true),
        FINISHED,
      ],
      hooked("PreToolUse", () => Promise.resolve({ action: "block", reason: "no" })),
    );
    expect(turn.status).toBe("denied");
    expect(ofKind(events, "tool-finished")).toMatchObject([{ outcome: "denied" }]);
  });

  test("that blocks the prompt makes the turn a denied one, whatever the agent says then", async () => {
    const { turn } = await played(
      [ask({ event: "UserPromptSubmit" }), { await: "k1" }, { text: "no" }, FINISHED],
      hooked("UserPromptSubmit", () => Promise.resolve({ action: "block", reason: "no" })),
    );
    expect(turn.status).toBe("denied");
  });

  test("that fails blocks, since a broken answer would be leave to go on", async () => {
    const { turn } = await played(
      [ask(), { tell: "k1" }, FINISHED],
      hooked("PreToolUse", () => Promise.reject(new Error("gone"))),
    );
    expect(JSON.parse(turn.text)).toEqual({
      request_id: "k1",
      action: "block",
      reason: "A hook failed: gone",
    });
  });

  test("blocks when too many are asked at once, as none may wait for others", async () => {
    let asked = 0;
    const ids = Array.from({ length: 33 }, (_, at) => `k${at}`);
    const { turn } = await played(
      [...ids.map((id) => ask({ id })), { tell: "k32" }, FINISHED],
      hooked("PreToolUse", (_request, signal) => {
        asked++;
        return new Promise((resolve) => {
          signal.addEventListener("abort", () => resolve({ action: "block", reason: "late" }));
        });
      }),
    );
    expect(asked).toBe(32);
    expect(JSON.parse(turn.text)).toMatchObject({ action: "block", reason: matching(/More than 32/) });
  });

  test("whose request cannot be read blocks", async () => {
    const { turn } = await played([{ request: ["HookRequest", { id: "k1" }] }, { tell: "k1" }, FINISHED]);
    expect(JSON.parse(turn.text)).toMatchObject({ request_id: "k1", action: "block" });
  });

  test("is allowed where none is configured", async () => {
    const { turn } = await played([ask(), { tell: "k1" }, FINISHED]);
    expect(JSON.parse(turn.text)).toEqual({ request_id: "k1", action: "allow", reason: "" });
  });

  test("is told when nobody waits for it any more", async () => {
    let told!: () => void;
    const heard = new Promise<void>((resolve) => (told = resolve));
    const { turn } = await played(
      [ask(), { text: "done" }, FINISHED],
      hooked("PreToolUse", (_request, signal) => {
        signal.addEventListener("abort", told);
        return heard.then(() => ({ action: "block", reason: "late" }));
      }),
    );
    await heard;
    expect(turn.status).toBe("finished");
  });

  test.each([
    ["from before the handshake", { error: { code: -32601, message: "no" } }],
    ["without hooks", { result: { protocol_version: "1.6" } }],
    [
      "that does not know its event",
      { result: { protocol_version: "1.7", hooks: { supported_events: ["Stop"] } } },
    ],
  ])("on a server %s is an error of the configuration", async (_what, initialize) => {
    const { turn } = await played(
      { initialize, turns: () => [{ text: "unguarded" }, FINISHED] },
      hooked("PreToolUse", () => Promise.resolve({ action: "allow", reason: "" })),
    );
    expect(turn).toMatchObject({
      status: "failed",
      text: "",
      failure: { class: "config", retryable: false, message: matching(/PreToolUse/) },
    });
  });
});

describe("other requests", () => {
  test("are answered, each in its own way", async () => {
    const { turn, events } = await played([
      { request: ["QuestionRequest", { id: "q", tool_call_id: "c", questions: [] }] },
      { tell: "q" },
      { text: "\n" },
      { request: ["ToolCallRequest", { id: "t", name: "query", arguments: "{}" }] },
      { tell: "t" },
      { text: "\n" },
      { request: ["Riddle", { id: "u" }] },
      { tell: "u" },
      FINISHED,
    ]);
    expect(turn.text.split("\n").map((line) => JSON.parse(line) as unknown)).toEqual([
      { request_id: "q", answers: {} },
      {
        tool_call_id: "t",
        return_value: { is_error: true, output: "", message: "omk has no tool called query.", display: [] },
      },
      { error: { code: -32601, message: "Unknown type of request" } },
    ]);
    expect(ofKind(events, "unknown")).toMatchObject([{ what: "request riddle" }]);
    expect(notices(events)).toContain("asked a question, which nobody is there to answer");
  });

  test("an agent whose proposals are wanted is given a tool for them; what it sends is kept as it came", async () => {
    const tool = (id: string, name: string, text: string): WireStep => ({
      request: ["ToolCallRequest", { id, name, arguments: text }],
    });
    const { turn } = await played(
      [
        { tellInitialize: true },
        { text: "\n" },
        tool("a", "omk_propose_task", '{"id":"docs","title":"Write it down"}'),
        { tell: "a" },
        { text: "\n" },
        tool("b", "omk_propose_task", "not an object"),
        { tell: "b" },
        FINISHED,
      ],
      { takesProposals: true },
    );
    const [greeting, good, bad] = turn.text.split("\n").map((line) => JSON.parse(line) as unknown);
    expect(greeting).toMatchObject({ external_tools: [{ name: "omk_propose_task" }] });
    expect(good).toMatchObject({ tool_call_id: "a", return_value: { is_error: false } });
    expect(bad).toMatchObject({ tool_call_id: "b", return_value: { is_error: true } });
    expect(turn.proposals).toEqual([{ id: "docs", title: "Write it down" }]);
  });

  test("a proposal that nobody asked for is no tool of omk's", async () => {
    const { turn } = await played([
      { request: ["ToolCallRequest", { id: "a", name: "omk_propose_task", arguments: "{}" }] },
      { tell: "a" },
      FINISHED,
    ]);
    expect(JSON.parse(turn.text)).toMatchObject({ return_value: { is_error: true } });
    expect(turn.proposals).toEqual([]);
  });
});

describe("usage", () => {
  const spent = (input: number, output: number, more: object = {}): [string, object] => [
    "StatusUpdate",
    {
      context_tokens: 100 + input,
      max_context_tokens: 1000,
      token_usage: { input_other: input, output, input_cache_read: 2, input_cache_creation: null },
      plan_mode: null,
      ...more,
    },
  ];

  test("is the sum of all steps, those of subagents included, each counted once", async () => {
    const [type, payload] = spent(100, 50, { message_id: "s" });
    const { turn, events } = await played([
      { text: "x" },
      { event: spent(10, 5, { message_id: "m1" }) },
      { event: spent(30, 6, { message_id: "m1" }) },
      { event: spent(20, 1, { message_id: "m1" }) },
      { event: ["SubagentEvent", { agent_id: "a", event: { type, payload } }] },
      { event: spent(1, 1, { message_id: null }) },
      { event: spent(1, 1) },
      FINISHED,
    ]);
    expect(turn.usage).toEqual({
      input_tokens: 132,
      output_tokens: 58,
      cache_read_tokens: 8,
      quality: "exact",
    });
    const told = ofKind(events, "usage");
    expect(told.map((event) => event.spent?.input_tokens)).toEqual([10, 30, 30, 130, 131, 132]);
    // How full a subagent's context is, says nothing of the main one's.
    expect(told.map((event) => event.context_tokens)).toEqual([110, 130, 120, 120, 101, 101]);
  });

  test("starts anew with each turn", async () => {
    const { session } = await started([
      { text: "x" },
      { event: spent(10, 5, { message_id: "m" }) },
      FINISHED,
    ]);
    await session.run(PROMPT, never);
    expect((await session.run(PROMPT, never)).usage).toMatchObject({ input_tokens: 10, output_tokens: 5 });
    await session.stop();
  });

  test("as a plain number is counted as output, as nobody knows what it was", async () => {
    const { turn } = await played([
      { text: "x" },
      { event: ["status_update", { token_usage: 77, message_id: "m" }] },
      { event: ["status_update", { token_usage: 77, message_id: "m" }] },
      FINISHED,
    ]);
    expect(turn.usage).toEqual({ input_tokens: 0, output_tokens: 77, quality: "exact" });
  });

  test("is estimated from the context where no step tells it, and missing without that", async () => {
    const { turn } = await played([
      { text: "x" },
      { event: ["StatusUpdate", { context_tokens: 12, token_usage: { input_other: "many" } }] },
      FINISHED,
    ]);
    expect(turn.usage).toEqual({ input_tokens: 12, output_tokens: 0, quality: "estimated" });
    const other = await played([{ text: "x" }, FINISHED]);
    expect(other.turn.usage).toMatchObject({ quality: "missing" });
  });
});

describe("a turn", () => {
  test.each([
    ["max_steps_reached", { status: "limit" }],
    ["cancelled", { status: "failed", failure: { class: "protocol" } }],
    ["exploded", { status: "failed", failure: { class: "protocol", message: matching(/exploded/) } }],
  ])("that the server calls %s is so", async (status, expected) => {
    const { turn } = await played([{ text: "x" }, { status }]);
    expect(turn).toMatchObject(expected);
  });

  test("without a word and without a tool is empty", async () => {
    const { turn } = await played([{ event: ["TurnBegin"] }, FINISHED]);
    expect(turn).toMatchObject({ status: "empty", failure: { class: "provider", retryable: true } });
  });

  test.each([
    [{ code: -32001, message: "LLM is not set" }, "config", false],
    [{ code: -32002, message: "no such model" }, "config", false],
    [{ code: -32003, message: "Error code: 401 - bad key" }, "auth", false],
    [{ code: -32003, message: "Error code: 429 - slow down" }, "rate_limit", true],
    [{ code: -32003, message: "Error code: 403 - insufficient_quota" }, "quota", false],
    [{ code: -32003, message: "Error code: 503 - busy" }, "provider", true],
    [{ code: -32003, message: "Error code: 400 - bad schema" }, "provider", false],
    [{ code: -32003, message: "Connection error." }, "provider", true],
    [
      { code: -32003, message: "failed", data: { status_code: 429, reset_at: "2026-12-01T00:00:00Z" } },
      "rate_limit",
      true,
    ],
    [{ code: -32004, message: "login expired" }, "auth", false],
    [{ code: -32000, message: "An agent turn is already in progress" }, "protocol", true],
    [{ code: -32602, message: "Invalid parameters" }, "protocol", false],
    [{ code: -32603, message: "KeyError: 'x'" }, "crashed", true],
  ] as const)("that is answered with %j fails with class %s", async (error, failureClass, retryable) => {
    const { turn } = await played([{ error }]);
    expect(turn).toMatchObject({ status: "failed", failure: { class: failureClass, retryable } });
    if ("data" in error) expect(turn.failure?.resets_at).toBe("2026-12-01T00:00:00Z");
  });

  test("whose model fails without a number is judged by the number of its last try", async () => {
    const { turn } = await played([
      { event: ["StepRetry", { n: 1, status_code: 429 }] },
      { error: { code: -32003, message: "the provider gave up" } },
    ]);
    expect(turn).toMatchObject({ failure: { class: "rate_limit" } });
  });

  test("is cancelled by asking, and what is open is settled", async () => {
    const stop = new AbortController();
    const options: Partial<StartOptions> = {
      decidePermission: () => {
        stop.abort();
        return new Promise(() => {});
      },
    };
    const { session, processes, events } = await started(
      [
        call("c1", "Shell", { command: "make" }),
        approval("r1", "c1"),
        { cancelled: true },
        { status: "cancelled" },
      ],
      options,
    );
    expect(await session.run(PROMPT, stop.signal)).toMatchObject({ status: "cancelled" });
    expect(ofKind(events, "tool-finished")).toMatchObject([{ outcome: "cancelled" }]);
    expect(ofKind(events, "approval-answered")).toMatchObject([{ decision: "cancelled" }]);
    expect(processes.killed).toBe(0);
    await session.stop();
    expect(events.at(-1)).toMatchObject({ kind: "session-ended", exit: "exit status 0" });
  });

  test("that does not end when asked is ended after 5 seconds", async () => {
    const clock = new StoppedClock();
    const stop = new AbortController();
    const script: WireScript = { listensToCancel: false, turns: () => [{ text: "x" }, { never: true }] };
    const { session, processes } = await started(
      script,
      { onEvent: (event) => event.kind === "text" && stop.abort() },
      clock,
    );
    const running = session.run(PROMPT, stop.signal);
    await clock.pass(5000);
    expect(await running).toMatchObject({ status: "cancelled", text: "x" });
    expect(processes.killed).toBe(1);
    await session.stop();
    expect(await session.run(PROMPT, never)).toMatchObject({ failure: { class: "timeout" } });
  });

  test("in which nothing happens is given up, but not while a tool runs", async () => {
    const clock = new StoppedClock();
    const limits = { handshakeMs: 1000, idleMs: 60_000, turnMs: 600_000 };
    let toolRan!: () => void;
    const toolRuns = new Promise<void>((resolve) => (toolRan = resolve));
    const { session } = await started(
      [call("c1", "Shell", { command: "make" }), { cancelled: true }, { status: "cancelled" }],
      { limits, onEvent: (event) => event.kind === "tool-started" && toolRan() },
      clock,
    );
    const running = session.run(PROMPT, never);
    await toolRuns;
    await clock.pass(60_000);
    // Still busy: only the limit of the whole turn ends it.
    await clock.pass(60_000);
    await clock.pass(480_000);
    expect(await running).toMatchObject({
      status: "failed",
      failure: { class: "timeout", message: matching(/longer than/) },
    });
    await session.stop();
  });

  test.each([0, 3])("in which the process leaves with status %i is settled", async (exit) => {
    const { turn, session } = await played([{ text: "I am" }, { stderr: "out of memory" }, { exit }]);
    expect(turn).toMatchObject({
      status: "failed",
      text: "I am",
      failure: {
        class: "crashed",
        retryable: true,
        message: matching(new RegExp(`exit status ${exit}.*out of memory`, "s")),
      },
    });
    expect(await session.run(PROMPT, never)).toMatchObject({ failure: { class: "crashed" } });
  });

  test("with a line that is too long is ended, with the start of it as evidence", async () => {
    const { turn, processes } = await played([{ long: 9 * 1024 * 1024 }, { never: true }]);
    expect(turn).toMatchObject({
      status: "failed",
      failure: { class: "protocol", message: matching(/xxxx/) },
    });
    expect(processes.killed).toBe(1);
  });

  test("whose answer has no status is refused", async () => {
    const raw = '{"jsonrpc":"2.0","id":"omk-2","result":{}}\n';
    const { turn } = await played([{ raw }, { never: true }]);
    expect(turn).toMatchObject({ status: "failed", failure: { class: "protocol" } });
  });

  test("is cancelled when the session is stopped", async () => {
    let said!: () => void;
    const saying = new Promise<void>((resolve) => (said = resolve));
    const { session } = await started([{ text: "x" }, { cancelled: true }, { status: "cancelled" }], {
      onEvent: (event) => event.kind === "text" && said(),
    });
    const running = session.run(PROMPT, never);
    await saying;
    await session.stop();
    expect(await running).toMatchObject({ status: "cancelled" });
    expect(await session.run(PROMPT, never)).toMatchObject({ status: "cancelled", text: "" });
  });
});

describe("as a process", () => {
  const world = createWorld();
  const server = fileURLToPath(new URL("wire-server.mjs", import.meta.url));

  async function mocked(
    environment: Record<string, string>,
    options: {
      prompt?: string;
      argv?: string[];
      signal?: AbortSignal;
      onEvent?: StartOptions["onEvent"];
    } = {},
  ): Promise<{ turn: Turn; events: EngineEvent[]; cwd: string }> {
    const cwd = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "omk-wire-")));
    onTestFinished(() => fs.rmSync(cwd, { recursive: true, force: true }));
    const events: EngineEvent[] = [];
    const argv = [process.execPath, server, ...(options.argv ?? [])] as const;
    const engine = wireEngine({ name: "mock", argv }, world);
    const session = await engine.start(
      {
        ...startOptions(events),
        cwd,
        spawnId: world.random.name(16),
        environment: { PATH: process.env["PATH"] ?? "", ...environment },
        onEvent: (event) => {
          events.push(event);
          options.onEvent?.(event);
        },
      },
      never,
    );
    const prompt = { ...PROMPT, text: options.prompt ?? PROMPT.text };
    const turn = await session.run(prompt, options.signal ?? never);
    await session.stop();
    return { turn, events, cwd };
  }

  test("the mock agent of the original works in its folder and says what it cost", async () => {
    const { turn, events, cwd } = await mocked({
      MOCK_KIMI_WIRE_TEXT: "written",
      MOCK_KIMI_WRITE_FILE: "hello.txt",
      MOCK_KIMI_WRITE_BODY: "hello\n",
      MOCK_KIMI_WIRE_TOKEN_USAGE: "42",
    });
    expect(turn).toMatchObject({
      status: "finished",
      text: "written",
      usage: { output_tokens: 42, quality: "exact" },
    });
    expect(fs.readFileSync(path.join(cwd, "hello.txt"), "utf8")).toBe("hello\n");
    expect(events.at(-1)).toMatchObject({ kind: "session-ended", exit: "exit status 0" });
  });

  test("a crash right after the turn began is a crash", async () => {
    const { turn } = await mocked({}, { argv: ["--crash-after-turn-begin"] });
    expect(turn).toMatchObject({
      status: "failed",
      failure: { class: "crashed", message: matching(/exit status 1/) },
    });
  });

  test("a broken line ends the turn", async () => {
    const { turn } = await mocked({}, { argv: ["--malformed"] });
    expect(turn).toMatchObject({ status: "failed", failure: { class: "protocol" } });
  });

  test("an agent that stalls is cancelled", async () => {
    const stop = new AbortController();
    const { turn, events } = await mocked(
      { MOCK_KIMI_WIRE_STALL_WHEN_CONTAINS: "Fix" },
      { signal: stop.signal, onEvent: (event) => event.kind === "notice" && stop.abort() },
    );
    expect(turn.status).toBe("cancelled");
    expect(events.at(-1)).toMatchObject({ kind: "session-ended", exit: "exit status 0" });
  });

  test("a program that is not there is an error of the configuration", async () => {
    const engine = wireEngine({ name: "none", argv: ["/nowhere/kimi"] }, world);
    const session = await engine.start({ ...startOptions([]), cwd: os.tmpdir() }, never);
    expect(await session.run(PROMPT, never)).toMatchObject({
      failure: { class: "config", retryable: false },
    });
    await session.stop();
    expect(await engine.probe(never)).toMatchObject({ found: false });
  });

  test("a program is asked for its version", async () => {
    const argv = [process.execPath, server] as const;
    const engine = wireEngine({ name: "mock", argv, versionArgv: [...argv, "--version"] }, world);
    expect(await engine.probe(never)).toMatchObject({ found: true, version: "kimi, version 1.10.0-mock" });
  });
});
