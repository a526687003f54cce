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
  /** Text by which a program says that it does nothing any more. */
  retired?: RegExp | null;
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
    { argv, cwd: "/", env, timeoutMs: PROBE_MS, outputBytesMax: OUTPUT_BYTES_MAX, endsAll: true },
    signal,
  );
  if (result.exit.kind === "not_started") {
    return { found: false, program: null, version: null, warnings: [] };
  }
  const text = new TextDecoder().decode(result.stdout);
  const lines = text.split("\n");
  const named = lines.find((line) => /\d/.test(line));
  const version = named?.trim().slice(0, 200) ?? null;
  const answered = result.exit.kind === "exited" && result.exit.code === 0 && version !== null;
  const warnings = answered ? [] : [`${argv.join(" ")} told no version (${exitText(result.exit)}).`];
  const retired =
    program.retired?.test(text) === true ? lines.find((line) => program.retired?.test(line)) : undefined;
  return {
    found: true,
    program: program.argv[0],
    version: answered ? version : null,
    warnings,
    ...(retired !== undefined && { retired: retired.trim().slice(0, 200) }),
  };
}

/** Whether a program answers a call with JSON that has this key: two agents of one name are told apart by that. */
export async function answersTwin(
  call: { argv: readonly [string, ...string[]]; environment: Readonly<Record<string, string>>; key: string },
  processes: Pick<AgentProcesses, "run">,
  signal: AbortSignal,
): Promise<boolean> {
  const { argv, environment: env } = call;
  const result = await processes.run(
    { argv, cwd: "/", env, timeoutMs: PROBE_MS, outputBytesMax: OUTPUT_BYTES_MAX, endsAll: true },
    signal,
  );
  if (result.exit.kind !== "exited" || result.exit.code !== 0) return false;
  try {
    const answer: unknown = JSON.parse(new TextDecoder().decode(result.stdout));
    return typeof answer === "object" && answer !== null && Object.hasOwn(answer, call.key);
  } catch {
    // Not JSON: the other one.
    return false;
  }
}
