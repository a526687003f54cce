/** Attempts at slices, each in a folder of its own: what is taken, what is not and why, and that nothing of it is lost. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";

import { describe, expect, test } from "vitest";

import type { Engine, EngineEvent, Prompt, Turn } from "../../src/engine/engine.ts";
import type { AttemptTree } from "../../src/git/attempt-tree.ts";
import { factsOf } from "../../src/goal/facts.ts";
import { approvalsOf } from "../../src/goal/approvals.ts";
import { countedAttempts } from "../../src/goal/agent-tasks.ts";
import { recordBase, runBaseline } from "../../src/goal/gate-steps.ts";
import { beginSlice, landSlice, planGoalSlices } from "../../src/goal/land.ts";
import { goalLedger } from "../../src/goal/metering.ts";
import type { GoalPorts, OpenGoal } from "../../src/goal/open.ts";
import { runPlanner } from "../../src/goal/planner.ts";
import { runSliceAttempt } from "../../src/goal/slice-attempt.ts";
import type { SlicedWorkspace } from "../../src/goal/sliced-space.ts";
import { sliceState } from "../../src/goal/slices.ts";
import { ASKING } from "../support/fakes.ts";
import { RealGoals } from "../support/real-goal.ts";

const never = new AbortController().signal;
const usage = { input_tokens: 100, output_tokens: 50, quality: "exact" as const };
const A = "goal-agent-implement-0";
const B = "goal-agent-implement-1";

/** The gate passes as long as no file says `bad`. */
const GATE = '[[gates]]\nname = "clean"\ncommand = "sh"\nargs = ["-c", "! grep -l bad *.txt"]\n';
const FILES = { "a.txt": "a\n", "b.txt": "b\n", "c.txt": "c\n", ".omk/gates.toml": GATE };

/** What an agent does in its turn: its files are below `cwd`. */
type Work = (at: {
  cwd: string;
  prompt: string;
  signal: AbortSignal;
}) => void | Partial<Turn> | Promise<Partial<Turn> | void>;

function planned(id: string, ...write_set: string[]): object {
  return { id, title: `Part ${id}`, description: `All of ${id}.`, acceptance: ["It works."], write_set };
}

class Slices implements AsyncDisposable {
  readonly at: RealGoals;
  open: OpenGoal;
  space: SlicedWorkspace;
  /** What the agents were told, oldest first. */
  readonly prompts: string[] = [];
  readonly live = new Map<string, AttemptTree>();
  #work: Work = () => undefined;

  constructor(at: RealGoals, open: OpenGoal, space: SlicedWorkspace) {
    this.at = at;
    this.open = open;
    this.space = space;
  }

  /** A goal of two parts: the first may write a.txt, the second b.txt. The project may lie below the repository's top. */
  static async of(files: Readonly<Record<string, string>> = FILES, below = ""): Promise<Slices> {
    const at = new RealGoals(files);
    const open = await at.create({ maxAgents: 2, projectDir: path.join(at.project, below) });
    const slices = new Slices(at, open, await at.work(open));
    const { ports } = at;
    await recordBase({ open, space: slices.space, ports, signal: never });
    await slices.space.sliced.show(open.work.slices?.base ?? "", never);
    await runBaseline({ open, space: slices.space, ports, signal: never });
    await runPlanner(open, slices.space, slices.engine(), ports, never);
    await planGoalSlices(open, ports);
    return slices;
  }

  engine(): Engine {
    return {
      name: "scripted",
      capabilities: { ...ASKING, plans: true },
      start: ({ cwd, onEvent }: { cwd: string; onEvent: (event: EngineEvent) => void }) =>
        Promise.resolve({
          id: "s",
          run: async ({ text, meta }: Prompt, signal: AbortSignal): Promise<Turn> => {
            const turn = {
              status: "finished" as const,
              text: "done",
              toolCalls: 1,
              usage,
              proposals: [],
            };
            if (meta.role === "plan") {
              const slices = [planned("a", "a.txt"), planned("b", "b.txt")];
              return { ...turn, text: JSON.stringify({ slices }) };
            }
            this.prompts.push(text);
            onEvent({ kind: "usage", context_tokens: 10, spent: usage } as EngineEvent);
            const said = await this.#work({ cwd, prompt: text, signal });
            return { ...turn, ...said };
          },
          stop: () => Promise.resolve(),
        }),
    } as unknown as Engine;
  }

