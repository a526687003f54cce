import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { commandEngine, type CommandProgram } from "../../src/engine/command.ts";
import type { OutputKind } from "../../src/engine/command-output.ts";
import type { EngineEvent, StartOptions, Turn } from "../../src/engine/engine.ts";
import { outputOf } from "../../src/engine/command-output.ts";
import type { Exit } from "../../src/ports.ts";
import { createWorld } from "../../src/world.ts";
import { MemoryProcesses, PROMPT, StoppedClock, never, realClock, startOptions } from "./rig.ts";

const world = createWorld();
const DONE: Exit = { kind: "exited", code: 0 };
const NOW = new StoppedClock().now();

/** What a turn comes to when the program prints this and leaves like that. */
async function outcomeOf(
  output: OutputKind,
  printed: readonly (object | string)[] | Uint8Array[],
  {
    exit = DONE,
    stderr = "",
    template = ["agent", "{prompt}"],
  }: { exit?: Exit; stderr?: string; template?: readonly [string, ...string[]] } = {},
): Promise<{ turn: Turn; events: EngineEvent[] }> {
  const processes = new MemoryProcesses((agent) => {
    if (stderr !== "") agent.writeError(stderr);
    for (const line of printed) {
      const isBytes = line instanceof Uint8Array;
      agent.write(isBytes ? line : `${typeof line === "string" ? line : JSON.stringify(line)}\n`);
    }
    agent.exit(exit);
  });
  // Retry moments count from a known time; nothing here waits.
  const clock = { ...realClock, now: () => NOW };
  const engine = commandEngine(
    { name: "program", argv: template, template, output },
    { processes, clock, disk: world.disk },
  );
  const events: EngineEvent[] = [];
  const session = await engine.start(startOptions(events), never);
  const turn = await session.run(PROMPT, never);
  await session.stop();
  return { turn, events };
}

function folder(): string {
  const made = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "omk-command-")));
  onTestFinished(() => fs.rmSync(made, { recursive: true, force: true }));
  return made;
}

/** A real program in plain JavaScript and the options to run it with. */
function programThat(
  script: string,
  words: readonly string[],
  output: OutputKind = "text",
): { program: CommandProgram; options: StartOptions; events: EngineEvent[]; cwd: string } {
  const cwd = folder();
  fs.writeFileSync(path.join(cwd, "agent.cjs"), script);
  const template = [process.execPath, path.join(cwd, "agent.cjs"), ...words] as const;
  const events: EngineEvent[] = [];
  const environment = { PATH: process.env["PATH"] ?? "", TMPDIR: cwd };
  const options = { ...startOptions(events), cwd, environment, spawnId: world.random.name(16) };
  return { program: { name: "program", argv: template, template, output }, options, events, cwd };
}

async function runReal(
  { program, options }: ReturnType<typeof programThat>,
  prompt = PROMPT,
  signal: AbortSignal = never,
): Promise<Turn> {
  const session = await commandEngine(program, world).start(options, never);
  try {
    return await session.run(prompt, signal);
  } finally {
    await session.stop();
  }
}

const ECHO = "process.stdout.write(JSON.stringify(process.argv.slice(2)))";

