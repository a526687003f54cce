/**
 * The real world: the only module that touches files, processes, the clock and randomness. Cheap to load, because light
 * commands load it too; what only runs things is imported when something runs.
 */
import { spawn as spawnProcess, type ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import fs from "node:fs";
import type { Socket } from "node:net";
import os from "node:os";
import { dirname, join } from "node:path";

import { customAlphabet } from "nanoid";

import type {
  Child,
  Clock,
  Disk,
  Ender,
  Exit,
  FileInfo,
  GuardianNote,
  HeldProcess,
  Log,
  OpenFile,
  ProcessGroup,
  ProcessIdentity,
  Processes,
  Random,
  RunRequest,
  RunResult,
  SpawnRequest,
  World,
} from "./ports.ts";

/** What the world has to know about the process it is made in. */
export interface WorldOptions {
  /** This process's own OMK_SPAWN_ID, there when another omk started it, itself or through others. */
  spawnChain?: string | undefined;
  /** How the guardian is started, and whom to tell when there can be none. Without it nothing guards. */
  guardian?: GuardianOptions | undefined;
}

/** The guardian of a controller: the process that ends what the controller leaves when it dies. */
export interface GuardianOptions {
  /** Program and arguments; asked when the first child is started. */
  argv(): readonly [string, ...string[]];
  /** Called once, when it is given up. */
  tell(line: string): void;
}

/** The machine this process runs on. */
export function createWorld(options: WorldOptions = {}): World {
  const clock = realClock();
  const processes = new RealProcesses(clock, options);
  return { disk: realDisk(), clock, random: realRandom(), processes, openLog };
}

// ---- Disk

const { O_APPEND, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY } = fs.constants;
// Not blocking: a named pipe put where a file is expected would otherwise stop omk for ever.
const OPEN_FLAGS = {
  read: O_RDONLY | O_NOFOLLOW | O_NONBLOCK,
  edit: O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK,
  append: O_WRONLY | O_APPEND | O_NOFOLLOW | O_NONBLOCK,
  create: O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW,
} as const;

const READ_BYTES_MIN = 4_096;

function realDisk(): Disk {
  return {
    readFile(path, bytesMax = Number.POSITIVE_INFINITY) {
      const file = fs.openSync(path, O_RDONLY | O_NONBLOCK);
      try {
        return readBounded(file, path, bytesMax);
      } finally {
        fs.closeSync(file);
      }
    },
    stat(path) {
      try {
        return infoOf(fs.lstatSync(path));
      } catch (error) {
        if (isMissing(error)) return undefined;
        throw error;
      }
    },
    list: (path) => fs.readdirSync(path).sort(byBytes),
    makeFolder(path) {
      fs.mkdirSync(path, 0o700);
      fs.chmodSync(path, 0o700);
    },
    open: (path, how) =>
      openFile(
        how === "create"
          ? createFile(path)
          : how === "append"
            ? openOrCreate(path)
            : fs.openSync(path, OPEN_FLAGS[how]),
      ),
    rename: (from, to) => fs.renameSync(from, to),
    link: (from, to) => fs.linkSync(from, to),
    symbolicLink: (target, path) => fs.symlinkSync(target, path),
    setMode: (path, mode) => fs.chmodSync(path, mode),
    remove: (path) => fs.unlinkSync(path),
    removeFolder: (path) => fs.rmdirSync(path),
    removeTree,
    async syncFolder(path) {
      const folder = fs.openSync(path, O_RDONLY);
      try {
        await sync(folder);
      } finally {
        fs.closeSync(folder);
      }
    },
    realPath(path) {
      try {
        return fs.realpathSync.native(path);
      } catch (error) {
        if (isMissing(error)) return undefined;
        throw error;
      }
    },
    freeBytes(path) {
      const { bavail, bsize } = fs.statfsSync(path);
      return bavail * bsize;
    },
    watch(path, changed) {
      try {
        const watcher = fs.watch(path, { persistent: false }, () => changed());
        watcher.on("error", () => watcher.close());
        return () => watcher.close();
      } catch {
        // The folder is not there, or the system's watches are used up: then nobody is woken early.
        return () => undefined;
      }
    },
    async writeDerived(path, text) {
      const { default: writeFileAtomic } = await import("write-file-atomic");
      makeFolders(dirname(path));
      // write-file-atomic would follow a link and replace what it names, perhaps outside the state folder.
      if (fs.lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true) fs.unlinkSync(path);
      await writeFileAtomic(path, text, { mode: 0o600, fsync: false });
    },
  };
}

/** Removes a folder with all in it; no error when it is not there. */
function removeTree(path: string): void {
  try {
    fs.rmSync(path, { recursive: true, force: true, maxRetries: 3 });
  } catch (error) {
    // Folders can lie deeper than any path can name.
    if (codeOf(error) !== "ENAMETOOLONG") throw error;
    removeDeep(path);
  }
}

/** The same where paths are too long: every folder is moved beside the root before it is emptied, so no path grows. */
function removeDeep(root: string): void {
  const folders = [root];
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (!entry.isDirectory()) {
        fs.unlinkSync(path);
        continue;
      }
      const beside = `${root}.${randomUUID()}.gone`;
      fs.renameSync(path, beside);
      folders.push(beside);
    }
    fs.rmdirSync(folder);
  }
}