  /** One attempt at a slice, in which the agent does this. */
  attempt(task: string, work: Work, signal: AbortSignal = never): Promise<void> {
    return this.sideBySide([task], work, signal);
  }

  /** Attempts that share one account; the agent of each does the same. */
  async sideBySide(tasks: readonly string[], work: Work, signal: AbortSignal = never): Promise<void> {
    const { open, at } = this;
    const { ports } = at;
    const ledger = goalLedger(open, ports);
    const before = ledger.spent.tokens;
    this.#work = work;
    const given = { engine: this.engine(), approvals: approvalsOf(open, ports), ledger, live: this.live };
    const attempts = tasks.map(async (task, slot) => {
      const found = open.graph.tasks.find(({ id }) => id === task);
      if (!found) throw new Error(`no task ${task}`);
      await beginSlice(open, this.space.sliced.git, found, never);
      const reservation = ledger.reserve(tasks.length);
      if (!reservation) throw new Error("no budget");
      const number = countedAttempts(open.work, task) + 1;
      const order = { ...given, task, number, worker: `w-${slot}`, reservation };
      return runSliceAttempt(open, this.space, order, ports, signal);
    });
    await Promise.all(attempts);
    expect(ledger.running).toBe(0);
    expect(ledger.spent.tokens - before).toBe(150 * tasks.length);
    expect(this.live.size).toBe(0);
  }

  /** One attempt, of which a kill leaves what lies on the disk when `frozen` is called; then another omk takes over. */
  async killed(task: string, work: Work, when: (frozen: () => void) => void): Promise<void> {
    const { at } = this;
    const left = `${at.folder}-left`;
    const ports = { ...at.ports };
    when(() => {
      if (!fs.existsSync(left)) fs.cpSync(at.folder, left, { recursive: true, verbatimSymlinks: true });
    });
    await this.attempt(task, work);
    Object.assign(at.ports, ports);
    await this.space.release();
    await this.open.close();
    for (const name of fs.readdirSync(left)) {
      fs.rmSync(path.join(at.folder, name), { recursive: true });
      fs.renameSync(path.join(left, name), path.join(at.folder, name));
    }
    fs.rmdirSync(left);
    // Who is dead holds nothing.
    fs.rmSync(path.join(this.open.folder, "controller"), { recursive: true });
    fs.rmSync(path.join(at.folder, "state", "projects"), { recursive: true });
    this.open = await at.takeOver(this.open);
    this.space = await at.work(this.open);
  }

  /** Calls right before, or after, an event of a kind is in the log. */
  around(kind: string, { before, after }: { before?: () => void; after?: () => void }): void {
    const { open } = this;
    const update = open.update.bind(open);
    open.update = async (changes) => {
      let isIt = false;
      const written = await update(() => {
        const events = changes();
        isIt = events.some((event) => event.kind === kind);
        if (isIt) before?.();
        return events;
      });
      if (isIt) after?.();
      return written;
    };
  }

  /** Calls when gates, or commands of set-up, have run and nothing of it is in the log. */
  whenRun(after: () => void): void {
    const { ports } = this.at;
    const before = { ...ports };
    const runGates: GoalPorts["runGates"] = async (run, signal) => {
      const results = await before.runGates(run, signal);
      after();
      return results;
    };
    Object.assign(ports, { runGates });
  }

  get last() {
    return this.open.work.attempts.at(-1);
  }

  /** The files of a commit of the private directory. */
  filesOf(commit: string | null | undefined): Record<string, string> {
    const git = (...args: string[]): string => this.at.git(`--git-dir=${this.open.folder}/git`, ...args);
    const names = git("ls-tree", "-r", "--name-only", commit ?? "")
      .trim()
      .split("\n");
    return Object.fromEntries(names.map((name) => [name, git("show", `${commit}:${name}`)]));
  }

