import { methods } from "@agentclientprotocol/sdk";
import type {
  AgentApp,
  AgentContext,
  PromptRequest,
  PromptResponse,
  RequestPermissionResponse,
} from "@agentclientprotocol/sdk";
import { describe, expect, test } from "vitest";
import { acpEngine, type AcpProgram } from "../../src/engine/acp.ts";
import type {
  EngineEvent,
  PermissionAnswer,
  PermissionRequest,
  Session,
  StartOptions,
} from "../../src/engine/engine.ts";
import type { Clock, Disk } from "../../src/ports.ts";
import { SimulatedDisk } from "../support/simulated-disk.ts";
import {
  MemoryProcesses,
  PROMPT,
  StoppedClock,
  never,
  officialAgent,
  rawAgent,
  realClock,
  startOptions,
  turnOfTheLoop,
} from "./rig.ts";
import type { AgentProcess, RawBehaviour } from "./rig.ts";

interface Rig {
  session: Session;
  events: EngineEvent[];
  processes: MemoryProcesses;
}

async function started(
  agent: (process: AgentProcess) => void,
  options: Partial<StartOptions> = {},
  clock: Clock = realClock,
  program: Partial<AcpProgram> = {},
  disk: Disk = new SimulatedDisk(),
): Promise<Rig> {
  const events: EngineEvent[] = [];
  const processes = new MemoryProcesses(agent);
  const engine = acpEngine(
    { name: "tested", argv: ["agent"], clientVersion: "1", ...program },
    { processes, clock, disk },
  );
  const session = await engine.start({ ...startOptions(events), ...options }, never);
  return { session, events, processes };
}

/** An official agent whose turns are this function. */
function official(
  turn: (client: AgentContext, params: PromptRequest, signal: AbortSignal) => Promise<PromptResponse>,
  seen: { cwd?: string } = {},
): (process: AgentProcess) => void {
  return officialAgent((app: AgentApp) => {
    let cancelled = new AbortController();
    return app
      .onRequest(methods.agent.initialize, ({ params }) => {
        expect(params).toMatchObject({ protocolVersion: 1, clientInfo: { name: "omk", version: "1" } });
        return { protocolVersion: 1, agentCapabilities: {}, agentInfo: { name: "official", version: "9" } };
      })
      .onRequest(methods.agent.session.new, ({ params }) => {
        seen.cwd = params.cwd;
        return { sessionId: "s1" };
      })
      .onNotification(methods.agent.session.cancel, () => cancelled.abort())
      .onRequest(methods.agent.session.prompt, ({ client, params }) => {
        cancelled = new AbortController();
        return turn(client, params, cancelled.signal);
      });
  });
}

const say = (client: AgentContext, text: string): Promise<void> =>
  client.notify(methods.client.session.update, {
    sessionId: "s1",
    update: { sessionUpdate: "agent_message_chunk", content: { type: "text", text } },
  });

const OPTIONS = [
  { optionId: "a", name: "Always", kind: "allow_always" as const },
  { optionId: "b", name: "Now", kind: "allow_once" as const },
  { optionId: "c", name: "No", kind: "reject_once" as const },
];

const kinds = (events: EngineEvent[]): string[] => events.map((event) => event.kind);