/** Makes a folder and what is missing above it. Node's own `recursive` never returns below /proc. */
function makeFolders(path: string): void {
  const missing: string[] = [];
  for (let folder = path; !fs.existsSync(folder) && folder !== dirname(folder); folder = dirname(folder)) {
    missing.push(folder);
  }
  for (const folder of missing.reverse()) {
    try {
      fs.mkdirSync(folder, 0o700);
    } catch (error) {
      if (codeOf(error) !== "EEXIST") throw error; // another process was first, which is as good
    }
  }
}

/** A new file, 0600 whatever the umask. */
function createFile(path: string): number {
  const file = fs.openSync(path, OPEN_FLAGS.create, 0o600);
  fs.fchmodSync(file, 0o600);
  return file;
}

function openOrCreate(path: string): number {
  try {
    return createFile(path);
  } catch (error) {
    if (codeOf(error) !== "EEXIST") throw error;
    return fs.openSync(path, OPEN_FLAGS.append);
  }
}

function openFile(file: number): OpenFile {
  return {
    size: () => fs.fstatSync(file).size,
    modifiedMs: () => fs.fstatSync(file).mtimeMs,
    read: (into, position) => fs.readSync(file, into, 0, into.length, position),
    write: (bytes) => fs.writeSync(file, bytes),
    truncate: (size) => fs.ftruncateSync(file, size),
    sync: () => sync(file),
    close: () => fs.closeSync(file),
  };
}

/** The whole file, whatever size it claims: files grow, and some (`/proc`) say 0. */
function readBounded(file: number, path: string, bytesMax: number): Uint8Array {
  const { size } = fs.fstatSync(file);
  const parts: Buffer[] = [];
  for (let total = 0; ;) {
    if (Math.max(total, size) > bytesMax) throw tooLarge(path, Math.max(total, size), bytesMax);
    // One byte more than is left, so that the end of an ordinary file shows in the first read.
    const part = Buffer.allocUnsafe(Math.max(READ_BYTES_MIN, size - total + 1));
    const count = fs.readSync(file, part, 0, part.length, null);
    if (count > 0) parts.push(part.subarray(0, count));
    total += count;
    if (count === 0 || (count < part.length && total === size)) {
      return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
    }
  }
}

function isMissing(error: unknown): boolean {
  return codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR";
}

function sync(file: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fs.fsync(file, (error) => (error ? reject(error) : resolve()));
  });
}

function infoOf(found: fs.Stats): FileInfo {
  const kind = found.isFile()
    ? "file"
    : found.isDirectory()
      ? "folder"
      : found.isSymbolicLink()
        ? "link"
        : "other";
  const { size, uid, mtimeMs, ino } = found;
  return { kind, size, mode: found.mode & 0o777, uid, modifiedMs: mtimeMs, inode: ino };
}

function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

function tooLarge(path: string, size: number, bytesMax: number): Error {
  const error = new Error(`EFBIG: ${size} bytes, at most ${bytesMax} are read, open '${path}'`);
  return Object.assign(error, { code: "EFBIG", syscall: "open", path });
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}

// ---- Clock and randomness

/** A timer for longer than this fires at once; longer sleeps are several. */
const TIMER_MS_MAX = 2 ** 31 - 1;

function realClock(): Clock {
  return {
    now: () => new Date(),
    monotonicMs: () => performance.now(),
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        if (signal?.aborted === true) {
          reject(signal.reason as Error);
          return;
        }
        let timer: NodeJS.Timeout;
        const wait = (leftMs: number) => {
          const partMs = Math.min(leftMs, TIMER_MS_MAX);
          timer = setTimeout(() => {
            if (leftMs > partMs) {
              wait(leftMs - partMs);
              return;
            }
            signal?.removeEventListener("abort", onAbort);
            resolve();
          }, partMs);
        };
        const onAbort = () => {
          clearTimeout(timer);
          reject(signal?.reason as Error);
        };
        wait(ms);
        signal?.addEventListener("abort", onAbort, { once: true });
      }),
  };
}

