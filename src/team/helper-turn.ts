/** A turn of the engine that belongs to no task: planning, splitting, reviewing, summing up. The workers' rules hold for it, too. */
import { join } from "node:path";

import type { TurnMeter } from "../budget/ledger.ts";
import type { Approvals } from "../approval/approvals.ts";
import { takeGuardedTurn } from "../approval/turn.ts";
import type { Engine, Prompt, Turn } from "../engine/engine.ts";
import { HANDSHAKE_MS, IDLE_MS, Transcript, type TurnStop } from "../engine/turn.ts";
import { ensureFolder } from "../store/files.ts";
import { evidenceOf, type EvidenceFile } from "../store/evidence.ts";
import type { RunPorts } from "./open.ts";

/** What is asked, of whom, and within which bounds. */
export interface HelperRequest {
  role: Exclude<Prompt["meta"]["role"], "work">;
  /** Names what it is about; fit for the name of a file. */
  task: string;
  text: string;
  turnMs: number;
  engine: Engine;
  cwd: string;
  meter: TurnMeter;
  /** What else may end the turn. */
  stops?: readonly TurnStop[];
  /** The folder of the goal or run. */
  open: { folder: string };
  approvals: Approvals;
  /** Writes down that it begins, under this spawn id; answers the number by which it is known. */
  begin(spawnId: string): Promise<number>;
}

/** Where the transcript of such a turn lies, in the folder of its goal or run. */
export function helperTranscript(folder: string, fence: number, task: string): string {
  return join(folder, "artifacts", "agent-runs", `${fence}-${task}.jsonl`);
}

/**
 * Takes the turn to its end, whatever that is. It only reads: every other request is refused, without asking anybody, and
 * the hooks hold here, too.
 */
export async function helperTurn(
  ask: HelperRequest,
  ports: RunPorts,
  signal: AbortSignal,
): Promise<{ turn: Turn; evidence: { spawnId: string; file: EvidenceFile } }> {
  const { open, role, task, text, engine, cwd, stops = [] } = ask;
  const spawnId = `omk-${ports.random.name(20)}`;
  const fence = await ask.begin(spawnId);
  const path = helperTranscript(open.folder, fence, task);
  await ensureFolder(join(open.folder, "artifacts", "agent-runs"), ports);
  const transcript = new Transcript(path, ports);
  let turn: Turn;
  try {
    transcript.note({ kind: "prompt", text });
    const callsHooks = () => engine.capabilities.hooks;
    const scope = { task, fence, worker: role, cwd, callsHooks, readsOnly: true };
    turn = await takeGuardedTurn(
      {
        engine,
        cwd,
        environment: ports.environment,
        spawnId,
        limits: { handshakeMs: HANDSHAKE_MS, idleMs: Math.min(IDLE_MS, ask.turnMs), turnMs: ask.turnMs },
        prompt: { text, meta: { role, task, attempt: 1 } },
        transcript,
        stops: [ask.meter.over, ...stops],
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