describe("an agent made with the official SDK", () => {
  test("gets our messages as its schema wants them, and its turn comes back whole", async () => {
    const seen: { cwd?: string; prompt?: PromptRequest } = {};
    const rig = await started(
      official(async (client, params) => {
        seen.prompt = params;
        await say(client, "Look");
        await say(client, "ing.\n");
        await client.notify(methods.client.session.update, {
          sessionId: "s1",
          update: {
            sessionUpdate: "tool_call",
            toolCallId: "t",
            title: "Edit a",
            kind: "edit",
            locations: [{ path: "/project/a" }],
          },
        });
        await client.notify(methods.client.session.update, {
          sessionId: "s1",
          update: { sessionUpdate: "tool_call_update", toolCallId: "t", status: "completed" },
        });
        return {
          stopReason: "end_turn",
          usage: { totalTokens: 160, inputTokens: 100, outputTokens: 10, cachedReadTokens: 50 },
        } as PromptResponse;
      }, seen),
    );
    const turn = await rig.session.run(PROMPT, never);
    await rig.session.stop();

    expect(seen).toMatchObject({
      cwd: "/project",
      prompt: { sessionId: "s1", prompt: [{ type: "text", text: "Fix it." }], _meta: { omk: PROMPT.meta } },
    });
    expect(turn).toEqual({
      status: "finished",
      text: "Looking.\n",
      toolCalls: 1,
      usage: { input_tokens: 100, output_tokens: 10, cache_read_tokens: 50, quality: "exact" },
      proposals: [],
    });
    expect(kinds(rig.events)).toEqual([
      "session-started",
      "turn-started",
      "text",
      "text",
      "tool-started",
      "tool-finished",
      "turn-ended",
      "session-ended",
    ]);
    expect(rig.events[0]).toMatchObject({
      agent: "official",
      agent_version: "9",
      session: "s1",
      sequence: 1,
    });
    expect(rig.events[5]).toMatchObject({
      outcome: "ok",
      title: "Edit a",
      paths: ["/project/a"],
      raw: { status: "completed" },
    });
    expect(rig.events.at(-1)).toMatchObject({ exit: "exit status 0" });
    expect(rig.processes.killed).toBe(0);
  });

  test("is answered by the kind of option, and the request knows what earlier updates said", async () => {
    const asked: PermissionRequest[] = [];
    const outcomes: unknown[] = [];
    const answers: PermissionAnswer[] = [
      { decision: "allow", rule: "safe" },
      { decision: "reject", rule: "never" },
    ];
    const rig = await started(
      official(async (client) => {
        await client.notify(methods.client.session.update, {
          sessionId: "s1",
          update: {
            sessionUpdate: "tool_call",
            toolCallId: "t1",
            title: "rm -rf build",
            kind: "execute",
            rawInput: { command: "rm -rf build" },
          },
        });
        for (const toolCallId of ["t1", "t2"]) {
          const answer = await client.request<RequestPermissionResponse>(
            methods.client.session.requestPermission,
            {
              sessionId: "s1",
              toolCall: { toolCallId, title: "Shell" },
              options: OPTIONS,
            },
          );
          outcomes.push(answer.outcome);
        }
        await say(client, "Then not.");
        return { stopReason: "end_turn" };
      }),
      {
        decidePermission: async (request) => {
          asked.push(request);
          return answers[asked.length - 1] as PermissionAnswer;
        },
      },
    );
    const turn = await rig.session.run(PROMPT, never);
    await rig.session.stop();

    expect(asked[0]).toMatchObject({
      toolCallId: "t1",
      title: "Shell",
      kind: "execute",
      rawInput: { command: "rm -rf build" },
    });
    expect(outcomes).toEqual([
      { outcome: "selected", optionId: "b" },
      { outcome: "selected", optionId: "c" },
    ]);
    expect(turn).toMatchObject({ status: "finished", toolCalls: 2 });
    expect(rig.events.filter((event) => event.kind === "approval-answered")).toMatchObject([
      { decision: "allow", rule: "safe", option_kind: "allow_once" },
      { decision: "reject", rule: "never", option_kind: "reject_once" },
    ]);
    expect(rig.events.filter((event) => event.kind === "tool-finished")).toMatchObject([
      { tool_id: "t1", outcome: "unknown" },
      { tool_id: "t2", outcome: "denied" },
    ]);
  });

  test.each(["end_turn", "cancelled"] as const)(
    "that stops with %s after a refusal was denied",
    async (stopReason) => {
      const rig = await started(
        official(async (client) => {
          await say(client, "I will edit.");
          await client.request(methods.client.session.requestPermission, {
            sessionId: "s1",
            toolCall: { toolCallId: "t1", title: "Edit" },
            options: OPTIONS,
          });
          await client.notify(methods.client.session.update, {
            sessionId: "s1",
            update: { sessionUpdate: "tool_call_update", toolCallId: "t1", status: "failed" },
          });
          return { stopReason };
        }),
        { decidePermission: async () => ({ decision: "reject", rule: "never" }) },
      );
      expect(await rig.session.run(PROMPT, never)).toMatchObject({ status: "denied" });
      await rig.session.stop();
      expect(rig.events.find((event) => event.kind === "tool-finished")).toMatchObject({ outcome: "denied" });
    },
  );

  test("that ends has every open request withdrawn, also where two have the same id but for quotes", async () => {
    const told: string[] = [];
    const { turn } = await turnOf(
      (method, agent) => {
        if (method !== "session/prompt") return;
        for (const [id, toolCallId] of [
          [77, "t1"],
          ["77", "t2"],
        ] as const) {
          const params = { sessionId: "s1", toolCall: { toolCallId, title: "Edit" }, options: OPTIONS };
          const asked = { jsonrpc: "2.0", id, method: "session/request_permission", params };
          agent.write(`${JSON.stringify(asked)}\n`);
        }
        agent.answer({ stopReason: "end_turn" });
      },
      {
        decidePermission: ({ toolCallId }, signal) =>
          new Promise((_resolve, reject) => {
            signal.addEventListener("abort", () => {
              told.push(toolCallId);
              reject(signal.reason as Error);
            });
          }),
      },
    );
    expect(turn.toolCalls).toBe(2);
    expect(told).toEqual(["t1", "t2"]);
  });

  test("gets every open request answered as cancelled when its turn is cancelled", async () => {
    const cancel = new AbortController();
    const outcomes: unknown[] = [];
    const deciderTold: boolean[] = [];
    const rig = await started(
      official(async (client, _params, cancelled) => {
        const ask = (toolCallId: string) =>
          client.request<RequestPermissionResponse>(methods.client.session.requestPermission, {
            sessionId: "s1",
            toolCall: { toolCallId, title: "Edit" },
            options: OPTIONS,
          });
        for (const answer of await Promise.all([ask("t1"), ask("t2")])) outcomes.push(answer.outcome);
        expect(cancelled.aborted).toBe(true);
        return { stopReason: "cancelled" };
      }),
      {
        decidePermission: (request, signal) => {
          if (request.toolCallId === "t2") cancel.abort();
          return new Promise((_resolve, reject) => {
            signal.addEventListener("abort", () => {
              deciderTold.push(true);
              reject(signal.reason as Error);
            });
          });
        },
      },
    );
    expect(await rig.session.run(PROMPT, cancel.signal)).toMatchObject({ status: "cancelled" });
    expect(outcomes).toEqual([{ outcome: "cancelled" }, { outcome: "cancelled" }]);
    expect(deciderTold).toEqual([true, true]);
    const last = kinds(rig.events).slice(-5);
    expect(last).toEqual([
      "approval-answered",
      "approval-answered",
      "tool-finished",
      "tool-finished",
      "turn-ended",
    ]);
    // The session is still good.
    await rig.session.stop();
    expect(rig.processes.killed).toBe(0);
  });

  test("can take several turns, and its cost is counted per turn", async () => {
    let total = 0;
    const rig = await started(
      official(async (client) => {
        total += 0.25;
        await client.notify(methods.client.session.update, {
          sessionId: "s1",
          update: {
            sessionUpdate: "usage_update",
            used: 1200,
            size: 100_000,
            cost: { amount: total, currency: "USD" },
          },
        });
        await say(client, "ok");
        return { stopReason: "max_tokens" };
      }),
    );
    for (let turn = 0; turn < 2; turn++) {
      expect(await rig.session.run(PROMPT, never)).toMatchObject({
        status: "limit",
        usage: { input_tokens: 1200, cost_usd: 0.25, quality: "estimated" },
      });
    }
    await rig.session.stop();
  });
});

