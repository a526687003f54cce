import { createHash } from "node:crypto";
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

import { hooksOf, type AttemptHooks } from "../../src/approval/hooks.ts";
import type { TrustedHook } from "../../src/config/settings.ts";
import type { EngineEvent, EventBody, PermissionRequest } from "../../src/engine/engine.ts";
import type { Clock, Processes, RunRequest, RunResult } from "../../src/ports.ts";
import type { NewEvent } from "../../src/store/event-log.ts";
import { createRedactor } from "../../src/store/redact.ts";
import { createWorld } from "../../src/world.ts";
import { ManualClock } from "../support/fakes.ts";

const world = createWorld();
const NEVER = new AbortController().signal;
let folder: string;
let recorded: NewEvent[];
let told: string[];
let made = 0;

beforeEach(() => {
  folder = mkdtempSync(join(realpathSync(tmpdir()), "omk-hooks-"));
  recorded = [];
  told = [];
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A hook whose script has this text; its bytes as they are now are trusted. */
function hook(script: string, given: Partial<TrustedHook> = {}): TrustedHook {
  const name = `hook-${++made}.sh`;
  const path = join(folder, name);
  writeFileSync(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  const sha256 = createHash("sha256").update(readFileSync(path)).digest("hex");
  return { event: "PreToolUse", command: name, folder, path, sha256, ...given };
}

function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    // ESRCH: there is no such process any more.
    return false;
  }
}

function hooks(
  list: readonly TrustedHook[],
  given: { processes?: Pick<Processes, "run">; clock?: Clock; record?: () => Promise<unknown> } = {},
): AttemptHooks {
  const found = hooksOf(
    list,
    { task: "goal-execute", worker: "worker-0", fence: 7, cwd: folder },
    {
      disk: world.disk,
      clock: given.clock ?? world.clock,
      processes: given.processes ?? world.processes,
      redactor: createRedactor({ environment: { DEPLOY_TOKEN: "s3cr3t-value-0815" } }),
      environment: { PATH: process.env["PATH"] ?? "" },
      record: given.record ?? ((...events) => Promise.resolve(recorded.push(...events))),
      tell: (line) => told.push(line),
    },
  );
  if (!found) throw new Error("There should be hooks.");
  return found;
}

function ask(given: Partial<PermissionRequest> = {}): PermissionRequest {
  return {
    id: "1",
    toolCallId: "call-1",
    title: "Write a file",
    name: "WriteFile",
    kind: "edit",
    command: null,
    locations: ["a.txt"],
    rawInput: { path: "a.txt" },
    content: [],
    options: [],
    ...given,
  };
}

function event(body: EventBody): EngineEvent {
  return { at: "2026-01-01T00:00:00Z", session: "session-1", sequence: 1, ...body };
}

const TOOL = {
  tool_id: "call-1",
  name: "WriteFile",
  tool_kind: "edit",
  title: "",
  paths: ["a.txt"],
  status: "",
};

describe("a hook that is asked", () => {
  test.each([
    ["allows by ending with 0, with what it printed as the reason", "echo ' fine '", "allow", /^fine$/],
    ["blocks by ending with 1, in its own words", "echo no way; exit 1", "block", /^no way$/],
    [
      "blocks by ending with 1, in the words it wrote to stderr",
      "echo never >&2; exit 1",
      "block",
      /^never$/,
    ],
    ["blocks by ending with 1 in silence", "exit 1", "block", /said no/],
    ["blocks with any other status, which it names", "echo bad >&2; exit 3", "block", /ended with 3: bad/],
    ["blocks when a signal ends it", "echo half; kill -9 $$", "block", /SIGKILL: half/],
    ["blocks when it writes without end", "yes", "block", /more than 262144 bytes/],
    ["does not have to read what it is told", "exec <&-; exit 0", "allow", /^$/],
  ])("%s", async (_title, script, action, reason) => {
    const long = ask({ rawInput: { content: "x".repeat(1_000_000) } });
    const said = await hooks([hook(script)]).beforeTool(long, NEVER);
    expect(said.action).toBe(action);
    expect(said.reason).toMatch(reason);
  });

  test("blocks when it gives no answer in its time, and nothing of it is left", async () => {
    const script = "sh -c 'echo $$ > pid; exec sleep 600' & wait";
    const said = await hooks([hook(script, { timeout: 2 })]).beforeTool(ask(), NEVER);
    expect(said).toEqual({
      action: "block",
      reason: expect.stringMatching(/no answer within 2 s/) as string,
    });
    const pid = Number(readFileSync(join(folder, "pid"), "utf8"));
    // Killed, but it is there until whoever adopted it has looked.
    while (isThere(pid)) await new Promise((resolve) => setImmediate(resolve));
  });

  test("is given 30 seconds, or what is configured up to 300, and the engine waits longer", async () => {
    const given: RunRequest[] = [];
    const run = (request: RunRequest): Promise<RunResult> => {
      given.push(request);
      const exit = { kind: "exited" as const, code: 0 };
      return Promise.resolve({
        exit,
        stdout: new Uint8Array(),
        stderr: "",
        timedOut: false,
        truncated: false,
      });
    };
    const all = hooks(
      [
        hook("", { matcher: "WriteFile|StrReplaceFile" }),
        hook("", { timeout: 2 }),
        hook("", { timeout: 9_000 }),
        hook("", { event: "SubagentStart", timeout: 0 }),
      ],
      { processes: { run } },
    );
    expect(all.subscriptions).toEqual([
      { id: "pre_tool_use", event: "PreToolUse", timeoutSecs: 305 },
      { id: "subagent_start", event: "SubagentStart", timeoutSecs: 6 },
    ]);
    await all.beforeTool(ask(), NEVER);
    expect(given.map(({ timeoutMs }) => timeoutMs)).toEqual([30_000, 2_000, 300_000]);
  });

  test("blocks when its file is missing, cannot be run, is no program, or is another one than was trusted", async () => {
    const missing = hook("exit 0");
    rmSync(missing.path);
    const unrunnable = hook("exit 0");
    chmodSync(unrunnable.path, 0o600);
    const changed = hook("exit 0");
    appendFileSync(changed.path, "# later\n");
    const never = hook("exit 0", { sha256: null });
    for (const [one, why] of [
      [missing, /cannot be read \(ENOENT\)/],
      [unrunnable, /could not be started \(EACCES\)/],
      [changed, /not the file that was trusted/],
      [never, /not the file that was trusted/],
    ] as const) {
      const said = await hooks([one]).beforeTool(ask(), NEVER);
      expect(said).toEqual({ action: "block", reason: expect.stringMatching(why) as string });
    }
  });

  test("blocks when it is stopped from outside", async () => {
    const stop = new AbortController();
    const asked = hooks([hook("echo $$ > started; exec sleep 600")]).beforeTool(ask(), stop.signal);
    while (!existsSync(join(folder, "started"))) await new Promise((resolve) => setImmediate(resolve));
    stop.abort(new Error("Ctrl-C"));
    expect(await asked).toEqual({
      action: "block",
      reason: expect.stringContaining("was stopped") as string,
    });
  });

  test("is told what is asked on stdin, without secrets, and the facts in its environment", async () => {
    const script =
      'cat > input.json; echo "$OMK_HOOK_EVENT $OMK_TASK_ID $OMK_WORKER_ID $OMK_FENCE $OMK_PROJECT_DIR"';
    const request = ask({ rawInput: { path: "a", content: "key is s3cr3t-value-0815", api_key: "abc" } });
    const said = await hooks([hook(`${script}\npwd\necho "$HOME"`)]).beforeTool(request, NEVER);
    expect(said.reason).toBe(`PreToolUse goal-execute worker-0 7 ${folder}\n${folder}`);
    const text = readFileSync(join(folder, "input.json"), "utf8");
    expect(text).not.toContain("s3cr3t");
    expect(JSON.parse(text)).toMatchObject({
      hook_event_name: "PreToolUse",
      cwd: folder,
      tool_name: "WriteFile",
      tool_call_id: "call-1",
      tool_input: { path: "a", content: "key is [REDACTED:environment]", api_key: "[REDACTED:key]" },
      locations: ["a.txt"],
    });
  });
});

describe("the hooks of an event", () => {
  test("all run, and one that blocks wins whatever the others say", async () => {
    const all = hooks([
      hook("touch first; echo fine"),
      hook("touch second; echo one reason; exit 1"),
      hook("touch third; echo another; exit 2"),
    ]);
    const said = await all.beforeTool(ask(), NEVER);
    expect(said.action).toBe("block");
    expect(said.reason).toMatch(/^one reason\n.*ended with 2: another$/);
    for (const name of ["first", "second", "third"]) expect(existsSync(join(folder, name))).toBe(true);
    expect(told).toEqual([expect.stringMatching(/^blocked by a hook \(PreToolUse\): one reason/)]);
  });

  test("run only where their matcher is found in the tool's name, its kind or what Kimi calls it", async () => {
    const all = hooks([hook("exit 1", { matcher: "^WriteFile$" })]);
    const action = async (given: Partial<PermissionRequest>) =>
      (await all.beforeTool(ask(given), NEVER)).action;
    expect(await action({})).toBe("block");
    expect(await action({ name: "write", kind: "edit" })).toBe("block");
    expect(await action({ name: null, kind: "edit" })).toBe("block");
    expect(await action({ name: "Shell", kind: "execute" })).toBe("allow");
    expect(recorded.filter(({ kind }) => kind === "hook_triggered")).toHaveLength(3);
  });

  test.each<[string, Partial<PermissionRequest>]>([
    ["a kind in capitals", { name: null, kind: "EDIT" }],
    ["a kind that every object has", { name: null, kind: "constructor" }],
    ["a command of another kind", { name: "Tool", kind: "other", rawInput: { command: "rm x" } }],
    ["a command of a tool that reads", { name: "Read", kind: "read", rawInput: { command: "rm -rf x" } }],
    ["a command that the engine found", { name: "Read", kind: "read", rawInput: {}, command: "rm x" }],
    ["arguments with a command", { name: "Read", kind: "read", rawInput: { args: { cmd: "rm x" } } }],
    ["what nobody understands", { name: "Read", kind: "read", rawInput: { a: { b: 1 } } }],
    ["an edit that runs something", { rawInput: { path: "a.txt", run_after: "rm x" } }],
    ["what was cut", { name: "Read", kind: "read", isCut: true }],
  ])("that guard commands are not passed by with %s", async (_what, given) => {
    const shell = hooks([hook("exit 1", { matcher: "^Shell$" })]);
    expect((await shell.beforeTool(ask(given), NEVER)).action).toBe("block");
    const input = { tool_input: given.rawInput ?? {}, tool_name: "x" };
    const { name = null, kind = "edit", rawInput } = given;
    if (rawInput === undefined || given.command !== undefined || name === null) return;
    const asked = { event: "PreToolUse", target: name, toolKind: kind, subscriptionId: null, input };
    expect((await shell.run(asked, NEVER)).action).toBe("block");
  });

  test.each<[string, Partial<PermissionRequest>]>([
    ["a change that is shown", { kind: "read", content: [{ type: "diff", path: "a.txt", newText: "x" }] }],
    ["a text to write", { kind: "execute", command: "true", rawInput: { command: "true", content: "x" } }],
    ["a kind nobody knows", { name: "Tool", kind: "Edit" }],
  ])("that guard files are not passed by with %s", async (_what, given) => {
    const writes = hooks([hook("exit 1", { matcher: "^WriteFile$" })]);
    expect((await writes.beforeTool(ask({ name: null, ...given }), NEVER)).action).toBe("block");
  });

  test("that guard changes leave alone what is known to read or to run a command", async () => {
    const all = hooks([hook("exit 1", { matcher: "^WriteFile$|^edit$" })]);
    for (const given of [
      { name: "Read", kind: "read", rawInput: { file_path: "a.txt", limit: 3 } },
      { name: "SetTodoList", kind: "other", rawInput: { todos: [{ title: "a", status: "done" }] } },
      { name: "Shell", kind: "execute", command: "ls", rawInput: { command: "ls", timeout: 3 } },
    ])
      expect((await all.beforeTool(ask(given), NEVER)).action).toBe("allow");
  });

  test("match the same when an engine asks by itself, whatever it calls the event", async () => {
    const all = hooks([
      hook("echo upper; exit 1", { matcher: "Shell" }),
      hook("echo lower; exit 1", { matcher: "shell" }),
      hook("echo kind; exit 1", { matcher: "^execute$" }),
      hook("echo every; exit 1"),
      hook("echo prompt; exit 1", { event: "UserPromptSubmit", matcher: "rm" }),
    ]);
    expect(all.subscriptions.map(({ id }) => id)).toEqual(["pre_tool_use", "user_prompt_submit"]);
    const run = async (
      event: string,
      target: string,
      toolKind: string | null,
      subscriptionId: string | null,
    ) => (await all.run({ event, target, toolKind, subscriptionId, input: {} }, NEVER)).reason;
    expect(await run("PreToolUse", "Shell", "execute", "pre_tool_use")).toBe("upper\nkind\nevery");
    expect(await run("pre-tool-use", "Bash", "execute", "pre_tool_use")).toBe("upper\nkind\nevery");
    expect(await run("PreToolUse", "Glob", "search", null)).toBe("every");
    expect(await run("PreToolUse", "Glob", "search", "unheard of")).toBe("every");
    expect(await run("UserPromptSubmit", "rm -rf", null, "user_prompt_submit")).toBe("prompt");
    expect(await run("UserPromptSubmit", "hello", null, "user_prompt_submit")).toBe("No matching hook.");
  });

  test.runIf(process.platform === "linux")("leave nothing behind, wherever it hid", async () => {
    const pids = join(folder, "pids");
    const hide = `setsid sh -c 'echo $$ >>${pids}; exec sleep 60' </dev/null >/dev/null 2>&1 &`;
    const script = `touch ${pids}; ${hide} while [ ! -s ${pids} ]; do sleep 0.01; done`;
    expect((await hooks([hook(script)]).beforeTool(ask(), NEVER)).action).toBe("allow");
    const hidden = Number(readFileSync(pids, "utf8"));
    expect(hidden).toBeGreaterThan(0);
    // It is ended, though nobody may have collected it yet.
    while (isThere(hidden)) await new Promise((resolve) => setImmediate(resolve));
  });

  test("allow what no hook is for", async () => {
    const said = await hooks([hook("exit 1", { event: "Stop" })]).beforeTool(ask(), NEVER);
    expect(said).toEqual({ action: "allow", reason: "No matching hook." });
    expect(recorded).toEqual([]);
  });

  test("are in the log before they run and after", async () => {
    await hooks([hook("echo s3cr3t-value-0815; exit 1"), hook("exit 0")]).beforeTool(ask(), NEVER);
    const about = {
      task_id: "goal-execute",
      worker_id: "worker-0",
      event: "PreToolUse",
      target: "WriteFile",
    };
    expect(recorded).toMatchObject([
      { kind: "hook_triggered", actor: "worker-0", payload: { ...about, hook_count: 2 } },
      {
        kind: "hook_resolved",
        actor: "worker-0",
        payload: { ...about, action: "block", reason: "[REDACTED:environment]" },
      },
    ]);
    expect(Number.isInteger(recorded[1]?.payload?.["duration_ms"])).toBe(true);
  });

  test("block when the log cannot be written, and the failure comes at the turn's end", async () => {
    const full = new Error("no space");
    const all = hooks([hook("exit 0")], { record: () => Promise.reject(full) });
    expect((await all.beforeTool(ask(), NEVER)).action).toBe("block");
    await expect(all.settled(NEVER)).rejects.toBe(full);
  });

  test("forbid a prompt", async () => {
    const all = hooks([hook("grep -q deploy && exit 1; exit 0", { event: "UserPromptSubmit" })]);
    expect((await all.beforePrompt("please deploy", NEVER)).action).toBe("block");
    expect((await all.beforePrompt("please test", NEVER)).action).toBe("allow");
  });
});

describe("hooks that only hear of what happened", () => {
  test("run for what the engine reports, each with its event, and have ended at the turn's end", async () => {
    const script = 'cat >> "$OMK_HOOK_EVENT.json"';
    const names = [
      "SessionStart",
      "PostToolUse",
      "PostToolUseFailure",
      "Stop",
      "StopFailure",
      "SessionEnd",
    ] as const;
    const all = hooks(names.map((name) => hook(script, { event: name })));
    const read = (name: string) =>
      JSON.parse(readFileSync(join(folder, `${name}.json`), "utf8")) as Record<string, unknown>;
    const usage = { input_tokens: 0, output_tokens: 0, quality: "missing" as const };
    all.inform(event({ kind: "session-started", agent: "kimi", agent_version: null, protocol_version: 1 }));
    all.inform(event({ kind: "text", text: "hello", thinking: false }));
    all.inform(event({ kind: "tool-finished", ...TOOL, outcome: "ok", input: { path: "a.txt" } }));
    all.inform(event({ kind: "tool-finished", ...TOOL, outcome: "denied" }));
    all.inform(event({ kind: "turn-ended", status: "finished", tool_calls: 2, usage }));
    all.inform(event({ kind: "turn-ended", status: "limit", tool_calls: 2, usage }));
    all.inform(event({ kind: "session-ended", exit: "exited 0" }));
    await all.settled(NEVER);
    expect(read("SessionStart")).toMatchObject({ session_id: "session-1", agent: "kimi" });
    expect(read("PostToolUse")).toMatchObject({ tool_name: "WriteFile", tool_input: { path: "a.txt" } });
    expect(read("PostToolUseFailure")).toMatchObject({ error: "denied" });
    expect(read("Stop")).toMatchObject({ hook_event_name: "Stop" });
    expect(read("StopFailure")).toMatchObject({ error_type: "limit" });
    expect(read("SessionEnd")).toMatchObject({ reason: "exited 0" });
  });

  test("never block: that one failed is told", async () => {
    const all = hooks([hook("exit 3", { event: "Stop" })]);
    const said = await all.run(
      { event: "Stop", target: "", toolKind: null, subscriptionId: "stop", input: {} },
      NEVER,
    );
    expect(said.action).toBe("allow");
    expect(told).toEqual([expect.stringMatching(/^a hook failed \(Stop\): .* ended with 3$/)]);
  });

  test("are bounded: few at once, not too many waiting, and no longer than their time after the turn", async () => {
    const clock = new ManualClock();
    let running = 0;
    let most = 0;
    const run = async (_request: RunRequest, signal?: AbortSignal): Promise<RunResult> => {
      most = Math.max(most, ++running);
      await new Promise((_resolve, reject) => {
        if (signal?.aborted) reject(new Error("aborted"));
        signal?.addEventListener("abort", () => reject(new Error("aborted")));
      }).finally(() => running--);
      throw new Error("unreachable");
    };
    const all = hooks([hook("", { event: "PostToolUse", timeout: 10 })], { processes: { run }, clock });
    for (let n = 0; n < 300; n++) all.inform(event({ kind: "tool-finished", ...TOOL, outcome: "ok" }));
    const settled = all.settled(NEVER);
    await clock.someoneSleeps();
    await clock.advance(15_000);
    await settled;
    expect(most).toBe(4);
    expect(running).toBe(0);
    expect(told.at(-1)).toMatch(/^hooks: 296 were not run/);
  });

  test("end at once when the user stops the run", async () => {
    const all = hooks([hook("exec sleep 600", { event: "SessionStart" })]);
    all.inform(event({ kind: "session-started", agent: null, agent_version: null, protocol_version: 1 }));
    await all.settled(AbortSignal.abort());
    expect(told[0]).toMatch(/^a hook failed \(SessionStart\): .* was stopped/);
  });
});

test("without hooks there is nothing to ask", () => {
  const nothing = {} as Parameters<typeof hooksOf>[2];
  expect(hooksOf([], { task: "t", worker: "w", fence: 1, cwd: folder }, nothing)).toBeUndefined();
});
