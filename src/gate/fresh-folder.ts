/**
 * How fresh folders are made ready for work: what `[setup]` says, else what git ignores in the user's project, as copies of
 * the base have it, else what the lock file asks for.
 */
import { OmkError } from "../errors.ts";
import type { GateDefinition, GateResult, SetupCommand } from "../format/gate.ts";
import { named } from "../format/named.ts";
import { bringIgnored, type CopyLimits } from "../git/ignored-files.ts";
import type { WorkTree } from "../git/work-tree.ts";
import type { Processes } from "../ports.ts";
import { setupCommands } from "./setup.ts";
import { SurroundingsWatch, type SurroundingsLog } from "./surroundings.ts";
import { runGateSet, type GateSetRun, type GateStepPorts, type GateSubject } from "./steps.ts";

/** A folder to be made ready. */
export interface FreshFolder {
  /** The project in it. */
  cwd: string;
  /** The tree of the project that it holds. */
  tree: string;
  /** Tells it from all others of the goal or run; a part of the names of its logs. */
  name: string;
  /** Whether the gates that run there decide about a result of the goal or run. */
  decides?: boolean;
}

/** That a command of its set-up ran in a folder, as the log says it. */
export interface PreparedFolder {
  name: string;
  tree: string;
  /** The run of the command. */
  run: string;
  passed: boolean;
}

/** Whose folders they are. */
interface Owner {
  /** Where it is kept what was run. */
  log: Pick<GateSubject, "folder" | "nextSeq" | "record">;
  /** What `[setup]` says by now: a person may have let a change of it pass. */
  setup(): readonly SetupCommand[] | undefined;
  /** The user's own directory. */
  project: WorkTree;
  /** The `PATH` on which `cp` is found. */
  searchPath: string;
  /** The command that goes on when what the set-up needs was mended. */
  resume: string;
  /** Writes down that a command ran in a folder, and its log; for several folders at once. */
  recordRun(prepared: PreparedFolder, logs: GateSetRun["evidence"]): Promise<void>;
  /** Another name of the project directory: as the user wrote it, with links. */
  alsoNamed?: string;
  /** Where it is kept what of the project reaches into the folders. */
  surroundings?: SurroundingsLog;
}

/** More than for a checkout that gates run in once: a folder is made for a turn, which takes minutes. */
const LIMITS: CopyLimits = { entries: 100_000, bytes: 2 * 1024 * 1024 * 1024 };
/** Of the room that is left on the disk no more than this is taken for one folder. */
const SHARE_OF_FREE = 1 / 8;

/** What builds write: each folder makes its own, and through a link builds side by side would write into the user's. */
const BUILD_OUTPUT =
  /(?:^|\/)(?:target|build|out|dist|obj|coverage|tmp|temp|logs|\.next|\.nuxt|\.gradle|\.turbo|\.parcel-cache|\.cache)$/;

/** Makes folders ready; several may be under way at once. */
export class FreshFolders {
  readonly #owner: Owner;
  readonly #ports: GateStepPorts & { processes: Pick<Processes, "run"> };
  /** The list of what is ignored in the project, which one at a time makes. */
  #listed: Promise<unknown> = Promise.resolve();
  readonly #told = new Set<string>();
  /** What of the project reaches into the folders. */
  readonly surroundings: SurroundingsWatch;

  constructor(owner: Owner, ports: GateStepPorts & { processes: Pick<Processes, "run"> }) {
    this.#owner = owner;
    this.#ports = ports;
    const { alsoNamed, project, surroundings } = owner;
    const names = alsoNamed === undefined ? [] : [alsoNamed];
    this.surroundings = new SurroundingsWatch({ root: project.root, alsoNamed: names }, ports, surroundings);
  }

