import { methods } from "@agentclientprotocol/sdk";
import { RequestError } from "@agentclientprotocol/sdk";
import type {
  AgentApp,
  AgentContext,
  InitializeRequest,
  NewSessionRequest,
  NewSessionResponse,
  SessionUpdate,
} from "@agentclientprotocol/sdk";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { acpEngine, type AcpPreset } from "../../src/engine/acp.ts";
import type {
  EngineEvent,
  PermissionAnswer,
  PermissionRequest,
  Session,
  StartOptions,
  Turn,
} from "../../src/engine/engine.ts";
import type { AgentProcesses } from "../../src/engine/agent-process.ts";
import { createWorld } from "../../src/world.ts";
import {
  MemoryProcesses,
  PROMPT,
  never,
  officialAgent,
  realClock,
  startOptions,
  turnOfTheLoop,
} from "./rig.ts";

const world = createWorld();
const environment = { PATH: process.env["PATH"] ?? "", TMPDIR: os.tmpdir() };

const PRESET: AcpPreset = {
  modes: { ask: null, readOnly: null },
  client: { readFiles: true, writeFiles: true, terminal: true },
  usage: { tokens: "prompt_result_turn", inputHoldsCache: false, cost: "usage_update" },
  failures: "protocol",
};

/** What a scripted agent is given to do its turn with. */
interface Hands {
  client: AgentContext;
  cwd: string;
  update: (update: SessionUpdate) => Promise<void>;
  /** The code and message of an error answer, or the answer. */
  tell: (method: string, params: object) => Promise<unknown>;
}

interface Rig {
  turn: Turn;
  session: Session;
  events: EngineEvent[];
  asked: PermissionRequest[];
  seen: { initialize?: InitializeRequest; session?: NewSessionRequest; called: [string, unknown][] };
  cwd: string;
}

interface RigOptions {
  preset?: Partial<AcpPreset> | null;
  answer?: (request: PermissionRequest) => PermissionAnswer["decision"];
  made?: Partial<NewSessionResponse>;
  setMode?: (id: string) => void;
  start?: (cwd: string) => Partial<StartOptions>;
  result?: object;
  outside?: (cwd: string) => void;
  heard?: (event: EngineEvent, cwd: string) => void;
  /** The prompt's error answer. */
  refuse?: Error;
}

function folder(): string {
  const made = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "omk-client-")));
  onTestFinished(() => fs.rmSync(made, { recursive: true, force: true }));
  return made;
}

/** One turn of an agent made with the official SDK, on the real disk and with real commands. */
async function played(work: (hands: Hands) => Promise<void>, options: RigOptions = {}): Promise<Rig> {
  const top = folder();
  const cwd = path.join(top, "project");
  fs.mkdirSync(cwd);
  options.outside?.(cwd);
  const events: EngineEvent[] = [];
  const asked: PermissionRequest[] = [];
  const seen: Rig["seen"] = { called: [] };
  const memory = new MemoryProcesses(
    officialAgent((app: AgentApp) =>
      app
        .onRequest(methods.agent.initialize, ({ params }) => {
          seen.initialize = params;
          const mcpCapabilities = { http: true, sse: false };
          const authMethods = [{ id: "login", name: "Log in with a browser" }];
          return { protocolVersion: 1, agentCapabilities: { mcpCapabilities }, authMethods };
        })
        .onRequest(methods.agent.session.new, ({ params }) => {
          seen.session = params;
          return { sessionId: "s1", ...options.made };
        })
        .onRequest(methods.agent.session.setMode, ({ params }) => {
          seen.called.push(["session/set_mode", params.modeId]);
          options.setMode?.(params.modeId);
          return {};
        })
        .onRequest(methods.agent.session.setConfigOption, ({ params }) => {
          seen.called.push(["session/set_config_option", [params.configId, params.value]]);
          return { configOptions: [] };
        })
        .onRequest(methods.agent.session.prompt, async ({ client }) => {
          if (options.refuse) throw options.refuse;
          await work({
            client,
            cwd,
            update: (update) => client.notify(methods.client.session.update, { sessionId: "s1", update }),
            tell: async (method, params) => {
              try {
                return await client.request(method, { sessionId: "s1", ...params });
              } catch (error) {
                const { code, message } = error as { code: number; message: string };
                return { code, message };
              }
            },
          });
          return { stopReason: "end_turn", ...options.result };
        }),
    ),
  );
  const processes: AgentProcesses = {
    run: (request) => memory.run(request),
    spawn: (request) =>
      request.argv[0] === "agent" ? memory.spawn(request) : world.processes.spawn(request),
  };
  const preset = options.preset === null ? {} : { preset: { ...PRESET, ...options.preset } };
  const engine = acpEngine(
    { name: "tested", argv: ["agent"], ...preset },
    { processes, clock: realClock, disk: world.disk },
  );
  const session = await engine.start(
    {
      ...startOptions(events, (request) => {
        asked.push(request);
        const decision = options.answer?.(request) ?? "allow";
        return Promise.resolve({ decision, rule: "test", feedback: "ask the owner" });
      }),
      cwd,
      environment,
      spawnId: `test-${path.basename(top)}`,
      onEvent: (event) => {
        events.push(event);
        options.heard?.(event, cwd);
      },
      ...options.start?.(cwd),
    },
    never,
  );
  const turn = await session.run(PROMPT, never);
  await session.stop();
  return { turn, session, events, asked, seen, cwd };
}

