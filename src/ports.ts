/**
 * The world as the runtime sees it. `world.ts` holds the real one; tests bring their own: a simulated disk that
 * forgets what was not synced, a clock that stands still, ids that count.
 */

/** What lies at a path. Links are never followed when asking. */
export interface FileInfo {
  kind: "file" | "folder" | "link" | "other";
  size: number;
  /** Permission bits only, e.g. 0o700. */
  mode: number;
  uid: number;
  modifiedMs: number;
  inode: number;
}

/**
 * Files. Everything but the syncs is synchronous: it only reaches the page cache, and one order of operations is
 * what makes crash states enumerable. Syncs take milliseconds, so they never block the loop.
 *
 * A failed operation throws a Node system error (`code` is `ENOENT`, `ENOSPC`, …, `path` and `syscall` are set).
 */
export interface Disk {
  /** The whole file. Throws code `EFBIG` when it is larger than `bytesMax`. */
  readFile(path: string, bytesMax?: number): Uint8Array;
  /** What lies there, or undefined when nothing does. */
  stat(path: string): FileInfo | undefined;
  /** Names in a folder, in byte order. */
  list(path: string): string[];
  /** Makes one folder, mode 0700 whatever the umask. Throws `EEXIST` when the name is taken. */
  makeFolder(path: string): void;
  /**
   * Opens a file without following a link at its last component. `create` makes it (0600) and throws `EEXIST` when the
   * name is taken; `append` makes it when missing; `edit` opens an existing one for reading, appending and truncating.
   */
  open(path: string, how: "read" | "edit" | "append" | "create"): OpenFile;
  rename(from: string, to: string): void;
  /** A second name for the same file; throws `EEXIST` when the name is taken. */
  link(from: string, to: string): void;
  /** Makes a symbolic link at `path`; throws `EEXIST` when the name is taken. Only for temporary checkouts. */
  symbolicLink(target: string, path: string): void;
  /** Sets the permission bits of what lies at a path; a link is followed. Not promised to survive power loss. */
  setMode(path: string, mode: number): void;
  /** Removes a name of a file. */
  remove(path: string): void;
  removeFolder(path: string): void;
  /** Removes a folder and everything below, following no link. Nothing there is fine. */
  removeTree(path: string): void;
  /** Makes names made, replaced or removed in this folder survive power loss. */
  syncFolder(path: string): Promise<void>;
  /** The path without links, or undefined when nothing is there. */
  realPath(path: string): string | undefined;
  /**
   * Calls `changed` soon after a name in this folder came or went, until the answer is called. Best effort: where a folder
   * cannot be watched nothing is ever called, so whoever waits also looks by himself now and then.
   */
  watch(path: string, changed: () => void): () => void;
  /** Bytes that an ordinary user can still write on the file system of this path. */
  freeBytes(path: string): number;
  /** Replaces a file that can be made again from others (rendered Markdown): atomic, but not promised to survive. */
  writeDerived(path: string, text: string): Promise<void>;
}

/** An open file. Close it; nothing else does. */
export interface OpenFile {
  size(): number;
  modifiedMs(): number;
  /** Reads at a position; fewer bytes than asked, 0 at the end. */
  read(into: Uint8Array, position: number): number;
  /** Writes at the end and returns how many bytes were taken, which may be fewer than given. */
  write(bytes: Uint8Array): number;
  truncate(size: number): void;
  /** Makes bytes and size survive power loss. */
  sync(): Promise<void>;
  close(): void;
}

/** Time. `now` is for stamps that people read; only `monotonicMs` measures. */
export interface Clock {
  now(): Date;
  monotonicMs(): number;
  /** Resolves after that long; rejects with the signal's reason when it is aborted first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export interface Random {
  /** A version 4 UUID. */
  uuid(): string;
  /** Lower-case letters and digits, for names of files and processes. */
  name(length: number): string;
}

/** Who a process is: a PID alone may name another process later. */
export interface ProcessIdentity {
  pid: number;
  /** Start time in the kernel's own units, or null where it cannot be known. */
  start_time: string | null;
  boot_id: string | null;
  pid_namespace: string | null;
  host: string;
}

/** How a process ended. */
export type Exit =
  | { kind: "exited"; code: number }
  | { kind: "signalled"; signal: string }
  /** It never ran: `code` is the system's error code, e.g. `ENOENT`. */
  | { kind: "not_started"; code: string; message: string };