function realRandom(): Random {
  const letters = customAlphabet("0123456789abcdefghijklmnopqrstuvwxyz");
  return { uuid: () => randomUUID(), name: (length) => letters(length) };
}

// ---- The log for investigation

async function openLog(path: string): Promise<Log> {
  const { default: pino } = await import("pino");
  makeFolders(dirname(path));
  // Synchronous: a log that is lost when the process dies is of no use to whoever investigates why.
  const destination = pino.destination({ dest: path, sync: true, mode: 0o600 });
  // A full disk is told by whoever writes the truth; without a listener it would end omk from here.
  destination.on("error", () => undefined);
  const logger = pino({ base: { pid: process.pid } }, destination);
  return { write: (level, message) => logger[level](message) };
}

// ---- Processes

const SPAWN_ID = "OMK_SPAWN_ID";
/** A pipe that a descendant holds open delays nothing by more than this. */
const PIPE_GRACE_MS = 1_000;
/** Rounds of looking for processes that bear a spawn id: each kills what it finds, and a killed one can start no other. */
const SWEEPS_MAX = 50;
const SWEEP_PAUSE_MS = 20;
const KILL_WAIT_MS = 5_000;
/** How long a short command that must end may clean up behind itself. */
const TERM_GRACE_MS = 1_000;
const MESSAGE_CHARACTERS_MAX = 1_000;
/** How often a controller starts a guardian: one that dies again and again is not mended by another one. */
const GUARDIANS_MAX = 5;
/** Looks of `killAll`, which has no time to pause between them. */
const KILL_LOOKS_MAX = 3;
const LINUX = process.platform === "linux";

class RealProcesses implements Processes {
  readonly #clock: Clock;
  readonly #groups = new Set<number>();
  readonly #chain: string;
  readonly #held: Held;
  #self: ProcessIdentity | undefined;

  constructor(clock: Clock, { spawnChain = "", guardian }: WorldOptions) {
    this.#clock = clock;
    this.#chain = spawnChain;
    this.#held = new Held(guardian, spawnChain);
  }

