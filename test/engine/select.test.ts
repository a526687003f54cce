import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { OmkError } from "../../src/errors.ts";
import {
  absoluteEngine,
  commandWords,
  engineForRole,
  engineNamed,
  type EngineOptions,
  type EnginePorts,
} from "../../src/engine/select.ts";
import type { SpawnRequest } from "../../src/ports.ts";
import { createWorld } from "../../src/world.ts";

const world = createWorld();
const signal = new AbortController().signal;

/** A folder of its own for the test. */
function folder(): string {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), "omk-select-"));
  onTestFinished(() => fs.rmSync(made, { recursive: true, force: true }));
  return fs.realpathSync(made);
}

/** A folder of programs that are shell scripts, and a PATH of just that folder and of what the shell needs. */
function programs(texts: Readonly<Record<string, string>>): {
  folder: string;
  environment: { PATH: string };
} {
  const bin = folder();
  for (const [name, text] of Object.entries(texts)) {
    fs.writeFileSync(path.join(bin, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  }
  return { folder: bin, environment: { PATH: bin } };
}

function problemOf(work: () => unknown): OmkError {
  try {
    work();
  } catch (error) {
    if (error instanceof OmkError) return error;
    throw error;
  }
  throw new Error("it was accepted");
}

const OPTIONS: EngineOptions = { launcher: ["node", "omk.cjs"], baseDir: "/nowhere" };

function named(text: string, options: Partial<EngineOptions> = {}, ports: EnginePorts = world) {
  return engineNamed(text, { ...OPTIONS, ...options }, ports);
}

/** What is spawned when that engine is started; the child ends at once. */
async function spawnOf(
  text: string,
  options: Partial<EngineOptions>,
  given: { mode?: "ask" | "read_only" } = {},
): Promise<SpawnRequest> {
  const spawned: SpawnRequest[] = [];
  const processes: EnginePorts["processes"] = {
    run: (request, stop) => world.processes.run(request, stop),
    spawn: (request: SpawnRequest) => {
      spawned.push(request);
      return world.processes.spawn({ ...request, argv: ["/bin/sh", "-c", "exit 3"] });
    },
  };
  const engine = named(text, options, { ...world, processes });
  const session = await engine.start(
    {
      cwd: folder(),
      environment: { COMMON: "1" },
      spawnId: "omk-test",
      limits: { handshakeMs: 5000, idleMs: 5000, turnMs: 5000 },
      onEvent: () => undefined,
      decidePermission: () => Promise.resolve({ decision: "reject", rule: "test" }),
      ...given,
    },
    signal,
  );
  const meta = { role: "work", task: "t", attempt: 1 } as const;
  const turn = await session.run({ text: "do it", meta }, signal);
  expect(turn.status).toBe("failed");
  await session.stop();
  const [first] = spawned;
  if (!first) throw new Error("nothing was started");
  return first;
}

describe("an engine's name", () => {
  test("chooses the scripted agent, whose file is checked at once and found from the base folder", () => {
    const file = path.join(folder(), "fix.json");
    fs.writeFileSync(file, JSON.stringify({ version: 1, turns: [] }));
    const engine = named("scripted:fix.json", { baseDir: path.dirname(file) });
    expect(engine).toMatchObject({ name: "scripted", recordedAs: `scripted:${file}` });
    expect(named(`scripted:${file}`).name).toBe("scripted");
    expect(problemOf(() => named("scripted:fix.json"))).toMatchObject({ code: "engine.script" });
    expect(absoluteEngine("scripted: fix.json", "/a")).toBe("scripted:/a/fix.json");
    expect(absoluteEngine("acp:fix.json", "/a")).toBe("acp:fix.json");
  });

  test("chooses any agent by its command line, with the protocol it speaks", () => {
    expect(named("acp:opencode acp")).toMatchObject({ name: "acp", recordedAs: "acp:opencode acp" });
    expect(named("wire:kimi --wire")).toMatchObject({ name: "wire", recordedAs: "wire:kimi --wire" });
    expect(named("command:my-agent {prompt}")).toMatchObject({
      name: "command",
      capabilities: { approvals: "none" },
    });
  });

  test("is refused when nobody knows it", () => {
    for (const text of [
      "scripted",
      "scripted:",
      "acp: ",
      "wire:",
      "command:",
      "gpt",
      "gpt:headless",
      'acp:"kimi',
    ]) {
      expect(problemOf(() => named(text))).toMatchObject({
        code: "usage.invalid",
        hint: expect.stringContaining("scripted:<file>") as string,
      });
    }
    const { environment } = programs({ goose: "" });
    expect(problemOf(() => named("goose:headless", { environment })).hint).toContain("--engine goose");
  });

  test.each([
    `command:sh -c 'agent "{prompt}"'`,
    "command:sh -c {prompt}",
    "command:/usr/bin/env A=1 bash -e -lc {prompt}",
    "command:python3.12 -c {prompt}",
    "command:node --no-warnings -e {prompt}",
    "command:ssh host 'agent $HOME {prompt}'",
    `command:agent '--input={"text":"{prompt}"}'`,
  ])("is refused where the prompt would be part of a script: %s", (text) => {
    expect(problemOf(() => named(text))).toMatchObject({
      code: "usage.invalid",
      hint: expect.stringContaining("sh {prompt}") as string,
    });
  });

  test.each([
    `command:sh -c 'agent "$1"' sh {prompt}`,
    "command:sh -c 'agent <{prompt_file}'",
    "command:node agent.mjs -c {prompt}",
    "command:kimi -c {prompt}",
    "command:agent --text={prompt} -x",
    "command:agent 'Please do this: {prompt}'",
  ])("takes the prompt as a value: %s", (text) => {
    expect(named(text).name).toBe("command");
  });

  test("splits its command line at spaces and honours quotes, and no more", () => {
    expect(commandWords("  a 'b c' \"d \\\" \\\\ e\"f '' $HOME;x\\y ")).toEqual([
      "a",
      "b c",
      'd " \\ ef',
      "",
      "$HOME;x\\y",
    ]);
    expect(problemOf(() => commandWords("a 'b")).code).toBe("usage.invalid");
    expect(problemOf(() => commandWords("'' b")).code).toBe("usage.invalid");
  });

  test("finds out whether a program is there without giving it work", async () => {
    const environment = { PATH: process.env["PATH"] ?? "" };
    const node = named(`acp:'${process.execPath}' agent.js`, { environment });
    expect(await node.probe(signal)).toEqual({
      found: true,
      program: process.execPath,
      version: process.version,
      warnings: [],
    });
    const none = named("acp:no-such-agent-here", { environment });
    expect(await none.probe(signal)).toEqual({ found: false, program: null, version: null, warnings: [] });
  });
});

describe("a preset", () => {
  test("is looked for in PATH, and told how to install when it is not there", () => {
    const { environment, folder: bin } = programs({ opencode: "" });
    expect(named("opencode", { environment })).toMatchObject({ name: "opencode", recordedAs: "opencode" });
    expect(problemOf(() => named("gemini", { environment }))).toMatchObject({
      code: "engine.missing",
      exitStatus: 4,
      hint: expect.stringContaining("npm install -g @google/gemini-cli") as string,
    });
    // What is no program, or lies in a folder that depends on where we are, does not count.
    fs.writeFileSync(path.join(bin, "gemini"), "", { mode: 0o644 });
    fs.mkdirSync(path.join(bin, "goose"));
    expect(problemOf(() => named("gemini", { environment })).code).toBe("engine.missing");
    expect(problemOf(() => named("goose", { environment })).code).toBe("engine.missing");
    const relative = path.relative(process.cwd(), bin);
    expect(problemOf(() => named("opencode", { environment: { PATH: `${relative}:` } })).code).toBe(
      "engine.missing",
    );
  });

  test("is started with its own arguments, its variables over those of every child, and nothing else", async () => {
    const { environment, folder: bin } = programs({ opencode: "" });
    const callerEnvironment = { OPENCODE_CONFIG: "/c", OPENAI_API_KEY: "k", AWS_SECRET_ACCESS_KEY: "s" };
    const { argv, env } = await spawnOf("opencode", { environment, callerEnvironment });
    expect(argv).toEqual([path.join(bin, "opencode"), "acp"]);
    expect(env).toMatchObject({ COMMON: "1", OPENCODE_CONFIG: "/c", OPENAI_API_KEY: "k" });
    expect(env["OPENCODE_PERMISSION"]).toContain("ask");
    expect(env).not.toHaveProperty("AWS_SECRET_ACCESS_KEY");
  });

  test("is recognised in a command line, so that the same agent sees the same variables", async () => {
    const { environment, folder: bin } = programs({ opencode: "", other: "" });
    const callerEnvironment = { OPENAI_API_KEY: "k" };
    const known = await spawnOf(`acp:${bin}/opencode acp`, { environment, callerEnvironment });
    expect(known.argv).toEqual([path.join(bin, "opencode"), "acp"]);
    expect(known.env).toMatchObject({ OPENAI_API_KEY: "k", OPENCODE_DISABLE_AUTOUPDATE: "1" });
    const unknown = await spawnOf(`acp:${bin}/other acp`, { environment, callerEnvironment });
    expect(unknown.env).not.toHaveProperty("OPENAI_API_KEY");
  });

  test("has a headless command where one is known, which asks nobody and can leave files alone", async () => {
    const { environment, folder: bin } = programs({ opencode: "" });
    const engine = named("opencode:headless", { environment });
    expect(engine).toMatchObject({ name: "opencode:headless", capabilities: { approvals: "none" } });
    const work = await spawnOf("opencode:headless", { environment });
    expect(work.argv).toEqual([path.join(bin, "opencode"), "run", "--auto", "--format", "json", "do it"]);
    expect(work.env).not.toHaveProperty("OPENCODE_PERMISSION");
    const look = await spawnOf("opencode:headless", { environment }, { mode: "read_only" });
    expect(look.argv).toContain("plan");
    expect(look.argv).not.toContain("--auto");
  });

  test("of two agents by the name of kimi is the one that answers as it does", async () => {
    const python = programs({
      kimi: 'test "$1" = info && echo \'{"wire_protocol_version":"1.10"}\' || echo "kimi, version 1.49.0"',
    });
    const { argv } = await spawnOf("kimi", { environment: python.environment });
    expect(argv.slice(0, 2)).toEqual([path.join(python.folder, "kimi"), "--wire"]);
    expect(await named("kimi", { environment: python.environment }).probe(signal)).toMatchObject({
      found: true,
      version: "kimi, version 1.49.0",
    });
    const node = programs({ kimi: 'test "$1" = info && exit 1; echo 2.1.0' });
    expect((await spawnOf("kimi", { environment: node.environment })).argv.slice(1)).toEqual(["acp"]);
  });

  test("says when what is there only says that it is retired", async () => {
    const { environment } = programs({
      kimi: "echo kimi, version 1.52.0; echo kimi-cli is no longer maintained.",
    });
    expect(await named("kimi", { environment }).probe(signal)).toMatchObject({
      found: true,
      retired: "kimi-cli is no longer maintained.",
    });
  });
});

describe("`auto`", () => {
  test("is the configured engine, else the first agent found in the table's order", () => {
    const { environment } = programs({ gemini: "", opencode: "" });
    for (const text of ["auto", "", " auto "]) {
      expect(named(text, { environment })).toMatchObject({ name: "opencode", recordedAs: "opencode" });
    }
    expect(named("auto", { environment, configured: "gemini" })).toMatchObject({ recordedAs: "gemini" });
    expect(named("auto", { environment, configured: "auto" })).toMatchObject({ recordedAs: "opencode" });
    expect(named("opencode", { environment, configured: "gemini" })).toMatchObject({
      recordedAs: "opencode",
    });
    expect(problemOf(() => named("auto", { environment, configured: "goose" })).code).toBe("engine.missing");
  });

  test("says what it looked for when nothing is there, and what only lacks its adapter", () => {
    const nothing = problemOf(() => named("auto", { environment: { PATH: folder() } }));
    expect(nothing).toMatchObject({ code: "engine.missing", exitStatus: 4 });
    for (const program of ["opencode", "kimi", "claude-agent-acp", "gemini"])
      expect(nothing.hint).toContain(program);
    expect(nothing.hint).not.toContain("is there, but");
    const { environment } = programs({ claude: "" });
    expect(problemOf(() => named("auto", { environment })).hint).toContain(
      "@agentclientprotocol/claude-agent-acp",
    );
  });

  test("is a stand-in for Kimi under tests, and never elsewhere", async () => {
    const environment = { PATH: folder() };
    const callerEnvironment = { MOCK_KIMI: "/mock", OMK_TEST: "1", MOCK_KIMI_WIRE_TEXT: "hi" };
    const { argv, env } = await spawnOf("auto", { environment, callerEnvironment });
    expect(argv.slice(0, 2)).toEqual(["/mock", "--wire"]);
    expect(env).toMatchObject({ MOCK_KIMI_WIRE_TEXT: "hi" });
    for (const other of [{ MOCK_KIMI: "/mock" }, { MOCK_KIMI: "/mock", OMK_TEST: "0" }, { OMK_TEST: "1" }]) {
      expect(problemOf(() => named("auto", { environment, callerEnvironment: other })).code).toBe(
        "engine.missing",
      );
    }
  });
});

test("the engine of a role is the flag's, else the role's, else everybody's, else `auto`", () => {
  const settings = { engine: "opencode", roles: { reviewer: { engine: "claude" }, planner: {} } };
  expect(engineForRole("reviewer", "gemini", settings)).toBe("gemini");
  expect(engineForRole("reviewer", "auto", settings)).toBe("claude");
  expect(engineForRole("reviewer", undefined, settings)).toBe("claude");
  expect(engineForRole("planner", undefined, settings)).toBe("opencode");
  expect(engineForRole("constructor", undefined, settings)).toBe("opencode");
  expect(engineForRole("reviewer", undefined, { roles: {} })).toBe("auto");
});