export interface SpawnRequest {
  /** Program and arguments; never a shell string made from data. */
  argv: readonly [string, ...string[]];
  cwd: string;
  /** The whole environment: nothing is inherited. */
  env: Readonly<Record<string, string>>;
  /**
   * A random name put into the environment as OMK_SPAWN_ID, by which every descendant can be found. Where this process was
   * itself started by an omk, the variable holds a chain: the ids it bears, a comma, and this one.
   */
  spawnId: string;
  /** The spawn id of the attempt that it belongs to: it bears that as well, so what ends the attempt ends it, too. */
  within?: string;
  stdin: "pipe" | "none";
  /** A pipe to read, or a file (made, 0600) that the child writes to without our help. */
  stdout: "pipe" | { file: string };
  stderr: "pipe" | { file: string };
}

/** A running child, leader of its own process group. */
export interface Child {
  readonly pid: number | undefined;
  /** Writes to the child's stdin; resolves when it was taken, rejects when the pipe is broken. */
  write(bytes: Uint8Array): Promise<void>;
  closeStdin(): void;
  /** Bytes as they come, with back-pressure. Ends at most 1 s after the child's exit, whoever holds the pipe. */
  readonly stdout: AsyncIterable<Uint8Array>;
  readonly stderr: AsyncIterable<Uint8Array>;
  readonly exited: Promise<Exit>;
  /**
   * Ends the whole tree: TERM to the group, after `graceMs` KILL, then every process that bears the spawn id.
   * Resolves when nothing of it is left.
   */
  end(graceMs: number): Promise<void>;
}

export interface RunRequest {
  argv: readonly [string, ...string[]];
  cwd: string;
  env: Readonly<Record<string, string>>;
  stdin?: Uint8Array;
  timeoutMs: number;
  /** More output than this ends the child; `truncated` is then true. */
  outputBytesMax: number;
  /**
   * Nothing that it starts outlives it, wherever that went: for programs of others. Not for git, which tidies up the user's
   * repository in the background.
   */
  endsAll?: true;
}

export interface RunResult {
  exit: Exit;
  stdout: Uint8Array;
  stderr: string;
  timedOut: boolean;
  truncated: boolean;
}

export interface Processes {
  readonly self: ProcessIdentity;
  /** Whether that process still runs; `unknown` when it lives on another host or in another PID namespace. */
  liveness(identity: ProcessIdentity): "alive" | "dead" | "unknown";
  /** Runs a short command to its end with its output in memory: git, version probes. */
  run(request: RunRequest, signal?: AbortSignal): Promise<RunResult>;
  /** Starts a child that lives longer: an agent, a gate. Never throws: a failure to start is its `exited`. */
  spawn(request: SpawnRequest): Child;
  /** Kills all children that still run, and all they started, at once: for the user's second Ctrl-C. */
  killAll(): void;
  /** Kills every process that bears one of these spawn ids, alone or in a chain, and returns how many there were. */
  sweep(spawnIds: readonly string[]): Promise<number>;
}

/** A process group, with what tells it from a later one that was given its number. */
export interface ProcessGroup {
  /** The number of the group and of its leader. */
  pid: number;
  /** When its leader started, in the kernel's own units, or null where it cannot be known. */
  start_time: string | null;
  /** The kernel's tick in which its leader was known to have ended; null while it runs. */
  ended_tick: number | null;
}

/** What a controller has started and its guardian has to end, should the controller die. */
export interface HeldProcess {
  /** Borne by everything it starts. */
  spawn_id: string;
  /** A short command, which may clean up behind itself. */
  is_brief: boolean;
  /** Null until it runs. */
  group: ProcessGroup | null;
}

/** What a controller tells its guardian, one JSON text a line; `drop` names a spawn id of which nothing is left. */
export type GuardianNote = { hold: HeldProcess } | { drop: string };

/** Ends what a process that is gone has left. */
export interface Ender {
  /** The kernel's tick now, or null where there is none. */
  tick(): number | null;
  /** One look: signals everything found (0 only looks) and returns how many processes or groups that were. */
  end(held: readonly HeldProcess[], signal: "SIGTERM" | "SIGKILL" | 0): number;
}

/** A log for whoever investigates: lines of JSON in a file, written at once. What happened to a goal is not in it. */
export interface Log {
  write(level: "info" | "error", message: string): void;
}

/** Everything at once, for the one place that puts the runtime together. */
export interface World {
  disk: Disk;
  clock: Clock;
  random: Random;
  processes: Processes;
  /** Opens a log file for appending, making its folder. */
  openLog(path: string): Promise<Log>;
}
