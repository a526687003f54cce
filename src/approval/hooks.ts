/**
 * Commands of the user's that run at events of an agent: before a tool is used or a prompt is taken they may forbid it, at
 * all other events they only hear of it. A hook that cannot say yes says no: one that is missing, was changed, fails, hangs
 * or says too much forbids.
 */
import { RE2JS } from "re2js";

import type { TrustedHook } from "../config/settings.ts";
import type { EngineEvent, HookPort, HookSubscription, PermissionRequest } from "../engine/engine.ts";
import { systemCode } from "../errors.ts";
import type { HookEvent } from "../format/config.ts";
import { renderLine } from "../format/json.ts";
import type { Clock, Disk, Processes, RunResult } from "../ports.ts";
import { sha256 } from "../store/event-line.ts";
import type { NewEvent } from "../store/event-log.ts";
import type { Redactor } from "../store/redact.ts";
import { isRecord, possibleKinds } from "./input.ts";

/** What hooks need of the world. */
export interface HookPorts {
  disk: Pick<Disk, "readFile">;
  clock: Pick<Clock, "monotonicMs" | "sleep">;
  processes: Pick<Processes, "run">;
  redactor: Pick<Redactor, "text" | "value">;
  /** What hooks may see of the caller's variables. */
  environment: Readonly<Record<string, string>>;
  /** Puts events into the log of the goal or run. */
  record(...events: NewEvent[]): Promise<unknown>;
  /** One line of the story for whoever watches. */
  tell(line: string): void;
}

/** Whose hooks these are: one attempt's. */
export interface HookScope {
  task: string;
  worker: string;
  fence: number;
  /** Where the agent works, and the hooks with it. */
  cwd: string;
}

/** What hooks say to what was asked. */
export interface HookAnswer {
  action: "allow" | "block";
  reason: string;
}

/**
 * The hooks of one attempt. Engines whose protocol has hooks call `run` through their subscriptions; for all others whoever
 * takes the turn asks `beforePrompt` and `beforeTool`, gives every event to `inform`, and awaits `settled` at the end.
 */
export interface AttemptHooks extends HookPort {
  /** Whether the prompt may be sent (UserPromptSubmit). Never rejects. */
  beforePrompt(text: string, signal: AbortSignal): Promise<HookAnswer>;
  /** Whether a tool may be used (PreToolUse). Never rejects. */
  beforeTool(request: PermissionRequest, signal: AbortSignal): Promise<HookAnswer>;
  /** Starts the hooks that only hear of what happened. */
  inform(event: EngineEvent): void;
  /**
   * Resolves when no hook runs any more: those still running get no longer than their time, and no time once the signal is
   * aborted. Rejects with what kept the log from being written.
   */
  settled(signal: AbortSignal): Promise<void>;
}

const TIMEOUT_SECS_DEFAULT = 30;
const TIMEOUT_SECS_MAX = 300;
/**
 * Engines let through what was not answered in time. Ending a hook that ran out of its own time takes 2 s at most.
 */
const ANSWER_MARGIN_SECS = 5;
const OUTPUT_BYTES_MAX = 256 * 1024;
const COMMAND_BYTES_MAX = 16 * 1024 * 1024;
/** Longer reasons tell agents and people no more. */
const REASON_CHARACTERS_MAX = 4_000;
/** Informing hooks that run at once, and that wait for it; more are left out, and that is told. */
const INFORMING_MAX = 4;
const WAITING_MAX = 256;

/** Events at which a hook may forbid. */
const ASKING: ReadonlySet<string> = new Set<HookEvent>(["PreToolUse", "UserPromptSubmit"]);

/**
 * What hooks of Kimi's call the tools of a kind, for agents that have other names for them or do not tell: a hook that
 * guards `WriteFile` must not be passed by because an agent says `edit`.
 */
const NAMES_BY_KIND: ReadonlyMap<string, readonly string[]> = new Map(
  Object.entries({
    edit: ["WriteFile", "StrReplaceFile"],
    delete: ["WriteFile", "StrReplaceFile"],
    move: ["WriteFile", "StrReplaceFile"],
    execute: ["Shell"],
    read: ["ReadFile"],
    search: ["Glob", "Grep"],
    fetch: ["FetchURL"],
  }),
);

interface ReadyHook {
  hook: TrustedHook;
  timeoutSecs: number;
  matcher: RE2JS | null;
}