describe("the prompt", () => {
  test("is one argument where the template says so, whatever is in it, and stdin is closed from the start", async () => {
    const made = programThat(
      `let read = 0;
       process.stdin.on("data", (chunk) => (read += chunk.length));
       process.stdin.on("end", () => process.stdout.write(JSON.stringify([read, ...process.argv.slice(2)])));`,
      ["--text={prompt}", "-x"],
    );
    const text = "a \"b\" $(c) 'd'\n{prompt} {prompt_file} é\0!";
    const turn = await runReal(made, { ...PROMPT, text });
    const shown = text.replace("\0", "\u{fffd}");
    expect(JSON.parse(turn.text)).toEqual([0, `--text=${shown}`, "-x"]);
    expect(turn.status).toBe("finished");
  });

  test("is never taken for an option or a command of the agent's own", async () => {
    for (const text of ["--help", "/quit"]) {
      const turn = await runReal(programThat(ECHO, ["{prompt}"]), { ...PROMPT, text });
      expect(JSON.parse(turn.text)).toEqual([`Request: ${text}`]);
    }
  });

  test("comes on stdin where the template names no place, however long it is", async () => {
    const made = programThat(
      `let read = "";
       process.stdin.setEncoding("utf8").on("data", (text) => (read += text));
       process.stdin.on("end", () => process.stdout.write(read.length + " " + process.argv.length));`,
      [],
    );
    const turn = await runReal(made, { ...PROMPT, text: "x".repeat(3_000_000) });
    expect(turn.text).toBe("3000000 2");
  });

  test("lies in a private file that is gone after the turn", async () => {
    const made = programThat(
      `const fs = require("node:fs");
       const path = process.argv[2];
       const modes = [path, require("node:path").dirname(path)].map((one) => (fs.statSync(one).mode & 0o777).toString(8));
       process.stdout.write(JSON.stringify([...modes, fs.readFileSync(path, "utf8"), path]));`,
      ["{prompt_file}"],
    );
    const turn = await runReal(made);
    const [file, around, text, where] = JSON.parse(turn.text) as string[];
    expect([file, around, text]).toEqual(["600", "700", PROMPT.text]);
    expect(where?.startsWith(made.cwd)).toBe(true);
    expect(fs.readdirSync(made.cwd)).toEqual(["agent.cjs"]);
  });

  test("leaves no file behind when the agent cannot be started, and clears those of an omk that was killed", async () => {
    const made = programThat("", ["{prompt_file}"]);
    const left = path.join(made.cwd, "omk-prompt-killed");
    fs.mkdirSync(left);
    fs.writeFileSync(path.join(left, "prompt.md"), "a secret");
    fs.utimesSync(left, 1, 1);
    const template = ["/no/such/program", "{prompt_file}"] as const;
    const turn = await runReal({ ...made, program: { ...made.program, template, argv: template } });
    expect(turn).toMatchObject({ status: "failed", failure: { class: "config", retryable: false } });
    expect(fs.readdirSync(made.cwd)).toEqual(["agent.cjs"]);
  });

  test("that no argument can hold is refused with what to do instead", async () => {
    const turn = await runReal(programThat(ECHO, ["{prompt}"]), { ...PROMPT, text: "x".repeat(131_072) });
    expect(turn).toMatchObject({ status: "failed", failure: { class: "config", retryable: false } });
    expect(turn.failure?.message).toContain("stdin");
    const fits = await runReal(programThat("console.log(1)", ["{prompt}"]), {
      ...PROMPT,
      text: "x".repeat(131_071),
    });
    expect(fits.status).toBe("finished");
  });
});

