/**
 * Agents that are broken or hostile, as programs. A body is the inside of `play()`, called when the prompt is there, with
 * the words of its protocol at hand; `setup` runs at the start.
 */
import type { EngineLimits, FailureClass, Turn } from "../../../src/engine/engine.ts";
import type { Protocol, Watched } from "./cage.ts";

/** One of them. */
export interface Animal {
  name: string;
  /** The protocols it is kept in; default is all. */
  speaks?: readonly Protocol[];
  setup?: string;
  plays?: string;
  limits?: Partial<EngineLimits>;
  /** Cancelled at its first text. */
  cancelled?: boolean;
  decides?: "never";
  /** It needs a keeper to itself, whose memory is measured. */
  floods?: boolean;
  /** How much faster time runs for it. */
  clockFactor?: number;
  /** What its turn must come to: a status, or the class of its failure. */
  ends: End | Partial<Record<Protocol, End>>;
  /** What else must hold; a sentence when it does not. */
  check?: (watched: Watched, protocol: Protocol) => string | undefined;
}

/** How a turn ended, as one word. */
export type End = Turn["status"] | FailureClass;

const COMMON = `
"use strict";
const fs = require("node:fs");
const { spawn } = require("node:child_process");
const raw = (data) => process.stdout.write(data);
const line = (text) => raw(text + "\\n");
const MiB = 1024 * 1024;
const detached = (script) => spawn(process.execPath, ["-e", script], { detached: true, stdio: "ignore" });
// Waits for its reader, so that a flood fills our memory and not the agent's own.
const pour = async (times, part, stream = process.stdout) => {
  for (let n = 0; n < times; n++) {
    part(n);
    if (stream.writableNeedDrain) await new Promise((resolve) => stream.once("drain", resolve));
  }
};
const asks = new Map();
let session = "s1";
let nextId = 1;
const listen = (onMessage) => {
  let rest = "";
  process.stdin.setEncoding("utf8").on("data", (chunk) => {
    const lines = (rest + chunk).split("\\n");
    rest = lines.pop();
    for (const one of lines) if (one.trim() !== "") onMessage(JSON.parse(one));
  });
};
const answered = (message) => {
  if (message.method !== undefined) return false;
  const done = asks.get(message.id);
  asks.delete(message.id);
  if (done) done(message);
  return true;
};
const ask = (method, params, id = "ask-" + nextId++) =>
  new Promise((resolve) => {
    asks.set(id, resolve);
    say({ id, method, params });
  });
`;