/** The hooks of an attempt; undefined where there are none. Matchers were checked when the configuration was read. */
export function hooksOf(
  hooks: readonly TrustedHook[],
  scope: HookScope,
  ports: HookPorts,
): AttemptHooks | undefined {
  return hooks.length === 0 ? undefined : new HookRunner(hooks, scope, ports);
}

class HookRunner implements AttemptHooks {
  readonly subscriptions: readonly HookSubscription[];
  readonly #hooks: readonly ReadyHook[];
  readonly #scope: HookScope;
  readonly #ports: HookPorts;
  readonly #stop = new AbortController();
  readonly #waiting: (() => Promise<void>)[] = [];
  readonly #running = new Set<Promise<void>>();
  #session: string | null = null;
  #leftOut = 0;
  #failure: { error: unknown } | undefined;

  constructor(hooks: readonly TrustedHook[], scope: HookScope, ports: HookPorts) {
    this.#hooks = readyHooks(hooks);
    this.#scope = scope;
    this.#ports = ports;
    this.subscriptions = subscriptionsOf(this.#hooks);
  }

  run(request: Parameters<HookPort["run"]>[0], signal: AbortSignal): Promise<HookAnswer> {
    const { target, toolKind, subscriptionId, input } = request;
    // The event as we spell it, where the agent says which subscription of ours it asks for.
    const event = this.subscriptions.find(({ id }) => id === subscriptionId)?.event ?? request.event;
    const rawInput = isRecord(input) ? input["tool_input"] : undefined;
    const targets =
      toolKind === null ? [target] : targetsOf({ ...NO_TOOL, name: target, kind: toolKind, rawInput });
    return this.#runAll(this.#matching(event, targets), { event, target, input }, signal);
  }

  beforePrompt(text: string, signal: AbortSignal): Promise<HookAnswer> {
    const event = "UserPromptSubmit";
    const input = this.#input(event, { prompt: text });
    return this.#runAll(this.#matching(event, [text]), { event, target: "", input }, signal);
  }

  beforeTool(request: PermissionRequest, signal: AbortSignal): Promise<HookAnswer> {
    const event = "PreToolUse";
    const { name, kind, toolCallId, rawInput, command, locations, content } = request;
    const input = this.#input(event, {
      ...toolInput(name, kind, toolCallId, rawInput),
      command,
      locations,
      content,
    });
    const chosen = this.#matching(event, targetsOf(request));
    return this.#runAll(chosen, { event, target: name ?? kind, input }, signal);
  }

  inform(event: EngineEvent): void {
    this.#session = event.session ?? this.#session;
    switch (event.kind) {
      case "session-started":
        return this.#tell("SessionStart", ["startup"], { source: "startup", agent: event.agent });
      case "tool-finished": {
        const isOk = event.outcome === "ok";
        const input = {
          ...toolInput(event.name, event.tool_kind, event.tool_id, event.input),
          locations: event.paths,
          ...(!isOk && { error: event.outcome }),
        };
        const { name, tool_kind: kind } = event;
        const targets = targetsOf({ ...NO_TOOL, name, kind, rawInput: event.input });
        return this.#tell(isOk ? "PostToolUse" : "PostToolUseFailure", targets, input);
      }
      case "turn-ended":
        return event.status === "finished"
          ? this.#tell("Stop", [""], { stop_hook_active: false })
          : this.#tell("StopFailure", [event.status], {
              error_type: event.failure?.class ?? event.status,
              error_message: event.failure?.message ?? event.status,
            });
      case "session-ended":
        return this.#tell("SessionEnd", [event.exit], { reason: event.exit });
      default:
    }
  }

  async settled(signal: AbortSignal): Promise<void> {
    const stop = () => this.#stop.abort(new Error("the turn is over"));
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    const done = new AbortController();
    const longestMs = Math.max(...this.#hooks.map(({ timeoutSecs }) => timeoutSecs)) * 1_000;
    const deadline = this.#ports.clock.sleep(longestMs + ANSWER_MARGIN_SECS * 1_000, done.signal).then(
      stop,
      () => undefined, // they ended in time
    );
    // A hook that ends lets the next one start, so nothing runs only when nothing waits either.
    while (this.#running.size > 0) await Promise.race(this.#running);
    signal.removeEventListener("abort", stop);
    done.abort();
    await deadline;
    if (this.#leftOut > 0)
      this.#ports.tell(`hooks: ${this.#leftOut} were not run: too many were waiting, or the turn was over`);
    this.#leftOut = 0;
    if (this.#failure) throw this.#failure.error;
  }

  #matching(event: string, targets: readonly string[]): ReadyHook[] {
    return this.#hooks.filter(
      ({ hook, matcher }) =>
        hook.event === event && (matcher === null || targets.some((one) => matcher.matcher(one).find())),
    );
  }

  /** Starts informing hooks, or queues them. */
  #tell(event: HookEvent, targets: readonly string[], facts: Record<string, unknown>): void {
    const chosen = this.#matching(event, targets);
    if (chosen.length === 0) return;
    if (this.#waiting.length >= WAITING_MAX) {
      this.#leftOut += chosen.length;
      return;
    }
    const request = { event, target: targets[0] ?? "", input: this.#input(event, facts) };
    this.#waiting.push(async () => {
      await this.#runAndRecord(chosen, request, this.#stop.signal);
    });
    this.#startWaiting();
  }

  #startWaiting(): void {
    if (this.#stop.signal.aborted) this.#leftOut += this.#waiting.splice(0).length;
    while (this.#running.size < INFORMING_MAX) {
      const start = this.#waiting.shift();
      if (!start) return;
      const running: Promise<void> = start()
        .catch((error: unknown) => {
          this.#failure ??= { error };
        })
        .finally(() => {
          this.#running.delete(running);
          this.#startWaiting();
        });
      this.#running.add(running);
    }
  }

  #input(event: HookEvent, facts: Record<string, unknown>): Record<string, unknown> {
    return { hook_event_name: event, session_id: this.#session ?? "", cwd: this.#scope.cwd, ...facts };
  }

  /** As `#runAndRecord`, for askers: a log that cannot be written is a no, and the failure comes with `settled`. */
  async #runAll(
    chosen: readonly ReadyHook[],
    request: HookRequest,
    signal: AbortSignal,
  ): Promise<HookAnswer> {
    if (chosen.length === 0) return { action: "allow", reason: "No matching hook." };
    try {
      return await this.#runAndRecord(chosen, request, signal);
    } catch (error) {
      this.#failure ??= { error };
      return { action: "block", reason: "what the hooks said could not be recorded" };
    }
  }

  async #runAndRecord(
    chosen: readonly ReadyHook[],
    request: HookRequest,
    signal: AbortSignal,
  ): Promise<HookAnswer> {
    const { clock, redactor } = this.#ports;
    const { task, worker, fence } = this.#scope;
    const { event } = request;
    const target = shorten(redactor.text(request.target));
    const about = { task_id: task, worker_id: worker, fence, event, target };
    const commands = chosen.map(({ hook }) => hook.command);
    const startedMs = clock.monotonicMs();
    await this.#ports.record({
      kind: "hook_triggered",
      actor: worker,
      payload: { ...about, hook_count: chosen.length, commands },
    });
    const stdin = Buffer.from(`${renderLine(redactor.value(request.input))}\n`);
    const answers = await Promise.all(chosen.map((one) => this.#runOne(one, event, stdin, signal)));
    const failed = answers.filter(({ action }) => action === "block");
    const reasons = (failed.length > 0 ? failed : answers).map(({ reason }) => reason).filter(Boolean);
    const reason = shorten(redactor.text(reasons.join("\n")));
    const isBlock = failed.length > 0 && ASKING.has(event);
    const action = isBlock ? "block" : "allow";
    await this.#ports.record({
      kind: "hook_resolved",
      actor: worker,
      payload: { ...about, action, reason, duration_ms: Math.round(clock.monotonicMs() - startedMs) },
    });
    if (failed.length > 0)
      this.#ports.tell(`${isBlock ? "blocked by a hook" : "a hook failed"} (${event}): ${reason}`);
    return { action, reason };
  }

  async #runOne(one: ReadyHook, event: string, stdin: Uint8Array, signal: AbortSignal): Promise<HookAnswer> {
    const { hook, timeoutSecs } = one;
    const block = (why: string): HookAnswer => ({ action: "block", reason: `${hook.command} ${why}` });
    try {
      const changed = whyNotTrusted(hook, this.#ports.disk);
      if (changed !== undefined) return block(changed);
      const result = await this.#ports.processes.run(
        {
          argv: [hook.path],
          cwd: this.#scope.cwd,
          env: { ...this.#ports.environment, ...this.#facts(event) },
          stdin,
          timeoutMs: timeoutSecs * 1_000,
          outputBytesMax: OUTPUT_BYTES_MAX,
          endsAll: true,
        },
        signal,
      );
      return readResult(result, timeoutSecs, block);
    } catch (error) {
      if (signal.aborted) return block("was stopped");
      // Whatever else goes wrong with a hook, nobody has said yes.
      return block(`could not be run: ${error instanceof Error ? error.message : "unknown error"}`);
    }
  }

  /** What a hook can read without parsing its input. */
  #facts(event: string): Record<string, string> {
    const { task, worker, fence, cwd } = this.#scope;
    return {
      OMK_HOOK_EVENT: event,
      OMK_PROJECT_DIR: cwd,
      OMK_TASK_ID: task,
      OMK_WORKER_ID: worker,
      OMK_FENCE: String(fence),
    };
  }
}