const finished = (events: EngineEvent[]): string[] =>
  events.flatMap((event) =>
    event.kind === "tool-finished" ? [`${event.name ?? event.title}: ${event.outcome}`] : [],
  );

describe("files that an agent reads and writes through omk", () => {
  test("are written after a decision on the whole change, and keep their permissions", async () => {
    const answers: unknown[] = [];
    const rig = await played(
      async ({ cwd, tell }) => {
        const write = (name: string, content: string): Promise<unknown> =>
          tell("fs/write_text_file", { path: path.join(cwd, name), content });
        answers.push(await write("run.sh", "echo new\n"), await write("src/deep/new.ts", "export {};\n"));
      },
      {
        outside: (cwd) => {
          fs.writeFileSync(path.join(cwd, "run.sh"), "echo old\n");
          fs.chmodSync(path.join(cwd, "run.sh"), 0o755);
          fs.chmodSync(cwd, 0o755);
        },
      },
    );
    expect(answers).toEqual([{}, {}]);
    const file = path.join(rig.cwd, "run.sh");
    expect(rig.asked[0]).toMatchObject({
      name: "fs/write_text_file",
      kind: "edit",
      command: null,
      locations: [file],
      content: [{ type: "diff", path: file, oldText: "echo old\n", newText: "echo new\n" }],
    });
    expect(fs.readFileSync(file, "utf8")).toBe("echo new\n");
    const made = path.join(rig.cwd, "src/deep/new.ts");
    expect([file, made, path.dirname(made)].map((one) => fs.statSync(one).mode & 0o777)).toEqual([
      0o755, 0o644, 0o755,
    ]);
    expect(fs.readdirSync(rig.cwd).toSorted()).toEqual(["run.sh", "src"]);
    expect(finished(rig.events)).toEqual(["fs/write_text_file: ok", "fs/write_text_file: ok"]);
    expect(rig.turn).toMatchObject({ status: "finished", toolCalls: 2 });
  });

  test("stay as they are when it is refused, and the agent hears why", async () => {
    const answers: unknown[] = [];
    const rig = await played(
      async ({ cwd, tell, update }) => {
        answers.push(await tell("fs/write_text_file", { path: path.join(cwd, "a"), content: "x" }));
        await update({ sessionUpdate: "agent_message_chunk", content: { type: "text", text: "Well." } });
      },
      { answer: () => "reject" },
    );
    expect(answers).toEqual([{ code: -32603, message: "Not allowed: ask the owner" }]);
    expect(fs.existsSync(path.join(rig.cwd, "a"))).toBe(false);
    expect(finished(rig.events)).toEqual(["fs/write_text_file: denied"]);
    expect(rig.turn.status).toBe("finished");
  });

  test("cannot be written elsewhere, whatever is decided", async () => {
    const answers: { code?: number; message?: string }[] = [];
    const rig = await played(
      async ({ cwd, tell }) => {
        const paths = [
          "relative.txt",
          `${cwd}/../beside.txt`,
          path.join(path.dirname(cwd), "beside.txt"),
          path.join(cwd, "link/through.txt"),
          path.join(cwd, "dangling"),
          path.join(cwd, ".git/hooks/pre-commit"),
          path.join(cwd, "sub/.GIT/config"),
          path.join(cwd, ".omk/gates.toml"),
          path.join(cwd, "folder"),
          path.join(cwd, "nul\u0000"),
          path.join(cwd, "ring"),
        ];
        for (const one of paths)
          answers.push((await tell("fs/write_text_file", { path: one, content: "x" })) as object);
      },
      {
        outside: (cwd) => {
          const beside = path.join(path.dirname(cwd), "elsewhere");
          fs.mkdirSync(beside);
          fs.mkdirSync(path.join(cwd, "folder"));
          fs.symlinkSync(beside, path.join(cwd, "link"));
          fs.symlinkSync("nowhere", path.join(cwd, "dangling"));
          fs.symlinkSync("ring", path.join(cwd, "ring"));
        },
      },
    );
    expect(answers.map(({ code }) => code)).toEqual(answers.map(() => -32602));
    expect(answers).toHaveLength(11);
    expect(rig.asked).toEqual([]);
    expect(fs.readdirSync(path.join(path.dirname(rig.cwd), "elsewhere"))).toEqual([]);
  });

  test("are written in the write set alone where there is one", async () => {
    const codes: unknown[] = [];
    const rig = await played(
      async ({ cwd, tell }) => {
        for (const name of ["src/a.ts", "one.txt", "two.txt", "src/../two.txt"])
          codes.push(await tell("fs/write_text_file", { path: path.join(cwd, name), content: "x" }));
      },
      { start: (cwd) => ({ writeSet: [path.join(cwd, "src"), path.join(cwd, "one.txt")] }) },
    );
    expect(codes).toMatchObject([{}, {}, { code: -32602 }, { code: -32602 }]);
    expect(fs.readdirSync(rig.cwd).toSorted()).toEqual(["one.txt", "src"]);
  });

  test("are read below the project without a question, and elsewhere after one", async () => {
    const answers: unknown[] = [];
    const rig = await played(
      async ({ cwd, tell }) => {
        const read = (name: string, more = {}): Promise<unknown> =>
          tell("fs/read_text_file", { path: path.join(cwd, name), ...more });
        answers.push(
          await read("poem.txt"),
          await read("poem.txt", { line: 2, limit: 1 }),
          await read("missing.txt"),
          await read("picture.bin"),
          await read("."),
          await tell("fs/read_text_file", { path: path.join(path.dirname(cwd), "AGENTS.md") }),
          await tell("fs/read_text_file", { path: path.join(path.dirname(cwd), "secret.txt") }),
          await read("link"),
        );
      },
      {
        answer: ({ kind }) => (kind === "read" ? "reject" : "allow"),
        outside: (cwd) => {
          fs.writeFileSync(path.join(cwd, "poem.txt"), "one\ntwo\nthree\n");
          fs.writeFileSync(path.join(cwd, "picture.bin"), Buffer.from([0xff, 0xfe, 0x00]));
          fs.writeFileSync(path.join(path.dirname(cwd), "AGENTS.md"), "Be kind.");
          fs.writeFileSync(path.join(path.dirname(cwd), "secret.txt"), "42");
          fs.symlinkSync("../secret.txt", path.join(cwd, "link"));
        },
      },
    );
    expect(answers).toMatchObject([
      { content: "one\ntwo\nthree\n" },
      { content: "two\n" },
      { code: -32002 },
      { code: -32602 },
      { code: -32602 },
      { content: "Be kind." },
      { code: -32603 },
      { code: -32603 },
    ]);
    expect(rig.asked.map(({ kind, locations }) => [kind, ...locations])).toEqual([
      ["read", path.join(path.dirname(rig.cwd), "secret.txt")],
      ["read", path.join(rig.cwd, "link")],
    ]);
  });

  test("are decided once when the agent asked for leave itself, and once only", async () => {
    const rig = await played(async ({ cwd, client, tell, update }) => {
      const file = path.join(cwd, "a.txt");
      await update({
        sessionUpdate: "tool_call",
        toolCallId: "t",
        title: "Write",
        kind: "edit",
        content: [
          { type: "content", content: { type: "text", text: JSON.stringify({ path: file, content: "x" }) } },
        ],
      });
      await client.request(methods.client.session.requestPermission, {
        sessionId: "s1",
        toolCall: {
          toolCallId: "t",
          content: [{ type: "content", content: { type: "text", text: "Requesting approval" } }],
        },
        options: [{ optionId: "y", name: "Yes", kind: "allow_once" }],
      });
      await tell("fs/write_text_file", { path: file, content: "x" });
      await tell("fs/write_text_file", { path: file, content: "y" });
      await update({ sessionUpdate: "tool_call_update", toolCallId: "t", status: "completed" });
    });
    expect(
      rig.asked.map(({ id, toolCallId, rawInput }) => [id.startsWith("omk-"), toolCallId, rawInput]),
    ).toEqual([
      [false, "t", { path: path.join(rig.cwd, "a.txt"), content: "x" }],
      [true, "t", { path: path.join(rig.cwd, "a.txt"), content: "y" }],
    ]);
    expect(rig.turn.toolCalls).toBe(1);
  });

  test.each<[string, object, string, { isCovered: boolean }]>([
    ["the text shown", { content: [diff("bad", "good")] }, "good", { isCovered: true }],
    ["another text", { content: [diff("bad", "good")] }, "good EVIL not shown", { isCovered: false }],
    ["the text of the input", { rawInput: { content: "good" } }, "good", { isCovered: true }],
    ["another than the input's", { rawInput: { content: "good" } }, "evil", { isCovered: false }],
    [
      "what only one of both tells",
      { rawInput: { content: "evil" }, content: [diff("bad", "good")] },
      "evil",
      { isCovered: false },
    ],
    ["a part, replaced", { content: [diff("a", "u")] }, "bud", { isCovered: true }],
    ["a part, replacing all", { content: [diff("a", "u")] }, "u", { isCovered: false }],
    ["what stands nowhere", { content: [diff("x", "u")] }, "u", { isCovered: false }],
    ["all, shown as new", { content: [diff(null, "u")] }, "u", { isCovered: false }],
    [
      "two edits",
      { rawInput: { edits: ["b", "d"].map((old_string) => ({ old_string, new_string: "t" })) } },
      "tat",
      { isCovered: true },
    ],
    ["an edit of nothing", { rawInput: { edits: ["b"] } }, "bad", { isCovered: false }],
    ["what was added", { rawInput: { content: "!", mode: "append" } }, "bad!", { isCovered: true }],
    ["what nobody was told", {}, "evil", { isCovered: false }],
    [
      "what was cut",
      { locations: Array.from({ length: 201 }, () => ({ path: "a" })), content: [diff("bad", "good")] },
      "good",
      { isCovered: false },
    ],
  ])("are asked about anew unless they hold what was allowed: %s", async (_what, shown, text, expected) => {
    const rig = await played(
      async ({ cwd, client, tell }) => {
        const file = path.join(cwd, "f.txt");
        const inFile = (one: object): object => ("type" in one ? { ...one, path: file } : one);
        const { content = [], ...more } = shown as { content?: object[] };
        await client.request(methods.client.session.requestPermission, {
          sessionId: "s1",
          toolCall: {
            toolCallId: "w",
            kind: "edit",
            locations: [{ path: file }],
            ...more,
            content: content.map(inFile) as [],
          },
          options: [{ optionId: "y", name: "Yes", kind: "allow_once" }],
        });
        await tell("fs/write_text_file", { path: file, content: text });
        await tell("fs/write_text_file", { path: file, content: text });
      },
      { outside: (cwd) => fs.writeFileSync(path.join(cwd, "f.txt"), "bad") },
    );
    const { isCovered } = expected;
    // The same once more is another act in any case.
    expect(rig.asked.map(({ id }) => id.startsWith("omk-"))).toEqual(
      isCovered ? [false, true] : [false, true, true],
    );
    expect(rig.asked[1]?.content).toEqual([
      { type: "diff", path: path.join(rig.cwd, "f.txt"), oldText: isCovered ? text : "bad", newText: text },
    ]);
  });

  test("are not offered, and no change is let pass, in a turn that is to read only", async () => {
    const answers: unknown[] = [];
    const rig = await played(
      async ({ cwd, client, tell }) => {
        answers.push(await tell("fs/write_text_file", { path: path.join(cwd, "a"), content: "x" }));
        for (const kind of ["edit", "switch_mode", "read"] as const) {
          const { outcome } = await client.request(methods.client.session.requestPermission, {
            sessionId: "s1",
            toolCall: { toolCallId: kind, title: kind, kind },
            options: [
              { optionId: "y", name: "Yes", kind: "allow_once" },
              { optionId: "n", name: "No", kind: "reject_once" },
            ],
          });
          answers.push(outcome);
        }
      },
      { start: () => ({ mode: "read_only" }) },
    );
    expect(rig.seen.initialize?.clientCapabilities).toMatchObject({
      fs: { readTextFile: false, writeTextFile: false },
      terminal: true,
    });
    expect(answers).toMatchObject([
      { code: -32601 },
      { optionId: "n" },
      { optionId: "n" },
      { optionId: "y" },
    ]);
    // Whoever decides hears of all of them, and could not have allowed the first two.
    expect(rig.asked.map(({ kind }) => kind)).toEqual(["edit", "switch_mode", "read"]);
    expect(rig.events).toContainEqual(
      expect.objectContaining({ kind: "approval-answered", decision: "reject", rule: "mode.read_only" }),
    );
  });
});

