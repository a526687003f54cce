import { client, methods, ndJsonStream } from "@agentclientprotocol/sdk";
import type { ClientConnection, PromptResponse, SessionNotification } from "@agentclientprotocol/sdk";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { acpEngine } from "../../src/engine/acp.ts";
import type { EngineEvent, Prompt, StartOptions, Turn } from "../../src/engine/engine.ts";
import { runScriptedAgent } from "../../src/engine/scripted/agent.ts";
import { Script } from "../../src/engine/scripted/script.ts";
import { createWorld } from "../../src/world.ts";
import { BytePipe, MemoryProcesses, PROMPT, never, readable, realClock, startOptions } from "./rig.ts";
import type { AgentProcess } from "./rig.ts";

const world = createWorld();
const environment = { PATH: process.env["PATH"] ?? "", TMPDIR: os.tmpdir() };

function project(files: Record<string, string> = {}): string {
  const folder = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "omk-agent-")));
  onTestFinished(() => fs.rmSync(folder, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) fs.writeFileSync(path.join(folder, name), text);
  return folder;
}

const scriptOf = (steps: unknown[], rest: object = {}): Script =>
  Script.parse({ version: 1, turns: [{ steps }], ...rest });

/** The scripted agent as a process in memory, with the real disk and real commands. */
function scripted(script: Script): (process: AgentProcess) => void {
  return (process) => {
    const stdio = {
      stdin: process.stdin,
      write: async (bytes: Uint8Array) => process.write(bytes),
      writeError: (text: string) => process.writeError(text),
      environment,
    };
    void runScriptedAgent(script, stdio, world).then((code) => process.exit({ kind: "exited", code }));
  };
}

interface Played {
  turn: Turn;
  events: EngineEvent[];
}

/** One turn of our own client with the scripted agent. */
async function play(
  script: Script,
  cwd: string,
  options: Partial<StartOptions> = {},
  prompt: Prompt = PROMPT,
  signal = never,
): Promise<Played> {
  const events: EngineEvent[] = [];
  const engine = acpEngine(
    { name: "scripted", argv: ["omk"] },
    { processes: new MemoryProcesses(scripted(script)), clock: realClock, disk: world.disk },
  );
  const session = await engine.start({ ...startOptions(events), cwd, ...options }, never);
  const turn = await session.run(prompt, signal);
  await session.stop();
  return { turn, events };
}

/** The SDK's client on the scripted agent, and what it was told. */
function connected(
  script: Script,
  answer: "allow_once" | "reject_once",
): { connection: ClientConnection; updates: SessionNotification[]; ended: Promise<number> } {
  const toAgent = new BytePipe();
  const fromAgent = new BytePipe();
  const ended = runScriptedAgent(
    script,
    {
      stdin: toAgent,
      write: async (bytes) => fromAgent.push(bytes),
      writeError: () => undefined,
      environment,
    },
    world,
  ).finally(() => fromAgent.end());
  const updates: SessionNotification[] = [];
  const output = new WritableStream<Uint8Array>({
    write: (chunk) => toAgent.push(chunk),
    close: () => toAgent.end(),
  });
  const connection = client({ name: "official" })
    .onNotification(methods.client.session.update, ({ params }) => {
      updates.push(params);
    })
    .onRequest(methods.client.session.requestPermission, ({ params }) => {
      const option = params.options.find(({ kind }) => kind === answer);
      return { outcome: { outcome: "selected", optionId: option?.optionId ?? "" } };
    })
    .connect(ndJsonStream(output, readable(fromAgent)));
  onTestFinished(async () => {
    toAgent.end();
    connection.close();
    await ended;
  });
  return { connection, updates, ended };
}