  get self(): ProcessIdentity {
    this.#self ??= {
      pid: process.pid,
      start_time: processState(process.pid)?.startTime ?? null,
      boot_id: readProc("/proc/sys/kernel/random/boot_id")?.trim() ?? null,
      pid_namespace: pidNamespace(),
      host: os.hostname(),
    };
    return this.#self;
  }

  liveness(identity: ProcessIdentity): "alive" | "dead" | "unknown" {
    const { self } = this;
    if (identity.host !== self.host) return "unknown";
    if (identity.pid_namespace !== self.pid_namespace) return "unknown";
    if (identity.boot_id !== null && self.boot_id !== null && identity.boot_id !== self.boot_id)
      return "dead";
    if (!LINUX) return isThere(identity.pid) ? "alive" : "dead";
    const found = processState(identity.pid);
    if (!found || found.isZombie) return "dead";
    return identity.start_time === null || identity.start_time === found.startTime ? "alive" : "dead";
  }

  async run(request: RunRequest, signal?: AbortSignal): Promise<RunResult> {
    const { execa } = await import("execa");
    signal?.throwIfAborted();
    const [file, ...args] = request.argv;
    if (request.argv.some((part) => part.includes("\0"))) {
      return emptyRun(
        notStarted(Object.assign(new Error("an argument holds a NUL byte"), { code: "EINVAL" })),
      );
    }
    const briefId = this.#held.expectBrief(request);
    const child = execa(file, args, {
      cwd: request.cwd,
      env: briefId === undefined ? request.env : { ...request.env, [SPAWN_ID]: this.#chained(briefId) },
      extendEnv: false,
      encoding: "buffer",
      stripFinalNewline: false,
      maxBuffer: request.outputBytesMax,
      reject: false,
      detached: true,
      cleanup: false,
      killSignal: "SIGKILL",
      ...(request.stdin ? { input: request.stdin } : { stdin: "ignore" as const }),
    });
    const { pid } = child;
    if (pid !== undefined) {
      this.#groups.add(pid);
      if (briefId !== undefined) this.#held.started(briefId, pid);
    }
    const done = new AbortController();
    let timedOut = false;
    let isEnding = false;
    const kill = () => pid !== undefined && killGroup(pid, "SIGKILL");
    // Asked first: git removes its lock files then, which would otherwise stop every later call.
    const end = () => {
      if (isEnding || pid === undefined || !killGroup(pid, "SIGTERM")) return;
      isEnding = true;
      void this.#clock.sleep(TERM_GRACE_MS, done.signal).then(kill, () => undefined); // it left in time
    };
    // execa only stops listening when there is too much; a child that then falls silent would stay.
    for (const stream of [child.stdout, child.stderr]) {
      let bytes = 0;
      stream.on("data", (part: Uint8Array) => {
        bytes += part.length;
        if (bytes > request.outputBytesMax) kill();
      });
    }
    // execa waits for the pipes too, and a descendant in a session of its own may hold them for ever.
    child.once("exit", () => {
      void this.#clock.sleep(PIPE_GRACE_MS, done.signal).then(
        () => [child.stdout.destroy(), child.stderr.destroy()],
        () => undefined, // the pipes ended by themselves
      );
    });
    signal?.addEventListener("abort", end, { once: true });
    const timer = this.#clock.sleep(request.timeoutMs, done.signal).then(
      () => {
        timedOut = true;
        end();
      },
      () => undefined, // it ended before its deadline
    );
    try {
      const result = await child;
      signal?.throwIfAborted();
      const exit = exitOf(result.exitCode, result.signal, result.failed ? result : undefined);
      // There is no output at all where the system call itself was refused (E2BIG, a folder that is a file).
      if (exit.kind === "not_started") return emptyRun(exit);
      // execa ends only the child itself when there is too much output; what it started goes with its group.
      if (result.isMaxBuffer) kill();
      return {
        exit,
        stdout: result.stdout,
        stderr: Buffer.from(result.stderr).toString("utf8"),
        timedOut,
        truncated: result.isMaxBuffer,
      };
    } finally {
      done.abort();
      await timer;
      if (isEnding) kill(); // what it started may have stayed
      signal?.removeEventListener("abort", end);
      if (pid !== undefined) this.#groups.delete(pid);
      if (briefId !== undefined) await this.#dropBrief(briefId, request);
    }
  }

  /** A short command has ended. */
  async #dropBrief(briefId: string, { endsAll }: Pick<RunRequest, "endsAll">): Promise<void> {
    if (endsAll) {
      this.#held.exited(briefId);
      // What cannot be ended now stays with the guardian.
      if (!(await sweepAll([briefId], this.#clock)).isClean) return;
    }
    this.#held.drop(briefId);
  }

  spawn(request: SpawnRequest): Child {
    const { spawnId, within } = request;
    const spawnChain = this.#chained(within === undefined ? spawnId : `${within},${spawnId}`);
    return new RealChild({ ...request, spawnChain }, this.#clock, this.#groups, this.#held);
  }

  #chained(spawnId: string): string {
    return this.#chain === "" ? spawnId : `${this.#chain},${spawnId}`;
  }

  killAll(): void {
    for (const pid of this.#groups) killGroup(pid, "SIGKILL");
    // Those that left their group are looked for here too: there may be no guardian to do it.
    for (let looks = 0; looks < KILL_LOOKS_MAX; looks++)
      if (endHeld(this.#held.all(), "SIGKILL") === 0) return;
  }

  async sweep(spawnIds: readonly string[]): Promise<number> {
    return (await sweepAll(spawnIds, this.#clock)).ended;
  }
}

/** Kills every process that bears one of these ids, and says whether a last look found none. */
async function sweepAll(
  spawnIds: readonly string[],
  clock: Clock,
): Promise<{ ended: number; isClean: boolean }> {
  const ended = new Set<number>();
  if (!LINUX || spawnIds.length === 0) return { ended: 0, isClean: true };
  for (let round = 0; round < SWEEPS_MAX; round++) {
    const found = processesBearing(new Set(spawnIds));
    if (found.length === 0) return { ended: ended.size, isClean: true };
    for (const pid of found) {
      ended.add(pid);
      signalOne(pid, "SIGKILL");
    }
    await clock.sleep(SWEEP_PAUSE_MS);
  }
  return { ended: ended.size, isClean: false };
}

/**
 * What this process has started and not yet seen to be gone, and the guardian that is told of it. Its stdin is a pipe
 * whose other end only we hold (Node opens it close-on-exec), so that it sees our end however we end; a child that was
 * forked and has not yet become its program holds it too, so nobody can be missed in between.
 */
class Held {
  readonly #options: GuardianOptions | undefined;
  readonly #chain: string;
  readonly #processes = new Map<string, HeldProcess>();
  #guardian: ChildProcess | undefined;
  #starts = 0;

  constructor(options: GuardianOptions | undefined, chain: string) {
    this.#options = options;
    this.#chain = chain;
  }

  all(): HeldProcess[] {
    return [...this.#processes.values()];
  }

  /** Before a child is started: whatever happens from here on, its id is known. */
  expect(spawnId: string): void {
    this.#set({ spawn_id: spawnId, is_brief: false, group: null });
    if (!this.#guardian) this.#start();
  }

  /** The same for a short command. No guardian is started for it, but one that is there ends it too. */
  expectBrief({ endsAll }: Pick<RunRequest, "endsAll">): string | undefined {
    if (!this.#guardian && !endsAll) return undefined;
    const spawnId = `run-${realRandom().name(20)}`;
    this.#set({ spawn_id: spawnId, is_brief: true, group: null });
    return spawnId;
  }

  started(spawnId: string, pid: number): void {
    const held = this.#processes.get(spawnId);
    if (held) this.#set({ ...held, group: groupStarted(pid) });
  }

  /** Its leader ended. What it started may still run. */
  exited(spawnId: string): void {
    const held = this.#processes.get(spawnId);
    if (held?.group) this.#set({ ...held, group: { ...held.group, ended_tick: tickNow() ?? 0 } });
  }

  groupOf(spawnId: string): ProcessGroup | undefined {
    return this.#processes.get(spawnId)?.group ?? undefined;
  }

  /** Nothing of it is left. */
  drop(spawnId: string): void {
    if (this.#processes.delete(spawnId)) this.#tell({ drop: spawnId });
  }

  #set(held: HeldProcess): void {
    this.#processes.set(held.spawn_id, held);
    this.#tell({ hold: held });
  }

  #tell(note: GuardianNote): void {
    // Taken by the kernel before this returns: a pipe that has room is written to at once.
    this.#guardian?.stdin?.write(`${JSON.stringify(note)}\n`);
  }

  #start(): void {
    if (!this.#options || this.#starts >= GUARDIANS_MAX) return;
    this.#starts++;
    let guardian: ChildProcess;
    try {
      const [file, ...args] = this.#options.argv();
      guardian = spawnProcess(file, args, {
        cwd: "/",
        // An omk above us must find our guardian as well.
        env: this.#chain === "" ? {} : { [SPAWN_ID]: this.#chain },
        stdio: ["pipe", "ignore", "ignore"],
        // A session of its own: a Ctrl-C at our terminal is not for the guardian.
        detached: true,
      });
    } catch (error) {
      // No descriptor or no process is left: the next child tries again.
      this.#lost(undefined, error instanceof Error ? error.message : "it cannot be started");
      return;
    }
    this.#guardian = guardian;
    guardian.unref();
    (guardian.stdin as Socket | null)?.unref();
    guardian.stdin?.on("error", () => undefined); // it is gone, and that is told by its exit
    guardian.once("error", (error) => this.#lost(guardian, error.message));
    guardian.once("exit", (code, signal) =>
      this.#lost(guardian, `it ended with ${signal ?? `status ${code}`}`),
    );
    for (const held of this.#processes.values()) this.#tell({ hold: held });
  }

  /** Another one is started at once when there is something to guard. */
  #lost(guardian: ChildProcess | undefined, why: string): void {
    if (this.#guardian !== guardian) return;
    this.#guardian = undefined;
    if (this.#starts < GUARDIANS_MAX) {
      if (guardian && this.#processes.size > 0) this.#start();
    } else if (this.#starts === GUARDIANS_MAX) {
      this.#starts++; // said once
      this.#options?.tell(`nothing ends agents and gates should omk be killed: no guardian runs (${why})`);
    }
  }
}

class RealChild implements Child {
  readonly #child: ChildProcess | undefined;
  readonly #clock: Clock;
  readonly #spawnId: string;
  readonly #held: Held;
  #hasExited = false;
  readonly exited: Promise<Exit>;
  readonly stdout: AsyncIterable<Uint8Array>;
  readonly stderr: AsyncIterable<Uint8Array>;

  constructor(request: SpawnRequest & { spawnChain: string }, clock: Clock, groups: Set<number>, held: Held) {
    this.#clock = clock;
    this.#spawnId = request.spawnId;
    this.#held = held;
    const files: number[] = [];
    const sink = (to: SpawnRequest["stdout"]) => {
      if (to === "pipe") return to;
      const file = createFile(to.file);
      files.push(file);
      return file;
    };
    try {
      const [file, ...args] = request.argv;
      const outputs = [sink(request.stdout), sink(request.stderr)] as const;
      held.expect(request.spawnId);
      this.#child = spawnProcess(file, args, {
        cwd: request.cwd,
        env: { ...request.env, [SPAWN_ID]: request.spawnChain },
        stdio: [request.stdin === "pipe" ? "pipe" : "ignore", ...outputs],
        detached: true,
      });
      this.exited = this.#watch(this.#child, groups);
    } catch (error) {
      // Bad arguments, or no descriptor left: it never ran.
      held.drop(request.spawnId);
      this.exited = Promise.resolve(notStarted(error));
    } finally {
      for (const file of files) fs.closeSync(file);
    }
    this.stdout = this.#bytesOf(this.#child?.stdout);
    this.stderr = this.#bytesOf(this.#child?.stderr);
    // A broken pipe is told to whoever writes; without a listener it would end omk.
    this.#child?.stdin?.on("error", () => undefined);
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  write(bytes: Uint8Array): Promise<void> {
    const stdin = this.#child?.stdin;
    if (!stdin) return Promise.reject(new Error("The child has no stdin."));
    return new Promise((resolve, reject) => {
      stdin.write(bytes, (error) => (error ? reject(error) : resolve()));
    });
  }

  closeStdin(): void {
    this.#child?.stdin?.end();
  }

  async end(graceMs: number): Promise<void> {
    const { pid } = this;
    if (pid !== undefined) {
      if (graceMs > 0 && this.#signalGroup(pid, "SIGTERM")) await this.#groupIsGone(pid, graceMs);
      this.#signalGroup(pid, "SIGKILL");
    }
    const { isClean } = await sweepAll([this.#spawnId], this.#clock);
    // What a device holds, or what multiplies too fast, stays with the guardian.
    if (isClean) this.#held.drop(this.#spawnId);
    // The kernel ends a killed process at once, unless a broken device holds it: that is not waited for.
    await this.#exitWithin(KILL_WAIT_MS);
  }

  /** Signals the group; false when there is nobody. Once its leader was collected, its number may be a stranger's. */
  #signalGroup(pid: number, signal: "SIGTERM" | "SIGKILL"): boolean {
    if (!this.#hasExited || !LINUX) return killGroup(pid, signal);
    const group = this.#held.groupOf(this.#spawnId);
    if (!group) return false; // ended before
    return endGroups([{ spawn_id: this.#spawnId, group }], everybody(), signal).size > 0;
  }

  /** Waits for the leader, then for the others of its group, which were asked at the same time. */
  async #groupIsGone(pid: number, graceMs: number): Promise<void> {
    const until = this.#clock.monotonicMs() + graceMs;
    await this.#exitWithin(graceMs);
    while (groupLives(pid)) {
      const leftMs = until - this.#clock.monotonicMs();
      if (leftMs <= 0) return;
      await this.#clock.sleep(Math.min(SWEEP_PAUSE_MS, leftMs));
    }
  }

  async #exitWithin(ms: number): Promise<void> {
    const over = new AbortController();
    const wait = this.#clock.sleep(ms, over.signal).catch(() => undefined); // it ended in time
    await Promise.race([this.exited, wait]);
    over.abort();
  }

  #watch(child: ChildProcess, groups: Set<number>): Promise<Exit> {
    const { pid } = child;
    if (pid === undefined) {
      this.#held.drop(this.#spawnId);
    } else {
      groups.add(pid);
      this.#held.started(this.#spawnId, pid);
    }
    return new Promise((resolve) => {
      const ended = (exit: Exit) => {
        this.#hasExited = true;
        this.#held.exited(this.#spawnId);
        if (pid !== undefined) groups.delete(pid);
        resolve(exit);
      };
      child.once("error", (error) => pid === undefined && ended(notStarted(error)));
      child.once("exit", (code, signal) => ended(exitOf(code, signal, undefined)));
    });
  }

  /** The bytes of a pipe, with back-pressure; cut off a while after the exit when somebody else still holds it. */
  #bytesOf(stream: ChildProcess["stdout"] | undefined): AsyncIterable<Uint8Array> {
    if (!stream) return nothing();
    // Somebody listens from the start: Node throws away what lies in a pipe that nobody reads when its child exits.
    stream.on("readable", () => undefined);
    const over = new AbortController();
    stream.once("close", () => over.abort());
    void this.exited
      .then(() => this.#clock.sleep(PIPE_GRACE_MS, over.signal))
      .then(
        () => stream.destroy(),
        () => undefined, // the pipe ended by itself, or nobody reads it any more
      );
    return readAll(stream);
  }
}

async function* nothing(): AsyncGenerator<Uint8Array> {}

async function* readAll(stream: NonNullable<ChildProcess["stdout"]>): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of stream) yield chunk as Uint8Array;
  } catch (error) {
    // Cutting it off shows as a premature close; anything else is told.
    if (codeOf(error) !== "ERR_STREAM_PREMATURE_CLOSE") throw error;
  }
}

function emptyRun(exit: Exit): RunResult {
  return { exit, stdout: new Uint8Array(), stderr: "", timedOut: false, truncated: false };
}

function exitOf(code: number | null | undefined, signal: string | null | undefined, failure: unknown): Exit {
  if (typeof code === "number") return { kind: "exited", code };
  if (typeof signal === "string") return { kind: "signalled", signal };
  return notStarted(failure);
}

function notStarted(error: unknown): Exit {
  const code = codeOf(error) ?? (error instanceof Error ? codeOf(error.cause) : undefined);
  const message = error instanceof Error ? error.message : "it could not be started";
  // execa repeats the whole command line, which may be what was too long.
  const told = message.slice(0, MESSAGE_CHARACTERS_MAX);
  return { kind: "not_started", code: typeof code === "string" ? code : "EUNKNOWN", message: told };
}

/** Signals a whole group; false when there is none any more. */
function killGroup(pid: number, signal: "SIGTERM" | "SIGKILL" | 0): boolean {
  try {
    process.kill(-pid, signal);
    return true;
  } catch (error) {
    if (codeOf(error) === "ESRCH" || codeOf(error) === "EPERM") return false;
    throw error;
  }
}

/** Whether anybody of a group still runs: zombies that nobody collects do not. */
function groupLives(group: number): boolean {
  if (!LINUX) return isThere(-group);
  return allPids().some((pid) => {
    const state = processState(pid);
    return state !== undefined && state.group === group && !state.isZombie;
  });
}

function signalOne(pid: number, signal: "SIGTERM" | "SIGKILL" | 0): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    // Gone meanwhile, or another user's: nothing to end.
    if (codeOf(error) !== "ESRCH" && codeOf(error) !== "EPERM") throw error;
  }
}

function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === "EPERM";
  }
}

/** PIDs of living processes whose environment carries one of these spawn ids. */
function processesBearing(spawnIds: ReadonlySet<string>): number[] {
  return allPids().filter(
    (pid) =>
      pid !== process.pid &&
      spawnIdsOf(pid).some((id) => spawnIds.has(id)) &&
      processState(pid)?.isZombie === false,
  );
}

/** The ids a process bears: those of the omk that started it, and of the ones above that one. */
function spawnIdsOf(pid: number): string[] {
  const environment = readProc(`/proc/${pid}/environ`);
  if (environment?.includes(`${SPAWN_ID}=`) !== true) return [];
  const borne = environment.split("\0").find((one) => one.startsWith(`${SPAWN_ID}=`));
  return borne?.slice(SPAWN_ID.length + 1).split(",") ?? [];
}

/** What ends the remains of a process that is gone, for its guardian; with a clock, and without the rest of the world. */
export function createEnder(): { clock: Clock; ender: Ender } {
  return { clock: realClock(), ender: { tick: tickNow, end: endHeld } };
}

/**
 * Signals every process that bears one of the ids, and every group that is certainly one of these; returns how many
 * were found. Without `/proc` there are only the groups whose leader was not seen to end.
 */
function endHeld(held: readonly HeldProcess[], signal: "SIGTERM" | "SIGKILL" | 0): number {
  if (!LINUX) {
    const own = held.filter(({ group }) => group?.ended_tick === null);
    return own.filter(({ group }) => group && killGroup(group.pid, signal)).length;
  }
  if (held.length === 0) return 0;
  const seen = everybody();
  const found = endGroups(held, seen, signal);
  const wanted = new Set(held.map(({ spawn_id }) => spawn_id));
  for (const { pid, isZombie } of seen) {
    if (isZombie || found.has(pid) || !spawnIdsOf(pid).some((id) => wanted.has(id))) continue;
    signalOne(pid, signal);
    found.add(pid);
  }
  return found.size;
}

type Seen = { pid: number; startTime: string; group: number; isZombie: boolean };

/** Every process but this one. */
function everybody(): Seen[] {
  return allPids().flatMap((pid) => {
    const state = pid === process.pid ? undefined : processState(pid);
    return state ? [{ pid, ...state }] : [];
  });
}

/** Signals those groups that are still the ones that were started; returns whom that reached. */
function endGroups(
  held: readonly Pick<HeldProcess, "spawn_id" | "group">[],
  seen: readonly Seen[],
  signal: "SIGTERM" | "SIGKILL" | 0,
): Set<number> {
  const reached = new Set<number>();
  for (const { spawn_id, group } of held) {
    if (!group) continue;
    const members = seen.filter((one) => one.group === group.pid);
    const living = members.filter(({ isZombie }) => !isZombie);
    if (living.length === 0 || !isSameGroup(group, spawn_id, members)) continue;
    killGroup(group.pid, signal);
    for (const { pid } of living) reached.add(pid);
  }
  return reached;
}

/**
 * Whether a group is the one that was started, and not a stranger's that was given the same number later: its number
 * stays taken while any member lives, so a member that started before the leader's end was seen is proof enough.
 */
function isSameGroup(
  { pid: leader, start_time, ended_tick }: ProcessGroup,
  spawnId: string,
  members: readonly Seen[],
): boolean {
  const first = members.find(({ pid }) => pid === leader);
  if (first && start_time !== null) return first.startTime === start_time;
  if (members.some(({ pid }) => spawnIdsOf(pid).includes(spawnId))) return true;
  return (
    start_time !== null &&
    ended_tick !== null &&
    members.some(
      ({ startTime }) => Number(startTime) >= Number(start_time) && Number(startTime) <= ended_tick,
    )
  );
}

/** A group whose leader has just been started and cannot have been collected yet. */
function groupStarted(pid: number): ProcessGroup {
  return { pid, start_time: processState(pid)?.startTime ?? null, ended_tick: null };
}

/** The kernel's time in the units of start times: hundredths of a second since the machine started, on every Linux. */
function tickNow(): number | null {
  const uptime = readProc("/proc/uptime")?.split(" ", 1)[0];
  return uptime === undefined ? null : Math.round(Number(uptime) * 100);
}

function allPids(): number[] {
  const names = fs.readdirSync("/proc");
  return names.filter((name) => /^\d+$/.test(name)).map(Number);
}

/** State, start time and group from `/proc/<pid>/stat`: the name in brackets may hold anything, so fields count from its end. */
function processState(pid: number): { isZombie: boolean; startTime: string; group: number } | undefined {
  const text = readProc(`/proc/${pid}/stat`);
  const fields = text?.slice(text.lastIndexOf(")") + 2).split(" ");
  const [state] = fields ?? [];
  const startTime = fields?.[19];
  if (state === undefined || startTime === undefined) return undefined;
  return { isZombie: state === "Z" || state === "X", startTime, group: Number(fields?.[2]) };
}

function pidNamespace(): string | null {
  try {
    return LINUX ? fs.readlinkSync("/proc/self/ns/pid") : null;
  } catch {
    return null; // a /proc without namespaces: processes are then told apart by host and boot alone
  }
}

function readProc(path: string): string | undefined {
  try {
    return fs.readFileSync(path, "latin1");
  } catch {
    return undefined; // the process is gone, another user's, or this is no Linux
  }
}

// ---- Standard output

/**
 * The process, with its answers written straight to their descriptors: `process.stdout` and `process.stderr` load streams
 * and sockets first, which takes longer than most answers. They are loaded when somebody needs what only they can do.
 */
export function directOutput(given: NodeJS.Process): NodeJS.Process {
  return Object.create(given, {
    stdout: { value: directStream(1, () => given.stdout) },
    stderr: { value: directStream(2, () => given.stderr) },
    on: { value: given.on.bind(given) },
    off: { value: given.off.bind(given) },
  }) as NodeJS.Process;
}

function directStream(descriptor: number, open: () => NodeJS.WriteStream) {
  const listeners: ((error: Error) => void)[] = [];
  let opened: NodeJS.WriteStream | undefined;
  const tell = (error: Error) => {
    for (const listener of listeners) listener(error);
  };
  const stream = (): NodeJS.WriteStream => (opened ??= open().on("error", tell));
  return {
    write(data: string | Uint8Array, written?: (error?: Error | null) => void): boolean {
      if (written) return stream().write(data, written);
      if (opened) return stream().write(data);
      try {
        writeFully(descriptor, Buffer.from(data));
      } catch (error) {
        // A full pipe whose reader is slow: the stream waits for it. Anything else goes to who listens.
        const rest = error instanceof PipeFull ? error.rest : undefined;
        if (rest) return stream().write(rest);
        tell(error as Error);
      }
      return true;
    },
    on: (_event: "error", listener: (error: Error) => void) => listeners.push(listener),
    get columns() {
      return fs.fstatSync(descriptor).isCharacterDevice() ? stream().columns : undefined;
    },
    get isTTY() {
      return fs.fstatSync(descriptor).isCharacterDevice() && stream().isTTY;
    },
  };
}

/** The pipe takes no more for now. */
class PipeFull extends Error {
  readonly rest: Uint8Array;
  constructor(rest: Uint8Array) {
    super("The pipe is full.");
    this.rest = rest;
  }
}

function writeFully(descriptor: number, bytes: Uint8Array): void {
  let rest = bytes;
  while (rest.length > 0) {
    try {
      rest = rest.subarray(fs.writeSync(descriptor, rest));
    } catch (error) {
      if (codeOf(error) === "EAGAIN") throw new PipeFull(rest);
      throw error;
    }
  }
}