/** A part of a file and what it becomes; its path is put in later. */
function diff(oldText: string | null, newText: string): object {
  return { type: "diff", oldText, newText };
}

/** Processes that this test's commands would leave behind. */
const sleeping = (seconds: string): boolean =>
  fs
    .readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .some((pid) => {
      try {
        return fs.readFileSync(`/proc/${pid}/cmdline`, "utf8") === `sleep\0${seconds}\0`;
      } catch {
        return false; // It ended while we looked.
      }
    });

describe("commands that an agent runs through omk", () => {
  const create = (hands: Hands, command: string, more: object = {}): Promise<unknown> =>
    hands.tell("terminal/create", { command: "/bin/sh", args: ["-c", command], ...more });
  const idOf = (answer: unknown): { terminalId: string } => answer as { terminalId: string };

  test("are decided as a whole, run, and keep their output until they are released", async () => {
    const answers: unknown[] = [];
    const rig = await played(async (hands) => {
      const terminal = idOf(await create(hands, "echo out; echo err >&2; pwd; exit 3"));
      answers.push(await hands.tell("terminal/wait_for_exit", terminal));
      answers.push(await hands.tell("terminal/output", terminal));
      answers.push(await hands.tell("terminal/release", terminal));
      answers.push(await hands.tell("terminal/output", terminal));
      const plain = idOf(await hands.tell("terminal/create", { command: "printf %s it's-quoted | tr t T" }));
      await hands.tell("terminal/wait_for_exit", plain);
      answers.push(await hands.tell("terminal/create", { command: "no-such-program-anywhere" }));
      const more = {
        env: [
          { name: "TERM", value: "dumb" },
          { name: "PATH", value: "/evil" },
        ],
        cwd: os.tmpdir(),
      };
      await create(hands, `cd '${hands.cwd}' && true`, more);
    });
    expect(answers[0]).toEqual({ exitCode: 3, signal: null });
    const { output } = answers[1] as { output: string };
    expect(output.split("\n").toSorted()).toEqual(["", "err", "out", rig.cwd].toSorted());
    expect(answers[1]).toMatchObject({ truncated: false, exitStatus: { exitCode: 3 } });
    expect(answers.slice(2)).toMatchObject([{}, { code: -32002 }, { code: -32603 }]);
    expect(rig.asked.map(({ kind, command, rawInput }) => ({ kind, command, rawInput }))).toEqual([
      {
        kind: "execute",
        command: "echo out; echo err >&2; pwd; exit 3",
        rawInput: { command: "echo out; echo err >&2; pwd; exit 3" },
      },
      expect.objectContaining({ command: "printf %s it's-quoted | tr t T" }),
      expect.objectContaining({ command: "no-such-program-anywhere" }),
      {
        kind: "execute",
        command: "PATH=/evil true",
        rawInput: { command: "PATH=/evil true", env: { PATH: "/evil" } },
      },
    ]);
    expect(finished(rig.events)[0]).toBe("terminal/create: failed");
  });

  test("do not run when they are refused", async () => {
    const answers: unknown[] = [];
    const rig = await played(
      async (hands) => {
        answers.push(await create(hands, "touch made"));
      },
      { answer: () => "reject" },
    );
    expect(answers).toEqual([{ code: -32603, message: "Not allowed: ask the owner" }]);
    expect(fs.readdirSync(rig.cwd)).toEqual([]);
    expect(rig.turn.status).toBe("denied");
  });

  test("keep the end of what they print, and never half a character", async () => {
    const answers: unknown[] = [];
    await played(async (hands) => {
      const terminal = idOf(await create(hands, "printf 'aaaaääää'", { outputByteLimit: 5 }));
      await hands.tell("terminal/wait_for_exit", terminal);
      answers.push(await hands.tell("terminal/output", terminal));
      const flood = idOf(
        await create(hands, "yes 0123456 | head -c 1000000; echo end", { outputByteLimit: 100 }),
      );
      await hands.tell("terminal/wait_for_exit", flood);
      answers.push(await hands.tell("terminal/output", flood));
    });
    expect(answers[0]).toMatchObject({ output: "ää", truncated: true });
    const { output } = answers[1] as { output: string };
    expect([output.length, output.slice(-4)]).toEqual([100, "end\n"]);
  });

  test("are ended with all they started when they are killed, and the agent lives on", async () => {
    const answers: unknown[] = [];
    const rig = await played(async (hands) => {
      const terminal = idOf(await create(hands, "echo started; setsid sleep 4711.5 & sleep 4711.6"));
      const out = async (): Promise<string> =>
        ((await hands.tell("terminal/output", terminal)) as { output: string }).output;
      while ((await out()) === "") await turnOfTheLoop();
      answers.push(await hands.tell("terminal/kill", terminal));
      answers.push(sleeping("4711.5"), sleeping("4711.6"));
      answers.push(await hands.tell("terminal/wait_for_exit", terminal));
      answers.push(await out());
    });
    expect(answers).toEqual([{}, false, false, { exitCode: null, signal: "SIGTERM" }, "started\n"]);
    expect(finished(rig.events)).toEqual(["terminal/create: cancelled"]);
    expect(rig.turn.status).toBe("finished");
  });

  test("that still run when the turn ends are ended with it, and too many are not started", async () => {
    const answers: unknown[] = [];
    const rig = await played(async (hands) => {
      for (let count = 0; count < 17; count++) {
        const answer = await create(hands, "sleep 4712.5 & wait");
        if (count > 14) answers.push(answer);
      }
    });
    expect(answers).toEqual([
      { terminalId: "terminal-16" },
      { code: -32603, message: "More than 16 terminals are open: release some" },
    ]);
    expect(sleeping("4712.5")).toBe(false);
    expect(finished(rig.events)).toEqual(Array.from({ length: 16 }, () => "terminal/create: cancelled"));
  });

  test("are decided once when the agent asked for leave itself", async () => {
    const rig = await played(async (hands) => {
      const { client, cwd, tell } = hands;
      const ask = (toolCallId: string, command: string): Promise<unknown> =>
        client.request(methods.client.session.requestPermission, {
          sessionId: "s1",
          toolCall: { toolCallId, title: "Bash", kind: "execute", rawInput: { command } },
          options: [{ optionId: "y", name: "Yes", kind: "allow_once" }],
        });
      await ask("t", "true; true");
      await tell("terminal/create", { command: "/bin/bash", args: ["-c", `cd '${cwd}' && true; true`], cwd });
      await ask("u", "true");
      await create(hands, "false");
    });
    expect(rig.asked.map(({ toolCallId, command }) => [toolCallId, command])).toEqual([
      ["t", "true; true"],
      ["u", "true"],
      ["omk-client-1", "false"],
    ]);
  });

  test.each<[string, object, object]>([
    ["other arguments", { command: "echo", args: ["a"] }, { command: "echo" }],
    ["arguments that cannot be read", { command: "echo", args: [{ a: 1 }] }, { command: "echo" }],
    ["another folder", { command: "true", cwd: "/" }, { command: "true" }],
    [
      "variables that were allowed",
      { command: "true", env: { PATH: "/evil" } },
      { command: "true", env: [{ name: "PATH", value: "/evil" }] },
    ],
    ["variables", { command: "true" }, { command: "true", env: [{ name: "SHELL", value: "/tmp/evil" }] }],
    ["only the same words", { command: "echo 'a b'" }, { command: "echo", args: ["a", "b"] }],
  ])("are asked about anew with %s", async (_what, rawInput, run) => {
    const rig = await played(async ({ client, tell }) => {
      await client.request(methods.client.session.requestPermission, {
        sessionId: "s1",
        toolCall: { toolCallId: "t", kind: "execute", rawInput },
        options: [{ optionId: "y", name: "Yes", kind: "allow_once" }],
      });
      await tell("terminal/create", run);
    });
    expect(rig.asked.map(({ id }) => id.startsWith("omk-"))).toEqual([false, true]);
  });

  test("are the same with a shell's name beside them", async () => {
    const rig = await played(async ({ client, tell }) => {
      await client.request(methods.client.session.requestPermission, {
        sessionId: "s1",
        toolCall: { toolCallId: "t", kind: "execute", rawInput: { command: "echo", args: ["a b"] } },
        options: [{ optionId: "y", name: "Yes", kind: "allow_once" }],
      });
      const env = [{ name: "SHELL", value: "/bin/bash" }];
      await tell("terminal/create", { command: "echo", args: ["a b"], env });
    });
    expect(rig.asked.map(({ command }) => command)).toEqual(["echo 'a b'"]);
  });
});