describe("a program", () => {
  test("runs once for each turn of a session, whose events are counted through", async () => {
    const made = programThat("console.log(process.pid)", ["{prompt}"]);
    const session = await commandEngine(made.program, world).start(made.options, never);
    const first = await session.run(PROMPT, never);
    const second = await session.run(PROMPT, never);
    await session.stop();
    expect(first.text).not.toBe(second.text);
    expect(made.events.map(({ sequence }) => sequence)).toEqual(made.events.map((_, index) => index + 1));
    expect(made.events.map(({ kind }) => kind).slice(-5)).toEqual([
      "session-started",
      "turn-started",
      "text",
      "turn-ended",
      "session-ended",
    ]);
  });

  test("is ended with all it started when the turn is cancelled", async () => {
    const made = programThat(
      `const child = require("node:child_process").spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { detached: true, stdio: "ignore" });
       process.on("SIGTERM", () => {});
       setInterval(() => {}, 1000);
       console.log(child.pid);`,
      ["{prompt}"],
    );
    const cancel = new AbortController();
    const options = {
      ...made.options,
      onEvent: (event: EngineEvent) => {
        made.events.push(event);
        if (event.kind === "text") cancel.abort();
      },
    };
    const turn = await runReal({ ...made, options }, PROMPT, cancel.signal);
    expect(turn.status).toBe("cancelled");
    expect(Number(turn.text)).toBeGreaterThan(0);
    expect(await world.processes.sweep([options.spawnId])).toBe(0);
  });

  test("that does not read its stdin, or closes it, is judged by what it does", async () => {
    const turn = await runReal(programThat("process.stdin.destroy(); process.stdout.write('fine')", []), {
      ...PROMPT,
      text: "x".repeat(1_000_000),
    });
    expect(turn).toMatchObject({ status: "finished", text: "fine" });
  });

  test("that is killed has crashed, whatever it said", async () => {
    const turn = await runReal(programThat('console.log("done"); process.kill(process.pid, "SIGKILL")', []));
    expect(turn).toMatchObject({
      status: "failed",
      text: "done\n",
      failure: { class: "crashed", retryable: true },
    });
  });

  test("that is silent or slow is ended", async () => {
    const idle = programThat("setInterval(() => {}, 1000)", []);
    const limits = { handshakeMs: 1000, idleMs: 50, turnMs: 60_000 };
    expect(await runReal({ ...idle, options: { ...idle.options, limits } })).toMatchObject({
      status: "failed",
      failure: { class: "timeout", message: expect.stringContaining("no sign of life") as string },
    });
    const slow = programThat('setInterval(() => process.stderr.write("."), 5)', []);
    const short = { handshakeMs: 1000, idleMs: 60_000, turnMs: 300 };
    expect(await runReal({ ...slow, options: { ...slow.options, limits: short } })).toMatchObject({
      status: "failed",
      failure: { class: "timeout", message: expect.stringContaining("took longer") as string },
    });
  });

  test("promises only what its output tells", () => {
    const capabilities = (output: OutputKind, ...words: string[]) =>
      commandEngine({ name: "x", argv: ["x"], template: ["x", ...words], output }, world).capabilities;
    expect(capabilities("opencode")).toMatchObject({
      approvals: "none",
      cancel: "kill_only",
      usage: "exact",
      cost: true,
    });
    expect(capabilities("text")).toMatchObject({ usage: "none", cost: false });
    expect(outputOf(["/usr/bin/codex", "exec", "--json", "{prompt}"])).toBe("codex");
    expect(outputOf(["claude", "-p", "{prompt}", "--output-format=stream-json"])).toBe("claude");
    expect(outputOf(["claude", "-p", "{prompt}"])).toBe("auto");
  });
});

describe("text", () => {
  test("is joined over pieces, with what is no UTF-8 replaced", async () => {
    const bytes = [...new TextEncoder().encode("Grüße 👋 "), 0xff, 0x0a];
    const { turn } = await outcomeOf(
      "text",
      bytes.map((byte) => Uint8Array.of(byte)),
    );
    expect(turn.text).toBe("Grüße 👋 \u{fffd}\n");
  });

  test("of which there is none is an empty turn of a known agent, and nothing special of another program", async () => {
    expect((await outcomeOf("text", ["  "])).turn.status).toBe("finished");
    expect((await outcomeOf("auto", [])).turn.status).toBe("finished");
    expect((await outcomeOf("text", ["  "], { template: ["/usr/bin/kimi", "{prompt}"] })).turn).toMatchObject(
      {
        status: "empty",
        failure: { class: "provider" },
      },
    );
  });

  test("means nothing when the exit says otherwise", async () => {
    const cases: [Exit, string, object][] = [
      [{ kind: "exited", code: 1 }, "Segmentation of 512 items", { class: "crashed", retryable: true }],
      [{ kind: "exited", code: 127 }, "not found", { class: "config", retryable: false }],
      [{ kind: "exited", code: 126 }, "", { class: "config" }],
      [{ kind: "exited", code: 1 }, "Error: 401 Unauthorized", { class: "auth", retryable: false }],
      [{ kind: "exited", code: 1 }, "You are not logged in.", { class: "auth" }],
      [{ kind: "exited", code: 1 }, "HTTP 429", { class: "rate_limit", retryable: true }],
      [{ kind: "exited", code: 1 }, "status: 503", { class: "provider", retryable: true }],
      [{ kind: "exited", code: 1 }, "connect ECONNREFUSED 127.0.0.1", { class: "provider", retryable: true }],
      [
        { kind: "exited", code: 1 },
        "Usage limit reached|1767232800",
        { class: "quota", resets_at: "2026-01-01T02:00:00.000Z" },
      ],
      [{ kind: "signalled", signal: "SIGSEGV" }, "", { class: "crashed", retryable: true }],
    ];
    for (const [exit, stderr, failure] of cases) {
      const { turn } = await outcomeOf("text", ["All done."], { exit, stderr });
      expect(turn, `${stderr} ${JSON.stringify(exit)}`).toMatchObject({ status: "failed", failure });
    }
  });
});

