// An agent whose turn takes no time, over each protocol, on one file of which it writes when it began and when it said its
// last word: node turn-agent.mjs <acp|wire|command> <file>
import fs from "node:fs";
import { createInterface } from "node:readline";

const [protocol, file] = process.argv.slice(2);
const now = () => performance.timeOrigin + performance.now();
const stamp = () =>
  fs.appendFileSync(file, `${JSON.stringify({ begun: performance.timeOrigin, said: now() })}\n`);
const send = (message) => process.stdout.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);

const ACP = {
  initialize: () => ({ protocolVersion: 1, agentCapabilities: {}, authMethods: [] }),
  "session/new": () => ({ sessionId: "bench" }),
  "session/prompt": () => {
    const update = { sessionUpdate: "agent_message_chunk", content: { type: "text", text: "ok" } };
    send({ method: "session/update", params: { sessionId: "bench", update } });
    stamp();
    return { stopReason: "end_turn" };
  },
};

const WIRE = {
  initialize: () => ({
    protocol_version: "1.10",
    server: { name: "bench", version: "1" },
    slash_commands: [],
    hooks: { supported_events: [], configured: {} },
  }),
  prompt: () => {
    send({ method: "event", params: { type: "TurnBegin", payload: { user_input: "" } } });
    send({ method: "event", params: { type: "ContentPart", payload: { type: "text", text: "ok" } } });
    send({ method: "event", params: { type: "TurnEnd", payload: {} } });
    stamp();
    return { status: "finished" };
  },
};

if (protocol === "command") {
  stamp();
  process.stdout.write("ok\n");
} else {
  const methods = protocol === "acp" ? ACP : WIRE;
  for await (const line of createInterface({ input: process.stdin })) {
    const { id, method } = JSON.parse(line);
    const answer = methods[method];
    if (id !== undefined)
      send(answer ? { id, result: answer() } : { id, error: { code: -32601, message: "no" } });
  }
}
