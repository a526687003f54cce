/**
 * A model on loopback that does as it is told: the chat completions that real coding agents speak, answered from
 * scenarios. It keeps no state between requests (the conversation in each of them says how far it is), so parallel
 * workers, retries and side requests do not disturb each other. What it was asked and what it answered is kept: that is
 * the proof of what an agent really did.
 */
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** What one model call costs, as the answer says. `cached` is the part of `input` that came from a cache. */
export interface Usage {
  input: number;
  output: number;
  cached?: number;
}

/** One answer of the model. Intents become calls of whatever tools the request offers for them. */
export interface Step {
  say?: string;
  write?: { path: string; content: string };
  shell?: string;
  read?: string;
  usage?: Usage;
  /** The answer begins and then waits until `release` is called with this name, or the agent goes away. */
  pause?: string;
  /** An HTTP error instead of an answer. */
  fail?: { status: number; body?: object; headers?: Readonly<Record<string, string>> };
}

/** Answers for conversations in which a user message matches; the first scenario that fits is taken. */
export interface Scenario {
  name: string;
  when: RegExp;
  steps: readonly Step[] | ((found: RegExpExecArray) => readonly Step[]);
}

/** One request and what came of it. */
export interface Logged {
  /** Null when no scenario was asked for: a title, a summary, or a conversation nobody wrote an answer for. */
  scenario: string | null;
  step: number;
  model: string;
  tools: string[];
  /** What was answered: the name and arguments of the tool called, or text. */
  calls: { name: string; arguments: object }[];
  said: string | null;
  status: number;
  usage: Usage | null;
  bytes: number;
  /** How the exchange ended; `abandoned` when the agent closed the connection first. */
  ended: "open" | "answered" | "abandoned";
}

/** Usage of a step that names none. */
export const USAGE: Usage = { input: 1_000, output: 10 };
const BODY_BYTES_MAX = 32 * 1024 * 1024;

/** The parts of a request that are looked at. Everything may be missing: agents differ. */
interface ChatRequest {
  model?: string;
  stream?: boolean;
  messages?: { role?: string; content?: unknown }[];
  tools?: { function?: { name?: string; parameters?: ToolSchema } }[];
}

interface ToolSchema {
  properties?: Record<string, { type?: unknown; enum?: unknown[] }>;
  required?: string[];
}

interface ToolCall {
  id: string;
  type: "function";
  function: { name: string; arguments: string };
}

/** What is sent back: text, tool calls, and what it cost. */
interface Answer {
  /** Its own for each answer: agents count by it. */
  id: string;
  model: string;
  text: string | undefined;
  calls: ToolCall[];
  usage: Usage;
}

/** A scripted model on a port of its own. */
export class ModelServer implements AsyncDisposable {
  /** May be replaced while it runs: an outage ends when a test says so. */
  scenarios: readonly Scenario[];
  readonly log: Logged[] = [];
  readonly port: number;
  readonly #server: Server;
  readonly #pauses = new Map<string, Pause>();
  readonly #onLogged: (entry: Logged) => void;