describe("what an agent asks leave for", () => {
  test("is of a kind that the protocol knows, and marked where not all of it is there", async () => {
    const inside = Array.from({ length: 200 }, (_, at) => ({ path: `/p/${at}` }));
    const rig = await played(async ({ client }) => {
      const calls = [
        ...["edit", "Edit", "edit ", "execute npm test &&", "switch_mode"].map((kind) => ({ kind })),
        { kind: "edit", locations: inside },
        { kind: "edit", locations: [...inside, { path: "/etc/passwd" }] },
        { kind: "edit", locations: [{ path: `/p/${"x".repeat(4096)}` }] },
        { kind: "edit", name: "n".repeat(201) },
        // What open calls tell is kept up to 8 MiB.
        { kind: "edit", rawInput: { text: "x".repeat(5 * 1024 * 1024) } },
        { kind: "edit", rawInput: { text: "x".repeat(5 * 1024 * 1024) } },
      ];
      for (const [at, call] of calls.entries()) {
        await client.request("session/request_permission", {
          sessionId: "s1",
          toolCall: { toolCallId: `t${at}`, title: "t", ...call },
          options: [{ optionId: "y", name: "Yes", kind: "allow_once" }],
        });
      }
    });
    expect(rig.asked.map(({ kind }) => kind).slice(0, 5)).toEqual([
      "edit",
      "other",
      "other",
      "other",
      "switch_mode",
    ]);
    expect(rig.asked.map(({ isCut }) => isCut === true)).toEqual([
      ...Array.from({ length: 6 }, () => false),
      true,
      true,
      true,
      false,
      true,
    ]);
  });

  test("is all that was told of the call, and marked where that contradicts itself", async () => {
    const rig = await played(async ({ client, update }) => {
      const calls = [
        [
          { kind: "execute", rawInput: { command: "rm -rf /" } },
          { kind: "read", rawInput: { path: "f" } },
        ],
        [{ kind: "execute", rawInput: { command: "rm -rf /" } }, { rawInput: { command: "true" } }],
        [
          { kind: "read", rawInput: { path: "/etc/shadow" } },
          { locations: [{ path: "f" }], rawInput: {} },
        ],
        [
          { kind: "execute", rawInput: { command: "make" } },
          { kind: "other", rawInput: { why: "?" } },
        ],
      ];
      for (const [at, [told, asked]] of calls.entries()) {
        const toolCallId = `t${at}`;
        await update({ sessionUpdate: "tool_call", toolCallId, title: "t", ...told } as SessionUpdate);
        await client.request("session/request_permission", {
          sessionId: "s1",
          toolCall: { toolCallId, ...asked },
          options: [{ optionId: "y", name: "Yes", kind: "allow_once" }],
        });
      }
    });
    expect(rig.asked.map(({ kind, command, locations, isCut }) => [kind, command, locations, isCut])).toEqual(
      [
        ["read", "rm -rf /", ["f"], true],
        ["execute", "true", [], true],
        ["read", null, ["/etc/shadow", "f"], undefined],
        ["other", "make", [], undefined],
      ],
    );
  });

  test("is told with the tool's own name and the whole command, never with a title", async () => {
    const rig = await played(async ({ client }) => {
      const calls = [
        {
          toolCallId: "a",
          title: "mcp__db__query",
          kind: "other" as const,
          rawInput: { sql: "DROP TABLE t" },
        },
        { toolCallId: "b", title: "ls", kind: "execute" as const, rawInput: { argv: ["rm", "-rf", "a b"] } },
        { toolCallId: "c", title: "ls", kind: "execute" as const, rawInput: { cmd: "rm -rf c" } },
        { toolCallId: "d", title: "ls", kind: "execute" as const },
      ];
      for (const toolCall of calls) {
        const options = [{ optionId: "y", name: "Yes", kind: "allow_once" as const }];
        await client.request(methods.client.session.requestPermission, {
          sessionId: "s1",
          toolCall,
          options,
        });
      }
    });
    expect(rig.asked.map(({ name, command }) => [name, command])).toEqual([
      ["mcp__db__query", null],
      [null, "rm -rf 'a b'"],
      [null, "rm -rf c"],
      [null, null],
    ]);
  });
});

