/**
 * How a fresh folder of a goal is made ready for work: what `[setup]` says, else what git ignores in the user's project, as
 * copies of the base have it, else what the lock file asks for.
 */
import { OmkError } from "../errors.ts";
import type { GateDefinition, GateResult } from "../format/gate.ts";
import { setupCommands } from "../gate/setup.ts";
import { runGateSet, type GateSubject } from "../gate/steps.ts";
import { bringIgnored } from "../git/ignored-files.ts";
import type { PrivateGit } from "../git/private-git.ts";
import { workTreeOf, type WorkTree } from "../git/work-tree.ts";
import { gateSet } from "./candidates.ts";
import { change, type GoalPorts, type OpenGoal } from "./open.ts";
import type { Ending } from "./proof.ts";
import { named } from "./named.ts";

/** A folder to be made ready. */
export interface FreshFolder {
  /** The project in it. */
  cwd: string;
  /** The tree of the project that it holds. */
  tree: string;
  /** Tells it from all others of the goal; a part of the names of its logs. */
  name: string;
}

/** What builds write: each folder makes its own, and through a link builds side by side would write into the user's. */
const BUILD_OUTPUT =
  /(?:^|\/)(?:target|build|out|dist|obj|coverage|tmp|temp|logs|\.next|\.nuxt|\.gradle|\.turbo|\.parcel-cache|\.cache)$/;

/** Makes folders ready; several may be under way at once. */
export class SliceSetup {
  readonly #open: OpenGoal;
  readonly #git: PrivateGit;
  readonly #ports: GoalPorts;
  /** The user's project. */
  readonly #project: WorkTree;
  /** The list of what is ignored there, which one at a time makes. */
  #listed: Promise<unknown> = Promise.resolve();
  readonly #told = new Set<string>();

  constructor(open: OpenGoal, git: PrivateGit, ports: GoalPorts) {
    this.#open = open;
    this.#git = git;
    this.#ports = ports;
    this.#project = workTreeOf(git);
  }

  /** `setup.failed` when a command of `[setup]` does. */
  async prepare(folder: FreshFolder, signal: AbortSignal): Promise<void> {
    const { setup } = gateSet(this.#open.goal, this.#open.work);
    const files = await this.#project.files(folder.tree, signal);
    if (setup !== undefined) {
      const failed = await this.#run(setupCommands(setup, files), folder, signal);
      if (failed) throw setupFailed(this.#open.id, failed);
      return;
    }
    if (await this.#bring(folder, signal)) return;
    const failed = await this.#run(setupCommands(undefined, files), folder, signal);
    // Nobody asked for it, and the user's own project has nothing installed either: the gates say what that comes to.
    if (failed)
      this.#ports.tell(`set-up by the lock file failed, and the work goes on without: ${said(failed)}`);
  }

  /** Runs the commands until one fails, which is returned. */
  async #run(
    commands: readonly GateDefinition[],
    { cwd, tree, name }: FreshFolder,
    signal: AbortSignal,
  ): Promise<GateResult | undefined> {
    const open = this.#open;
    for (const [at, command] of commands.entries()) {
      const run = await runGateSet(
        this.#subject(),
        {
          tree,
          where: "worktree",
          cwd,
          name: `${name}-setup-${at + 1}`,
          purpose: "a fresh folder",
          commands: [command],
        },
        this.#ports,
        signal,
      );
      await open.update(() => [
        {
          kind: "folder_prepared",
          actor: "goal-controller",
          payload: { name, tree, run: run.id, passed: run.results.every(({ passed }) => passed) },
          changes: [change("work.json", { evidence: [...open.work.evidence, ...run.evidence] })],
        },
      ]);
      const failed = run.results.find(({ passed }) => !passed);
      if (failed) return failed;
    }
    return undefined;
  }

  /** Brings what git ignores in the user's project; false when there is nothing of that kind. */
  async #bring({ cwd }: FreshFolder, signal: AbortSignal): Promise<boolean> {
    const { root } = this.#project;
    const listed = this.#listed.then(() => this.#project.ignored(signal));
    // Whoever asked learns of a failure; the next one looks again.
    this.#listed = listed.catch(() => undefined);
    const paths = await listed;
    if (paths.length === 0) return false;
    const { ports, searchPath } = this.#git;
    const leftOut: string[] = [];
    const mayLink = (path: string): boolean => {
      const isOutput = BUILD_OUTPUT.test(path);
      if (isOutput) leftOut.push(path);
      return !isOutput;
    };
    const linked = await bringIgnored({ root, folder: cwd, paths, searchPath, mayLink }, ports, signal);
    this.#tellLarge("shared with the project", linked?.paths ?? []);
    this.#tellLarge("left out", leftOut);
    return true;
  }

  /** Says once what becomes of what is too large to copy. */
  #tellLarge(how: string, paths: readonly string[]): void {
    const line = `too large to copy into folders of attempts, so ${how}: ${named(paths)}`;
    if (paths.length === 0 || this.#told.has(line)) return;
    this.#told.add(line);
    this.#ports.tell(`${line}; a [setup] in .omk/gates.toml gives each folder its own`);
  }

  #subject(): GateSubject {
    const open = this.#open;
    return {
      folder: open.folder,
      definitions: [],
      base: undefined,
      baseline: [],
      nextSeq: () => open.journal.nextSeq,
      record: (...events) => open.record(...events),
      tree: this.#project,
    };
  }
}

function said({ command_line, timed_out, exit_code, stderr_summary, stdout_summary }: GateResult): string {
  const how = timed_out ? "took too long" : exit_code === undefined ? "did not run" : `status ${exit_code}`;
  const words = stderr_summary ?? stdout_summary;
  return `${command_line} (${how})${words === undefined ? "" : `: ${words}`}`;
}

function setupFailed(id: string, failed: GateResult): OmkError {
  const log = failed.output_path === undefined ? "" : `; its output is in ${failed.output_path}`;
  return new OmkError("setup.failed", `The set-up of a fresh folder failed: ${said(failed)}${log}.`, {
    hint: `[setup] in .omk/gates.toml says what is run in each folder. Mend what it needs, then run \`omk goal resume ${id}\`.`,
  });
}

/** The ending of a goal whose folders cannot be made ready; undefined for any other failure. */
export function setupEnding(error: unknown): Ending | undefined {
  if (!(error instanceof OmkError) || error.code !== "setup.failed") return undefined;
  const reason = `${error.message.replace(/\.$/, "")}; ${error.hint ?? ""}`;
  return { status: "failed_infra", reasonCode: "setup_failed", reason };
}