  folders(): string[] {
    const folder = path.join(this.open.folder, "worktrees");
    return fs.existsSync(folder) ? fs.readdirSync(folder) : [];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.space.release();
    await this.open.close();
    this.at[Symbol.dispose]();
  }
}

function write(cwd: string, files: Readonly<Record<string, string | null>>): void {
  for (const [name, text] of Object.entries(files)) {
    const file = path.join(cwd, name);
    if (text === null) fs.rmSync(file, { recursive: true });
    else {
      fs.mkdirSync(path.dirname(file), { recursive: true });
      fs.writeFileSync(file, text);
    }
  }
}

function gitIn(cwd: string, ...args: string[]): void {
  const who = ["-c", "user.name=agent", "-c", "user.email=agent@example.org"];
  execFileSync("git", [...who, ...args], { cwd, stdio: "ignore" });
}

describe("an attempt at a slice", () => {
  test("whose result holds is taken as a commit on its branch, and its folder is gone", async () => {
    await using slices = await Slices.of();
    const { at, open } = slices;
    const before = at.users();
    const active = open.work.active_ms;
    await slices.attempt(A, ({ cwd, prompt }) => {
      expect(prompt).toContain("a git worktree of your own");
      expect([...slices.live.keys()]).toEqual([A]);
      expect(at.gitIn(cwd, "rev-parse", "--abbrev-ref", "HEAD").trim()).toBe(
        sliceState(open.work, A)?.branch,
      );
      write(cwd, { "a.txt": "changed\n" });
    });
    const state = sliceState(open.work, A);
    expect(state).toMatchObject({ fence: slices.last?.fence, rounds: [], landed: null });
    expect(slices.filesOf(state?.commit)).toEqual({ ...FILES, "a.txt": "changed\n" });
    const git = (...args: string[]): string => at.git(`--git-dir=${open.folder}/git`, ...args).trim();
    expect(git("rev-parse", state?.branch ?? "")).toBe(state?.commit);
    expect(git("log", "-1", "--format=%B", state?.commit ?? "")).toBe(
      `[omk-slice] ${open.id} / ${A}\n\nWrite scope: a.txt`,
    );
    expect(git("rev-parse", `${state?.commit}^`)).toBe(open.work.slices?.base);
    expect(slices.last).toMatchObject({
      outcome: "finished",
      start_commit: open.work.slices?.base,
      gates: { results: [{ name: "clean", verdict: "passed" }] },
      usage: { input_tokens: 100 },
    });
    expect(at.git("rev-parse", `refs/omk/rescue/${open.id}/${A}-${slices.last?.fence}`).trim()).toBe(
      slices.last?.rescue?.commit,
    );
    expect(open.graph.tasks.find(({ id }) => id === A)?.status).toBe("done");
    expect(slices.folders()).toEqual([]);
    expect(at.users()).toEqual(before);
    const kept = open.work.evidence.map(({ path: name }) => name).join("\n");
    expect(kept).toContain(`artifacts/agent-runs/${A}/${slices.last?.fence}/mutation.diff`);
    expect(kept).toContain(`slice-${slices.last?.fence}/gate-01-clean.log`);
    // The time is the pool's to count: attempts side by side have but one.
    expect(open.work.active_ms).toBe(active);
  });

  test("that changed what is not its own is not taken: the next begins anew and is told", async () => {
    await using slices = await Slices.of();
    const { open } = slices;
    await slices.attempt(A, ({ cwd }) =>
      write(cwd, { "a.txt": "first\n", "c.txt": "strayed\n", "new.test.js": "free\n" }),
    );
    expect(slices.last).toMatchObject({
      outcome: "rejected",
      outcome_code: "write_set_violated",
      counted: true,
    });
    expect(slices.last?.gates).toBeUndefined();
    expect(sliceState(open.work, A)).toMatchObject({ commit: null, rounds: [{ number: 1 }] });
    expect(slices.filesOf(slices.last?.rescue?.commit)).toHaveProperty(["c.txt"], "strayed\n");
    await slices.attempt(A, ({ cwd }) => {
      expect(slices.at.files(cwd)).toEqual(FILES);
      write(cwd, { "a.txt": "second\n" });
    });
    expect(slices.prompts[1]).toContain("not yours to change. Leave them as they are:\n\n- `c.txt`");
    expect(slices.prompts[1]).toContain("you begin anew");
    expect(slices.last?.number).toBe(2);
    expect(slices.filesOf(sliceState(open.work, A)?.commit)).toEqual({ ...FILES, "a.txt": "second\n" });
  });

  test("with red gates goes on with its files, and every round is told to all that follow", async () => {
    await using slices = await Slices.of();
    const { open } = slices;
    await slices.attempt(A, ({ cwd }) => write(cwd, { "a.txt": "bad one\n", "a.test.js": "one\n" }));
    expect(slices.last).toMatchObject({ outcome_code: "gates_red", counted: true });
    await slices.attempt(A, ({ cwd }) => {
      expect(fs.readFileSync(path.join(cwd, "a.test.js"), "utf8")).toBe("one\n");
      write(cwd, { "a.txt": "bad two\n" });
    });
    expect(slices.prompts[1]).toContain("Gate clean");
    expect(slices.prompts[1]).toContain("is in your files again");
    // What crashed says nothing about the files: they are those that the gates saw last.
    await slices.attempt(A, ({ cwd }) => {
      write(cwd, { "a.txt": "half-written\n" });
      return { status: "failed", failure: { class: "crashed", message: "it fell over", retryable: true } };
    });
    expect(slices.last).toMatchObject({ outcome: "failed", outcome_code: "crashed", counted: true });
    await slices.attempt(A, ({ cwd }) => {
      expect(fs.readFileSync(path.join(cwd, "a.txt"), "utf8")).toBe("bad two\n");
      write(cwd, { "a.txt": "good\n" });
    });
    const [, , , told = ""] = slices.prompts;
    for (const part of ["attempt 1\n\nGate clean", "attempt 2\n\nGate clean", "it fell over"])
      expect(told).toContain(part);
    expect(told.indexOf("attempt 2")).toBeGreaterThan(told.indexOf("attempt 1"));
    expect(slices.filesOf(sliceState(open.work, A)?.commit)).toEqual({
      ...FILES,
      "a.txt": "good\n",
      "a.test.js": "one\n",
    });
    expect(slices.folders()).toEqual([]);
  });

  test("whose agent mends an installed package that all share is not taken, counts, and the next is told", async () => {
    await using slices = await Slices.of({ ...FILES, ".gitignore": "node_modules/\n" });
    const { at, open } = slices;
    const dep = "node_modules/dep/index.js";
    at.write(at.project, { [dep]: "old\n", "node_modules/large.bin": "" });
    // A hole takes no room, but is too large to be copied.
    fs.truncateSync(path.join(at.project, "node_modules/large.bin"), 3 * 1024 ** 3);
    await slices.attempt(A, ({ cwd }) => write(cwd, { "a.txt": "done\n", [dep]: "mended\n" }));
    expect(slices.last).toMatchObject({ outcome: "rejected", outcome_code: "linked_changed", counted: true });
    expect(open.work.surroundings?.changed).toEqual([dep]);
    expect(at.told.join("\n")).toMatch(/files of yours were changed in .*: node_modules\/dep\/index\.js/);
    await slices.attempt(A, ({ cwd, prompt }) => {
      expect(prompt).toContain(`- \`${dep}\``);
      write(cwd, { "a.txt": "done\n" });
    });
    // What is changed already is no fault of this one; what became of the goal is for a person to say.
    expect(slices.last).toMatchObject({ outcome: "finished" });
    expect(factsOf(open.goal, open.work, open.graph).linkedChanged).toEqual([dep]);
  });

  test("that only talks is not taken", async () => {
    await using slices = await Slices.of();
    await slices.attempt(A, () => undefined);
    expect(slices.last).toMatchObject({ outcome: "rejected", outcome_code: "nothing_changed" });
  });

  test("whose agent commits, stashes and deletes its repository loses nothing", async () => {
    await using slices = await Slices.of();
    const { open, at } = slices;
    await slices.attempt(A, ({ cwd }) => {
      write(cwd, { "a.txt": "committed\n" });
      gitIn(cwd, "commit", "--all", "--message", "by the agent");
      write(cwd, { "b.txt": "stashed\n" });
      gitIn(cwd, "stash");
    });
    const { commit } = sliceState(open.work, A) ?? {};
    expect(slices.filesOf(commit)).toEqual({ ...FILES, "a.txt": "committed\n" });
    const parents = at.git("rev-parse", `${slices.last?.rescue?.commit}^@`).trim().split("\n");
    const kept = parents.map((parent) => at.git("ls-tree", "-r", "--name-only", parent, "b.txt"));
    expect(kept.length).toBeGreaterThan(2);
    expect(parents.some((parent) => at.git("show", `${parent}:b.txt`) === "stashed\n")).toBe(true);

    await slices.attempt(B, ({ cwd }) => {
      write(cwd, { ".git": null, "b.txt": "without a repository\n" });
    });
    expect(slices.filesOf(sliceState(open.work, B)?.commit)).toEqual({
      ...FILES,
      "b.txt": "without a repository\n",
    });
    expect(slices.folders()).toEqual([]);
  });

  test("that steers git or brings repositories along is refused, and what no tree holds is kept", async () => {
    await using slices = await Slices.of();
    const { open } = slices;
    await slices.attempt(A, ({ cwd }) => {
      write(cwd, { "a.txt": "x\n", ".gitmodules": "x\n", "sub/.GIT/config": "x\n" });
      write(cwd, { "inner/file": "x\n" });
      gitIn(path.join(cwd, "inner"), "init", "--quiet");
      gitIn(path.join(cwd, "inner"), "add", "file");
      gitIn(path.join(cwd, "inner"), "commit", "--quiet", "--message", "inner");
    });
    expect(slices.last).toMatchObject({ outcome: "rejected", outcome_code: "refused_change" });
    const [round] = sliceState(open.work, A)?.rounds ?? [];
    const told = round?.faults.map(({ details }) => details).join("\n");
    for (const name of [".gitmodules", "sub/.GIT/config", "inner"]) expect(told).toContain(`\`${name}\``);
    const [aside] = open.work.slices?.set_aside ?? [];
    expect(fs.readFileSync(path.join(aside?.path ?? "", "inner", "file"), "utf8")).toBe("x\n");
    expect(slices.at.told.join("\n")).toContain(`is kept as ${aside?.path}`);
    expect(slices.folders()).toEqual([]);
  });

  test("that is stopped is not counted, is rescued, and the next goes on with its files", async () => {
    await using slices = await Slices.of();
    const { open } = slices;
    const stop = new AbortController();
    await slices.attempt(
      A,
      ({ cwd }) => {
        write(cwd, { "a.txt": "half\n" });
        stop.abort(new Error("stopped"));
        return { status: "cancelled", text: "" };
      },
      stop.signal,
    );
    expect(slices.last).toMatchObject({ status: "interrupted", counted: false, number: 1 });
    expect(slices.filesOf(slices.last?.rescue?.commit)).toHaveProperty(["a.txt"], "half\n");
    expect(sliceState(open.work, A)?.rounds).toEqual([]);
    await slices.attempt(A, ({ cwd }) => {
      expect(fs.readFileSync(path.join(cwd, "a.txt"), "utf8")).toBe("half\n");
      write(cwd, { "a.txt": "whole\n" });
    });
    expect(slices.last?.number).toBe(1);
    expect(slices.prompts[1]).toContain("interrupted through no fault of its own");
    expect(slices.prompts[1]).toContain("is in your files again");
    expect(slices.filesOf(sliceState(open.work, A)?.commit)).toHaveProperty(["a.txt"], "whole\n");
  });

  test("whose folder cannot be made ends, is not counted, and says why", async () => {
    await using slices = await Slices.of();
    const { open } = slices;
    fs.writeFileSync(path.join(open.folder, "worktrees"), "in the way");
    await expect(slices.attempt(A, () => undefined)).rejects.toThrow(/worktrees/);
    expect(slices.last).toMatchObject({ status: "interrupted", counted: false });
    expect(slices.last?.summary).toBeTruthy();
    expect(slices.prompts).toEqual([]);
    fs.rmSync(path.join(open.folder, "worktrees"));
    await slices.attempt(A, ({ cwd }) => write(cwd, { "a.txt": "done\n" }));
    expect(slices.filesOf(sliceState(open.work, A)?.commit)).toHaveProperty(["a.txt"], "done\n");
  });

  test("takes nothing from its set-up, and what it leaves and cannot be set up is not gone on with", async () => {
    const setup =
      '[[setup]]\ncommand = "sh"\nargs = ["-c", "! grep broken a.txt && echo made > c.txt && echo s > s.txt"]\n';
    await using slices = await Slices.of({ ...FILES, ".omk/gates.toml": `${GATE}\n${setup}` });
    const { open, at } = slices;
    await slices.attempt(A, ({ cwd }) => {
      expect(at.files(cwd)).toMatchObject({ "c.txt": "made\n", "s.txt": "s\n" });
      write(cwd, { "a.txt": "broken and bad\n" });
    });
    expect(slices.last).toMatchObject({ outcome_code: "gates_red" });
    await slices.attempt(A, ({ cwd, prompt }) => {
      expect(fs.readFileSync(path.join(cwd, "a.txt"), "utf8")).toBe("a\n");
      expect(prompt).toContain("you begin anew");
      write(cwd, { "a.txt": "good\n" });
    });
    expect(at.told.join("\n")).toContain("begins anew");
    const expected = { ...FILES, ".omk/gates.toml": `${GATE}\n${setup}`, "a.txt": "good\n" };
    expect(slices.filesOf(sliceState(open.work, A)?.commit)).toEqual(expected);
  });

  test("that is killed or stopped while it is set up is not counted, and what set-up wrote is nobody's", async () => {
    const gates = `${GATE}\n[[setup]]\ncommand = "sh"\nargs = ["-c", "echo made > c.txt"]\n`;
    await using slices = await Slices.of({ ...FILES, ".omk/gates.toml": gates });
    await slices.killed(
      A,
      () => undefined,
      (frozen) => slices.whenRun(frozen),
    );
    expect(slices.last).toMatchObject({ status: "interrupted", counted: false, result_tree: null });
    expect(slices.last).not.toHaveProperty("rescue");
    expect(slices.folders()).toEqual([]);
    const stop = new AbortController();
    const ports = { ...slices.at.ports };
    slices.whenRun(() => stop.abort(new Error("stopped")));
    await expect(slices.attempt(A, () => undefined, stop.signal)).rejects.toThrow("stopped");
    Object.assign(slices.at.ports, ports);
    expect(slices.last).toMatchObject({ status: "interrupted", outcome: "cancelled", counted: false });
    expect(slices.folders()).toEqual([]);
    const told = slices.prompts.length;
    await slices.attempt(A, ({ cwd }) => write(cwd, { "a.txt": "good\n" }));
    expect(slices.last).toMatchObject({ outcome: "finished", number: 1 });
    expect(slices.prompts.length).toBe(told + 1);
    const expected = { ...FILES, ".omk/gates.toml": gates, "a.txt": "good\n" };
    expect(slices.filesOf(sliceState(slices.open.work, A)?.commit)).toEqual(expected);
  });

  test("whose agent takes its folder away is not taken and counts; what lies there is set aside, the next begins anew", async () => {
    await using slices = await Slices.of();
    const { open, at } = slices;
    const before = at.users();
    const inPlace: ((cwd: string) => void)[] = [
      () => undefined,
      (cwd) => fs.symlinkSync(at.project, cwd),
      (cwd) => fs.writeFileSync(cwd, "a file"),
    ];
    for (const put of inPlace) {
      await slices.attempt(A, ({ cwd }) => {
        expect(at.files(cwd)).toEqual(FILES);
        fs.rmSync(cwd, { recursive: true });
        put(cwd);
      });
      expect(slices.last).toMatchObject({
        status: "ended",
        outcome: "rejected",
        outcome_code: "worktree_gone",
        counted: true,
        result_tree: null,
      });
    }
    expect(slices.folders()).toEqual([]);
    const aside = open.work.slices?.set_aside ?? [];
    expect(aside.map(({ path: name }) => fs.lstatSync(name).isSymbolicLink())).toEqual([true, false]);
    expect(at.told.filter((line) => line.includes("is kept as"))).toHaveLength(2);
    expect(at.users()).toEqual(before);
    await slices.attempt(A, ({ cwd }) => {
      write(cwd, { "a.txt": "half\n" });
      fs.rmSync(cwd, { recursive: true });
      return { status: "failed", failure: { class: "crashed", message: "no folder", retryable: true } };
    });
    expect(slices.last).toMatchObject({ outcome: "failed", outcome_code: "crashed", counted: true });
    await slices.attempt(A, ({ cwd }) => write(cwd, { "a.txt": "good\n" }));
    const told = slices.prompts.at(-1) ?? "";
    expect(told.match(/Your current directory was gone/g)).toHaveLength(4);
    expect(told).toContain("no folder");
    expect(told).toContain("you begin anew");
    expect(slices.filesOf(sliceState(open.work, A)?.commit)).toEqual({ ...FILES, "a.txt": "good\n" });
  });
});