const PRELUDES: Readonly<Record<Protocol, string>> = {
  acp: `${COMMON}
const say = (message) => line(JSON.stringify({ jsonrpc: "2.0", ...message }));
const update = (update, sessionId = session) => say({ method: "session/update", params: { sessionId, update } });
const text = (text) => update({ sessionUpdate: "agent_message_chunk", content: { type: "text", text } });
const think = (text) => update({ sessionUpdate: "agent_thought_chunk", content: { type: "text", text } });
const tool = (id, status, title = "a tool") => update({ sessionUpdate: "tool_call", toolCallId: id, title, kind: "edit", status });
const may = (id, options) => ask("session/request_permission", { sessionId: session, toolCall: { toolCallId: id, title: "may I" }, options: options || [{ optionId: "y", name: "Yes", kind: "allow_once" }, { optionId: "n", name: "No", kind: "reject_once" }] });
let promptId;
const result = (stopReason = "end_turn") => say({ id: promptId, result: { stopReason } });
const done = () => result();
const on = {
  initialize: ({ id }) => say({ id, result: { protocolVersion: 1 } }),
  "session/new": ({ id }) => say({ id, result: { sessionId: session } }),
  "session/prompt": ({ id }) => { promptId = id; play(); },
  "session/cancel": () => result("cancelled"),
};
let leaves = () => process.exit(0);
process.stdin.on("end", () => leaves());
let start = () => listen((message) => answered(message) || (on[message.method] || (() => {}))(message));
`,
  wire: `${COMMON}
const say = (message) => line(JSON.stringify({ jsonrpc: "2.0", ...message }));
const event = (type, payload) => say({ method: "event", params: { type, payload } });
const text = (text) => event("ContentPart", { type: "text", text });
const think = (think) => event("ContentPart", { type: "think", think });
const tool = (id, status, title = "WriteFile") => {
  event("ToolCall", { type: "function", id, function: { name: title, arguments: "{}" } });
  if (status === "completed") event("ToolResult", { tool_call_id: id, return_value: { is_error: false, output: "", message: "", display: [] } });
};
const may = (id) => tool(id, "in_progress") ?? ask("request", { type: "ApprovalRequest", payload: { id: "r" + id, tool_call_id: id, sender: "Shell", action: "run", description: "may I", display: [] } });
let promptId;
const result = (status = "finished") => say({ id: promptId, result: { status } });
const done = () => result();
const on = {
  initialize: ({ id }) => say({ id, result: { protocol_version: "1.10", server: { name: "animal", version: "1" }, slash_commands: [] } }),
  prompt: ({ id }) => { promptId = id; play(); },
  cancel: ({ id }) => { say({ id, result: {} }); result("cancelled"); },
};
let leaves = () => process.exit(0);
process.stdin.on("end", () => leaves());
let start = () => listen((message) => answered(message) || (on[message.method] || (() => {}))(message));
`,
  command: `${COMMON}
const say = (message) => line(JSON.stringify(message));
const item = (id, item) => say({ type: "item.completed", item: { id, ...item } });
const text = (text) => item("m" + nextId++, { type: "agent_message", text });
const think = (text) => item("m" + nextId++, { type: "reasoning", text });
const tool = (id, status, title = "a tool") => say({ type: status === "completed" ? "item.completed" : "item.started", item: { id, type: "command_execution", command: title, status } });
const result = () => say({ type: "turn.completed", usage: { input_tokens: 1, output_tokens: 1 } });
const done = () => { result(); leaves(); };
let leaves = () => {};
let start = () => { say({ type: "thread.started", thread_id: session }); play(); };
`,
};

/** The whole program of an animal. */
export function programOf({ setup = "", plays = "" }: Animal, protocol: Protocol): string {
  return `${PRELUDES[protocol]}\nasync function play() {\n${plays}\n}\n${setup}\nstart();\n`;
}

const RPC = ["acp", "wire"] as const;
const expect = (is: boolean, sentence: string): string | undefined => (is ? undefined : sentence);
const UNANSWERED = { outcome: { outcome: "cancelled" } };
const LIVES = "setInterval(() => {}, 1000)";

