/** `omk team run --isolation worktree`: the built command line, real git, scripted agents in folders of their own. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import { Place } from "../support/cli.ts";
import { repair, runEvents, runFolder, runJson, threeRepaired } from "../support/teams.ts";

const GATE = ["--gate", "right=node check.mjs"];
const RUN = ["team", "run", "3:executor", "Mend it", "--name", "t", "--isolation", "worktree", ...GATE];
const BRANCH = "omk/result/t";

/** Three functions that are wrong, and a gate that says so without starting a test runner. */
const BROKEN: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    ["one", "two", "three"].map((name) => [`${name}.js`, `export const ${name} = () => 0;\n`]),
  ),
  "one.test.js": "// what a test would say\n",
  "check.mjs": [
    'import { readFileSync } from "node:fs";',
    'const wrong = ["one", "two", "three"].filter((name) => readFileSync(`${name}.js`, "utf8").includes("=> 0"));',
    "process.exit(wrong.length);",
    "",
  ].join("\n"),
};

async function place(files: Readonly<Record<string, string>> = BROKEN): Promise<Place> {
  const made = new Place(files);
  await made.commitAll();
  return made;
}

/** Folders of attempts, and the one of the merged result, that are still there. */
function foldersOf(at: Place): string[] {
  const folder = runFolder(at, "t");
  const worktrees = join(folder, "worktrees");
  const left = existsSync(worktrees) ? readdirSync(worktrees) : [];
  return existsSync(join(folder, "stage")) ? [...left, "stage"] : left;
}

/** Steps that go on when all of these tasks have begun: one after another they would wait for ever. */
function together(at: Place, own: string, all: readonly string[]): object[] {
  const mark = (name: string) => join(at.folder, `begun-${name}`);
  return [{ write: mark(own), text: "" }, ...all.map((name) => ({ wait_for: mark(name) }))];
}