describe("the official client", () => {
  test("understands everything a script makes the agent say", async () => {
    const cwd = project();
    const { connection, updates } = connected(
      scriptOf([
        { think: "Let me see." },
        { write: "deep/er/a.txt", text: "one\n", ask_first: true },
        { edit: "deep/er/a.txt", replace: "one", with: "two" },
        { run: ["cat", "deep/er/a.txt"] },
        { usage: { input_tokens: 10, output_tokens: 5, cost_usd: 0.5 } },
        { say: "Done." },
      ]),
      "allow_once",
    );
    expect(await connection.agent.request(methods.agent.initialize, { protocolVersion: 1 })).toMatchObject({
      protocolVersion: 1,
    });
    const { sessionId } = await connection.agent.request(methods.agent.session.new, { cwd, mcpServers: [] });
    const result: PromptResponse = await connection.agent.request(methods.agent.session.prompt, {
      sessionId,
      prompt: [{ type: "text", text: "go" }],
    });
    expect(result).toMatchObject({
      stopReason: "end_turn",
      usage: { totalTokens: 15, inputTokens: 10, outputTokens: 5 },
    });
    expect(fs.readFileSync(path.join(cwd, "deep/er/a.txt"), "utf8")).toBe("two\n");
    expect(updates.map(({ update }) => update.sessionUpdate)).toEqual([
      "agent_thought_chunk",
      ...Array.from({ length: 3 }, () => ["tool_call", "tool_call_update", "tool_call_update"]).flat(),
      "usage_update",
      "agent_message_chunk",
    ]);
    expect(updates[9]?.update).toMatchObject({
      status: "completed",
      content: [{ content: { text: expect.stringContaining("two") as string } }],
    });
  });

  test("can refuse, cancel and ask for what is not there", async () => {
    const cwd = project();
    const { connection, updates } = connected(
      scriptOf([
        { write: "a", text: "x", ask_first: true, on_reject: [{ say: "Then I wait." }, { hang: true }] },
      ]),
      "reject_once",
    );
    await connection.agent.request(methods.agent.initialize, { protocolVersion: 1 });
    const { sessionId } = await connection.agent.request(methods.agent.session.new, { cwd, mcpServers: [] });
    const prompt = { sessionId, prompt: [{ type: "text" as const, text: "go" }] };
    const running = connection.agent.request(methods.agent.session.prompt, prompt);
    await expect
      .poll(() => updates.some(({ update }) => update.sessionUpdate === "agent_message_chunk"))
      .toBe(true);
    await expect(connection.agent.request(methods.agent.session.prompt, prompt)).rejects.toMatchObject({
      code: -32600,
    });
    await connection.agent.notify(methods.agent.session.cancel, { sessionId });
    expect(await running).toEqual({ stopReason: "cancelled" });
    expect(fs.existsSync(path.join(cwd, "a"))).toBe(false);
    await expect(
      connection.agent.request(methods.agent.session.prompt, { ...prompt, sessionId: "none" }),
    ).rejects.toMatchObject({ code: -32002 });
    await expect(connection.agent.request("session/fork", {})).rejects.toMatchObject({ code: -32601 });
  });
});