describe("the mode of an agent", () => {
  const MODES = {
    modes: {
      currentModeId: "auto",
      availableModes: [
        { id: "default", name: "Default" },
        { id: "plan", name: "Plan" },
        { id: "auto", name: "Auto" },
      ],
    },
  };
  const option = {
    configOptions: [
      {
        type: "select" as const,
        id: "mode",
        name: "Mode",
        category: "mode" as const,
        currentValue: "build",
        options: [
          { value: "build", name: "build" },
          { value: "plan", name: "plan" },
        ],
      },
    ],
  };
  const quiet = (): Promise<void> => Promise.resolve();
  const named = (ask: string, readOnly: string): Partial<AcpPreset> => ({
    modes: { ask, readOnly },
  });

  test.each([
    ["of its preset", named("default", "plan"), MODES, "ask", [["session/set_mode", "default"]]],
    ["to read only", named("default", "plan"), MODES, "read_only", [["session/set_mode", "plan"]]],
    [
      "that is an option",
      named("build", "plan"),
      option,
      "read_only",
      [["session/set_config_option", ["mode", "plan"]]],
    ],
    ["it is in already", named("auto", "plan"), MODES, "ask", []],
    ["that is known of others", null, MODES, "ask", [["session/set_mode", "default"]]],
    ["that is known of others, to read only", null, MODES, "read_only", [["session/set_mode", "plan"]]],
    ["is left when none is known", null, {}, "read_only", []],
  ] as const)("%s is set", async (_what, preset, made, mode, called) => {
    const rig = await played(quiet, {
      preset,
      made,
      start: () => ({ mode }),
    });
    expect(rig.seen.called).toEqual(called);
  });

  test("that cannot be set is told, and ends an attempt that is to read only", async () => {
    const refused = {
      made: MODES,
      setMode: () => {
        throw new Error("not today");
      },
      preset: named("default", "plan"),
    };
    const asking = await played(quiet, refused);
    expect(asking.events).toContainEqual(
      expect.objectContaining({
        kind: "notice",
        message: expect.stringContaining("did not take the mode default"),
      }),
    );
    expect(asking.turn.status).toBe("empty");
    const reading = await played(quiet, { ...refused, start: () => ({ mode: "read_only" }) });
    expect(reading.turn).toMatchObject({ status: "failed", failure: { class: "config", retryable: false } });
    const missing = await played(quiet, { preset: named("x", "y"), start: () => ({ mode: "read_only" }) });
    expect(missing.turn.failure?.message).toContain("y: it does not name it");
  });
});

