// A Wire server for tests, on its own stdio or inside a test: it plays a script, one list of steps for each prompt. Without
// a script it is the mock agent that the environment variables MOCK_KIMI_WIRE_* and a few options and words steer.
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const GREETING = {
  protocol_version: "1.10",
  server: { name: "Scripted Wire", version: "9.9.9" },
  slash_commands: [],
  hooks: { supported_events: ["PreToolUse", "PostToolUse", "UserPromptSubmit", "Stop"], configured: {} },
  capabilities: { supports_question: true },
};

/** Serves until the input ends. `turns` gives the steps for a prompt, by its number and text. */
export async function serveWire(script, io) {
  const answers = new Map();
  const waiting = new Map();
  let initialized;
  let prompts = 0;
  let turn;
  const say = (message) => {
    io.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
  };
  const event = (type, payload = {}) => say({ method: "event", params: { type, payload } });
  const text = (words) => event("ContentPart", { type: "text", text: words });
  const answered = (id) =>
    answers.has(id) ? Promise.resolve() : new Promise((resolve) => waiting.set(id, resolve));

  /** Plays one step; true when it ended the turn. */
  async function play(step, id) {
    const [name, value] = Object.entries(step)[0];
    switch (name) {
      case "event":
        return event(...value);
      case "text":
        return text(value);
      case "raw":
        io.write(value);
        return false;
      case "long":
        io.write(`${"x".repeat(value)}\n`);
        return false;
      case "stderr":
        io.writeError(value);
        return false;
      case "request":
        return say({ method: "request", id: value[1].id, params: { type: value[0], payload: value[1] } });
      case "await":
        return answered(value);
      // Says what was answered, as the test sees only what the client makes of the server's words.
      case "tell":
        await answered(value);
        return text(JSON.stringify(answers.get(value)));
      case "tellInitialize":
        return text(JSON.stringify(initialized));
      case "tellPrompt":
        return text(turn.prompt);
      case "write":
        return fs.writeFileSync(path.resolve(io.workDir, value[0]), value[1]);
      case "cancelled":
        await turn.cancelled;
        return undefined;
      case "never":
        return new Promise(() => {});
      case "exit":
        io.exit(value);
        return true;
      case "status":
        turn = undefined;
        say({ id, result: { status: value } });
        return false;
      case "error":
        turn = undefined;
        say({ id, error: value });
        return false;
      default:
        throw new Error(`no such step: ${name}`);
    }
  }

  async function prompt(id, words) {
    let cancel;
    turn = { prompt: words, cancelled: new Promise((resolve) => (cancel = resolve)) };
    turn.cancel = cancel;
    for (const step of script.turns(prompts++, words)) if (await play(step, id)) return;
  }

  async function take(line) {
    const message = JSON.parse(line);
    const { id, method, params } = message;
    if (id !== undefined && typeof id !== "string")
      return say({ id: null, error: { code: -32600, message: "Invalid request", data: null } });
    if (method === undefined) {
      answers.set(id, message.error ? { error: message.error } : message.result);
      waiting.get(id)?.();
      return undefined;
    }
    if (method === "initialize") {
      initialized = params;
      const greeting = script.initialize ?? { result: GREETING };
      if (greeting.steps) for (const step of greeting.steps) if (await play(step, id)) return undefined;
      if (greeting.result) say({ id, result: greeting.result });
      if (greeting.error) say({ id, error: greeting.error });
      for (const step of greeting.after ?? []) await play(step, id);
      return undefined;
    }
    if (method === "prompt") {
      if (typeof params?.user_input !== "string")
        return say({ id, error: { code: -32602, message: "Invalid parameters for method `prompt`" } });
      return prompt(id, params.user_input);
    }
    if (method === "cancel") {
      if (!turn || params === undefined)
        return say({ id, error: { code: -32000, message: "No agent turn is in progress" } });
      say({ id, result: {} });
      if (script.listensToCancel !== false) turn.cancel();
      return undefined;
    }
    return say({ id, error: { code: -32601, message: `Unexpected method received: ${method}` } });
  }

  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of io.input) {
    rest += decoder.decode(chunk, { stream: true });
    for (let end = rest.indexOf("\n"); end !== -1; end = rest.indexOf("\n")) {
      const line = rest.slice(0, end);
      rest = rest.slice(end + 1);
      // Not awaited: requests do not wait for one another.
      void take(line);
    }
  }
  io.exit(script.exitAtEnd ?? 0);
}

/** The steps of the mock agent, which has no script. */
function mockTurns(environment, options) {
  const has = (flag) => options.includes(flag);
  return (_number, prompt) => {
    const contains = (name) => environment[name] !== undefined && prompt.includes(environment[name]);
    const words = environment.MOCK_KIMI_WIRE_TEXT ?? "mock output";
    const when = environment.MOCK_KIMI_WIRE_TEXT_WHEN_CONTAINS;
    const tokens = environment.MOCK_KIMI_WIRE_TOKEN_USAGE;
    const file = environment.MOCK_KIMI_WRITE_FILE;
    const begin = [{ event: ["turn_begin", { user_input: prompt }] }];
    if (has("--malformed")) return [...begin, { raw: "{ this is no JSON\n" }, { never: true }];
    if (has("--crash-after-turn-begin") || prompt.includes("crash-after-turn-begin"))
      return [...begin, { exit: 1 }];
    if (has("--stall") || /\bstall\b/.test(prompt) || contains("MOCK_KIMI_WIRE_STALL_WHEN_CONTAINS"))
      return [...begin, { cancelled: true }, { status: "cancelled" }];
    return [
      ...begin,
      { event: ["step_begin", { n: 1 }] },
      ...(when === undefined || prompt.includes(when) ? [{ event: ["content_part", { text: words }] }] : []),
      ...(file ? [{ write: [file, environment.MOCK_KIMI_WRITE_BODY ?? "mock body\n"] }] : []),
      ...(tokens
        ? [{ event: ["status_update", { token_usage: Number(tokens), message_id: "mock-message" }] }]
        : []),
      { event: ["turn_end", {}] },
      { status: "finished" },
    ];
  };
}

function main(options, environment) {
  if (options.includes("--version")) return console.log("kimi, version 1.10.0-mock");
  if (options.includes("--help")) return console.log("Options: --wire --work-dir DIR --version");
  if (!options.includes("--wire")) return console.log("mock output");
  const workDir = options[options.indexOf("--work-dir") + 1] ?? process.cwd();
  const file = environment.WIRE_SCRIPT;
  const script = file ? JSON.parse(fs.readFileSync(file, "utf8")) : {};
  const turns = file ? (number) => script.turns[number] ?? [] : mockTurns(environment, options);
  return serveWire(
    { ...script, turns },
    {
      input: process.stdin,
      write: (output) => process.stdout.write(output),
      writeError: (output) => process.stderr.write(output),
      exit: (code) => process.exit(code),
      workDir,
    },
  );
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href)
  void main(process.argv.slice(2), process.env);