/** A turn of a hand-made agent. */
async function turnOf(
  behave: RawBehaviour,
  options: Partial<StartOptions> = {},
): Promise<Rig & { turn: Awaited<ReturnType<Session["run"]>> }> {
  const rig = await started(rawAgent(behave), options);
  const turn = await rig.session.run(PROMPT, never);
  await rig.session.stop();
  return { ...rig, turn };
}

describe("a turn", () => {
  test("of an agent that ends without a word is empty", async () => {
    const { turn } = await turnOf((_method, agent) => {
      agent.update({ sessionUpdate: "agent_thought_chunk", content: { type: "text", text: "hm" } });
      agent.answer({ stopReason: "end_turn" });
    });
    expect(turn).toMatchObject({
      status: "empty",
      failure: { class: "provider", retryable: true },
      text: "",
    });
  });

  test.each([
    [-32000, "log in first", undefined, { class: "auth", retryable: false }],
    [-32603, "model error 429", undefined, { class: "rate_limit", retryable: true }],
    [-32603, "no", { statusCode: 401 }, { class: "auth", retryable: false }],
    [503, "overloaded", undefined, { class: "provider", retryable: true }],
    [400, "bad request", undefined, { class: "provider", retryable: false }],
    [-32603, "it broke", undefined, { class: "provider", retryable: false }],
    [-32602, "what?", undefined, { class: "protocol", retryable: false }],
    [-32002, "not there", undefined, { class: "config", retryable: false }],
  ])("answered with error %i %s is told apart", async (code, message, data, failure) => {
    const { turn } = await turnOf((_method, agent) => agent.fail(code, message, data));
    expect(turn).toMatchObject({ status: "failed", failure });
  });

  test("takes in updates that come after its result, but lets a crash behind it count more", async () => {
    const late = await turnOf((_method, agent) => {
      agent.answer({ stopReason: "end_turn" });
      agent.update({ sessionUpdate: "agent_message_chunk", content: { type: "text", text: "late" } });
      agent.update({ sessionUpdate: "usage_update", used: 5, size: 10 });
    });
    expect(late.turn).toMatchObject({
      status: "finished",
      text: "late",
      usage: { input_tokens: 5, quality: "estimated" },
    });

    const crashing = await turnOf((_method, agent) => {
      agent.update({ sessionUpdate: "agent_message_chunk", content: { type: "text", text: "all done" } });
      agent.answer({ stopReason: "end_turn" });
      agent.exit({ kind: "exited", code: 3 });
    });
    expect(crashing.turn).toMatchObject({ status: "failed", failure: { class: "crashed" } });
  });

  test("whose agent dies is crashed, whatever the exit status, with the end of stderr", async () => {
    for (const [exit, text] of [
      [{ kind: "exited", code: 0 }, "exit status 0"],
      [{ kind: "signalled", signal: "SIGSEGV" }, "signal SIGSEGV"],
    ] as const) {
      const { turn, session } = await turnOf((_method, agent) => {
        agent.writeError(`${"x".repeat(5000)}out of memory\n`);
        agent.exit(exit);
      });
      expect(turn).toMatchObject({ status: "failed", failure: { class: "crashed", retryable: true } });
      expect(turn.failure?.message).toContain(text);
      expect(turn.failure?.message).toMatch(/xout of memory$/);
      expect(turn.failure?.message.length).toBeLessThan(4300);
      expect(await session.run(PROMPT, never)).toMatchObject({ status: "failed" });
    }
  });

  test("that sends what is no message fails with the bytes as evidence, and the agent is ended", async () => {
    const { turn, processes } = await turnOf((_method, agent) =>
      agent.write(new Uint8Array([0x7b, 0xff, 0x1b, 0x0a])),
    );
    expect(turn).toMatchObject({ status: "failed", failure: { class: "protocol" } });
    expect(turn.failure?.message).toContain("{\\xff\\x1b");
    expect(processes.killed).toBe(1);
  });

  test("that answers without a stop reason, or with one nobody knows, is no success", async () => {
    expect((await turnOf((_method, agent) => agent.answer({}))).turn).toMatchObject({
      failure: { class: "protocol" },
    });
    expect((await turnOf((_method, agent) => agent.answer({ stopReason: "done" }))).turn).toMatchObject({
      status: "failed",
      failure: { class: "protocol" },
    });
    expect((await turnOf((_method, agent) => agent.answer({ stopReason: "cancelled" }))).turn).toMatchObject({
      status: "failed",
      failure: { class: "protocol" },
    });
    expect((await turnOf((_method, agent) => agent.answer({ stopReason: "refusal" }))).turn.status).toBe(
      "refused",
    );
  });

  test("keeps what it does not understand and goes on", async () => {
    const { turn, events } = await turnOf((method, agent, message) => {
      if (method !== "session/prompt") return;
      agent.write("npm warn something\n");
      agent.update({ sessionUpdate: "hologram", data: 1 });
      agent.update({ sessionUpdate: "tool_call", toolCallId: 7 });
      agent.write(
        `${JSON.stringify({ jsonrpc: "2.0", method: "session/update", params: { sessionId: "other", update: { sessionUpdate: "plan" } } })}\n`,
      );
      agent.write('{"jsonrpc":"2.0","method":"_vendor/thing"}\n');
      agent.write(
        '{"jsonrpc":"2.0","id":"q","method":"fs/read_text_file","params":{"path":"/etc/passwd"}}\n',
      );
      agent.update({
        sessionUpdate: "plan",
        entries: [{ content: "one", priority: "high", status: "pending" }],
      });
      agent.update({ sessionUpdate: "current_mode_update", currentModeId: "code" });
      agent.update({
        sessionUpdate: "tool_call_update",
        toolCallId: "late",
        title: "Never announced",
        status: "completed",
      });
      agent.update({
        sessionUpdate: "agent_message_chunk",
        content: { type: "text", text: "x".repeat(20_000) },
      });
      agent.update({ sessionUpdate: "hologram", data: "y".repeat(20_000) });
      void message;
      agent.answer({ stopReason: "end_turn", usage: { nonsense: true } });
    });
    expect(turn).toMatchObject({ status: "finished", toolCalls: 1, usage: { quality: "missing" } });
    expect(events.filter((event) => event.kind === "unknown")).toMatchObject([
      { what: "hologram", count: 1, raw: { data: 1 } },
      { what: "tool_call", count: 2 },
      { what: "session/update", count: 3 },
      { what: "_vendor/thing", count: 4 },
      { what: "fs/read_text_file", count: 5 },
      { what: "hologram", count: 6, raw: { omitted_bytes: expect.any(Number) as number } },
    ]);
    expect(kinds(events)).toEqual(
      expect.arrayContaining(["notice", "plan", "mode", "tool-started", "tool-finished"]),
    );
  });

  test("keeps the end of a text of more than a mebibyte, cut between characters", async () => {
    const { turn } = await turnOf((_method, agent) => {
      for (let part = 0; part < 10; part++) {
        agent.update({
          sessionUpdate: "agent_message_chunk",
          content: { type: "text", text: "é".repeat(100_000) },
        });
      }
      agent.update({ sessionUpdate: "agent_message_chunk", content: { type: "text", text: "!" } });
      agent.answer({ stopReason: "end_turn" });
    });
    expect(new TextEncoder().encode(turn.text).length).toBe(1024 * 1024 - 1);
    expect(turn.text).toMatch(/^é+!$/);
  });

  test("collects proposals as they were sent, and no more than fifty", async () => {
    const { turn, events } = await turnOf((_method, agent) => {
      for (let n = 0; n < 60; n++) {
        agent.write(
          `${JSON.stringify({ jsonrpc: "2.0", method: "_omk/propose_task", params: { title: `t${n}` } })}\n`,
        );
      }
      agent.answer({ stopReason: "end_turn" });
    });
    expect(turn.proposals).toHaveLength(50);
    expect(turn.proposals[0]).toEqual({ title: "t0" });
    expect(events).toContainEqual(
      expect.objectContaining({ message: expect.stringMatching(/^10 proposed tasks/) as string }),
    );
  });

  test("counts input tokens without the cache, whichever way the agent counts", async () => {
    const usageOf = async (usage: object): Promise<unknown> =>
      (await turnOf((_method, agent) => agent.answer({ stopReason: "end_turn", usage }))).turn.usage;
    const wanted = { input_tokens: 60, output_tokens: 10, cache_read_tokens: 40, quality: "exact" };
    expect(
      await usageOf({ totalTokens: 110, inputTokens: 60, outputTokens: 10, cachedReadTokens: 40 }),
    ).toEqual(wanted);
    expect(
      await usageOf({ totalTokens: 110, inputTokens: 100, outputTokens: 10, cachedReadTokens: 40 }),
    ).toEqual(wanted);
  });

  test("whose prompt begins with a slash is sent so that no agent takes it for a command", async () => {
    let sent: unknown;
    const rig = await started(
      rawAgent((_method, agent, message) => {
        sent = message["params"];
        agent.answer({ stopReason: "end_turn" });
      }),
    );
    await rig.session.run({ ...PROMPT, text: "/clear" }, never);
    await rig.session.stop();
    expect(sent).toMatchObject({ prompt: [{ text: "Request: /clear" }] });
  });

  test("ends with what our own event log threw, and the session ends with it", async () => {
    const full = new Error("no space left");
    let quiet = true;
    const rig = await started(
      rawAgent((_method, agent) => agent.update({ sessionUpdate: "plan", entries: [] })),
      {
        onEvent: () => {
          if (!quiet) throw full;
        },
      },
    );
    quiet = false;
    await expect(rig.session.run(PROMPT, never)).rejects.toBe(full);
    await expect(rig.session.stop()).rejects.toBe(full);
  });
});