const STEP = { type: "step_start", sessionID: "ses_1", part: { type: "step-start" } };
const stepEnd = (reason: string, cost: number, tokens: object) => ({
  type: "step_finish",
  sessionID: "ses_1",
  part: { type: "step-finish", reason, cost, tokens },
});
const opencodeTool = (state: object) => ({
  type: "tool_use",
  sessionID: "ses_1",
  part: { type: "tool", tool: "write", callID: "call_1", state },
});
const WRITTEN = { status: "completed", input: { filePath: "/p/a", content: "x" }, title: "a" };
const REJECTED = {
  status: "error",
  input: { filePath: "/p/a" },
  error: "The user rejected permission to use this specific tool call.",
};

describe("opencode", () => {
  const tokens = { total: 1020, input: 900, output: 20, reasoning: 0, cache: { read: 100, write: 0 } };

  test("tells text, tools, and what each step costs", async () => {
    const { turn, events } = await outcomeOf("opencode", [
      STEP,
      { type: "text", sessionID: "ses_1", part: { text: "I write." } },
      opencodeTool(WRITTEN),
      stepEnd("tool-calls", 0.001, tokens),
      STEP,
      { type: "text", sessionID: "ses_1", part: { text: "Done." } },
      stepEnd("stop", 0.002, {
        total: 57,
        input: 40,
        output: 10,
        reasoning: 7,
        cache: { read: 0, write: 0 },
      }),
    ]);
    expect(turn).toMatchObject({ status: "finished", text: "I write.\nDone.", toolCalls: 1 });
    expect(turn.usage).toEqual({
      input_tokens: 940,
      output_tokens: 37,
      cache_read_tokens: 100,
      cache_write_tokens: 0,
      cost_usd: 0.003,
      quality: "exact",
    });
    const spent = events.flatMap((event) => (event.kind === "usage" ? [event.spent?.cost_usd] : []));
    expect(spent).toEqual([0.001, 0.003]);
    expect(events.find(({ kind }) => kind === "tool-finished")).toMatchObject({
      session: "ses_1",
      outcome: "ok",
      tool_kind: "edit",
      paths: ["/p/a"],
    });
  });

  test("that stops after a refusal was denied", async () => {
    const { turn, events } = await outcomeOf("opencode", [
      STEP,
      opencodeTool(REJECTED),
      stepEnd("tool-calls", 0, tokens),
    ]);
    expect(turn.status).toBe("denied");
    expect(events.find(({ kind }) => kind === "tool-finished")).toMatchObject({ outcome: "denied" });
  });

  test("that reports an error has failed, whatever its exit", async () => {
    const error = {
      type: "error",
      sessionID: "ses_1",
      error: {
        name: "APIError",
        data: { message: "slow down", statusCode: 429, responseHeaders: { "retry-after": "60" } },
      },
    };
    const { turn } = await outcomeOf("opencode", [STEP, error, stepEnd("stop", 0, tokens)]);
    expect(turn).toMatchObject({
      status: "failed",
      failure: { class: "rate_limit", message: "slow down", resets_at: "2026-01-01T00:01:00.000Z" },
    });
  });

  test("that leaves in the middle of a step has failed although its exit says it is fine", async () => {
    for (const lines of [[STEP], [STEP, opencodeTool(WRITTEN), stepEnd("tool-calls", 0, tokens)]]) {
      const { turn } = await outcomeOf("opencode", lines);
      expect(turn).toMatchObject({ status: "failed", failure: { class: "protocol", retryable: true } });
    }
    const cut = await outcomeOf("opencode", [STEP, stepEnd("length", 0, tokens)]);
    expect(cut.turn.status).toBe("limit");
  });
});

