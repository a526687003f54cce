import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, onTestFinished, test } from "vitest";
import { acpEngine } from "../../src/engine/acp.ts";
import type { Engine, EngineEvent, Turn } from "../../src/engine/engine.ts";
import { engineNamed } from "../../src/engine/select.ts";
import { createWorld } from "../../src/world.ts";
import { PROMPT, never, startOptions } from "./rig.ts";

const world = createWorld();
const environment = { PATH: process.env["PATH"] ?? "", TMPDIR: os.tmpdir() };

/** A small agent in plain JavaScript; what it does on a prompt is the body given. */
const AGENT = `
import fs from "node:fs";
import { spawn } from "node:child_process";
import readline from "node:readline";
const say = (message) => process.stdout.write(JSON.stringify({ jsonrpc: "2.0", ...message }) + "\\n");
const text = (text) => say({ method: "session/update", params: { sessionId: "s", update: { sessionUpdate: "agent_message_chunk", content: { type: "text", text } } } });
const lines = readline.createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const { id, method } = JSON.parse(line);
  if (method === "initialize") say({ id, result: { protocolVersion: 1 } });
  if (method === "session/new") say({ id, result: { sessionId: "s" } });
  if (method === "session/prompt") onPrompt(() => say({ id, result: { stopReason: "end_turn" } }));
});
lines.on("close", () => process.exit(0));
`;

function folder(): string {
  const made = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "omk-process-")));
  onTestFinished(() => fs.rmSync(made, { recursive: true, force: true }));
  return made;
}

function agentThat(onPrompt: string, cwd: string): Engine {
  const file = path.join(cwd, "agent.mjs");
  fs.writeFileSync(file, `${AGENT}function onPrompt(done) { ${onPrompt} }\n`);
  return acpEngine({ name: "small", argv: [process.execPath, file] }, world);
}

async function play(engine: Engine, cwd: string): Promise<{ turn: Turn; events: EngineEvent[] }> {
  const events: EngineEvent[] = [];
  const spawnId = world.random.name(16);
  const session = await engine.start({ ...startOptions(events), cwd, environment, spawnId }, never);
  const turn = await session.run(PROMPT, never);
  await session.stop();
  return { turn, events };
}

/** A process that ended but was not collected by its parent, as in a container without init, does not run. */
function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !/\) Z /.test(fs.readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch (error) {
    // Without /proc the first line alone decides.
    const { syscall } = error as NodeJS.ErrnoException;
    return syscall !== "kill" && process.platform !== "linux";
  }
}

describe("a real agent process", () => {
  test("is started, spoken with and left to go by itself", async () => {
    const cwd = folder();
    const { turn, events } = await play(agentThat('text("hel"); text("lo"); done();', cwd), cwd);
    expect(turn).toMatchObject({ status: "finished", text: "hello" });
    expect(events.at(-1)).toMatchObject({ kind: "session-ended", exit: "exit status 0" });
  });

  test("that dies in the middle of its turn is told with its signal and its last words", async () => {
    const cwd = folder();
    const dies = 'fs.writeSync(2, "out of luck\\n"); process.kill(process.pid, "SIGKILL");';
    const { turn } = await play(agentThat(dies, cwd), cwd);
    expect(turn).toMatchObject({ status: "failed", failure: { class: "crashed", retryable: true } });
    expect(turn.failure?.message).toMatch(/signal SIGKILL.*out of luck$/);
  });

  test("leaves nothing behind, not even what it put into a session of its own", async () => {
    const cwd = folder();
    const leaves = `
      const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { detached: true, stdio: "ignore" });
      child.unref();
      fs.writeFileSync("pid", String(child.pid));
      text("done");
      done();`;
    const { turn } = await play(agentThat(leaves, cwd), cwd);
    expect(turn.status).toBe("finished");
    const pid = Number(fs.readFileSync(path.join(cwd, "pid"), "utf8"));
    expect(isRunning(pid)).toBe(false);
  });

  test("that is not there makes a failed turn, not an error", async () => {
    const cwd = folder();
    const { turn } = await play(acpEngine({ name: "none", argv: [path.join(cwd, "none")] }, world), cwd);
    expect(turn).toMatchObject({ status: "failed", failure: { class: "config", retryable: false } });
  });
});

describe("the scripted agent of the built command line", () => {
  const launcher = [process.execPath, fileURLToPath(new URL("../../bin/omk.cjs", import.meta.url))] as const;

  async function playScript(steps: unknown[]): Promise<{ turn: Turn; events: EngineEvent[]; cwd: string }> {
    const cwd = folder();
    const file = path.join(folder(), "script.json");
    fs.writeFileSync(file, JSON.stringify({ version: 1, turns: [{ steps }] }));
    const engine = engineNamed(`scripted:${file}`, { launcher, baseDir: cwd }, world);
    return { ...(await play(engine, cwd)), cwd };
  }

  test("works as a process", async () => {
    const { turn, events, cwd } = await playScript([
      { write: "a.txt", text: "real\n" },
      { run: "cat a.txt >&2" },
      { say: "Done." },
    ]);
    expect(turn).toMatchObject({ status: "finished", text: "Done.", toolCalls: 2 });
    expect(fs.readFileSync(path.join(cwd, "a.txt"), "utf8")).toBe("real\n");
    expect(events.at(-1)).toMatchObject({ exit: "exit status 0" });
  });

  test("ends as its script says, by status or by signal", async () => {
    expect((await playScript([{ stderr: "oh no\n" }, { crash: 7 }])).turn.failure?.message).toMatch(
      /exit status 7.*oh no/s,
    );
    expect((await playScript([{ crash: "SIGKILL" }])).turn.failure?.message).toContain("signal SIGKILL");
  });
});
