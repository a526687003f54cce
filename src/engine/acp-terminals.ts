/**
 * Commands that an agent runs through its client: decided first, each in a process group of its own below the attempt, so
 * that nothing of them outlives the turn.
 */
import { isAbsolute } from "node:path";
import type { CreateTerminalParams } from "./acp-messages.ts";
import type { AllowedAct, ClientActs } from "./acp-client.ts";
import type { StartOptions } from "./engine.ts";
import { RPC_CODES, RpcError, asRecord } from "./rpc.ts";
import { commandOf, isNothing, quoted, scriptOf } from "./shell-words.ts";
import type { TurnRecord } from "./turn-record.ts";
import type { Child, Disk, Exit, Processes } from "../ports.ts";

/** Terminals that were not released; each keeps its output. */
const TERMINALS_MAX = 16;
/** What is kept of one's output, at most: all of them together fit into memory a few times over. */
const OUTPUT_BYTES_MAX = 1024 * 1024;
/** What comes on top before it is cut: cutting copies. */
const OUTPUT_SLACK = 256 * 1024;
/** Pieces of output that are kept before they are joined. */
const PARTS_MAX = 4096;
/** Between TERM and KILL. */
const TERM_MS = 1000;
/** Variables that agents set so that a command asks nobody and prints plain text: nothing that anybody has to decide on. */
const PLAIN_VARIABLES: ReadonlySet<string> = new Set(
  (
    "TERM NO_COLOR FORCE_COLOR CLICOLOR COLORTERM COLUMNS LINES CI GIT_TERMINAL_PROMPT LANG LC_ALL TZ " +
    "PYTHONUNBUFFERED"
  ).split(" "),
);
/** One agent says which shell it found: programs start what stands there, so it has to be one. */
const SHELLS = /^(?:\/usr(?:\/local)?)?\/bin\/(?:ba|z|da)?sh$/;

/** How a command ended, in the protocol's words. */
interface ExitStatus {
  exitCode: number | null;
  signal: string | null;
}

interface Terminal {
  child: Child;
  output: OutputTail;
  exit: ExitStatus | undefined;
  exited: Promise<ExitStatus>;
  /** Somebody ended it before it did so itself. */
  isKilled: boolean;
}

/** The terminals of one session. */
export class ClientTerminals {
  readonly #options: Pick<StartOptions, "cwd" | "environment" | "spawnId">;
  readonly #acts: ClientActs;
  readonly #ports: { processes: Pick<Processes, "spawn">; disk: Pick<Disk, "realPath"> };
  readonly #terminals = new Map<string, Terminal>();
  /** Asked for, and not decided yet. */
  #opening = 0;
  #count = 0;

  constructor(
    options: Pick<StartOptions, "cwd" | "environment" | "spawnId">,
    acts: ClientActs,
    ports: { processes: Pick<Processes, "spawn">; disk: Pick<Disk, "realPath"> },
  ) {
    this.#options = options;
    this.#acts = acts;
    this.#ports = ports;
  }