test("killed at any moment from the end of its turn on, an attempt is not charged with it, and one commit comes of all", async () => {
  const gates = GATE.replace("! grep", "echo r > report.log; ! grep");
  await using slices = await Slices.of({ ...FILES, ".omk/gates.toml": gates });
  const expected = { ...FILES, ".omk/gates.toml": gates, "a.txt": "mine\n" };
  const rescues = (): string[] =>
    slices.at.git("for-each-ref", "--format=%(refname)", "refs/omk/rescue/").trim().split("\n");
  let before: Record<string, string> = { ...expected, "a.txt": "a\n" };
  const work: Work = ({ cwd }) => {
    expect(slices.at.files(cwd)).toEqual(before);
    write(cwd, { "a.txt": "mine\n" });
    before = expected;
  };
  const moments: ((frozen: () => void) => void)[] = [
    (frozen) => slices.around("worktree_rescued", { before: frozen }),
    (frozen) => slices.around("worktree_rescued", { after: frozen }),
    (frozen) => slices.whenRun(frozen),
    // Its branch names a commit by then that the log does not know.
    (frozen) => slices.around("task_completed", { before: frozen }),
  ];
  for (const [at, moment] of moments.entries()) {
    await slices.killed(A, work, moment);
    expect(slices.last, `moment ${at}`).toMatchObject({ status: "interrupted", counted: false, number: 1 });
    expect(slices.filesOf(slices.last?.rescue?.commit)).toEqual(expected);
    expect(slices.folders()).toEqual([]);
    expect(rescues()).toHaveLength(at + 1);
  }
  await slices.killed(A, work, (frozen) => slices.around("task_completed", { after: frozen }));
  const { work: now } = slices.open;
  expect(slices.last).toMatchObject({ status: "ended", outcome: "finished", number: 1 });
  expect(slices.folders()).toEqual([]);
  expect(rescues()).toHaveLength(moments.length + 1);
  expect(now.slices?.set_aside).toEqual([]);
  const state = sliceState(now, A);
  expect(state?.rounds).toEqual([]);
  expect(slices.filesOf(state?.commit)).toEqual(expected);
  const list = ["rev-list", `${now.slices?.base ?? ""}..refs/heads/${state?.branch ?? ""}`];
  expect(slices.at.git(`--git-dir=${slices.open.folder}/git`, ...list).trim()).toBe(state?.commit);
});