describe("kimi", () => {
  const call = {
    role: "assistant",
    content: "I write.",
    tool_calls: [
      { type: "function", id: "c1", function: { name: "Write", arguments: '{"path":"/p/a","content":"x"}' } },
    ],
  };
  const hint = { role: "meta", type: "session.resume_hint", session_id: "session_1" };

  test("tells the messages of the conversation", async () => {
    const { turn, events } = await outcomeOf("kimi", [
      { role: "meta", type: "system.version", version: "2.1.0" },
      call,
      { role: "tool", tool_call_id: "c1", content: "Wrote 1 byte" },
      {
        role: "assistant",
        content: [
          { type: "think", think: "hm" },
          { type: "text", text: "Done." },
        ],
      },
      hint,
    ]);
    expect(turn).toMatchObject({
      status: "finished",
      text: "I write.\nDone.",
      toolCalls: 1,
      usage: { quality: "missing" },
    });
    expect(events.find(({ kind }) => kind === "session-started")).toMatchObject({ agent_version: "2.1.0" });
    expect(events.find(({ kind }) => kind === "tool-started")).toMatchObject({
      name: "Write",
      tool_kind: "edit",
      paths: ["/p/a"],
    });
  });

  test("tells only its own log what a turn has cost", async () => {
    const made = programThat(
      `const fs = require("node:fs");
       const folder = process.env.KIMI_CODE_HOME + "/sessions/wd_1/session_1/agents/main";
       fs.mkdirSync(folder, { recursive: true });
       const usage = { inputOther: 900, output: 20, inputCacheRead: 100, inputCacheCreation: 0 };
       fs.writeFileSync(folder + "/wire.jsonl", JSON.stringify({ type: "usage.record", usage }) + "\\n");
       console.log(JSON.stringify({ role: "assistant", content: "Done." }));
       console.log(${JSON.stringify(JSON.stringify(hint))});`,
      ["{prompt}"],
      "kimi",
    );
    const home = { ...made.options.environment, KIMI_CODE_HOME: path.join(made.cwd, "home") };
    const turn = await runReal({ ...made, options: { ...made.options, environment: home } });
    expect(turn).toMatchObject({
      status: "finished",
      usage: { input_tokens: 900, output_tokens: 20, cache_read_tokens: 100, quality: "exact" },
    });
  });

  test("says only on stderr why it failed", async () => {
    const retrying = {
      role: "meta",
      type: "turn.step.retrying",
      error_message: "429 slow down",
      status_code: 429,
    };
    const { turn, events } = await outcomeOf("kimi", [retrying], {
      exit: { kind: "exited", code: 1 },
      stderr: "error: failed to run prompt: provider.auth_error: 401 no key\n",
    });
    expect(turn).toMatchObject({ status: "failed", failure: { class: "auth" } });
    expect(events).toContainEqual(expect.objectContaining({ kind: "retrying", message: "429 slow down" }));
    const again = await outcomeOf("kimi", [], { exit: { kind: "exited", code: 75 }, stderr: "overloaded" });
    expect(again.turn).toMatchObject({ status: "failed", failure: { class: "provider", retryable: true } });
  });

  test("that leaves a tool call open has failed although its exit says it is fine", async () => {
    const { turn } = await outcomeOf("kimi", [call, hint]);
    expect(turn).toMatchObject({ status: "failed", failure: { class: "protocol" } });
  });
});