  /** `terminal/create`: the command runs when this resolves. */
  async create(
    turn: TurnRecord | undefined,
    request: { params: CreateTerminalParams; raw: unknown; bytes: number },
  ): Promise<{ terminalId: string }> {
    const { params, raw, bytes } = request;
    if (this.#terminals.size + this.#opening >= TERMINALS_MAX)
      throw new RpcError(RPC_CODES.internal, `More than ${TERMINALS_MAX} terminals are open: release some`);
    const given = this.#read(params);
    this.#opening++;
    let allowed: AllowedAct;
    try {
      const { command, cwd, more } = given;
      allowed = await this.#acts.ask(turn, {
        method: "terminal/create",
        kind: "execute",
        title: command,
        command,
        locations: [],
        rawInput: { command, ...(cwd !== this.#options.cwd && { cwd }), ...(more && { env: more }) },
        content: [],
        raw,
        bytes,
        isShownBy: ({ kind, input }) => kind === "execute" && commandOf(input) === command && !more,
        isCoveredBy: ({ kind, command: allowed, rawInput }) =>
          kind === "execute" &&
          allowed === command &&
          cwd === cwdOf(rawInput, this.#options.cwd) &&
          // Variables were not part of what was allowed, or are of what is run.
          !more &&
          !hasVariables(rawInput),
      });
    } finally {
      this.#opening--;
    }
    // The turn may have ended while a person was thinking.
    if (!turn || turn.isCancelling || turn.isOver) {
      allowed.finish("cancelled");
      throw new RpcError(RPC_CODES.internal, "The turn is over");
    }
    return this.#run(given, allowed, params.outputByteLimit ?? OUTPUT_BYTES_MAX);
  }

  async #run(given: Given, allowed: AllowedAct, bytesMax: number): Promise<{ terminalId: string }> {
    this.#count++;
    const terminalId = `terminal-${this.#count}`;
    const child = this.#ports.processes.spawn({
      argv: given.argv,
      cwd: given.startIn,
      env: { ...this.#options.environment, ...given.env },
      // Its own, since ending it must not end the agent; below the attempt's, since ending that must end it.
      spawnId: `${this.#options.spawnId}-t${this.#count}`,
      within: this.#options.spawnId,
      stdin: "none",
      stdout: "pipe",
      stderr: "pipe",
    });
    const output = new OutputTail(Math.min(bytesMax, OUTPUT_BYTES_MAX));
    const read = Promise.all([output.take(child.stdout), output.take(child.stderr)]);
    const terminal: Terminal = {
      child,
      output,
      exit: undefined,
      isKilled: false,
      exited: child.exited.then(async (exit) => {
        // The pipes end at most a second later, whoever holds them.
        await read;
        terminal.exit = statusOf(exit);
        allowed.finish(
          exit.kind === "exited" && exit.code === 0 ? "ok" : terminal.isKilled ? "cancelled" : "failed",
        );
        return terminal.exit;
      }),
    };
    if (child.pid === undefined) {
      const exit = await child.exited;
      await terminal.exited;
      await child.end(0);
      const because = exit.kind === "not_started" ? exit.message : "it did not start";
      throw new RpcError(RPC_CODES.internal, `The command cannot be started: ${because}`);
    }
    this.#terminals.set(terminalId, terminal);
    return { terminalId };
  }

  /** `terminal/output`: what it has printed, its end when that is much, and how it ended if it has. */
  output(terminalId: string): object {
    const { output, exit } = this.#named(terminalId);
    return { ...output.read(), ...(exit && { exitStatus: exit }) };
  }

  /** `terminal/wait_for_exit` */
  waitForExit(terminalId: string): Promise<ExitStatus> {
    return this.#named(terminalId).exited;
  }

  /** `terminal/kill`: ends the command and all that it started; its output stays until it is released. */
  async kill(terminalId: string): Promise<object> {
    await this.#end(this.#named(terminalId));
    return {};
  }

  /** `terminal/release`: ends it if it still runs, and forgets it. */
  async release(terminalId: string): Promise<object> {
    const terminal = this.#named(terminalId);
    this.#terminals.delete(terminalId);
    await this.#end(terminal);
    return {};
  }

  /** Ends what still runs. Outputs stay readable: an agent may ask for one a moment later. */
  async endAll(): Promise<void> {
    await Promise.all([...this.#terminals.values()].map((terminal) => this.#end(terminal)));
  }

  async #end(terminal: Terminal): Promise<void> {
    if (!terminal.exit) terminal.isKilled = true;
    // Also after its exit: what it left running in the background goes with it.
    await terminal.child.end(TERM_MS);
    await terminal.exited;
  }

  #named(terminalId: string): Terminal {
    const terminal = this.#terminals.get(terminalId);
    if (!terminal) throw new RpcError(-32002, `Resource not found: terminal ${terminalId.slice(0, 200)}`);
    return terminal;
  }