test("attempts side by side end without losing anything of each other", async () => {
  await using slices = await Slices.of();
  const { open } = slices;
  let working = 0;
  let meet = (): void => undefined;
  const both = new Promise<void>((resolve) => (meet = resolve));
  const together: Work = async ({ cwd, prompt }) => {
    const name = prompt.includes("Your part: Part a") ? "a.txt" : "b.txt";
    write(cwd, { [name]: "mine\n" });
    if (++working === 2) meet();
    await both;
  };
  await slices.sideBySide([A, B], together);
  const { ports } = slices.at;
  const states = [A, B].map((id) => sliceState(open.work, id));
  expect(states.map((state) => typeof state?.commit)).toEqual(["string", "string"]);
  expect(open.work.attempts.map(({ task_id, outcome }) => [task_id, outcome])).toEqual([
    [A, "finished"],
    [B, "finished"],
  ]);
  await landSlice(open, slices.space, A, ports);
  await landSlice(open, slices.space, B, ports);
  expect(slices.filesOf(open.work.slices?.head)).toEqual({
    ...FILES,
    "a.txt": "mine\n",
    "b.txt": "mine\n",
  });
});

test("a project below a repository's top is gone on with, and beside it nothing may change", async () => {
  const app = Object.fromEntries(Object.entries(FILES).map(([name, text]) => [`app/${name}`, text]));
  const files = { ...app, "other.txt": "o\n" };
  await using slices = await Slices.of(files, "app");
  const { open } = slices;
  await slices.attempt(A, ({ cwd }) => {
    expect(path.basename(cwd)).toBe("app");
    write(cwd, { "a.txt": "bad\n" });
  });
  expect(slices.last).toMatchObject({ outcome_code: "gates_red" });
  await slices.attempt(A, ({ cwd }) => {
    expect(fs.readFileSync(path.join(cwd, "a.txt"), "utf8")).toBe("bad\n");
    write(cwd, { "a.txt": "good\n", "../other.txt": "changed\n" });
  });
  expect(slices.last).toMatchObject({ outcome_code: "write_set_violated" });
  await slices.attempt(A, ({ cwd }) => write(cwd, { "a.txt": "good\n" }));
  expect(slices.prompts[2]).toContain("- `other.txt`");
  await slices.attempt(B, ({ cwd }) => {
    write(cwd, { "../other.txt": "kept all the same\n" });
    fs.rmSync(cwd, { recursive: true });
    fs.symlinkSync(path.join(slices.at.project, "app"), cwd.replace(/\/$/, ""));
  });
  expect(slices.last).toMatchObject({ outcome_code: "worktree_gone", counted: true });
  expect(slices.filesOf(slices.last?.rescue?.commit)["other.txt"]).toBe("kept all the same\n");
  expect(slices.filesOf(sliceState(open.work, A)?.commit)).toEqual({ ...files, "app/a.txt": "good\n" });
});

