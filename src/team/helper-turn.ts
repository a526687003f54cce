/** A turn of the engine that belongs to no task: splitting one, or summing up. The workers' rules hold for it, too. */
import { join } from "node:path";

import type { TurnMeter } from "../budget/ledger.ts";
import type { Approvals } from "../approval/approvals.ts";
import { takeGuardedTurn } from "../approval/turn.ts";
import type { Engine, Turn } from "../engine/engine.ts";
import { HANDSHAKE_MS, IDLE_MS, Transcript } from "../engine/turn.ts";
import { ensureFolder } from "../store/files.ts";
import { evidenceOf, type EvidenceFile } from "../store/evidence.ts";
import type { OpenRun, RunPorts } from "./open.ts";

/**
 * Takes the turn to its end, whatever that is. It only reads: every other request is refused, without asking anybody, and
 * the hooks hold here, too.
 */
export async function helperTurn(
  ask: {
    role: "decompose" | "synthesize";
    task: string;
    text: string;
    turnMs: number;
    engine: Engine;
    cwd: string;
    meter: TurnMeter;
    open: OpenRun;
    approvals: Approvals;
  },
  ports: RunPorts,
  signal: AbortSignal,
): Promise<{ turn: Turn; evidence: { spawnId: string; file: EvidenceFile } }> {
  const { open, role, task, text, engine, cwd } = ask;
  const spawnId = `omk-${ports.random.name(20)}`;
  const [seq = 0] = await open.record({
    kind: "helper_started",
    actor: "omk-cli",
    payload: { role, spawn_id: spawnId },
  });
  const folder = join(open.folder, "artifacts", "agent-runs");
  await ensureFolder(folder, ports);
  const path = join(folder, `${seq}-${task}.jsonl`);
  const transcript = new Transcript(path, ports);
  let turn: Turn;
  try {
    transcript.note({ kind: "prompt", text });
    const callsHooks = () => engine.capabilities.hooks;
    const scope = { task, fence: seq, worker: role, cwd, callsHooks, readsOnly: true };
    turn = await takeGuardedTurn(
      {
        engine,
        cwd,
        environment: ports.environment,
        spawnId,
        limits: { handshakeMs: HANDSHAKE_MS, idleMs: Math.min(IDLE_MS, ask.turnMs), turnMs: ask.turnMs },
        prompt: { text, meta: { role, task, attempt: 1 } },
        transcript,
        stops: [ask.meter.over],
        onEvent: (event) => ask.meter.take(event),
        mode: "read_only",
      },
      ask.approvals.attempt(scope),
      signal,
    );
  } finally {
    await transcript.close();
  }
  return { turn, evidence: { spawnId, file: evidenceOf(open, path, ports) } };
}