describe("time", () => {
  test("ends a handshake that does not end", async () => {
    const clock = new StoppedClock();
    const starting = started(
      rawAgent(() => undefined, { handshake: false }),
      {},
      clock,
    );
    await clock.pass(30_000);
    const rig = await starting;
    expect(rig.session.id).toBeUndefined();
    expect(await rig.session.run(PROMPT, never)).toMatchObject({
      status: "failed",
      failure: { class: "timeout" },
    });
    expect(rig.processes.killed).toBe(1);
    await rig.session.stop();
  });

  test("ends a silent turn by asking, then by force", async () => {
    const clock = new StoppedClock();
    const methodsSeen: string[] = [];
    const rig = await started(
      rawAgent((method) => methodsSeen.push(method)),
      {},
      clock,
    );
    const running = rig.session.run(PROMPT, never);
    await clock.pass(600_000);
    await clock.pass(5000);
    expect(await running).toMatchObject({ status: "failed", failure: { class: "timeout", retryable: true } });
    expect(methodsSeen).toEqual(["session/prompt", "session/cancel"]);
    expect(rig.processes.killed).toBe(1);
    await rig.session.stop();
  });

  test("does not count as silence while a tool is open, and counts from its end", async () => {
    const clock = new StoppedClock();
    let agent!: Parameters<RawBehaviour>[1];
    const rig = await started(
      rawAgent((method, process) => {
        if (method === "session/cancel") agent.answer({ stopReason: "cancelled" });
        if (method !== "session/prompt") return;
        agent = process;
        agent.update({
          sessionUpdate: "tool_call",
          toolCallId: "t",
          title: "Long tests",
          status: "in_progress",
        });
      }),
      {},
      clock,
    );
    let over = false;
    const running = rig.session.run(PROMPT, never).finally(() => (over = true));
    await turnOfTheLoop();
    await clock.pass(600_000);
    await clock.pass(600_000);
    expect(over).toBe(false);
    agent.update({ sessionUpdate: "tool_call_update", toolCallId: "t", status: "completed" });
    await turnOfTheLoop();
    await clock.pass(600_000);
    await clock.pass(100);
    expect(await running).toMatchObject({ status: "failed", failure: { class: "timeout" } });
    expect(rig.events.find((event) => event.kind === "tool-finished")).toMatchObject({ outcome: "ok" });
    await rig.session.stop();
  });

  test("ends a busy turn at its limit", async () => {
    const clock = new StoppedClock();
    const rig = await started(
      rawAgent((method, agent) => {
        if (method === "session/prompt")
          agent.update({ sessionUpdate: "tool_call", toolCallId: "t", title: "For ever" });
      }),
      { limits: { handshakeMs: 30_000, idleMs: 600_000, turnMs: 1000 } },
      clock,
    );
    const running = rig.session.run(PROMPT, never);
    await clock.pass(1000);
    await clock.pass(5000);
    expect(await running).toMatchObject({ status: "failed", failure: { class: "timeout" }, toolCalls: 1 });
    expect(rig.events.find((event) => event.kind === "tool-finished")).toMatchObject({
      outcome: "cancelled",
    });
    await rig.session.stop();
  });

  test("for a cancelled turn that does not end is five seconds", async () => {
    const clock = new StoppedClock();
    const cancel = new AbortController();
    const rig = await started(
      rawAgent(() => undefined),
      {},
      clock,
    );
    const running = rig.session.run(PROMPT, cancel.signal);
    await turnOfTheLoop();
    cancel.abort();
    await clock.pass(5000);
    expect(await running).toMatchObject({ status: "cancelled" });
    expect(rig.processes.killed).toBe(1);
    await rig.session.stop();
  });

  test("for an agent that stays when its stdin closes is three seconds, and stop is once", async () => {
    const clock = new StoppedClock();
    const rig = await started(
      (process) => {
        const stays = { ...process, exit: () => undefined };
        rawAgent(() => undefined)(stays);
      },
      {},
      clock,
    );
    const stopping = [rig.session.stop(), rig.session.stop()];
    await clock.pass(3000);
    await Promise.all(stopping);
    expect(rig.processes.killed).toBe(1);
    expect(kinds(rig.events)).toEqual(["session-started", "session-ended"]);
    expect(await rig.session.run(PROMPT, never)).toMatchObject({ status: "cancelled" });
  });
});