  private constructor(server: Server, scenarios: readonly Scenario[], onLogged: (entry: Logged) => void) {
    this.#server = server;
    this.scenarios = scenarios;
    this.#onLogged = onLogged;
    this.port = (server.address() as AddressInfo).port;
    server.on("request", (request: IncomingMessage, response: ServerResponse) => {
      this.#serve(request, response).catch((error: unknown) => {
        // A defect of this file: the agent gets an error it cannot take for a scripted one.
        process.stderr.write(`model server: ${error instanceof Error ? error.stack : String(error)}\n`);
        response.destroy();
      });
    });
  }

  /** Listens on a free port of loopback, or on the one that is named. */
  static async start(
    scenarios: readonly Scenario[] = [],
    { port = 0, onLogged = () => {} }: { port?: number; onLogged?: (entry: Logged) => void } = {},
  ): Promise<ModelServer> {
    const server = createServer();
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    return new ModelServer(server, scenarios, onLogged);
  }

  /** What agents call the endpoint. */
  get url(): string {
    return `http://127.0.0.1:${this.port}/v1`;
  }

  /** Resolves when an answer is waiting at this pause. */
  async paused(name: string): Promise<void> {
    await this.#pause(name).reached.promise;
  }

  /** Resolves when an agent went away from an answer that waited at this pause. */
  async abandoned(name: string): Promise<void> {
    await this.#pause(name).left.promise;
  }

  /** Lets every answer at this pause go on, and later ones pass. */
  release(name: string): void {
    this.#pause(name).open.resolve();
  }

  /** A command line that waits at a pause for as long as it runs. */
  holding(name: string): string {
    const url = `http://127.0.0.1:${this.port}/hold/${name}`;
    return `node -e 'fetch("${url}").then((answer) => answer.text())'`;
  }

  /** What the answers given in full cost together, titles and summaries not included. */
  spent(scenario?: string): Usage {
    const total = { input: 0, output: 0, cached: 0 };
    for (const entry of this.log) {
      if (entry.ended !== "answered" || entry.usage === null || entry.scenario === null) continue;
      if (scenario !== undefined && entry.scenario !== scenario) continue;
      total.input += entry.usage.input;
      total.output += entry.usage.output;
      total.cached += entry.usage.cached ?? 0;
    }
    return total;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const pause of this.#pauses.values()) pause.open.resolve();
    const closed = once(this.#server, "close");
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  #pause(name: string): Pause {
    let pause = this.#pauses.get(name);
    if (!pause) this.#pauses.set(name, (pause = { reached: signal(), open: signal(), left: signal() }));
    return pause;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = new URL(request.url ?? "/", "http://127.0.0.1").pathname;
    if (request.method === "GET" && path.endsWith("/models")) {
      return sendJson(response, 200, { object: "list", data: [{ id: "scripted", object: "model" }] });
    }
    const [, held] = /^\/hold\/(\w+)$/.exec(path) ?? [];
    if (held !== undefined) {
      // For a command that an agent runs: it is known to run while it waits here, and to be dead when it went away.
      if (await this.#wait(held, response)) response.end("go on\n");
      return;
    }
    if (request.method !== "POST" || !path.endsWith("/chat/completions")) {
      return sendJson(response, 404, { error: { message: `nothing at ${path}` } });
    }
    const body = await bodyOf(request);
    if (body === undefined) {
      return sendJson(response, 400, { error: { message: "the request is no JSON or too long" } });
    }
    await this.#answer(body.chat, body.bytes, response);
  }

  async #answer(chat: ChatRequest, bytes: number, response: ServerResponse): Promise<void> {
    const model = chat.model ?? "scripted";
    const tools = (chat.tools ?? []).map((tool) => tool.function?.name ?? "");
    const found = tools.length === 0 ? undefined : findStep(chat, this.scenarios);
    const entry: Logged = {
      scenario: found?.scenario ?? null,
      step: found?.number ?? 0,
      model,
      tools,
      calls: [],
      said: null,
      status: found?.step.fail?.status ?? 200,
      usage: null,
      bytes,
      ended: "open",
    };
    this.log.push(entry);
    response.once("close", () => {
      entry.ended = response.writableFinished ? "answered" : "abandoned";
      this.#onLogged(entry);
    });
    const { fail, pause } = found?.step ?? {};
    if (fail) {
      const body = fail.body ?? { error: { message: `scripted ${fail.status}` } };
      return sendJson(response, fail.status, body, fail.headers);
    }
    const id = `chatcmpl-${this.log.length}`;
    const answer = { id, model, ...(found ? answerTo(chat, found) : sideAnswer(tools.length > 0)) };
    entry.calls = answer.calls.map((call) => ({
      name: call.function.name,
      arguments: JSON.parse(call.function.arguments) as object,
    }));
    entry.said = answer.text ?? null;
    entry.usage = answer.usage;
    if (chat.stream === false || chat.stream === undefined) {
      if (pause !== undefined && !(await this.#wait(pause, response))) return;
      return sendJson(response, 200, wholeAnswer(answer));
    }
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
    const [first, ...rest] = chunksOf(answer);
    sendEvent(response, first);
    if (pause !== undefined && !(await this.#wait(pause, response))) return;
    for (const chunk of rest) sendEvent(response, chunk);
    response.end("data: [DONE]\n\n");
  }

  /** Whether the answer may go on; false when nobody listens any more. */
  async #wait(name: string, response: ServerResponse): Promise<boolean> {
    const pause = this.#pause(name);
    const gone = signal();
    response.once("close", () => {
      pause.left.resolve();
      gone.resolve();
    });
    pause.reached.resolve();
    await Promise.race([pause.open.promise, gone.promise]);
    return !response.destroyed;
  }
}

/** A place where answers wait. */
interface Pause {
  reached: Signal;
  open: Signal;
  left: Signal;
}

interface Signal {
  promise: Promise<void>;
  resolve(): void;
}

function signal(): Signal {
  let resolve = () => {};
  const promise = new Promise<void>((done) => (resolve = done));
  return { promise, resolve };
}

async function bodyOf(request: IncomingMessage): Promise<{ chat: ChatRequest; bytes: number } | undefined> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > BODY_BYTES_MAX) return undefined;
    parts.push(part);
  }
  try {
    return { chat: JSON.parse(Buffer.concat(parts).toString("utf8")) as ChatRequest, bytes };
  } catch {
    return undefined; // The caller says so to the agent.
  }
}