/** Waits for a file that an agent writes. */
async function isThere(path: string, running: Promise<unknown>): Promise<void> {
  let isOver = false;
  void running.then(() => (isOver = true));
  while (!existsSync(path)) {
    if (isOver) throw new Error(`omk ended before there was ${path}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe("a team run in folders of its workers' own", () => {
  test("gives a branch with everything, touches nothing of the user's, and leaves no folder", async () => {
    using at = await place({ ...BROKEN, ".gitignore": "installed/\n" });
    at.write({ "notes.txt": "not committed\n", "installed/tool.txt": "a tool\n" });
    const names = ["one", "two", "three"] as const;
    const turns = names.map((name) => ({
      match: { task: `fix-${name}` },
      steps: [
        ...together(at, name, names),
        { run: `pwd > ${at.folder}/where-${name}; cat installed/tool.txt` },
        ...repair(name),
      ],
    }));
    // What a reader leaves in the folder of the merged result is gone before gates look at it.
    const reader = {
      match: { role: "synthesize" },
      steps: [{ write: "one.js", text: BROKEN["one.js"] }, { say: "All are right." }],
    };
    const script = at.script(threeRepaired([...turns, reader]));
    const ran = await at.run(...RUN, "--engine", script);
    expect(ran, ran.stderr).toMatchObject({ status: 0 });
    expect(ran.stderr).toContain("not committed and so not included: notes.txt");
    expect(ran.stdout).toContain(`Branch:  ${BRANCH}\n`);
    expect(ran.stdout).toContain(`Take:    git merge ${BRANCH}\n`);
    const where = names.map((name) => readFileSync(join(at.folder, `where-${name}`), "utf8"));
    expect(new Set(where).size).toBe(3);

    expect(await at.git("status", "--porcelain")).toBe("?? notes.txt\n");
    expect(readFileSync(join(at.project, "one.js"), "utf8")).toBe(BROKEN["one.js"]);
    expect(await at.git("diff", "--name-only", "main", BRANCH)).toBe("one.js\nthree.js\ntwo.js\n");
    expect(foldersOf(at)).toEqual([]);
    const rescued = await at.git("for-each-ref", "--format=%(refname)", "refs/omk/rescue/t");
    for (const name of names) expect(rescued).toMatch(new RegExp(`refs/omk/rescue/t/fix-${name}-\\d+`));

    const proof = runJson(at, "t", "proof.json") as { tasks: object[] };
    expect(proof).toMatchObject({ status: "ready", isolation: "worktree", branch: BRANCH });
    const own = (name: string) => [{ path: `${name}.js`, operation: "modified" }];
    expect(proof.tasks).toMatchObject(names.map((name) => ({ id: `fix-${name}`, changed_files: own(name) })));
    expect(await at.run("proof", "verify", "t")).toMatchObject({ status: 0 });
    expect(readFileSync(join(runFolder(at, "t"), "proof.md"), "utf8")).toContain("| fix-two | two.js |");
    expect(await at.shell(`git merge --quiet --no-edit ${BRANCH} && node check.mjs`)).toBe(0);
  });

  test("tries a result again that does not merge, on what came before it and with what is in the way", async () => {
    const check =
      'import { readFileSync } from "node:fs"; process.exit(/second/.test(readFileSync("list.txt")) ? 0 : 1);';
    using at = await place({ "list.txt": "start\n", "check.mjs": check });
    const tasks = ["first", "second"];
    const subtasks = tasks.map((id) => ({ id, description: `Put ${id} into list.txt.` }));
    const script = {
      turns: [
        { match: { role: "decompose" }, steps: [{ say: JSON.stringify(subtasks) }] },
        { match: { role: "synthesize" }, steps: [{ say: "Both are there." }] },
        {
          match: { role: "work", prompt: "list.txt (git says CONFLICT" },
          steps: [{ write: "list.txt", text: "first\nsecond\n" }, { say: "both now" }],
        },
        ...tasks.map((id) => ({
          match: { task: id, attempt: 1 },
          steps: [
            ...together(at, id, tasks),
            { write: "list.txt", text: `${id}\n` },
            { say: `${id} is there` },
          ],
        })),
      ],
    };
    const ran = await at.run(...RUN, "--engine", at.script(script));
    expect(ran, ran.stderr).toMatchObject({ status: 0 });
    expect(await at.git("show", `${BRANCH}:list.txt`)).toBe("first\nsecond\n");
    const { attempts } = runJson(at, "t", "proof.json") as { attempts: { outcome_code: string | null }[] };
    expect(attempts.map(({ outcome_code: code }) => code ?? "").sort()).toEqual(["", "", "conflict"]);
    const retry = runEvents(at, "t").find(({ kind }) => kind === "task_failed");
    expect(retry?.payload?.["error"]).toContain("does not merge");
    const kept = readdirSync(join(runFolder(at, "t"), "artifacts", "integration"));
    const { task_id: task, fence } = retry?.payload ?? {};
    const name = new RegExp(`^merge-conflict-${String(task)}-${String(fence)}-[0-9a-f]{12}\\.json$`);
    expect(kept).toEqual([expect.stringMatching(name)]);
    expect(await at.run("proof", "verify", "t")).toMatchObject({ status: 0 });
  });

  test("refuses a result that leaves its task's write set, and leaves out what only the set-up wrote", async () => {
    const script = "echo made > made.txt; echo made >> two.js";
    const gate = '[[gates]]\nname = "right"\ncommand = "node"\nargs = ["check.mjs"]\n';
    const setup = `[setup]\ncommands = [["sh", "-c", "${script}"]]\n\n${gate}`;
    using at = await place({ ...BROKEN, ".omk/gates.toml": setup });
    const seen = join(at.folder, "seen");
    const strayed = {
      match: { task: "fix-two", attempt: 1 },
      steps: [
        ...repair("two"),
        { run: `cp made.txt ${seen}` },
        { write: "one.test.js", text: "" },
        { say: "done" },
      ],
    };
    const told = {
      match: { task: "fix-two", prompt: "it changed one.test.js, and may only write two.js" },
      steps: repair("two"),
    };
    const ran = await at.run(...RUN, "--engine", at.script(threeRepaired([strayed, told])));
    expect(ran, ran.stderr).toMatchObject({ status: 0 });
    expect(await at.git("diff", "--name-only", "main", BRANCH)).toBe("one.js\nthree.js\ntwo.js\n");
    expect(readFileSync(seen, "utf8")).toBe("made\n");
    // What the agent has changed as well is its own, all of it.
    expect(await at.git("show", `${BRANCH}:two.js`)).toBe("export const two = () => 2;\nmade\n");
    const { retries } = runJson(at, "t", "proof.json") as { retries: { task_id: string }[] };
    expect(retries.map(({ task_id }) => task_id)).toEqual(["fix-two"]);
  });

  test("goes on after a kill with what was done, and with the files of what was not", async () => {
    using at = await place();
    const ready = join(at.folder, "two-has-begun");
    const turns = [
      {
        match: { task: "fix-two", prompt: "Its files are here as it left them." },
        steps: [{ say: "it was done already" }],
      },
      {
        match: { task: "fix-two" },
        steps: [...repair("two"), { write: ready, text: "" }, { hang: true }],
      },
    ];
    const running = at.start(...RUN, "--engine", at.script(threeRepaired(turns)));
    await Promise.all([running.says("fix-one done"), running.says("fix-three done")]);
    await isThere(ready, running.ended);
    running.child.kill("SIGKILL");
    expect(await running.ended).toMatchObject({ signal: "SIGKILL" });
    expect(foldersOf(at)).toContainEqual(expect.stringMatching(/^team-t-fix-two-/));
    // What is nowhere else yet is not cleaned away.
    const spared = await at.run("team", "cleanup", "--all");
    expect(spared.stdout).toContain("is not saved yet: omk team shutdown t does that");

    const resumed = await at.run("team", "run", "--resume", "--name", "t");
    expect(resumed, resumed.stderr).toMatchObject({ status: 0 });
    expect(await at.git("diff", "--name-only", "main", BRANCH)).toBe("one.js\nthree.js\ntwo.js\n");
    const { attempts } = runJson(at, "t", "proof.json") as {
      attempts: { task_id: string; status: string; rescue?: string }[];
    };
    expect(attempts.map(({ task_id, status }) => `${task_id} ${status}`).toSorted()).toEqual([
      "fix-one ended",
      "fix-three ended",
      "fix-two ended",
      "fix-two interrupted",
    ]);
    for (const { rescue = "none" } of attempts) await at.git("rev-parse", "--verify", rescue);
    expect(foldersOf(at)).toEqual([]);
    expect(await at.run("proof", "verify", "t")).toMatchObject({ status: 0 });
  });

  test("begins a task anew when what an attempt left that was cut off cannot even be set up", async () => {
    const gate = '[[gates]]\nname = "right"\ncommand = "node"\nargs = ["check.mjs"]\n';
    const setup = `[setup]\ncommands = [["sh", "-c", "echo made > made.txt; test ! -f broken"]]\n\n${gate}`;
    using at = await place({ ...BROKEN, ".omk/gates.toml": setup });
    const ready = join(at.folder, "has-begun");
    const run = RUN.map((word) => (word === "3:executor" ? "1:executor" : word));
    const hangs = [{ write: "broken", text: "" }, { write: ready, text: "" }, { hang: true }];
    const turns = [{ match: { role: "work" }, steps: hangs }];
    const running = at.start(...run, "--engine", at.script({ turns }));
    await isThere(ready, running.ended);
    running.child.kill("SIGKILL");
    await running.ended;

    const fixAll = (["one", "two", "three"] as const).flatMap((name) => repair(name));
    const mends = at.script({ turns: [{ match: { role: "work" }, steps: fixAll }] });
    const resumed = await at.run("team", "run", "--resume", "--name", "t", "--engine", mends);
    expect(resumed, resumed.stderr).toMatchObject({ status: 0 });
    expect(resumed.stderr).toContain("task-1 begins anew, since what was left cannot be set up");
    expect(await at.git("diff", "--name-only", "main", BRANCH)).toBe("one.js\nthree.js\ntwo.js\n");
    expect(foldersOf(at)).toEqual([]);
  });

  test("gives no branch before a person has let pass what an agent planted for the user's own git", async () => {
    using at = await place();
    const plants = [
      {
        run: `git -C ${at.project} config alias.st '!evil'; git -C ${at.project} config branch.main.remote x`,
      },
      ...(["one", "two", "three"] as const).flatMap((name) => repair(name)),
    ];
    const run = RUN.map((word) => (word === "3:executor" ? "1:executor" : word));
    const engine = at.script({ turns: [{ match: { role: "work" }, steps: plants }] });
    const stopped = await at.run(...run, "--engine", engine);
    expect(stopped, stopped.stderr).toMatchObject({ status: 3 });
    expect(stopped.stdout).toContain("alias alias.st (added)");
    expect(stopped.stderr).toContain("branch.main.remote");
    expect(await at.git("for-each-ref", "refs/heads/omk")).toBe("");
    const proof = runJson(at, "t", "proof.json") as { reason_code: string; known_gaps: string[] };
    expect(proof.reason_code).toBe("approval_needed");
    expect(proof.known_gaps[0]).toContain("alias alias.st (added)");
    const resume = ["team", "run", "--resume", "--name", "t"];
    // Nobody has answered, and it is there still.
    expect(await at.run(...resume)).toMatchObject({ status: 3 });
    const [asked = ""] = readdirSync(join(runFolder(at, "t"), "approvals"));
    const answered = await at.run("approvals", "answer", asked.replace(".json", ""), "approve");
    expect(answered, answered.stderr).toMatchObject({ status: 0 });
    const resumed = await at.run(...resume);
    expect(resumed, resumed.stderr).toMatchObject({ status: 0 });
    expect(await at.git("diff", "--name-only", "main", BRANCH)).toBe("one.js\nthree.js\ntwo.js\n");
    expect(await at.run("proof", "verify", "t")).toMatchObject({ status: 0 });
  });

  test("saves what agents did when the run is stopped, and has no branch before it has ended", async () => {
    using at = await place();
    const ready = join(at.folder, "two-has-begun");
    const hangs = {
      match: { task: "fix-two" },
      steps: [{ write: "two.js", text: "half\n" }, { write: ready, text: "" }, { hang: true }],
    };
    const running = at.start(...RUN, "--engine", at.script(threeRepaired([hangs])));
    await Promise.all([running.says("fix-one done"), isThere(ready, running.ended)]);
    expect(await at.run("team", "shutdown", "t")).toMatchObject({ status: 0 });
    const ran = await running.ended;
    expect(ran).toMatchObject({ status: 6 });
    expect(ran.stdout).toContain("Kept:    omk rescue list --goal 't'");
    expect(foldersOf(at)).toEqual([]);
    const kept = await at.git("for-each-ref", "--format=%(refname)", "refs/omk/rescue/t/fix-two-*");
    expect(await at.git("show", `${kept.trim()}:two.js`)).toBe("half\n");
    expect(await at.git("for-each-ref", "refs/heads/omk")).toBe("");
  });

  test("gives a folder up that its agent has removed, and keeps one that git cannot hold; a project may be part of its repository", async () => {
    using at = await place(
      Object.fromEntries(Object.entries(BROKEN).map(([path, text]) => [`part/${path}`, text])),
    );
    const fixAll = (["one", "two", "three"] as const).flatMap((name) => repair(name));
    const turns = [
      {
        match: { attempt: 1 },
        steps: [{ run: 'rm -rf "$(git rev-parse --show-toplevel)"' }, { say: "gone" }],
      },
      { match: { attempt: 2 }, steps: [{ run: "git init -q lib && echo x > lib/x" }, { say: "a library" }] },
      { match: { role: "work", prompt: "it adds a repository inside the project" }, steps: fixAll },
    ];
    await at.git("branch", BRANCH);
    const run = RUN.map((word) => (word === "3:executor" ? "1:executor" : word));
    const refused = await at.run(...run, "--dir", "part", "--engine", at.script({ turns }));
    expect(refused).toMatchObject({
      status: 1,
      stderr: expect.stringContaining(`There is a branch ${BRANCH}`),
    });
    await at.git("branch", "-m", BRANCH, "mine");

    const ran = await at.run("team", "run", "--resume", "--name", "t");
    expect(ran, ran.stderr).toMatchObject({ status: 0 });
    const changed = await at.git("diff", "--name-only", "main", BRANCH);
    expect(changed).toBe("part/one.js\npart/three.js\npart/two.js\n");
    const { attempts, changed_files } = runJson(at, "t", "proof.json") as Record<string, object[]>;
    expect(attempts).toMatchObject([
      { outcome_code: "worktree_gone" },
      { outcome_code: "refused_change", set_aside: expect.stringContaining("/quarantine/") as string },
      { outcome: "finished" },
    ]);
    expect(changed_files?.map((one) => (one as { path: string }).path)).toEqual([
      "one.js",
      "three.js",
      "two.js",
    ]);
  });

  test("works where there is no repository, and says how to take the result", async () => {
    using at = new Place(BROKEN);
    const fixAll = (["one", "two", "three"] as const).flatMap((name) => repair(name));
    const script = { turns: [{ match: { task: "task-1" }, steps: fixAll }] };
    const run = RUN.map((word) => (word === "3:executor" ? "1:executor" : word));
    const ran = await at.run(...run, "--engine", at.script(script));
    expect(ran, ran.stderr).toMatchObject({ status: 0 });
    expect(readFileSync(join(at.project, "one.js"), "utf8")).toBe(BROKEN["one.js"]);
    expect(existsSync(join(at.project, ".git"))).toBe(false);
    const take = /^Take: +(.+)$/m.exec(ran.stdout)?.[1] ?? "false";
    expect(await at.shell(`${take} && node check.mjs`)).toBe(0);
    const show = /^Show: +omk (.+)$/m.exec(ran.stdout)?.[1] ?? "";
    const shown = await at.run(...show.split(" "));
    expect(shown.stdout, show + shown.stderr).toContain("+export const one = () => 1;");
  });
});