/** All of them. */
export const ANIMALS: readonly Animal[] = [
  // ---- What is no message
  {
    name: "a line of 20 MiB without an end",
    plays: 'const part = "x".repeat(MiB); raw(\'{"x":"\'); await pour(20, () => raw(part));' + LIVES,
    floods: true,
    ends: "protocol",
  },
  { name: "100,000 open brackets", plays: `line('{"x":' + "[".repeat(100000)); ${LIVES}`, ends: "protocol" },
  {
    name: "objects in objects 5,000 deep",
    plays: `line('{"a":'.repeat(5000) + "1" + "}".repeat(5000)); ${LIVES}`,
    ends: "protocol",
  },
  {
    name: "20,000 keys",
    plays: `const many = {}; for (let n = 0; n < 20000; n++) many["k" + n] = n; say(many); ${LIVES}`,
    ends: "protocol",
  },
  { name: "200,000 items", plays: `say({ x: new Array(200000).fill(0) }); ${LIVES}`, ends: "protocol" },
  {
    name: "bytes that are no UTF-8",
    plays: `raw(Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0xc0, 0x22, 0x3a, 0x31, 0x7d, 0x0a])); ${LIVES}`,
    ends: "protocol",
  },
  {
    name: "half a surrogate pair as UTF-8",
    plays: `raw(Buffer.from([0x7b, 0x22, 0xed, 0xa0, 0x80, 0x22, 0x3a, 0x31, 0x7d, 0x0a])); ${LIVES}`,
    ends: "protocol",
  },
  {
    name: "a byte order mark before a message",
    plays: 'raw("\\ufeff"); text("lost"); text("kept"); done();',
    ends: "finished",
    check: ({ text }) => expect(text === "kept", `its text is ${text}`),
  },
  {
    name: "zero bytes between messages",
    plays: 'raw("\\0\\0\\0\\n"); text("fine"); done();',
    ends: "finished",
  },
  { name: "a zero byte inside a message", plays: `line('{"a":"\\0"}'); ${LIVES}`, ends: "protocol" },
  {
    name: "keys that reach for the prototype",
    plays: `line('{"jsonrpc":"2.0","method":"event","type":"x","params":{"__proto__":{"polluted":1},"type":"x","payload":{"\\\\u005f_proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}}}');
      text("fine"); done();`,
    ends: "finished",
    check: ({ isPolluted }) => expect(!isPolluted, "prototypes were changed"),
  },
  {
    name: "a flood of lines that are no messages",
    plays: 'await pour(20000, (n) => line("Downloading " + n + " %")); text("fine"); done();',
    ends: { acp: "protocol", wire: "protocol", command: "finished" },
  },
  {
    name: "messages in a batch",
    plays: 'line("[" + JSON.stringify({ jsonrpc: "2.0", method: "x" }) + "]"); text("fine"); done();',
    ends: "finished",
  },
  {
    name: "lines that end as on Windows",
    setup:
      'const unix = raw; const plain = process.stdout.write.bind(process.stdout); process.stdout.write = (data) => plain(String(data).replaceAll("\\n", "\\r\\n"));',
    plays: 'text("fine"); done();',
    ends: "finished",
    check: ({ text }) => expect(text === "fine", `its text is ${text}`),
  },
  {
    name: "one byte at a time",
    setup:
      "const plain = process.stdout.write.bind(process.stdout); process.stdout.write = (data) => { for (const byte of Buffer.from(data)) plain(Buffer.of(byte)); };",
    plays: 'text("grüße 👋"); done();',
    ends: "finished",
    check: ({ text }) => expect(text === "grüße 👋", `its text is ${text}`),
  },
  {
    name: "half a line at the end",
    plays: `text("fine"); result(); raw('{"jsonrpc":"2.0","method":"x'); process.exit(0);`,
    ends: { acp: "finished", wire: "finished", command: "protocol" },
  },
  {
    name: "half a line instead of the end",
    plays: `text("fine"); raw('{"jsonrpc":"2.0","id":'); process.exit(0);`,
    ends: { acp: "crashed", wire: "crashed", command: "protocol" },
  },
  {
    name: "a message that is none of the protocol's",
    speaks: RPC,
    plays: `say({ id: 1 }); ${LIVES}`,
    ends: "protocol",
  },

  // ---- Too much
  {
    name: "200,000 messages as fast as it can",
    speaks: ["acp", "command"],
    plays: 'await pour(200000, () => text("word ")); done();',
    floods: true,
    // Otherwise it would rightly take 90 s: reading is slowed down.
    clockFactor: 500,
    limits: { handshakeMs: 3_600_000, idleMs: 36_000_000, turnMs: 36_000_000 },
    ends: "finished",
    check: ({ kinds, textBytes }) =>
      expect(
        kinds["text"] === 200_000 && textBytes <= 1024 * 1024,
        `${kinds["text"]} texts, ${textBytes} bytes`,
      ),
  },
  {
    name: "messages without end",
    speaks: ["acp"],
    plays: 'await pour(1e12, () => text("word "));',
    floods: true,
    limits: { turnMs: 1500 },
    ends: "timeout",
  },
  {
    name: "300 MiB on stderr",
    speaks: ["wire", "command"],
    plays:
      'const part = "e".repeat(MiB) + "\\n"; await pour(300, () => process.stderr.write(part), process.stderr);' +
      LIVES,
    floods: true,
    ends: "protocol",
  },
  {
    name: "300 MiB of messages",
    speaks: ["acp"],
    plays: 'const part = "e".repeat(MiB); await pour(300, () => text(part)); done();',
    floods: true,
    ends: "protocol",
  },
  {
    name: "one message of 5 MiB",
    plays: 'text("é".repeat(2.5 * MiB)); done();',
    ends: "finished",
    check: ({ textBytes, transcriptBytes }) =>
      expect(
        textBytes <= 1024 * 1024 && transcriptBytes < MIB,
        `${textBytes} bytes kept, ${transcriptBytes} written`,
      ),
  },
  {
    name: "10,001 tool calls",
    speaks: ["acp", "command"],
    plays: `await pour(10001, (n) => tool("t" + n, "completed")); ${LIVES}`,
    ends: "protocol",
  },
  {
    name: "2,000 requests for leave at once",
    speaks: RPC,
    plays:
      'let answers = 0; await new Promise((resolve) => { for (let n = 0; n < 2000; n++) may("t" + n).then(() => ++answers === 1900 && resolve()); }); text("fine"); done();',
    decides: "never",
    ends: "finished",
    check: ({ decisions }) => expect(decisions === 100, `${decisions} requests were waited for`),
  },
  {
    name: "requests that nobody knows, 2,000 of them",
    speaks: RPC,
    plays:
      'const all = []; for (let n = 0; n < 2000; n++) all.push(ask("no/such/method", { n })); await Promise.all(all); text("fine"); done();',
    ends: "finished",
  },
  {
    name: "an error of 4 MiB",
    speaks: RPC,
    plays: 'say({ id: promptId, error: { code: -32603, message: "e".repeat(4 * MiB) } });',
    ends: { acp: "provider", wire: "crashed" },
    check: ({ failure }) => expect((failure?.message.length ?? 0) < 10_000, "its message was kept whole"),
  },

  {
    name: "questions whose answers it does not read",
    speaks: RPC,
    plays: `process.stdin.pause(); const x = "x".repeat(10000); await pour(1e12, (n) => say({ id: x + n, method: "no/such/method" }));`,
    floods: true,
    limits: { turnMs: 1500 },
    ends: "timeout",
  },
  {
    name: "1,000 proposed tasks",
    speaks: ["acp"],
    plays:
      'await pour(1000, (n) => say({ method: "_omk/propose_task", params: { title: "x".repeat(1000) + n } })); text("fine"); done();',
    ends: "finished",
    check: ({ kinds }) => expect((kinds["notice"] ?? 0) <= 51, `${kinds["notice"]} were kept`),
  },

  // ---- Answers and ids
  {
    name: "101 answers that nobody waits for",
    speaks: RPC,
    plays: `for (let n = 0; n < 101; n++) say({ id: "nobody-" + n, result: {} }); ${LIVES}`,
    ends: "protocol",
  },
  {
    name: "two answers to one prompt",
    speaks: RPC,
    plays: 'text("fine"); done(); say({ id: promptId, error: { code: 1, message: "no" } });',
    ends: "finished",
  },
  {
    name: "answers before the questions",
    speaks: RPC,
    setup:
      'for (const id of [2, 3, 4, "omk-2", "omk-3"]) say({ id, result: { stopReason: "end_turn", status: "finished" } });',
    plays: 'text("fine"); done();',
    ends: "finished",
  },
  {
    name: "two requests under one id",
    speaks: RPC,
    plays: `may("t1"); say({ id: "ask-1", method: "session/request_permission", params: {} }); say({ id: "ask-1", method: "request", params: {} });
      setTimeout(() => { text("fine"); done(); }, 50);`,
    decides: "never",
    ends: "finished",
    check: ({ decisions }) => expect(decisions === 1, `${decisions} were asked`),
  },
  {
    name: "ids of every kind",
    speaks: RPC,
    plays:
      'await Promise.all([1.5, -1, 0, 1e300, "", "é".repeat(1000)].map((id) => ask("x", {}, id))); text("fine"); done();',
    ends: "finished",
  },
  {
    name: "an id that is null",
    speaks: RPC,
    plays: `say({ id: null, method: "x" }); ${LIVES}`,
    ends: "protocol",
  },
  {
    name: "an id that is an object",
    speaks: RPC,
    plays: `say({ id: {}, method: "x" }); ${LIVES}`,
    ends: "protocol",
  },
  {
    name: "a request for leave that offers nothing, or what nobody knows",
    speaks: ["acp"],
    plays: `const none = await may("t1", []); const odd = await may("t2", [{ optionId: "z", name: "Allow", kind: "allow_everything_for_ever" }]);
      text(JSON.stringify([none.result, odd.result])); done();`,
    ends: "finished",
    check: ({ text }) => expect(text === JSON.stringify([UNANSWERED, UNANSWERED]), text),
  },
  {
    name: "a request for leave of another session",
    speaks: ["acp"],
    plays:
      'session = "s2"; const { error } = await may("t1"); session = "s1"; text(String(error && error.code)); done();',
    ends: "finished",
    check: ({ text, kinds }) => expect(text === "-32602" && !kinds["approval-asked"], text),
  },
  {
    name: "words of another session",
    speaks: ["acp"],
    plays: 'session = "s2"; text("I did it all."); tool("t1", "completed"); session = "s1"; done();',
    ends: "empty",
  },
  {
    name: "words after the end",
    plays: 'text("fine"); result(); for (let n = 0; n < 1000; n++) think("and another thing"); leaves();',
    ends: "finished",
    check: ({ text }) => expect(text === "fine", `its text is ${text}`),
  },
  {
    name: "an end that nobody knows",
    speaks: RPC,
    plays: 'text("fine"); result("victory");',
    ends: "protocol",
  },
  {
    name: "a turn it cancels by itself",
    speaks: RPC,
    plays: 'text("fine"); result("cancelled");',
    ends: "protocol",
  },

  // ---- Silence and death
  {
    name: "the end in the middle of the turn",
    plays: 'text("working"); process.exit(0);',
    ends: { acp: "crashed", wire: "crashed", command: "protocol" },
  },
  { name: "its own death", plays: 'text("working"); process.kill(process.pid, "SIGKILL");', ends: "crashed" },
  {
    name: "a crash",
    plays: 'text("working"); throw new Error("cannot read properties of undefined");',
    ends: "crashed",
  },
  {
    name: "closed output, and staying",
    plays: `text("working"); fs.closeSync(1); fs.closeSync(2); ${LIVES}`,
    ends: "crashed",
  },
  {
    name: "no answer to anything",
    speaks: RPC,
    setup: "start = () => process.stdin.resume();",
    limits: { handshakeMs: 400 },
    ends: "timeout",
  },
  {
    name: "a stdin that it never reads",
    speaks: RPC,
    setup: `start = () => { ${LIVES} };`,
    limits: { handshakeMs: 400 },
    ends: "timeout",
  },
  {
    name: "a version from the future",
    speaks: ["acp"],
    setup: "on.initialize = ({ id }) => say({ id, result: { protocolVersion: 99 } });",
    ends: "protocol",
  },
  {
    name: "a greeting that is none",
    speaks: RPC,
    setup: "on.initialize = ({ id }) => say({ id, result: [1, 2, 3] });",
    ends: "protocol",
  },
  {
    name: "thoughts without end",
    plays: 'setInterval(() => think("hm"), 20);',
    limits: { turnMs: 600 },
    ends: "timeout",
  },
  { name: "silence", plays: LIVES, limits: { idleMs: 400 }, ends: "timeout" },
  {
    name: "an open tool call for ever",
    plays: `tool("t1", "in_progress"); ${LIVES}`,
    limits: { idleMs: 200, turnMs: 600 },
    ends: "timeout",
  },
  {
    name: "deaf ears for a cancel and for TERM",
    setup: "process.on('SIGTERM', () => {}); process.on('SIGINT', () => {}); process.on('SIGHUP', () => {});",
    plays: `if (typeof on !== "undefined") on["session/cancel"] = on.cancel = () => {}; text("working"); ${LIVES}`,
    cancelled: true,
    ends: "cancelled",
  },
  {
    name: "work that goes on after a cancel",
    speaks: RPC,
    plays: 'on["session/cancel"] = on.cancel = () => {}; setInterval(() => text("working"), 5);',
    cancelled: true,
    ends: "cancelled",
  },
  {
    name: "a stay after the end",
    speaks: RPC,
    setup: `leaves = () => {}; process.on("SIGTERM", () => {}); ${LIVES};`,
    plays: 'text("fine"); done();',
    ends: "finished",
  },
  {
    // Nothing but its exit says that a headless program is done.
    name: "an end after which it stays",
    speaks: ["command"],
    setup: `leaves = () => {}; process.on("SIGTERM", () => {}); ${LIVES};`,
    plays: 'text("fine"); done();',
    limits: { idleMs: 600 },
    ends: "timeout",
  },

  // ---- What it leaves
  {
    name: "a daemon of its own",
    plays: `const child = detached("process.on('SIGTERM', () => {}); process.on('SIGHUP', () => {}); setInterval(() => {}, 1000)"); child.unref(); text(String(child.pid)); done();`,
    ends: "finished",
    check: ({ text }) => expect(Number(text) > 0, "there was no daemon"),
  },
  {
    name: "a daemon's daemon in a session of its own",
    plays: `spawn("sh", ["-c", "(setsid sh -c 'trap \\"\\" TERM HUP; while :; do sleep 1; done' </dev/null >/dev/null 2>&1 &)"], { stdio: "ignore" }).on("exit", () => { text("fine"); done(); });`,
    ends: "finished",
  },
  {
    name: "a dozen children, and its own death",
    plays: `for (let n = 0; n < 12; n++) spawn("sleep", ["1000"], { detached: true, stdio: "ignore" }); text("working"); process.kill(process.pid, "SIGKILL");`,
    ends: "crashed",
  },
  {
    name: "a child that holds its output open",
    plays: `spawn("sleep", ["1000"], { detached: true, stdio: ["ignore", "inherit", "inherit"] }).unref(); text("fine"); done();`,
    ends: "finished",
  },

  // ---- Lies
  { name: "the claim to be done without any work", plays: "done();", ends: "empty" },
  { name: "nothing but white space", plays: 'text(" \\n\\t"); done();', ends: "empty" },
  {
    name: "a tool call that never ends",
    plays: 'tool("t1", "in_progress"); text("done"); done();',
    ends: "finished",
    check: ({ tools }) => expect(tools.join() === "unknown", `its tool call is ${tools.join()}`),
  },
  {
    name: "escape sequences and text that runs backwards",
    plays:
      'tool("t1", "completed", "\\u001b]0;owned\\u0007\\u001b[2J\\u202ecod.exe\\u202c\\r\\nApproved"); text("\\u001b[31mfine\\u001b[0m"); done();',
    ends: "finished",
    check: ({ toolCalls }) => expect(toolCalls === 1, "its tool call was lost"),
  },
  {
    name: "secrets",
    plays: `const secret = process.env.ZOO_API_KEY; tool("t1", "completed", "curl -H " + secret); for (const part of secret) text(part);
      process.stderr.write(secret + "\\n"); think(Buffer.from(secret).toString("base64")); text(" " + secret); done();`,
    ends: "finished",
    check: ({ holdsSecret }) => expect(!holdsSecret, "its transcript holds the secret"),
  },
  {
    name: "costs that cannot be",
    speaks: ["acp", "command"],
    plays: `text("fine");
      if (typeof update !== "undefined") for (const amount of [-1, "1", null, -1e308]) update({ sessionUpdate: "usage_update", used: -5, size: 0, cost: { amount, currency: "USD" } });
      else say({ type: "turn.completed", usage: { input_tokens: -1e308, output_tokens: "1e999", cached_input_tokens: null } });
      done();`,
    ends: "finished",
    check: ({ usage }) =>
      expect(usage.input_tokens >= 0 && (usage.cost_usd ?? 0) >= 0, JSON.stringify(usage)),
  },
];

const MIB = 1024 * 1024;
