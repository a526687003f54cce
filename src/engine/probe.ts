import { exitText, type AgentProcesses } from "./agent-process.ts";
import type { ProbeResult } from "./engine.ts";

const PROBE_MS = 10_000;
const OUTPUT_BYTES_MAX = 64 * 1024;

/** How a program is asked for its version. */
export interface VersionCall {
  argv: readonly [string, ...string[]];
  /** Prints the version; default is the program with `--version`. */
  versionArgv?: readonly [string, ...string[]];
  /** The environment of the call: without `PATH` only programs with a path are found. */
  environment?: Readonly<Record<string, string>>;
}

/** Whether the program is there, and what it says its version is. */
export async function probeProgram(
  program: VersionCall,
  processes: Pick<AgentProcesses, "run">,
  signal: AbortSignal,
): Promise<ProbeResult> {
  const argv = program.versionArgv ?? ([program.argv[0], "--version"] as const);
  const env = program.environment ?? {};
  const result = await processes.run(
    { argv, cwd: "/", env, timeoutMs: PROBE_MS, outputBytesMax: OUTPUT_BYTES_MAX },
    signal,
  );
  if (result.exit.kind === "not_started") {
    return { found: false, program: null, version: null, warnings: [] };
  }
  const lines = new TextDecoder().decode(result.stdout).split("\n");
  const named = lines.find((line) => /\d/.test(line));
  const version = named?.trim().slice(0, 200) ?? null;
  const answered = result.exit.kind === "exited" && result.exit.code === 0 && version !== null;
  const warnings = answered ? [] : [`${argv.join(" ")} told no version (${exitText(result.exit)}).`];
  return { found: true, program: program.argv[0], version: answered ? version : null, warnings };
}
