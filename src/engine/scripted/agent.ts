import type {
  InitializeResponse,
  NewSessionResponse,
  PromptResponse,
  RequestPermissionRequest,
  SessionUpdate,
  ToolCallUpdate,
  ToolKind,
} from "@agentclientprotocol/sdk";
import { dirname, resolve } from "node:path";
import { z } from "zod";
import { RPC_CODES, RpcClosed, RpcError, RpcPeer } from "../rpc.ts";
import { loadScript, stepsFor } from "./script.ts";
import type { Script, Step, StepList } from "./script.ts";
import type { Clock, Disk, Exit, Processes, Random } from "../../ports.ts";
import { systemCode } from "../../errors.ts";

/**
 * An agent without a model: it speaks the Agent Client Protocol on its stdio and does what a script says, to real
 * files and with real commands. It uses omk's own JSON-RPC peer, so the official client tests that peer, too.
 */

const POLL_MS = 20;
const WAIT_FOR_MS = 60_000;
const RUN_MS = 600_000;
const DAEMON_START_MS = 10_000;
const RUN_OUTPUT_BYTES_MAX = 1024 * 1024;
const RUN_OUTPUT_SHOWN = 8 * 1024;
/** Nothing waits for ever, not even a script that says so; a deaf one can only be killed, so it gets less. */
const HANG_MS = 24 * 3_600_000;
const DEAF_MS = 600_000;
const FILE_BYTES_MAX = 32 * 1024 * 1024;
/** Starts its arguments as daemons do: parents that end at once, a session of their own, nothing of ours held open. */
const DAEMONISE = `
if command -v setsid >/dev/null; then (setsid "$@" </dev/null >/dev/null 2>&1 &)
else perl -MPOSIX -e 'fork and exit; setsid; fork and exit; exec { $ARGV[0] } @ARGV' "$@" </dev/null >/dev/null 2>&1
fi`;

/** The process around the agent. */
export interface ScriptedStdio {
  stdin: AsyncIterable<Uint8Array>;
  /** Writes to stdout; resolves when it was taken. */
  write(bytes: Uint8Array): Promise<void>;
  writeError(text: string): void;
  /** For the commands the script runs; its OMK_SPAWN_ID lets them be found. */
  environment: Readonly<Record<string, string>>;
}

type AgentPorts = {
  disk: Disk;
  clock: Clock;
  random: Pick<Random, "name">;
  processes: Pick<Processes, "self" | "run">;
};

/**
 * The command `omk scripted-agent <file>`: serves until stdin closes and returns the exit status, or the status a
 * `crash` step names, at once. The caller must then end the process itself, since stdin may still be open. Throws
 * `engine.script` when the file cannot be used.
 */
export async function scriptedAgentMain(
  scriptPath: string,
  world: AgentPorts,
  stdio: ScriptedStdio,
): Promise<number> {
  const script = loadScript(scriptPath, world.disk);
  return runScriptedAgent(script, stdio, world);
}

/** The same with a script at hand. */
export function runScriptedAgent(script: Script, stdio: ScriptedStdio, ports: AgentPorts): Promise<number> {
  return new ScriptedAgent(script, stdio, ports).serve();
}

const NewSession = z.looseObject({ cwd: z.string().min(1) });
const PromptParams = z.looseObject({
  sessionId: z.string(),
  prompt: z.array(z.looseObject({ type: z.string(), text: z.string().optional() })),
  // Another client than omk sends no such meta; its prompts count as first attempts at work.
  _meta: z
    .looseObject({
      omk: z.looseObject({ role: z.string(), task: z.string(), attempt: z.number().int().min(1) }).nullish(),
    })
    .nullish(),
});
const PermissionResult = z.looseObject({
  outcome: z.union([
    z.looseObject({ outcome: z.literal("selected"), optionId: z.string() }),
    z.looseObject({ outcome: z.literal("cancelled") }),
  ]),
});

