import type { Engine, EngineEvent, Failure, ProbeResult } from "./engine.ts";
import type { Clock } from "../ports.ts";

/** What was found out about an agent without giving it work. */
export interface Checkup {
  probe: ProbeResult;
  /** `not_tried`: it was not asked for, or the agent has none. */
  handshake: "ok" | "failed" | "not_tried";
  handshakeMs: number | null;
  agent: string | null;
  agentVersion: string | null;
  protocolVersion: number | string | null;
  failure: Failure | null;
}

const PROMPT = { text: "", meta: { role: "work", task: "checkup", attempt: 1 } } as const;

/**
 * Asks an agent for its version and, where it speaks a protocol, starts a session and stops it again. No prompt is sent, so
 * it costs nothing. Rejects only when the signal is aborted.
 */
export async function checkEngine(
  engine: Engine,
  how: {
    /** Empty, and nobody else's: some agents write into it. Null: no handshake. */
    folder: string | null;
    environment: Record<string, string>;
    spawnId: string;
    handshakeMs: number;
  },
  ports: { clock: Clock },
  signal: AbortSignal,
): Promise<Checkup> {
  const probe = await engine.probe(signal);
  const found: Checkup = {
    probe,
    handshake: "not_tried",
    handshakeMs: null,
    agent: null,
    agentVersion: null,
    protocolVersion: null,
    failure: null,
  };
  const isProtocol = engine.capabilities.approvals !== "none";
  if (!probe.found || probe.retired !== undefined || how.folder === null || !isProtocol) return found;
  let started: Extract<EngineEvent, { kind: "session-started" }> | undefined;
  const begunMs = ports.clock.monotonicMs();
  const { handshakeMs } = how;
  const session = await engine.start(
    {
      cwd: how.folder,
      environment: how.environment,
      spawnId: how.spawnId,
      limits: { handshakeMs, idleMs: handshakeMs, turnMs: handshakeMs },
      onEvent: (event) => {
        if (event.kind === "session-started") started = event;
      },
      decidePermission: () => Promise.resolve({ decision: "reject", rule: "nothing was asked for" }),
    },
    signal,
  );
  found.handshakeMs = Math.round(ports.clock.monotonicMs() - begunMs);
  try {
    // A session that could not be started says why by its turns; one that could never sees this prompt.
    const turn = await session.run(PROMPT, AbortSignal.abort());
    found.failure = turn.status === "failed" ? (turn.failure ?? null) : null;
  } finally {
    await session.stop();
  }
  found.handshake = started && !found.failure ? "ok" : "failed";
  found.agent = started?.agent ?? null;
  found.agentVersion = started?.agent_version ?? null;
  found.protocolVersion = started?.protocol_version ?? null;
  return found;
}