interface Found {
  scenario: string;
  number: number;
  step: Step;
}

/**
 * The answer that is due: the scenario of the last user message that fits one, and as many steps on as the assistant has
 * spoken since. Backwards, because agents add reminders of their own as user messages. After its steps a scenario says
 * that it is done.
 */
function findStep(chat: ChatRequest, scenarios: readonly Scenario[]): Found | undefined {
  const messages = chat.messages ?? [];
  for (let at = messages.length - 1; at >= 0; at--) {
    if (messages[at]?.role !== "user") continue;
    const text = textOf(messages[at]?.content);
    for (const { name, when, steps } of scenarios) {
      const found = when.exec(text);
      if (!found) continue;
      const all = typeof steps === "function" ? steps(found) : steps;
      const number = messages.slice(at + 1).filter(({ role }) => role === "assistant").length;
      return { scenario: name, number, step: all[number] ?? { say: "Done." } };
    }
  }
  return undefined;
}

function textOf(content: unknown): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return (content as { text?: unknown }[])
    .map(({ text }) => (typeof text === "string" ? text : ""))
    .join("\n");
}

function answerTo(chat: ChatRequest, { step, number, scenario }: Found): Omit<Answer, "id" | "model"> {
  const calls: ToolCall[] = [];
  const missing: string[] = [];
  for (const intent of intentsOf(step)) {
    const call = callFor(intent, chat, `call_${scenario}_${number}_${calls.length}`.replaceAll(/\W/g, "_"));
    if (call) calls.push(call);
    else missing.push(`I have no tool to ${intent.verb} with.`);
  }
  const text = [step.say, ...missing].filter((part) => part !== undefined).join("\n");
  return { text: text === "" ? undefined : text, calls, usage: step.usage ?? USAGE };
}

/** Answer to what belongs to no scenario. With tools it is a conversation that nobody scripted, and it says so. */
function sideAnswer(hasTools: boolean): Omit<Answer, "id" | "model"> {
  const text = hasTools ? "No scenario fits this conversation." : "A title";
  return { text, calls: [], usage: { input: 0, output: 0 } };
}

interface Intent {
  verb: "write" | "run a command" | "read";
  path?: string;
  content?: string;
  command?: string;
}

