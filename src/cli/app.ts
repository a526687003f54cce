/** What every command is given: the world, the three channels, the signal of Ctrl-C, and the exit status to set. */
import { OmkError, systemCode } from "../errors.ts";
import { renderDocument } from "../format/json.ts";
import { printable } from "../format/printable.ts";
import type { Log, World } from "../ports.ts";
import { untoldFailure } from "../store/files.ts";
import { checkStateFolder, stateRoot } from "../store/state-root.ts";

/** The surroundings of a command line: `process` has them all. */
export interface MainIo {
  readonly stdout: {
    write(text: string): unknown;
    write(bytes: Uint8Array, written: (error?: Error | null) => void): unknown;
    /** The width of a terminal; undefined for anything else. */
    readonly columns?: number | undefined;
    on(event: "error", listener: (error: Error) => void): unknown;
  };
  readonly stderr: {
    write(text: string): unknown;
    readonly isTTY?: boolean | undefined;
    on(event: "error", listener: (error: Error) => void): unknown;
  };
  readonly stdin: AsyncIterable<Uint8Array> & Partial<TerminalInput>;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly execPath: string;
  /** As `process.argv`: its second entry is the script that was started. */
  readonly argv: readonly string[];
  cwd(): string;
  getuid?(): number;
  on(event: "SIGINT" | "SIGTERM" | "SIGHUP", listener: () => void): unknown;
  off(event: "SIGINT" | "SIGTERM" | "SIGHUP", listener: () => void): unknown;
  exit(status: number): unknown;
}

/** What a terminal's stdin has beside its bytes. */
export interface TerminalInput {
  readonly isTTY: boolean | undefined;
  on(event: "data", listener: (bytes: Uint8Array) => void): unknown;
  off(event: "data", listener: (bytes: Uint8Array) => void): unknown;
  resume(): unknown;
  pause(): unknown;
}

/** One run of the command line. */
export interface App {
  readonly io: MainIo;
  readonly world: World;
  /** Fires on the first Ctrl-C (or TERM), with the error that names it; the second one ends the process. */
  readonly signal: AbortSignal;
  readonly output: Output;
  exitStatus: number;
  /** The root of all state. */
  root(): string;
  uid: number | undefined;
  /** The log of this run, for commands that have one. */
  log: Log | undefined;
  /** The command that goes on with what is under way, for a user who interrupts it. */
  resumeWith: string | undefined;
  /** Starts to listen for signals: only commands that work for longer need to. */
  listen(): void;
  stopListening(): void;
  /** The final status: of an error, which is printed, or of what the command set. */
  endStatus(error?: unknown): number;
}

/** Answers on stdout, the story on stderr; untrusted text cannot steer the terminal through either. */
export interface Output {
  /** The answer: the record itself under `--json`, else its rendering. */
  result<T>(record: T, render: (record: T) => string, json: boolean): void;
  text(text: string): void;
  /** One piece of an answer that is too long to be put together; false when nobody reads any more. */
  piece(text: string, json: boolean): Promise<boolean>;
  story(line: string): void;
}

