// The suite's model for people: starts it on loopback, says how to point an agent at it, and prints what is asked and
// answered until Ctrl-C. To try omk with a real agent, without a key and without a network:
//
//   node test/agents/serve.mjs [--port N] [--fail 401|403|429]
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

import { rolldown } from "rolldown";

const root = path.resolve(import.meta.dirname, "../..");

/** The server and the settings are TypeScript, which Node 20 does not read. */
async function load(folder) {
  const bundle = await rolldown({
    cwd: root,
    input: { model: path.join(import.meta.dirname, "by-hand.ts") },
    platform: "node",
    tsconfig: path.join(root, "tsconfig.json"),
  });
  await bundle.write({ dir: folder, format: "esm", entryFileNames: "[name].mjs" });
  await bundle.close();
  return import(pathToFileURL(path.join(folder, "model.mjs")).href);
}

const USAGE = "usage: node test/agents/serve.mjs [--port N] [--fail 401|403|429]";
let values;
try {
  const fail = { type: "string" };
  ({ values } = parseArgs({
    options: { port: { type: "string", default: "0" }, fail, help: { type: "boolean" } },
  }));
  if (values.fail !== undefined && !["401", "403", "429"].includes(values.fail))
    throw new Error("no such failure");
} catch (error) {
  // What was typed is not understood: nothing to see in a stack.
  process.stderr.write(`${error.message}\n${USAGE}\n`);
  process.exit(2);
}
if (values.help) {
  process.stdout.write(`${USAGE}\n`);
  process.exit(0);
}
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "omk-model-"));
try {
  const { serveByHand } = await load(folder);
  const server = await serveByHand(folder, values);
  await new Promise((resolve) => {
    process.once("SIGINT", resolve);
    process.once("SIGTERM", resolve);
  });
  await server[Symbol.asyncDispose]();
} finally {
  fs.rmSync(folder, { recursive: true, force: true });
}