type Usage = Extract<Step, { usage: unknown }>["usage"];
type Permission = "allowed" | "rejected" | "cancelled";

interface ScriptedSession {
  id: string;
  cwd: string;
  /** The client's running total, as the protocol wants it. */
  costUsd: number;
  /** Aborted to cancel the turn that runs. */
  turn: AbortController | undefined;
}

/** How a list of steps ended: it ran out, or something ended the turn. */
type TurnEnd = { stopReason: string } | undefined;

class ScriptedAgent {
  readonly #script: Script;
  readonly #stdio: ScriptedStdio;
  readonly #ports: AgentPorts;
  readonly #peer: RpcPeer;
  readonly #sessions = new Map<string, ScriptedSession>();
  readonly #crashed: Promise<number>;
  readonly #playing = new Set<Promise<unknown>>();
  #crash!: (status: number) => void;
  #toolCalls = 0;

  constructor(script: Script, stdio: ScriptedStdio, ports: AgentPorts) {
    this.#script = script;
    this.#stdio = stdio;
    this.#ports = ports;
    this.#crashed = new Promise((resolveCrash) => {
      this.#crash = resolveCrash;
    });
    this.#peer = new RpcPeer(
      { write: (bytes) => stdio.write(bytes), incoming: stdio.stdin },
      {
        requests: new Map<string, (request: { params: unknown; signal: AbortSignal }) => Promise<unknown>>([
          ["initialize", async () => this.#initialize()],
          ["session/new", async ({ params }) => this.#newSession(params)],
          ["session/prompt", ({ params, signal }) => this.#tracked(this.#prompt(params, signal))],
        ]),
        notification: (method, params) => {
          if (method !== "session/cancel") return;
          const read = z.looseObject({ sessionId: z.string() }).safeParse(params);
          if (read.success) this.#sessions.get(read.data.sessionId)?.turn?.abort();
        },
      },
      { ids: "string" },
    );
  }

  async serve(): Promise<number> {
    const ended = await Promise.race([this.#peer.closed, this.#crashed]);
    if (typeof ended === "number") {
      this.#peer.close();
      return ended;
    }
    // The turns know it by their signal; what they run must be ended before this process goes. A deaf one stays.
    await Promise.race([Promise.allSettled(this.#playing), this.#crashed]);
    // A failure inside a step is a bug of ours or of the script's surroundings, and must not look like an end.
    if (ended.reason === "handler") throw ended.cause;
    return ended.reason === "protocol" ? 1 : 0;
  }

  #tracked<T>(playing: Promise<T>): Promise<T> {
    this.#playing.add(playing);
    return playing.finally(() => this.#playing.delete(playing));
  }

  #initialize(): InitializeResponse {
    return {
      protocolVersion: 1,
      agentCapabilities: { loadSession: false },
      authMethods: [],
      agentInfo: { name: "omk-scripted", version: "1" },
    };
  }

  #newSession(params: unknown): NewSessionResponse {
    const read = NewSession.safeParse(params);
    if (!read.success) throw new RpcError(RPC_CODES.invalidParams, "session/new needs a cwd");
    const id = `scripted-${this.#ports.random.name(12)}`;
    this.#sessions.set(id, { id, cwd: read.data.cwd, costUsd: 0, turn: undefined });
    return { sessionId: id };
  }

  async #prompt(params: unknown, closing: AbortSignal): Promise<PromptResponse & { usage?: unknown }> {
    const read = PromptParams.safeParse(params);
    if (!read.success)
      throw new RpcError(RPC_CODES.invalidParams, "session/prompt needs a sessionId and a prompt");
    const session = this.#sessions.get(read.data.sessionId);
    if (!session) throw new RpcError(-32002, "No such session");
    if (session.turn) throw new RpcError(RPC_CODES.invalidRequest, "A turn is running in this session");
    const meta = read.data._meta?.omk ?? { role: "work", task: "", attempt: 1 };
    const prompt = read.data.prompt.map((block) => block.text ?? "").join("");
    const steps = stepsFor(this.#script, { role: meta.role, task: meta.task, attempt: meta.attempt, prompt });
    if (!steps) {
      throw new RpcError(
        -32002,
        `The script has no entry for role ${meta.role}, task ${meta.task}, attempt ${meta.attempt}`,
      );
    }
    const cancel = new AbortController();
    session.turn = cancel;
    try {
      const turn = new ScriptedTurn(session, [cancel.signal, closing], {
        peer: this.#peer,
        stdio: this.#stdio,
        ports: this.#ports,
        nextToolId: () => `call-${++this.#toolCalls}`,
        crash: (how) => this.#die(how),
      });
      return await turn.play(steps);
    } catch (error) {
      if (cancel.signal.aborted && !(error instanceof RpcError)) return { stopReason: "cancelled" };
      // The client is gone: there is nobody left to answer.
      if (closing.aborted) throw new RpcError(RPC_CODES.internal, "The client is gone");
      throw error;
    } finally {
      session.turn = undefined;
    }
  }

  /** Ends this process as the script says. By a signal it is sent from outside: we have no other way to. */
  async #die(how: number | string): Promise<never> {
    if (typeof how === "number") {
      this.#crash(how);
    } else {
      await this.#ports.processes.run({
        argv: [
          "sh",
          "-c",
          'kill -s "$1" "$2"',
          "sh",
          how.slice("SIG".length),
          String(this.#ports.processes.self.pid),
        ],
        cwd: "/",
        env: this.#stdio.environment,
        timeoutMs: 10_000,
        outputBytesMax: 1024,
      });
      // Still here: the signal was ignored or could not be sent.
      this.#crash(1);
    }
    throw new RpcClosed("local", "The script crashed the agent.");
  }
}

interface TurnSeams {
  peer: RpcPeer;
  stdio: ScriptedStdio;
  ports: AgentPorts;
  nextToolId(): string;
  crash(how: number | string): Promise<never>;
}

/** What a tool came to, and what it shows. */
interface ToolResult {
  ok: boolean;
  text: string;
}

/** One prompt being played. */
class ScriptedTurn {
  readonly #session: ScriptedSession;
  readonly #seams: TurnSeams;
  /** What can end the turn: a cancel, and the end of the input. */
  #ends: readonly AbortSignal[];
  #signal: AbortSignal;
  #usage: Usage | undefined;

  constructor(session: ScriptedSession, ends: readonly AbortSignal[], seams: TurnSeams) {
    this.#session = session;
    this.#seams = seams;
    this.#ends = ends;
    this.#signal = AbortSignal.any([...ends]);
  }

  async play(steps: StepList): Promise<PromptResponse & { usage?: unknown }> {
    const end = await this.#steps(steps);
    const stopReason = (end?.stopReason ?? "end_turn") as PromptResponse["stopReason"];
    return this.#usage ? { stopReason, usage: wireUsage(this.#usage) } : { stopReason };
  }

  async #steps(steps: StepList): Promise<TurnEnd> {
    for (const step of steps) {
      if (this.#signal.aborted) return { stopReason: "cancelled" };
      const end = await this.#step(step);
      if (end) return end;
    }
    return this.#signal.aborted ? { stopReason: "cancelled" } : undefined;
  }

  async #step(step: Step): Promise<TurnEnd> {
    const { peer, stdio, ports } = this.#seams;
    const { clock } = ports;
    if ("say" in step) {
      await this.#update({ sessionUpdate: "agent_message_chunk", content: { type: "text", text: step.say } });
    } else if ("think" in step) {
      await this.#update({
        sessionUpdate: "agent_thought_chunk",
        content: { type: "text", text: step.think },
      });
    } else if ("write" in step) {
      const path = this.#path(step.write);
      const work = (): ToolResult => this.#write(path, step.text);
      return this.#tool(
        step,
        { title: `Write ${step.write}`, kind: "edit", paths: [path], input: { path, content: step.text } },
        work,
      );
    } else if ("edit" in step) {
      const path = this.#path(step.edit);
      const input = { path, old: step.replace, new: step.with };
      const work = (): ToolResult => this.#edit(path, step.replace, step.with);
      return this.#tool(step, { title: `Edit ${step.edit}`, kind: "edit", paths: [path], input }, work);
    } else if ("delete" in step) {
      const path = this.#path(step.delete);
      const work = (): ToolResult => this.#delete(path);
      return this.#tool(
        step,
        { title: `Delete ${step.delete}`, kind: "delete", paths: [path], input: { path } },
        work,
      );
    } else if ("run" in step) {
      const { run } = step;
      const title = typeof run === "string" ? run : run.join(" ");
      const work = (): Promise<ToolResult> => this.#run(run, step.timeout_ms ?? RUN_MS);
      return this.#tool(step, { title, kind: "execute", paths: [], input: { command: run } }, work);
    } else if ("daemon" in step) {
      const { daemon } = step;
      const argv = ["sh", "-c", DAEMONISE, "sh", ...daemon] as const;
      const work = (): Promise<ToolResult> => this.#run(argv, DAEMON_START_MS);
      const title = `${daemon.join(" ")} &`;
      return this.#tool(step, { title, kind: "execute", paths: [], input: { command: daemon } }, work);
    } else if ("ask" in step) {
      return this.#ask(step);
    } else if ("usage" in step) {
      await this.#reportUsage(step.usage);
    } else if ("propose" in step) {
      await peer.notify("_omk/propose_task", step.propose);
    } else if ("update" in step) {
      await peer.notify("session/update", { sessionId: this.#session.id, update: step.update });
    } else if ("stderr" in step) {
      stdio.writeError(step.stderr);
    } else if ("wait_ms" in step) {
      await this.#wait(step, (signal) => clock.sleep(step.wait_ms, signal));
    } else if ("wait_for" in step) {
      const path = this.#path(step.wait_for);
      await this.#wait(step, (signal) => this.#waitFor(path, step.timeout_ms ?? WAIT_FOR_MS, signal));
    } else if ("hang" in step) {
      if (step.hang === "deaf") await clock.sleep(DEAF_MS);
      else await clock.sleep(HANG_MS, this.#signal);
    } else if ("crash" in step) {
      await this.#seams.crash(step.crash);
    } else if ("raw" in step) {
      const bytes =
        typeof step.raw === "string"
          ? new TextEncoder().encode(step.raw)
          : Buffer.from(step.raw.base64, "base64");
      for (let count = step.times ?? 1; count > 0 && !this.#signal.aborted; count--)
        await peer.writeRaw(bytes);
    } else if ("stop" in step) {
      return { stopReason: step.stop };
    } else {
      throw new RpcError(step.error.code, step.error.message, step.error.data);
    }
    return undefined;
  }

  /** A deaf wait misses what comes while it lasts, for good: the turn goes on, and only what comes later ends it. */
  async #wait(
    { deaf }: { deaf?: true | undefined },
    wait: (signal: AbortSignal | undefined) => Promise<void>,
  ): Promise<void> {
    if (!deaf) return wait(this.#signal);
    await wait(undefined);
    this.#ends = this.#ends.filter(({ aborted }) => !aborted);
    this.#signal = AbortSignal.any([...this.#ends]);
  }

  /** Shows a tool call, asks first when the step says so, does the work, and shows what came of it. */
  async #tool(
    step: { ask_first?: boolean | undefined; on_reject?: StepList | undefined },
    call: { title: string; kind: ToolKind; paths: string[]; input: unknown },
    work: () => ToolResult | Promise<ToolResult>,
  ): Promise<TurnEnd> {
    const toolCallId = this.#seams.nextToolId();
    const shown = {
      toolCallId,
      title: call.title,
      kind: call.kind,
      rawInput: call.input,
      locations: call.paths.map((path) => ({ path })),
    };
    await this.#update({ sessionUpdate: "tool_call", status: "pending", ...shown });
    if (step.ask_first) {
      const permission = await this.#permission({ ...shown, status: "pending" });
      if (permission !== "allowed") {
        await this.#update({ sessionUpdate: "tool_call_update", toolCallId, status: "failed" });
        return this.#refused(permission, step.on_reject);
      }
    }
    await this.#update({ sessionUpdate: "tool_call_update", toolCallId, status: "in_progress" });
    const result = await work();
    await this.#update({
      sessionUpdate: "tool_call_update",
      toolCallId,
      status: result.ok ? "completed" : "failed",
      content: [{ type: "content", content: { type: "text", text: result.text } }],
    });
    return undefined;
  }

  async #ask(step: Extract<Step, { ask: string }>): Promise<TurnEnd> {
    const toolCallId = this.#seams.nextToolId();
    const kind = (step.kind ?? "other") as ToolKind;
    const permission = await this.#permission({
      toolCallId,
      title: step.ask,
      kind,
      status: "pending",
      ...(step.path === undefined ? {} : { locations: [{ path: this.#path(step.path) }] }),
      ...(step.input === undefined ? {} : { rawInput: step.input }),
    });
    const status = permission === "allowed" ? "completed" : "failed";
    await this.#update({ sessionUpdate: "tool_call_update", toolCallId, status });
    return permission === "allowed"
      ? this.#steps(step.on_allow ?? [])
      : this.#refused(permission, step.on_reject);
  }

  /** Without steps for a refusal it ends the turn, as some real agents do. */
  #refused(permission: Permission, steps: StepList | undefined): Promise<TurnEnd> {
    if (permission === "cancelled") return Promise.resolve({ stopReason: "cancelled" });
    return steps ? this.#steps(steps) : Promise.resolve({ stopReason: "end_turn" });
  }

  async #permission(toolCall: ToolCallUpdate): Promise<Permission> {
    const request: RequestPermissionRequest = {
      sessionId: this.#session.id,
      toolCall,
      options: [
        { optionId: "yes", name: "Allow", kind: "allow_once" },
        { optionId: "yes-always", name: "Always allow", kind: "allow_always" },
        { optionId: "no", name: "Reject", kind: "reject_once" },
      ],
    };
    // Not bound to the cancel signal: the client answers what is open when it cancels, and that answer is the sign.
    const answer = PermissionResult.safeParse(
      await this.#seams.peer.request("session/request_permission", request),
    );
    if (!answer.success)
      throw new RpcError(RPC_CODES.internal, "The answer to the permission request cannot be read");
    const { outcome } = answer.data;
    if (outcome.outcome !== "selected") return "cancelled";
    return outcome.optionId === "no" ? "rejected" : "allowed";
  }

  #write(path: string, text: string): ToolResult {
    return attempt(() => {
      const { disk } = this.#seams.ports;
      this.#makeFolders(dirname(path));
      // An existing file is rewritten in place, so that it keeps its mode.
      const existing = disk.stat(path);
      const file = disk.open(path, existing ? "edit" : "create");
      try {
        if (existing) file.truncate(0);
        let left: Uint8Array = new TextEncoder().encode(text);
        while (left.length > 0) {
          const taken = file.write(left);
          if (taken === 0) return { ok: false, text: "the disk took no bytes" };
          left = left.subarray(taken);
        }
      } finally {
        file.close();
      }
      return { ok: true, text: `wrote ${text.length} characters` };
    });
  }

  #edit(path: string, old: string, replacement: string): ToolResult {
    return attempt(() => {
      const text = new TextDecoder().decode(this.#seams.ports.disk.readFile(path, FILE_BYTES_MAX));
      const at = text.indexOf(old);
      if (at === -1) return { ok: false, text: "the text to replace is not there" };
      return this.#write(path, text.slice(0, at) + replacement + text.slice(at + old.length));
    });
  }

  #delete(path: string): ToolResult {
    return attempt(() => {
      const { disk } = this.#seams.ports;
      if (disk.stat(path)?.kind === "folder") disk.removeTree(path);
      else disk.remove(path);
      return { ok: true, text: "deleted" };
    });
  }

  async #run(command: string | readonly [string, ...string[]], timeoutMs: number): Promise<ToolResult> {
    const result = await this.#seams.ports.processes.run(
      {
        argv: typeof command === "string" ? ["sh", "-c", command] : command,
        cwd: this.#session.cwd,
        env: this.#seams.stdio.environment,
        timeoutMs,
        outputBytesMax: RUN_OUTPUT_BYTES_MAX,
      },
      this.#signal,
    );
    const output = (new TextDecoder().decode(result.stdout) + result.stderr).slice(-RUN_OUTPUT_SHOWN);
    const how = result.timedOut ? "timed out" : exitText(result.exit);
    return {
      ok: result.exit.kind === "exited" && result.exit.code === 0 && !result.timedOut,
      text: `${output}\n[${how}]`,
    };
  }

  #makeFolders(path: string): void {
    const { disk } = this.#seams.ports;
    const missing: string[] = [];
    for (let folder = path; !disk.stat(folder) && dirname(folder) !== folder; folder = dirname(folder))
      missing.push(folder);
    for (const folder of missing.reverse()) {
      try {
        disk.makeFolder(folder);
      } catch (error) {
        // Another process may be making the same folders.
        if (systemCode(error) !== "EEXIST") throw error;
      }
    }
  }

  async #waitFor(path: string, timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
    const { clock, disk } = this.#seams.ports;
    const until = clock.monotonicMs() + timeoutMs;
    while (!disk.stat(path)) {
      if (clock.monotonicMs() >= until)
        throw new RpcError(RPC_CODES.internal, `${path} did not appear within ${timeoutMs} ms`);
      await clock.sleep(POLL_MS, signal);
    }
  }

  /** Each step is one call of a model: a turn's calls add up, and what they come to so far is told with each. */
  async #reportUsage(usage: Usage): Promise<void> {
    const total = added(this.#usage, usage);
    this.#usage = total;
    this.#session.costUsd += usage.cost_usd ?? 0;
    await this.#update({
      sessionUpdate: "usage_update",
      used: usage.input_tokens + usage.output_tokens,
      size: 200_000,
      ...(total.cost_usd !== undefined && { cost: { amount: this.#session.costUsd, currency: "USD" } }),
      _meta: { omk: { turn_usage: total } },
    });
  }

  #path(path: string): string {
    return resolve(this.#session.cwd, path);
  }

  #update(update: SessionUpdate): Promise<void> {
    return this.#seams.peer.notify("session/update", { sessionId: this.#session.id, update });
  }
}

/** A tool that meets a file system error fails; the agent goes on, as a real one would. */
function attempt(work: () => ToolResult): ToolResult {
  try {
    return work();
  } catch (error) {
    const code = systemCode(error);
    if (code === undefined) throw error;
    return { ok: false, text: code };
  }
}

function exitText(exit: Exit): string {
  return exit.kind === "exited"
    ? `exit status ${exit.code}`
    : exit.kind === "signalled"
      ? `signal ${exit.signal}`
      : exit.message;
}

function added(before: Usage | undefined, usage: Usage): Usage {
  const sum = { ...before, ...usage };
  for (const [name, value] of Object.entries(before ?? {}) as [keyof Usage, number][])
    sum[name] = value + (usage[name] ?? 0);
  return sum;
}

function wireUsage(usage: Usage): object {
  const read = usage.cache_read_tokens ?? 0;
  const written = usage.cache_write_tokens ?? 0;
  return {
    totalTokens: usage.input_tokens + usage.output_tokens + read + written,
    inputTokens: usage.input_tokens,
    outputTokens: usage.output_tokens,
    ...(read > 0 ? { cachedReadTokens: read } : {}),
    ...(written > 0 ? { cachedWriteTokens: written } : {}),
  };
}