describe("claude", () => {
  const init = {
    type: "system",
    subtype: "init",
    session_id: "s1",
    claude_code_version: "2.1.329",
    tools: ["Bash"],
  };
  const said = (id: string, content: object[], usage: object = {}, parent: string | null = null) => ({
    type: "assistant",
    session_id: "s1",
    parent_tool_use_id: parent,
    message: { id, content, usage: { input_tokens: 100, output_tokens: 5, ...usage } },
  });
  const use = { type: "tool_use", id: "t1", name: "Bash", input: { command: "ls" } };
  const answered = (is_error: boolean, content: string) => ({
    type: "user",
    session_id: "s1",
    message: { content: [{ type: "tool_result", tool_use_id: "t1", is_error, content }] },
  });
  const result = (more: object = {}) => ({
    type: "result",
    subtype: "success",
    is_error: false,
    result: "Done.",
    session_id: "s1",
    total_cost_usd: 0.05,
    usage: {
      input_tokens: 200,
      output_tokens: 40,
      cache_read_input_tokens: 30,
      cache_creation_input_tokens: 7,
    },
    permission_denials: [],
    ...more,
  });

  test("tells each message, counts as it goes, and is exact in the end", async () => {
    const { turn, events } = await outcomeOf("claude", [
      init,
      said("m1", [{ type: "text", text: "I look." }]),
      said("m1", [use], { output_tokens: 12 }),
      answered(false, "a b"),
      said("m9", [{ type: "text", text: "I help." }], {}, "t0"),
      said("m2", [{ type: "text", text: "Done." }]),
      result(),
    ]);
    expect(turn).toMatchObject({ status: "finished", text: "I look.\nDone.", toolCalls: 1 });
    expect(turn.usage).toEqual({
      input_tokens: 200,
      output_tokens: 40,
      cache_read_tokens: 30,
      cache_write_tokens: 7,
      cost_usd: 0.05,
      quality: "exact",
    });
    const spent = events.flatMap((event) => (event.kind === "usage" ? [event.spent] : []));
    expect(spent.map((one) => [one?.input_tokens, one?.output_tokens, one?.quality])).toEqual([
      [100, 5, "estimated"],
      [100, 12, "estimated"],
      [200, 17, "estimated"],
      [300, 22, "estimated"],
      [200, 40, "exact"],
    ]);
  });

  test("that was not allowed to do its last step was denied, although it says success", async () => {
    const denials = { permission_denials: [{ tool_name: "Bash", tool_use_id: "t1", tool_input: {} }] };
    const refused = answered(
      true,
      "Claude requested permissions to use Bash, but you haven't granted it yet.",
    );
    const { turn, events } = await outcomeOf("claude", [
      init,
      said("m1", [use]),
      refused,
      said("m2", [{ type: "text", text: "I may not." }]),
      result(denials),
    ]);
    expect(turn.status).toBe("denied");
    expect(events.find(({ kind }) => kind === "tool-finished")).toMatchObject({ outcome: "denied" });
    // Alone, as `--output-format json` prints it.
    expect((await outcomeOf("claude", [result(denials)])).turn.status).toBe("denied");
    const { turn: found } = await outcomeOf("claude", [
      init,
      said("m1", [use]),
      refused,
      said("m2", [{ ...use, id: "t2" }]),
      {
        ...answered(false, ""),
        message: { content: [{ type: "tool_result", tool_use_id: "t2", content: "" }] },
      },
      said("m3", [{ type: "text", text: "Another way." }]),
      result(denials),
    ]);
    expect(found.status).toBe("finished");
  });

  test("that says success and is_error has failed", async () => {
    const bad = (more: object) => outcomeOf("claude", [init, result({ is_error: true, ...more })]);
    expect((await bad({ result: "API Error: 400", api_error_status: 400 })).turn).toMatchObject({
      status: "failed",
      failure: { class: "provider", retryable: false },
    });
    expect((await bad({ result: "Invalid API key · Please run /login" })).turn.failure?.class).toBe("auth");
    expect(
      (await bad({ subtype: "error_during_execution", result: undefined })).turn.failure?.message,
    ).toContain("error_during_execution");
    expect((await bad({ subtype: "error_max_turns" })).turn.status).toBe("limit");
  });

  test("that is at its limit says when it goes on", async () => {
    const limit = {
      type: "rate_limit_event",
      rate_limit_info: { status: "rejected", resetsAt: NOW.getTime() / 1000 + 3600 },
    };
    const { turn } = await outcomeOf("claude", [
      init,
      limit,
      result({ is_error: true, result: "Usage limit reached", api_error_status: 429 }),
    ]);
    expect(turn.failure).toMatchObject({ class: "quota", resets_at: "2026-01-01T01:00:00.000Z" });
  });

  test("without a result has not ended its turn", async () => {
    const { turn } = await outcomeOf("claude", [init, said("m1", [{ type: "text", text: "Done." }])]);
    expect(turn).toMatchObject({ status: "failed", failure: { class: "protocol" } });
    expect(turn.usage).toMatchObject({ input_tokens: 100, quality: "estimated" });
  });
});