interface HookRequest {
  event: string;
  target: string;
  input: unknown;
}

function readResult(
  { exit, stdout, stderr, timedOut, truncated }: RunResult,
  timeoutSecs: number,
  block: (why: string) => HookAnswer,
): HookAnswer {
  const out = Buffer.from(stdout).toString("utf8").trim();
  const said = (text: string) => (text === "" ? "" : `: ${text}`);
  if (timedOut) return block(`gave no answer within ${timeoutSecs} s`);
  if (truncated) return block(`wrote more than ${OUTPUT_BYTES_MAX} bytes`);
  if (exit.kind === "not_started") return block(`could not be started (${exit.code})`);
  const errors = stderr.trim();
  if (exit.kind === "signalled") return block(`was ended by ${exit.signal}${said(errors || out)}`);
  if (exit.code === 0) return { action: "allow", reason: out };
  // Exit 1 is how a hook says no; its own words are the reason then.
  if (exit.code === 1) return out || errors ? { action: "block", reason: out || errors } : block("said no");
  return block(`ended with ${exit.code}${said(errors || out)}`);
}

/** Why a hook's file may not run; undefined when it is the one that is trusted. */
function whyNotTrusted(hook: TrustedHook, disk: Pick<Disk, "readFile">): string | undefined {
  let bytes: Uint8Array;
  try {
    bytes = disk.readFile(hook.path, COMMAND_BYTES_MAX);
  } catch (error) {
    const code = systemCode(error);
    if (code === undefined) throw error;
    return `cannot be read (${code})`;
  }
  return sha256(bytes) === hook.sha256 ? undefined : "is not the file that was trusted";
}

