/**
 * Runs hostile agents exactly as omk does, each for one turn, in a process of its own, and reports what became of them and
 * how much memory that took. The zoo's test bundles this file and starts it; what it prints are lines of JSON.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as realSleep } from "node:timers/promises";

import { acpEngine } from "../../../src/engine/acp.ts";
import { commandEngine } from "../../../src/engine/command.ts";
import type { Engine, Turn } from "../../../src/engine/engine.ts";
import { takeTurn, Transcript } from "../../../src/engine/turn.ts";
import { wireEngine } from "../../../src/engine/wire.ts";
import type { Clock } from "../../../src/ports.ts";
import { createRedactor } from "../../../src/store/redact.ts";
import { createWorld } from "../../../src/world.ts";
import type { Caged, Watched } from "./cage.ts";

/** A secret of the user's, which no file may hold. */
const SECRET = "zoo-7f3a9c52e1b84d06";

const world = createWorld();
const redactor = createRedactor({ environment: { ZOO_API_KEY: SECRET } });

/** Time that runs faster, for what omk slows down on purpose. */
function hurried(factor: number): Clock {
  return {
    now: () => world.clock.now(),
    monotonicMs: () => world.clock.monotonicMs() * factor,
    sleep: (ms, signal) => realSleep(ms / factor, undefined, signal ? { signal } : {}),
  };
}

function engineOf({ protocol, script, clockFactor }: Caged): Engine {
  const clock = clockFactor === 1 ? world.clock : hurried(clockFactor);
  const ports = { processes: world.processes, disk: world.disk, clock };
  const argv = [process.execPath, script] as const;
  if (protocol === "acp") return acpEngine({ name: "animal", argv }, ports);
  if (protocol === "wire") return wireEngine({ name: "animal", argv }, ports);
  return commandEngine({ name: "animal", argv, template: argv, output: "codex" }, ports);
}

async function watch(caged: Caged): Promise<Watched> {
  const path = join(caged.folder, "transcript.jsonl");
  const transcript = new Transcript(path, { disk: world.disk, clock: world.clock, redactor });
  const spawnId = world.random.name(16);
  const cancel = new AbortController();
  const kinds: Record<string, number> = {};
  const tools: string[] = [];
  let decisions = 0;
  const startedMs = world.clock.monotonicMs();
  let turn: Turn;
  try {
    turn = await takeTurn(
      {
        engine: engineOf(caged),
        cwd: caged.folder,
        environment: { PATH: process.env["PATH"] ?? "", TMPDIR: caged.folder, ZOO_API_KEY: SECRET },
        spawnId,
        limits: caged.limits,
        // Longer than a pipe holds, so that not reading it is told apart from reading it.
        prompt: { text: "Work. ".repeat(20_000), meta: { role: "work", task: "zoo", attempt: 1 } },
        transcript,
        decidePermission: (_request, signal) => {
          decisions++;
          if (caged.decides === "allow") return Promise.resolve({ decision: "allow", rule: "zoo" });
          return new Promise((_resolve, reject) => {
            signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
          });
        },
        onEvent: (event) => {
          kinds[event.kind] = (kinds[event.kind] ?? 0) + 1;
          if (event.kind === "tool-finished" && tools.length < 10) tools.push(event.outcome);
          if (caged.cancelled && event.kind === "text") cancel.abort();
        },
      },
      cancel.signal,
    );
  } finally {
    await transcript.close();
  }
  const elapsedMs = world.clock.monotonicMs() - startedMs;
  const text = readFileSync(path, "utf8");
  return {
    name: caged.name,
    status: turn.status,
    failure: turn.failure ?? null,
    text: turn.text.slice(0, 1000),
    textBytes: Buffer.byteLength(turn.text),
    toolCalls: turn.toolCalls,
    tools,
    usage: turn.usage,
    kinds,
    decisions,
    elapsedMs,
    left: await world.processes.sweep([spawnId]),
    transcriptBytes: text.length,
    holdsSecret: text.includes(SECRET) || text.includes(Buffer.from(SECRET).toString("base64")),
    isPolluted: Object.keys(Object.prototype).length > 0 || "polluted" in {},
  };
}

/** The most memory this process ever held. */
function highWaterMiB(): number {
  try {
    // What `resourceUsage` says counts the process that started this one, too.
    const [, kiB] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
    if (kiB !== undefined) return Number(kiB) / 1024;
  } catch {
    // Only Linux has it.
  }
  return process.resourceUsage().maxRSS / 1024;
}

/** Several at once, but not all: machines have few cores. */
async function watchAll(waiting: Caged[], atOnce: number): Promise<void> {
  const keeper = async (): Promise<void> => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const name = next.name;
      const seen = await watch(next).catch((error: unknown) => ({ name, error: String(error) }));
      process.stdout.write(`${JSON.stringify(seen)}\n`);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, keeper));
  process.stdout.write(`${JSON.stringify({ rssMiB: highWaterMiB() })}\n`);
}

const [file = "", atOnce = "1"] = process.argv.slice(2);
void watchAll(JSON.parse(readFileSync(file, "utf8")) as Caged[], Number(atOnce));