test("who solves a conflict is told of it, and leaves no marker behind", async () => {
  await using slices = await Slices.of();
  const { open, at } = slices;
  for (const [task, name] of [
    [A, "a"],
    [B, "b"],
  ] as const)
    await slices.attempt(task, ({ cwd }) =>
      write(cwd, { [`${name}.txt`]: "mine\n", "both.test.js": `${name}\n` }),
    );
  await landSlice(open, slices.space, A, at.ports);
  await landSlice(open, slices.space, B, at.ports);
  const resolver = sliceState(open.work, B)?.conflict?.resolved_by ?? "";
  await planGoalSlices(open, at.ports);
  await slices.attempt(resolver, ({ cwd, prompt }) => {
    expect(prompt).toContain("merged before:\n\n- Part a\n\nOn the other side:\n\n- Part b");
    expect(prompt).toContain("- `both.test.js`");
    expect(prompt).toContain("CONFLICT (");
    expect(fs.readFileSync(path.join(cwd, "both.test.js"), "utf8")).toMatch(/^<{7} /);
    fs.appendFileSync(path.join(cwd, "both.test.js"), "more\n");
  });
  expect(slices.last).toMatchObject({ outcome: "rejected", outcome_code: "conflict_left" });
  await slices.attempt(resolver, ({ cwd }) => write(cwd, { "both.test.js": "a\nb\n" }));
  expect(slices.prompts.at(-1)).toContain("Markers of the conflict are left");
  await landSlice(open, slices.space, resolver, at.ports);
  expect(slices.filesOf(open.work.slices?.head)).toEqual({
    ...FILES,
    "a.txt": "mine\n",
    "b.txt": "mine\n",
    "both.test.js": "a\nb\n",
  });
});