function intentsOf({ write, shell, read }: Step): Intent[] {
  return [
    ...(write ? [{ verb: "write" as const, ...write }] : []),
    ...(shell === undefined ? [] : [{ verb: "run a command" as const, command: shell }]),
    ...(read === undefined ? [] : [{ verb: "read" as const, path: read }]),
  ];
}

/** What the agents call their tools, and the parameters of these. */
const TOOLS: Readonly<Record<Intent["verb"], RegExp>> = {
  write: /^(?:write|write_?file)$/i,
  "run a command": /^(?:bash|shell|run_shell_command|exec_command)$/i,
  read: /^(?:read|read_?file)$/i,
};
const PARAMETERS = [
  { name: /^(?:filePath|file_path|path)$/, of: "path" },
  { name: /^(?:content|contents|text)$/, of: "content" },
  { name: /^(?:command|cmd)$/, of: "command" },
] as const;

function callFor(intent: Intent, chat: ChatRequest, id: string): ToolCall | undefined {
  const tool = chat.tools?.find(({ function: named }) =>
    TOOLS[intent.verb].test(named?.name ?? ""),
  )?.function;
  if (tool?.name === undefined) return undefined;
  const { properties = {}, required = [] } = tool.parameters ?? {};
  const filled: Record<string, unknown> = {};
  for (const [name, schema] of Object.entries(properties)) {
    const parameter = PARAMETERS.find((one) => one.name.test(name));
    const value = parameter && intent[parameter.of];
    if (value !== undefined) filled[name] = value;
    else if (required.includes(name)) filled[name] = placeholder(schema);
  }
  return { id, type: "function", function: { name: tool.name, arguments: JSON.stringify(filled) } };
}

function placeholder({ type, enum: values }: { type?: unknown; enum?: unknown[] }): unknown {
  if (values?.[0] !== undefined) return values[0];
  if (type === "boolean") return false;
  if (type === "number" || type === "integer") return 1;
  if (type === "array") return [];
  if (type === "object") return {};
  return "as asked";
}

/** The same answer in pieces: a sign that it begins, text in two parts, the calls, the end, what it cost. */
function* chunksOf({ id, model, text, calls, usage }: Answer): Generator<object> {
  const chunk = (delta: object, finish_reason: string | null = null) => ({
    id,
    object: "chat.completion.chunk",
    created: 0,
    model,
    choices: [{ index: 0, delta, finish_reason }],
  });
  yield chunk({ role: "assistant", content: "" });
  if (text !== undefined) {
    const half = Math.ceil(text.length / 2);
    yield chunk({ content: text.slice(0, half) });
    if (half < text.length) yield chunk({ content: text.slice(half) });
  }
  for (const [index, call] of calls.entries()) yield chunk({ tool_calls: [{ index, ...call }] });
  yield chunk({}, calls.length > 0 ? "tool_calls" : "stop");
  yield { ...chunk({}), choices: [], usage: usageOf(usage) };
}

function wholeAnswer({ id, model, text, calls, usage }: Answer): object {
  const message = {
    role: "assistant",
    content: text ?? null,
    ...(calls.length > 0 && { tool_calls: calls }),
  };
  return {
    id,
    object: "chat.completion",
    created: 0,
    model,
    choices: [{ index: 0, message, finish_reason: calls.length > 0 ? "tool_calls" : "stop" }],
    usage: usageOf(usage),
  };
}

function usageOf({ input, output, cached = 0 }: Usage): object {
  return {
    prompt_tokens: input,
    completion_tokens: output,
    total_tokens: input + output,
    prompt_tokens_details: { cached_tokens: cached },
  };
}

function sendEvent(response: ServerResponse, event: unknown): void {
  response.write(`data: ${JSON.stringify(event)}\n\n`);
}

function sendJson(
  response: ServerResponse,
  status: number,
  body: object,
  headers: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(status, { "content-type": "application/json", ...headers });
  response.end(JSON.stringify(body));
}