describe("an agent that is hard of hearing", () => {
  /** Cancels the turn of this script once a file says that it waits, and gives what it answers then. */
  async function cancelled(steps: unknown[], cwd: string): Promise<PromptResponse> {
    const { connection, updates } = connected(scriptOf(steps), "allow_once");
    await connection.agent.request(methods.agent.initialize, { protocolVersion: 1 });
    const { sessionId } = await connection.agent.request(methods.agent.session.new, { cwd, mcpServers: [] });
    const prompt = [{ type: "text" as const, text: "go" }];
    const running: Promise<PromptResponse> = connection.agent.request(methods.agent.session.prompt, {
      sessionId,
      prompt,
    });
    await expect.poll(() => fs.existsSync(path.join(cwd, "waits"))).toBe(true);
    await connection.agent.notify(methods.agent.session.cancel, { sessionId });
    // The answer to another request, which the agent read after the cancel, says that it has read the cancel.
    await connection.agent.request(methods.agent.session.new, { cwd, mcpServers: [] });
    expect(updates.length).toBeGreaterThan(0);
    fs.writeFileSync(path.join(cwd, "go"), "");
    return running;
  }

  test("goes on after a wait in which it was cancelled, as if nobody had", async () => {
    const waits = { write: "waits", text: "" };
    const late = { write: "late", text: "late" };
    for (const deafWait of [
      { wait_for: "go", deaf: true },
      { wait_ms: 300, deaf: true },
    ]) {
      const cwd = project();
      const answer = await cancelled([waits, deafWait, late, { run: "echo >ran" }, { wait_ms: 1 }], cwd);
      expect(answer).toMatchObject({ stopReason: "end_turn" });
      expect(fs.readdirSync(cwd)).toEqual(["go", "late", "ran", "waits"]);
    }
    const cwd = project();
    expect(await cancelled([waits, { wait_for: "go" }, late], cwd)).toEqual({ stopReason: "cancelled" });
    expect(fs.existsSync(path.join(cwd, "late"))).toBe(false);
    expect(() => scriptOf([{ wait_ms: 1, deaf: "yes" }])).toThrow("deaf");
  });

  test("hears again what comes after its wait", async () => {
    const cwd = project();
    const steps = [{ wait_ms: 1, deaf: true }, { write: "waits", text: "" }, { hang: true }];
    expect(await cancelled(steps, cwd)).toEqual({ stopReason: "cancelled" });
  });
});

test.runIf(process.platform === "linux")(
  "a daemon has a session of its own and the agent's environment, and is not waited for",
  async () => {
    const cwd = project();
    const says =
      'cat /proc/$$/stat >stat; echo "$TMPDIR" >folder; ls -l /proc/$$/fd >open; echo >up; exec sleep 30';
    const { turn, events } = await play(
      scriptOf([{ daemon: ["sh", "-c", says] }, { wait_for: "up" }, { say: "It runs." }]),
      cwd,
    );
    const read = (name: string) => fs.readFileSync(path.join(cwd, name), "utf8");
    const [pid, , , , group, session] = read("stat").split(" ").map(Number);
    onTestFinished(() => void process.kill(pid ?? 0, "SIGKILL"));
    expect(turn).toMatchObject({ status: "finished", text: "It runs.", toolCalls: 1 });
    expect(events.filter((event) => event.kind === "tool-finished")).toMatchObject([
      { outcome: "ok", tool_kind: "execute", title: expect.stringMatching(/^sh -c .* &$/s) as string },
    ]);
    expect(pid).toBeGreaterThan(0);
    expect([group, session]).toEqual([pid, pid]);
    expect(read("folder")).toBe(`${os.tmpdir()}\n`);
    // Nothing of ours is held open by it.
    expect(read("open").match(/ [012] -> .*/g)).toEqual([
      " 0 -> /dev/null",
      expect.stringMatching(/ 1 -> .*/),
      " 2 -> /dev/null",
    ]);
  },
);

describe("the documentation", () => {
  test("shows an example that does what is said of it", async () => {
    const page = fs.readFileSync(new URL("../../docs/scripted-engine.md", import.meta.url), "utf8");
    const script = Script.parse(JSON.parse(/```json\n([\s\S]*?)```/.exec(page)?.[1] ?? ""));
    const cwd = project({
      "sum.js": "export const sum = (a, b) => a - b;\n",
      "sum.test.js":
        'import assert from "node:assert"; import test from "node:test"; import { sum } from "./sum.js"; test("sum", () => assert.equal(sum(1, 2), 3));\n',
      "package.json": '{"type":"module"}\n',
    });
    const first = await play(script, cwd);
    expect(first.turn).toMatchObject({ status: "finished", text: "All tests pass now.", toolCalls: 0 });
    const second = await play(script, cwd, {}, { ...PROMPT, meta: { ...PROMPT.meta, attempt: 2 } });
    expect(second.turn).toMatchObject({
      status: "finished",
      text: "The sign is wrong. Repaired.",
      usage: { input_tokens: 1200, cost_usd: 0.01 },
    });
    const outcomes = second.events.flatMap((event) =>
      event.kind === "tool-finished" ? [event.outcome] : [],
    );
    expect(outcomes).toEqual(["ok", "ok"]);
  });
});