  #read({ command: program, args, env, cwd: wanted }: CreateTerminalParams): Given {
    const startIn = wanted ?? this.#options.cwd;
    if (!isAbsolute(startIn) || this.#ports.disk.realPath(startIn) === undefined)
      throw new RpcError(
        RPC_CODES.invalidParams,
        `${startIn.slice(0, 500)} is no folder to run a command in`,
      );
    // Some agents give a whole line as the program.
    const argv: [string, ...string[]] =
      !args?.length && /\s/.test(program) ? ["/bin/sh", "-c", program] : [program, ...(args ?? [])];
    const line = scriptOf(argv) ?? argv.map(quoted).join(" ");
    // One agent changes to its folder in the line itself.
    const [moved = "", folder] = /^cd '((?:\/[^'/]+)+|\/)' && /.exec(line) ?? [];
    const own = Object.fromEntries((env ?? []).map(({ name, value }) => [name, value]));
    const changed = Object.entries(own).filter(
      ([name, value]) => !isPlain(name, value) && this.#options.environment[name] !== value,
    );
    const more = changed.length > 0 ? Object.fromEntries(changed) : undefined;
    // A variable changes what a command means, so it is part of what is decided.
    const prefix = changed.map(([name, value]) => `${name}=${quoted(value)} `).join("");
    return {
      argv,
      env: own,
      startIn,
      cwd: folder ?? startIn,
      command: prefix + line.slice(moved.length),
      more,
    };
  }
}

/** What is run, and what it is called. */
interface Given {
  argv: [string, ...string[]];
  env: Record<string, string>;
  startIn: string;
  /** Where the command itself runs, as far as the line says. */
  cwd: string;
  command: string;
  more: Record<string, string> | undefined;
}

function isPlain(name: string, value: string): boolean {
  return PLAIN_VARIABLES.has(name) || (name === "SHELL" && SHELLS.test(value));
}

/** Whether an input sets variables for its command. */
function hasVariables(input: unknown): boolean {
  const { env, environment } = asRecord(input);
  const given = [env, environment].filter((one) => !isNothing(one));
  return given.some((one) => typeof one !== "object" || Object.keys(one as object).length > 0);
}

function cwdOf(input: unknown, otherwise: string): string {
  const { cwd, workdir } = asRecord(input);
  const named = cwd ?? workdir;
  return typeof named === "string" ? named : otherwise;
}

function statusOf(exit: Exit): ExitStatus {
  if (exit.kind === "exited") return { exitCode: exit.code, signal: null };
  return { exitCode: null, signal: exit.kind === "signalled" ? exit.signal : null };
}

/** The end of what a command prints, both streams as they come. */
class OutputTail {
  readonly #bytesMax: number;
  #parts: Uint8Array[] = [];
  #bytes = 0;
  #truncated = false;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  async take(stream: AsyncIterable<Uint8Array>): Promise<void> {
    try {
      for await (const part of stream) this.#add(part);
    } catch {
      // A pipe that breaks says nothing that the exit does not say better.
    }
  }

  #add(part: Uint8Array): void {
    this.#parts.push(part);
    this.#bytes += part.length;
    if (this.#bytes > this.#bytesMax + OUTPUT_SLACK) this.#cut();
    else if (this.#parts.length > PARTS_MAX) this.#parts = [Buffer.concat(this.#parts)];
  }

  #cut(): void {
    if (this.#bytes <= this.#bytesMax) return;
    const all = Buffer.concat(this.#parts);
    let start = all.length - this.#bytesMax;
    // Not in the middle of a character.
    while (start < all.length && ((all[start] ?? 0) & 0xc0) === 0x80) start++;
    const kept = Buffer.from(all.subarray(start));
    this.#parts = [kept];
    this.#bytes = kept.length;
    this.#truncated = true;
  }

  read(): { output: string; truncated: boolean } {
    this.#cut();
    return { output: Buffer.concat(this.#parts).toString("utf8"), truncated: this.#truncated };
  }
}