describe("the start", () => {
  test("of a program that is not there gives a session that says so", async () => {
    const rig = await started((process) =>
      process.exit({ kind: "not_started", code: "ENOENT", message: "spawn agent ENOENT" }),
    );
    expect(await rig.session.run(PROMPT, never)).toMatchObject({
      status: "failed",
      failure: { class: "config", retryable: false },
    });
    await rig.session.stop();
  });

  test("fails on an agent that wants a login or speaks another version", async () => {
    const login = await started(
      rawAgent(
        (method, agent) => {
          if (method === "initialize") agent.answer({ protocolVersion: 1 });
          else agent.fail(-32000, "Authentication required");
        },
        { handshake: false },
      ),
    );
    expect(await login.session.run(PROMPT, never)).toMatchObject({ failure: { class: "auth" } });
    const other = await started(
      rawAgent((_method, agent) => agent.answer({ protocolVersion: 2 }), { handshake: false }),
    );
    expect(await other.session.run(PROMPT, never)).toMatchObject({ failure: { class: "protocol" } });
    expect([login.processes.killed, other.processes.killed]).toEqual([1, 1]);
    await Promise.all([login.session.stop(), other.session.stop()]);
  });

  test("is given up with the signal's reason, and nothing stays", async () => {
    const giveUp = new AbortController();
    const processes = new MemoryProcesses(
      rawAgent(() => giveUp.abort(new Error("enough")), { handshake: false }),
    );
    const engine = acpEngine(
      { name: "tested", argv: ["agent"] },
      { processes, clock: realClock, disk: new SimulatedDisk() },
    );
    await expect(engine.start(startOptions([]), giveUp.signal)).rejects.toThrow("enough");
    expect(processes.killed).toBe(1);
  });

  test("stops a running turn as cancelled when the session is stopped", async () => {
    const rig = await started(
      rawAgent((method, agent) => {
        if (method === "session/cancel") agent.exit({ kind: "exited", code: 0 });
      }),
    );
    const running = rig.session.run(PROMPT, never);
    await turnOfTheLoop();
    await rig.session.stop();
    expect(await running).toMatchObject({ status: "cancelled" });
  });
});