describe("codex", () => {
  const started = { type: "thread.started", thread_id: "th1" };
  const item = (type: string, more: object) => ({ type, item: { id: "item_1", ...more } });
  const completed = {
    type: "turn.completed",
    usage: { input_tokens: 1000, cached_input_tokens: 300, output_tokens: 50 },
  };

  test("tells its items, and what the turn cost without the cache", async () => {
    const run = { type: "command_execution", command: "npm test", aggregated_output: "" };
    const { turn, events } = await outcomeOf("codex", [
      started,
      { type: "turn.started" },
      item("item.started", { ...run, status: "in_progress", exit_code: null }),
      item("item.completed", { ...run, status: "failed", exit_code: 1 }),
      item("item.completed", {
        id: "item_2",
        type: "file_change",
        changes: [{ path: "a", kind: "add" }],
        status: "completed",
      }),
      item("item.completed", { id: "item_3", type: "todo_list", items: [{ text: "x", completed: true }] }),
      item("item.completed", { id: "item_4", type: "agent_message", text: "Done." }),
      completed,
    ]);
    expect(turn).toMatchObject({ status: "finished", text: "Done.", toolCalls: 2 });
    expect(turn.usage).toEqual({
      input_tokens: 700,
      output_tokens: 50,
      cache_read_tokens: 300,
      quality: "exact",
    });
    const ends = events.flatMap((event) => (event.kind === "tool-finished" ? [event.outcome] : []));
    expect(ends).toEqual(["failed", "ok"]);
    expect(events).toContainEqual(
      expect.objectContaining({ kind: "plan", entries: [{ content: "x", status: "completed" }] }),
    );
  });

  test("may lose its connection on the way, but not in the end", async () => {
    const lost = { type: "error", message: "Reconnecting... 1/5 (status 503)" };
    const done = await outcomeOf("codex", [
      started,
      lost,
      item("item.completed", { type: "agent_message", text: "Done." }),
      completed,
    ]);
    expect(done.turn.status).toBe("finished");
    const failed = { type: "turn.failed", error: { message: "unexpected status 401 Unauthorized" } };
    expect((await outcomeOf("codex", [started, lost, failed])).turn.failure?.class).toBe("auth");
    expect((await outcomeOf("codex", [started, lost])).turn.failure).toMatchObject({
      class: "provider",
      retryable: true,
    });
    expect((await outcomeOf("codex", [started])).turn.failure?.class).toBe("protocol");
  });
});

describe("gemini", () => {
  const init = { type: "init", session_id: "g1", model: "x" };
  const said = (content: string) => ({ type: "message", role: "assistant", content, delta: true });
  const stats = { total_tokens: 170, input_tokens: 100, output_tokens: 50, cached: 40 };

  test("tells its text in pieces, its tools, and the whole turn's usage", async () => {
    const { turn, events } = await outcomeOf("gemini", [
      init,
      { type: "message", role: "user", content: "Fix it." },
      said("Do"),
      { type: "tool_use", tool_name: "run_shell_command", tool_id: "r1", parameters: { command: "ls" } },
      {
        type: "tool_result",
        tool_id: "r1",
        status: "error",
        error: { type: "policy_violation", message: "no" },
      },
      said("ne."),
      { type: "result", status: "success", stats },
    ]);
    expect(turn).toMatchObject({ status: "finished", text: "Done.", toolCalls: 1 });
    expect(turn.usage).toEqual({
      input_tokens: 60,
      output_tokens: 70,
      cache_read_tokens: 40,
      quality: "exact",
    });
    expect(events.find(({ kind }) => kind === "tool-finished")).toMatchObject({
      outcome: "denied",
      title: "ls",
    });
  });

  test("tells with its exit what the provider answered", async () => {
    const cases: [number, object][] = [
      [144, { class: "provider", retryable: false }],
      [145, { class: "auth" }],
      [173, { class: "rate_limit", retryable: true }],
      [247, { class: "provider", retryable: true }],
      [41, { class: "auth" }],
      [42, { class: "config" }],
      [1, { class: "crashed" }],
    ];
    for (const [code, failure] of cases) {
      const { turn } = await outcomeOf("gemini", [init], { exit: { kind: "exited", code }, stderr: "{}" });
      expect(turn, String(code)).toMatchObject({ status: "failed", failure });
    }
    expect((await outcomeOf("gemini", [init], { exit: { kind: "exited", code: 53 } })).turn.status).toBe(
      "limit",
    );
  });

  test("has failed when its result says so, or when there is none", async () => {
    const error = { type: "result", status: "error", error: { type: "ApiError", message: "quota exceeded" } };
    expect((await outcomeOf("gemini", [init, error])).turn.failure?.class).toBe("quota");
    expect((await outcomeOf("gemini", [init, said("Done.")])).turn.failure?.class).toBe("protocol");
  });
});

