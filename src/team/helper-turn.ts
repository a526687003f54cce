/** A turn of the engine that belongs to no task: splitting one, or summing up. The workers' rules hold for it, too. */
import { join } from "node:path";

import type { Engine, Turn } from "../engine/engine.ts";
import { HANDSHAKE_MS, IDLE_MS, takeTurn, Transcript } from "../engine/turn.ts";
import { ensureFolder } from "../store/files.ts";
import { evidenceOf, type EvidenceFile } from "../store/evidence.ts";
import type { OpenRun, RunPorts } from "./open.ts";

/** Kinds of tools that change nothing. */
const READ_ONLY: ReadonlySet<string> = new Set(["read", "search", "fetch", "think"]);

/** Takes the turn to its end, whatever that is. Requests for leave to change something are refused. */
export async function helperTurn(
  ask: {
    role: "decompose" | "synthesize";
    task: string;
    text: string;
    turnMs: number;
    engine: Engine;
    cwd: string;
    open: OpenRun;
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
    turn = await takeTurn(
      {
        engine,
        cwd,
        environment: ports.environment,
        spawnId,
        limits: { handshakeMs: HANDSHAKE_MS, idleMs: Math.min(IDLE_MS, ask.turnMs), turnMs: ask.turnMs },
        prompt: { text, meta: { role, task, attempt: 1 } },
        transcript,
        decidePermission: (request) =>
          Promise.resolve(
            READ_ONLY.has(request.kind)
              ? { decision: "allow", rule: `${role} may ${request.kind}` }
              : { decision: "reject", rule: `${role} changes nothing` },
          ),
      },
      signal,
    );
  } finally {
    await transcript.close();
  }
  return { turn, evidence: { spawnId, file: evidenceOf(open, path, ports) } };
}