  /** `setup.failed` when a command of `[setup]` does. */
  async prepare(folder: FreshFolder, signal: AbortSignal): Promise<void> {
    const { project, resume } = this.#owner;
    const setup = this.#owner.setup();
    if (setup) {
      const failed = await this.#run(setupCommands(setup, []), folder, signal);
      if (failed) throw setupFailed(failed, resume);
      if (folder.decides === true) await this.surroundings.nothing();
      return;
    }
    if (await this.#bring(folder, signal)) return;
    if (folder.decides === true) await this.surroundings.nothing();
    const commands = setupCommands(undefined, await project.files(folder.tree, signal));
    const failed = await this.#run(commands, folder, signal);
    // Nobody asked for it, and the user's own project has nothing installed either: the gates say what that comes to.
    if (failed)
      this.#ports.tell(`set-up by the lock file failed, and the work goes on without: ${said(failed)}`);
  }

  /** Runs the commands until one fails, which is returned. */
  async #run(
    commands: readonly GateDefinition[],
    folder: FreshFolder,
    signal: AbortSignal,
  ): Promise<GateResult | undefined> {
    const owner = this.#owner;
    const { cwd, tree, name } = folder;
    // These are no gates: what they say is compared with nothing.
    const nothing = { definitions: [], base: undefined, baseline: [] };
    const subject: GateSubject = { ...owner.log, ...nothing, tree: owner.project };
    for (const [at, command] of commands.entries()) {
      const what = { name: `${name}-setup-${at + 1}`, purpose: "a fresh folder", commands: [command] };
      const run = await runGateSet(subject, { tree, where: "worktree", cwd, ...what }, this.#ports, signal);
      const failed = run.results.find(({ passed }) => !passed);
      await owner.recordRun({ name, tree, run: run.id, passed: failed === undefined }, run.evidence);
      if (failed) return failed;
    }
    return undefined;
  }

  /** Brings what git ignores in the user's project; false when there is nothing of that kind. */
  async #bring({ cwd, decides }: FreshFolder, signal: AbortSignal): Promise<boolean> {
    const { project, searchPath } = this.#owner;
    const { disk } = this.#ports;
    const { root } = project;
    const listed = this.#listed.then(() => project.ignored(signal));
    // Whoever asked learns of a failure; the next one looks again.
    this.#listed = listed.catch(() => undefined);
    const paths = await listed;
    if (paths.length === 0) return false;
    const leftOut: string[] = [];
    const mayLink = (path: string): boolean => {
      const isOutput = BUILD_OUTPUT.test(path);
      if (isOutput) leftOut.push(path);
      return !isOutput;
    };
    const bytes = Math.min(LIMITS.bytes, Math.floor(disk.freeBytes(cwd) * SHARE_OF_FREE));
    const request = { root, folder: cwd, paths, searchPath, mayLink };
    const { paths: linked = [] } =
      (await bringIgnored(request, this.#ports, signal, { ...LIMITS, bytes })) ?? {};
    this.#tellLarge("shared with the project", linked);
    this.#tellLarge("left out", leftOut);
    const brought = paths.map((path) => path.replace(/\/$/, "")).filter((path) => !leftOut.includes(path));
    await this.surroundings.brought({ folder: cwd, paths: brought, linked }, decides === true);
    return true;
  }

  /** Says once what becomes of what is too large to copy. */
  #tellLarge(how: string, paths: readonly string[]): void {
    const line = `too large to copy into folders of attempts, so ${how}: ${named(paths)}`;
    if (paths.length === 0 || this.#told.has(line)) return;
    this.#told.add(line);
    this.#ports.tell(`${line}; a [setup] in .omk/gates.toml gives each folder its own`);
  }
}

function said({ command_line, timed_out, exit_code, stderr_summary, stdout_summary }: GateResult): string {
  const how = timed_out ? "took too long" : exit_code === undefined ? "did not run" : `status ${exit_code}`;
  const words = stderr_summary ?? stdout_summary;
  return `${command_line} (${how})${words === undefined ? "" : `: ${words}`}`;
}

function setupFailed(failed: GateResult, resume: string): OmkError {
  const log = failed.output_path === undefined ? "" : `; its output is in ${failed.output_path}`;
  return new OmkError("setup.failed", `The set-up of a fresh folder failed: ${said(failed)}${log}.`, {
    hint: `[setup] in .omk/gates.toml says what is run in each folder. Mend what it needs, then run \`${resume}\`.`,
  });
}