describe("our client", () => {
  test("sees a repair from the first word to the tokens it cost", async () => {
    const cwd = project({ "sum.js": "export const sum = (a, b) => a - b;\n" });
    const { turn, events } = await play(
      scriptOf([
        { say: "The sign is wrong. " },
        { edit: "sum.js", replace: "a - b", with: "a + b" },
        { run: "test -f sum.js" },
        { propose: { title: "Add tests" } },
        { usage: { input_tokens: 100, output_tokens: 20, cache_read_tokens: 7, cost_usd: 0.01 } },
        { say: "Mended." },
      ]),
      cwd,
    );
    expect(turn).toEqual({
      status: "finished",
      text: "The sign is wrong. Mended.",
      toolCalls: 2,
      usage: { input_tokens: 100, output_tokens: 20, cache_read_tokens: 7, cost_usd: 0.01, quality: "exact" },
      proposals: [{ title: "Add tests" }],
    });
    expect(fs.readFileSync(path.join(cwd, "sum.js"), "utf8")).toContain("a + b");
    expect(events.filter((event) => event.kind === "tool-finished")).toMatchObject([
      { outcome: "ok", tool_kind: "edit", paths: [path.join(cwd, "sum.js")] },
      { outcome: "ok", tool_kind: "execute", title: "test -f sum.js" },
    ]);
  });

  test("sees tools fail that met what they did not expect, while the agent goes on", async () => {
    const cwd = project({ a: "x" });
    const { turn, events } = await play(
      scriptOf([
        { edit: "a", replace: "not there", with: "" },
        { edit: "missing", replace: "x", with: "" },
        { write: "a/b", text: "a is no folder" },
        { delete: "missing" },
        { run: ["no-such-program-here"] },
        { run: "exit 7" },
        { delete: "a" },
      ]),
      cwd,
    );
    expect(turn).toMatchObject({ status: "finished", toolCalls: 7 });
    const outcomes = events.flatMap((event) => (event.kind === "tool-finished" ? [event.outcome] : []));
    expect(outcomes).toEqual(["failed", "failed", "failed", "failed", "failed", "failed", "ok"]);
    expect(fs.readdirSync(cwd)).toEqual([]);
  });

  test("rewrites a file in place, so that it keeps its mode", async () => {
    const cwd = project({ "run.sh": "#!/bin/sh\nexit 1\n" });
    fs.chmodSync(path.join(cwd, "run.sh"), 0o755);
    await play(scriptOf([{ write: "run.sh", text: "#!/bin/sh\n" }]), cwd);
    expect(fs.readFileSync(path.join(cwd, "run.sh"), "utf8")).toBe("#!/bin/sh\n");
    expect(fs.statSync(path.join(cwd, "run.sh")).mode & 0o777).toBe(0o755);
  });

  test("decides what the script asks", async () => {
    const steps = [
      {
        ask: "Deploy?",
        kind: "execute",
        path: "x",
        input: { command: "deploy" },
        on_allow: [{ say: "yes" }],
        on_reject: [{ say: "no" }],
      },
      { say: "!" },
    ];
    const cwd = project();
    for (const decision of ["allow", "reject"] as const) {
      const asked: unknown[] = [];
      const { turn } = await play(scriptOf(steps), cwd, {
        decidePermission: async (request) => {
          asked.push(request);
          return { decision, rule: "test" };
        },
      });
      expect(turn).toMatchObject({ status: "finished", text: decision === "allow" ? "yes!" : "no!" });
      expect(asked).toMatchObject([
        {
          title: "Deploy?",
          kind: "execute",
          rawInput: { command: "deploy" },
          locations: [path.join(cwd, "x")],
        },
      ]);
    }
    const { turn } = await play(scriptOf([{ write: "a", text: "", ask_first: true }, { say: "!" }]), cwd, {
      decidePermission: async () => ({ decision: "reject", rule: "test" }),
    });
    expect(turn).toMatchObject({ status: "denied", text: "" });
    expect(fs.readdirSync(cwd)).toEqual([]);
  });

  test("is told by meta which entry to expect, and of prompts that no entry answers", async () => {
    const script = Script.parse({
      version: 1,
      turns: [{ steps: [{ say: "one" }] }, { steps: [{ say: "two" }] }],
    });
    const cwd = project();
    const meta = (role: Prompt["meta"]["role"], attempt: number): Prompt => ({
      text: "x",
      meta: { role, task: "t", attempt },
    });
    expect((await play(script, cwd, {}, meta("work", 2))).turn.text).toBe("two");
    expect((await play(script, cwd, {}, meta("review", 1))).turn).toMatchObject({
      status: "failed",
      failure: { class: "config", retryable: false },
    });
  });

  test("meets crashes, errors, strange stop reasons and bytes as the script wants them", async () => {
    const cwd = project();
    const turnOf = async (...steps: unknown[]): Promise<Turn> => (await play(scriptOf(steps), cwd)).turn;
    const crashed = await turnOf({ say: "Bye." }, { stderr: "panic\n" }, { crash: 9 });
    expect(crashed).toMatchObject({ status: "failed", failure: { class: "crashed" }, text: "Bye." });
    expect(crashed.failure?.message).toMatch(/exit status 9.*panic$/);
    expect(await turnOf({ error: { code: -32000, message: "log in" } })).toMatchObject({
      failure: { class: "auth" },
    });
    expect(await turnOf({ stop: "max_tokens" })).toMatchObject({ status: "limit" });
    expect(await turnOf({ stop: "because" })).toMatchObject({ failure: { class: "protocol" } });
    expect(await turnOf({ raw: "{]\n" }, { say: "x" })).toMatchObject({ failure: { class: "protocol" } });
    expect(await turnOf({ raw: { base64: "ewH/fQo=" } })).toMatchObject({ failure: { class: "protocol" } });
    expect(await turnOf({ raw: "noise\n", times: 500 }, { say: "x" })).toMatchObject({ status: "finished" });
    expect(await turnOf({ raw: "x".repeat(1024 * 1024), times: 9 })).toMatchObject({
      failure: { class: "protocol" },
    });
    expect(await turnOf()).toMatchObject({ status: "empty" });
  });

  test("waits with the agent for a file, and cancels one that hangs or runs a command", async () => {
    const cwd = project();
    const waiting = play(scriptOf([{ write: "ready", text: "" }, { wait_for: "go" }, { say: "gone" }]), cwd);
    await expect.poll(() => fs.existsSync(path.join(cwd, "ready"))).toBe(true);
    fs.writeFileSync(path.join(cwd, "go"), "");
    expect((await waiting).turn).toMatchObject({ status: "finished", text: "gone" });
    expect((await play(scriptOf([{ wait_for: "never", timeout_ms: 30 }]), cwd)).turn).toMatchObject({
      status: "failed",
    });

    for (const step of [{ hang: true }, { wait_ms: 3_600_000 }, { run: ["sleep", "3600"] }]) {
      const cancel = new AbortController();
      const started = `started-${Object.keys(step)[0]}`;
      const running = play(
        scriptOf([{ write: started, text: "" }, step, { say: "no" }]),
        cwd,
        {},
        PROMPT,
        cancel.signal,
      );
      await expect.poll(() => fs.existsSync(path.join(cwd, started))).toBe(true);
      cancel.abort();
      expect((await running).turn).toMatchObject({ status: "cancelled", text: "" });
    }
  });
});