describe("what a session is made with", () => {
  test("are the servers of tools that the agent can connect to, in the form of the protocol", async () => {
    const rig = await played(() => Promise.resolve(), {
      preset: null,
      start: () => ({
        mcpServers: [
          { name: "db", command: "/bin/db", args: ["--ro"], env: { TOKEN: "x" } },
          { name: "web", type: "http", url: "http://127.0.0.1/", headers: { A: "b" } },
          { name: "old", type: "sse", url: "http://127.0.0.1/", headers: {} },
        ],
      }),
    });
    expect(rig.seen.session?.mcpServers).toEqual([
      { name: "db", command: "/bin/db", args: ["--ro"], env: [{ name: "TOKEN", value: "x" }] },
      { type: "http", name: "web", url: "http://127.0.0.1/", headers: [{ name: "A", value: "b" }] },
    ]);
    expect(rig.events).toContainEqual(
      expect.objectContaining({ kind: "notice", message: expect.stringContaining("old was not passed on") }),
    );
    expect(rig.seen.initialize?.clientCapabilities).toMatchObject({
      fs: { readTextFile: false, writeTextFile: false },
      terminal: false,
    });
  });
});

describe("what a turn has used", () => {
  const say: SessionUpdate = { sessionUpdate: "agent_message_chunk", content: { type: "text", text: "Hm." } };
  const turnUsage = { input_tokens: 100, output_tokens: 7, cache_read_tokens: 50 };

  test("is told as it goes by an agent that counts, and its last word counts more than one call's", async () => {
    const rig = await played(
      async ({ update }) => {
        const cost = { amount: 0.25, currency: "USD" };
        const _meta = { omk: { turn_usage: turnUsage } };
        await update({ sessionUpdate: "usage_update", used: 10, size: 1000, cost, _meta });
        await update({ sessionUpdate: "usage_update", used: 20, size: 1000 });
      },
      {
        preset: {
          usage: { tokens: "prompt_result_last_call", inputHoldsCache: false, cost: "usage_update" },
        },
        result: { usage: { totalTokens: 5, inputTokens: 4, outputTokens: 1 } },
      },
    );
    const usages = rig.events.filter((event) => event.kind === "usage");
    expect(usages).toMatchObject([
      { session_cost_usd: 0.25, spent: { ...turnUsage, cost_usd: 0.25, quality: "exact" } },
      { context_tokens: 20, spent: turnUsage },
    ]);
    expect(rig.turn.usage).toEqual({ ...turnUsage, cost_usd: 0.25, quality: "exact" });
  });

  test("is read where gemini puts it, and without the cache where codex counts it in", async () => {
    const quota = { quota: { token_count: { input_tokens: 120, output_tokens: 9 } } };
    const gemini = await played(({ update }) => update(say), { result: { _meta: quota } });
    expect(gemini.turn.usage).toEqual({ input_tokens: 120, output_tokens: 9, quality: "exact" });
    const codex = await played(({ update }) => update(say), {
      preset: { usage: { tokens: "prompt_result_turn", inputHoldsCache: true, cost: "none" } },
      result: { usage: { totalTokens: 0, inputTokens: 100, outputTokens: 9, cachedReadTokens: 60 } },
    });
    expect(codex.turn.usage).toMatchObject({ input_tokens: 40, cache_read_tokens: 60 });
  });

  test.each([
    [{ totalTokens: 0, inputTokens: 0, outputTokens: 0 }, "estimated"],
    [{ totalTokens: 900, inputTokens: 10, outputTokens: 10, cachedReadTokens: 880 }, "exact"],
    [{ totalTokens: 1e308, inputTokens: 1e308, outputTokens: 1.5 }, "estimated"],
  ])("is not believed to be exact where the context held much more: %o", async (usage, quality) => {
    const rig = await played(
      ({ update }) => update({ sessionUpdate: "usage_update", used: 900, size: 1_000 }),
      { result: { usage } },
    );
    expect(rig.turn.usage.quality).toBe(quality);
    expect(Number.isSafeInteger(rig.turn.usage.input_tokens)).toBe(true);
  });

  test("that was never counted is a failure told as an answer, where the text says so", async () => {
    const text = "unexpected status 429 Too Many Requests: try again in 20s";
    const spoken: SessionUpdate = { sessionUpdate: "agent_message_chunk", content: { type: "text", text } };
    const result = { usage: null };
    const known = await played(({ update }) => update(spoken), {
      preset: { failures: "message_text" },
      result,
    });
    expect(known.turn).toMatchObject({ status: "failed", failure: { class: "rate_limit" } });
    expect(known.turn.failure?.resets_at).toBeDefined();
    const other = await played(({ update }) => update(spoken), { preset: null, result });
    expect(other.turn).toMatchObject({ status: "failed", failure: { class: "rate_limit" } });
    const fine = await played(({ update }) => update(say), { preset: null, result });
    expect(fine.turn.status).toBe("finished");
  });
});