/** Puts one run of the command line together. */
export function createApp(world: World, io: MainIo): App {
  const stop = new AbortController();
  let listening: (() => void)[] = [];
  const onSignal = (name: "SIGINT" | "SIGTERM" | "SIGHUP") => () => {
    const code = name === "SIGINT" ? "interrupted" : "terminated";
    // A terminal that closes may say so twice, from the system and from its shell: that is no second wish.
    if (name === "SIGHUP" && stop.signal.aborted) return;
    const onwards = app.resumeWith === undefined ? "" : `; go on with: ${app.resumeWith}`;
    if (stop.signal.aborted) {
      world.processes.killAll();
      output.story(`ended at once: what was recorded is kept${onwards}`);
      io.exit(new OmkError(code, "").exitStatus);
      return;
    }
    const again = name === "SIGINT" ? "; press Ctrl-C again to end at once" : "";
    output.story(`stopping: what was done is kept${onwards}${again}`);
    stop.abort(new OmkError(code, "Stopped by a signal."));
  };
  const output = createOutput(io);
  let lost: Error | undefined;
  let hasEnded = false;
  // A reader that has gone (`| head`) has all it wants, and what is under way goes on; an answer that no longer fits on
  // the disk is a failure, which may only show after everything else is done.
  io.stderr.on("error", () => undefined);
  io.stdout.on("error", (error) => {
    if (systemCode(error) === "EPIPE") return;
    // The terminal was closed, which is why everything ends.
    if (systemCode(error) === "EIO" && stop.signal.aborted) return;
    lost = error;
    if (hasEnded) io.exit(reportTold(lostAnswer(error), io));
  });
  const app: App = {
    io,
    world,
    signal: stop.signal,
    output,
    exitStatus: 0,
    uid: io.getuid?.(),
    log: undefined,
    resumeWith: undefined,
    root() {
      const root = stateRoot(io.env, world);
      checkStateFolder(root, { disk: world.disk, uid: app.uid });
      return root;
    },
    listen() {
      for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
        const listener = onSignal(name);
        io.on(name, listener);
        listening.push(() => io.off(name, listener));
      }
    },
    stopListening() {
      for (const stopOne of listening) stopOne();
      listening = [];
    },
    endStatus(error) {
      hasEnded = true;
      if (error === undefined && lost) return reportTold(lostAnswer(lost), io);
      if (error !== undefined) {
        app.log?.write(
          "error",
          error instanceof Error ? (error.stack ?? error.message) : JSON.stringify(error),
        );
        return reportError(error, io, stop.signal);
      }
      const { reason } = stop.signal as { reason: unknown };
      const status = stop.signal.aborted && reason instanceof OmkError ? reason.exitStatus : app.exitStatus;
      // 0.5.0 ended with 0 whenever a command had run through, whatever it had found.
      return io.env["OMK_COMPAT"] === "0.5" ? 0 : status;
    },
  };
  return app;
}

function createOutput(io: MainIo): Output {
  return {
    result(record, render, json) {
      io.stdout.write(
        json ? `${escapeJson(renderDocument(record))}\n` : printable(ensureNewline(render(record))),
      );
    },
    text(text) {
      io.stdout.write(printable(ensureNewline(text)));
    },
    piece(text, json) {
      const bytes = Buffer.from(json ? escapeJson(text) : printable(text));
      return new Promise((resolve) => {
        // The listener of stdout's errors tells of a full disk.
        io.stdout.write(bytes, (error) => resolve(!error));
      });
    },
    story(line) {
      io.stderr.write(`${printable(line, { oneLine: true })}\n`);
    },
  };
}

function ensureNewline(text: string): string {
  return text.endsWith("\n") ? text : `${text}\n`;
}

/** Same JSON, with characters that could steer a terminal written as escapes. */
function escapeJson(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Co}\p{Cs}]/gu, (character) =>
    character === "\n"
      ? character
      : [...Array(character.length).keys()]
          .map((at) => `\\u${character.charCodeAt(at).toString(16).padStart(4, "0")}`)
          .join(""),
  );
}

/** Prints an error as what happened, its causes, and what to do next; returns the exit status. */
function reportError(error: unknown, io: MainIo, signal: AbortSignal): number {
  if (isCommanderError(error)) return error.exitCode === 0 ? 0 : 2;
  const reason: unknown = signal.aborted ? signal.reason : undefined;
  if (reason instanceof OmkError && error === reason) return reason.exitStatus;
  const told = error instanceof OmkError ? error : untoldFailure(error);
  if (told) return reportTold(told, io);
  if (reason instanceof OmkError) return reason.exitStatus;
  const what = error instanceof Error ? error.stack : JSON.stringify(error);
  io.stderr.write(`omk: this is a bug, please report it.\n${printable(String(what))}\n`);
  return 70;
}

function lostAnswer(cause: Error): OmkError {
  return new OmkError("state.io", "The answer could not be written to stdout.", {
    cause,
    hint: "What was done is kept: ask again with `omk goal status` or `omk goal show`.",
  });
}

function reportTold(error: OmkError, io: MainIo): number {
  io.stderr.write(`Error: ${printable(error.message)}\n`);
  for (let { cause } = error; cause instanceof Error; { cause } = cause) {
    io.stderr.write(`  because: ${printable(cause.message)}\n`);
  }
  if (error.hint !== undefined) io.stderr.write(`  ${printable(error.hint)}\n`);
  return io.env["OMK_COMPAT"] === "0.5" && error.exitStatus !== 2 ? 1 : error.exitStatus;
}

/** commander prints its own usage errors and then throws. */
function isCommanderError(error: unknown): error is Error & { exitCode: number } {
  return (
    error instanceof Error &&
    "exitCode" in error &&
    "code" in error &&
    String(error.code).startsWith("commander.")
  );
}