describe("lines of JSON", () => {
  test("are recognised by the first of them, also behind a few lines of noise", async () => {
    const { turn } = await outcomeOf("auto", ["Starting…", "", STEP, opencodeTool(REJECTED)]);
    expect(turn.status).toBe("denied");
    const text = await outcomeOf("auto", ["{", '  "a": 1', "}"]);
    expect(text.turn).toMatchObject({ status: "finished", text: '{\n  "a": 1\n}\n' });
    // The last line may lack its end.
    const open = await outcomeOf("auto", [
      new TextEncoder().encode(JSON.stringify({ type: "turn.completed" })),
    ]);
    expect(open.turn.status).toBe("empty");
  });

  test("mean the same however they are cut", async () => {
    const lines = ["Hello 👋", STEP, { type: "text", sessionID: "s", part: { text: "é👋" } }];
    const whole = lines.map((line) => `${typeof line === "string" ? line : JSON.stringify(line)}\n`).join("");
    const bytes = new TextEncoder().encode(whole);
    const expected = (await outcomeOf("auto", [bytes])).turn;
    expect(expected.text).toBe("é👋");
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: bytes.length - 1 })), async (cuts) => {
        const at = [0, ...cuts.toSorted((a, b) => a - b), bytes.length];
        const pieces = at.slice(1).map((end, index) => bytes.slice(at[index], end));
        expect((await outcomeOf("auto", pieces)).turn).toEqual(expected);
      }),
      { numRuns: 50 },
    );
  });

  test("that break the limits end the turn as a broken protocol, with what was sent", async () => {
    const cases = [
      `{"sessionID":"s","part":${"[".repeat(100)}`,
      `{"type":"x","text":"${"x".repeat(9 * 1024 * 1024)}"}`,
      '{"type":"text","part":',
    ];
    for (const line of cases) {
      const { turn } = await outcomeOf("opencode", [STEP, line]);
      expect(turn).toMatchObject({ status: "failed", failure: { class: "protocol", retryable: true } });
      expect(turn.failure?.message).toContain("It sent: {");
    }
  });

  test("that cannot be read count less than the crash that cut them", async () => {
    const half = [new TextEncoder().encode('{"type":"text","par')];
    const { turn } = await outcomeOf("opencode", half, { exit: { kind: "signalled", signal: "SIGKILL" } });
    expect(turn.failure?.class).toBe("crashed");
  });

  test("that nobody knows are kept and counted", async () => {
    const { events } = await outcomeOf("codex", [{ type: "new.thing", x: 1 }, { type: "turn.completed" }]);
    expect(events).toContainEqual(
      expect.objectContaining({
        kind: "unknown",
        what: "new.thing",
        count: 1,
        raw: { type: "new.thing", x: 1 },
      }),
    );
  });

  test("with numbers that cannot be are counted as nothing", async () => {
    const usage = { input_tokens: -5, cached_input_tokens: 1e300, output_tokens: "many" };
    const { turn } = await outcomeOf("codex", [{ type: "turn.completed", usage }]);
    expect(turn.usage).toMatchObject({ input_tokens: 0, output_tokens: 0 });
  });
});