describe("a failure that is told in an unusual place", () => {
  const LOG: Partial<AcpPreset> = {
    usage: { tokens: "session_log", inputHoldsCache: false, cost: "none" },
    failures: "session_log",
  };
  const withHome = {
    preset: LOG,
    start: (cwd: string) => ({
      environment: { ...environment, KIMI_CODE_HOME: path.join(path.dirname(cwd), "kimi") },
    }),
  };
  const writeLog = (cwd: string, ...records: object[]): void => {
    const at = path.join(path.dirname(cwd), "kimi/sessions/wd_project_1/s1/agents/main");
    fs.mkdirSync(at, { recursive: true });
    const lines = records.map((record) => `${JSON.stringify(record)}\n`).join("");
    fs.appendFileSync(path.join(at, "wire.jsonl"), lines);
  };
  const usage = { inputOther: 800, output: 10, inputCacheRead: 200, inputCacheCreation: 0 };

  test("counts more than a friendly end of the turn, and so does the usage told there", async () => {
    const error = { code: "provider.auth_error", message: "401 bad key", details: { statusCode: 401 } };
    const failed = await played(async ({ cwd }) => {
      await Promise.resolve();
      writeLog(cwd, { type: "usage.record", usage }, { type: "turn.ended", reason: "failed", error });
    }, withHome);
    expect(failed.turn).toMatchObject({
      status: "failed",
      failure: { class: "auth", retryable: false },
      usage: { input_tokens: 800, output_tokens: 10, cache_read_tokens: 200, quality: "exact" },
    });

    // The log is a moment behind: the rest comes when the first part was heard.
    let isWhole = false;
    const heard = (event: EngineEvent, cwd: string): void => {
      if (event.kind !== "usage" || isWhole) return;
      isWhole = true;
      writeLog(cwd, { type: "usage.record", usage }, { type: "turn.ended", reason: "completed" });
    };
    const fine = await played(
      async ({ cwd, update }) => {
        writeLog(cwd, { type: "usage.record", usage });
        await update({ sessionUpdate: "agent_message_chunk", content: { type: "text", text: "Done." } });
      },
      { ...withHome, heard },
    );
    expect(fine.turn).toMatchObject({ status: "finished", usage: { input_tokens: 1600, output_tokens: 20 } });
    const spent = fine.events.flatMap((event) => (event.kind === "usage" ? [event.spent?.input_tokens] : []));
    expect(spent).toEqual([800, 1600]);
  });

  test("is none where the agent only looks for its own plan, which is not there yet", async () => {
    const answers: unknown[] = [];
    const rig = await played(async ({ cwd, tell }) => {
      const own = path.join(path.dirname(cwd), "kimi/sessions/wd_project_1/s1/agents/main");
      writeLog(cwd, { type: "turn.ended", reason: "completed" });
      const plan = { path: path.join(own, "plans/blue-owl.md") };
      answers.push(await tell("fs/read_text_file", plan));
      answers.push(await tell("fs/write_text_file", { ...plan, content: "# Plan\n" }));
      answers.push(await tell("fs/read_text_file", plan));
      answers.push(await tell("fs/write_text_file", { path: path.join(own, "wire.jsonl"), content: "" }));
    }, withHome);
    expect(answers).toMatchObject([{ content: "" }, {}, { content: "# Plan\n" }, { code: -32602 }]);
    expect(rig.asked).toEqual([]);
  });

  test("names the ways to log in, and is a quota where the refusal says so", async () => {
    const login = await played(() => Promise.resolve(), { refuse: RequestError.authRequired() });
    expect(login.turn.failure).toMatchObject({
      class: "auth",
      message: expect.stringContaining("it offers: Log in with a browser"),
    });
    const refuse = new RequestError(-32000, "Authentication required: 403 You exceeded your current quota");
    const quota = await played(() => Promise.resolve(), { refuse });
    expect(quota.turn.failure).toMatchObject({ class: "quota", retryable: false });
    const later = await played(() => Promise.resolve(), {
      refuse: new RequestError(-32603, "Internal error", {
        statusCode: 429,
        headers: { "retry-after": "60" },
      }),
    });
    expect(later.turn.failure).toMatchObject({ class: "rate_limit", resets_at: expect.any(String) });
  });
});