function readyHooks(hooks: readonly TrustedHook[]): ReadyHook[] {
  return hooks.map((hook) => {
    const timeoutSecs = Math.min(TIMEOUT_SECS_MAX, Math.max(1, Number(hook.timeout ?? TIMEOUT_SECS_DEFAULT)));
    return { hook, timeoutSecs, matcher: hook.matcher ? RE2JS.compile(hook.matcher) : null };
  });
}

/** One for each event: its hooks run at once, so the slowest decides how long the engine has to wait. */
function subscriptionsOf(hooks: readonly ReadyHook[]): HookSubscription[] {
  const byEvent = new Map<string, HookSubscription>();
  for (const { hook, timeoutSecs: ownSecs } of hooks) {
    const { event } = hook;
    const id = event.replaceAll(/(?<!^)[A-Z]/g, (letter) => `_${letter}`).toLowerCase();
    const timeoutSecs = Math.max(ownSecs + ANSWER_MARGIN_SECS, byEvent.get(event)?.timeoutSecs ?? 0);
    byEvent.set(event, { id, event, timeoutSecs });
  }
  return [...byEvent.values()];
}

const NO_TOOL = { command: null, content: [] };

/** All that matchers are searched in: the name, and every kind that it may be of with the names of such tools. */
function targetsOf(tool: Parameters<typeof possibleKinds>[0]): string[] {
  const kinds = possibleKinds(tool);
  const names = kinds.flatMap((kind) => NAMES_BY_KIND.get(kind) ?? []);
  return [...new Set([...(tool.name === null ? [] : [tool.name]), ...kinds, ...names])];
}

function toolInput(
  name: string | null,
  kind: string,
  toolCallId: string,
  input: unknown,
): Record<string, unknown> {
  return { tool_name: name ?? kind, tool_kind: kind, tool_call_id: toolCallId, tool_input: input ?? {} };
}

function shorten(text: string): string {
  return text.length <= REASON_CHARACTERS_MAX ? text : `${text.slice(0, REASON_CHARACTERS_MAX)}…`;
}
