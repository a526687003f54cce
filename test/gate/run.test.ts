import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

import { describe, expect, onTestFinished, test } from "vitest";

import { GateDefinition, GateResult, type GateVerdict } from "../../src/format/gate.ts";
import { environmentFor, runGates, type GatePorts, type GateRun } from "../../src/gate/run.ts";
import type { Disk } from "../../src/ports.ts";
import { createWorld } from "../../src/world.ts";
import { ManualClock } from "../support/fakes.ts";

const world = createWorld();
const NODE = process.execPath;
const VITEST = path.resolve("node_modules/vitest/vitest.mjs");
/** What a gate of these tests may see. */
const ENVIRONMENT = Object.fromEntries(
  ["PATH", "HOME", "TMPDIR"].flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value]];
  }),
);

/** A folder to run gates in, and what happens there. */
class Rig {
  readonly folder = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), "gate-"));
  readonly cwd = path.join(this.folder, "project");
  readonly logFolder = path.join(this.folder, "artifacts", "gates", "1");
  readonly rawFolder = path.join(this.folder, "raw");
  readonly events: string[] = [];

  constructor(files: Record<string, string> = {}) {
    onTestFinished(() => fs.rmSync(this.folder, { recursive: true, force: true }));
    fs.mkdirSync(this.cwd);
    for (const [name, text] of Object.entries(files)) this.write(name, text);
  }

  write(name: string, text: string): void {
    fs.mkdirSync(path.dirname(path.join(this.cwd, name)), { recursive: true });
    fs.writeFileSync(path.join(this.cwd, name), text);
  }

  run(
    definitions: GateDefinition[],
    {
      ports = {},
      redact = (text: string) => text,
      signal = new AbortController().signal,
      ...rest
    }: RunOptions = {},
  ): Promise<GateResult[]> {
    const run: GateRun = {
      definitions,
      cwd: this.cwd,
      logFolder: this.logFolder,
      rawFolder: this.rawFolder,
      environment: ENVIRONMENT,
      tree: "tree-1",
      where: "worktree",
      onStart: async (gate, spawnId) => void this.events.push(`start ${gate.name} ${spawnId.slice(0, 4)}`),
      onEnd: async (gate, spawnId) =>
        void this.events.push(`end ${gate.name} ${spawnId?.slice(0, 4) ?? "none"}`),
      ...rest,
    };
    return runGates(run, { ...world, ...ports }, redact, signal);
  }

  /** Runs one gate. */
  async one(definition: GateDefinition, options?: RunOptions): Promise<GateResult> {
    const [result] = await this.run([definition], options);
    if (!result) throw new Error("There is no result.");
    // Whatever came of it, a result is one that can be kept and read again, and no raw output is left.
    assert.deepEqual(GateResult.parse(JSON.parse(JSON.stringify(result))), result);
    assert.deepEqual(fs.readdirSync(this.rawFolder), []);
    return result;
  }

  /** A named pipe: the gate writes into it, and whoever reads it knows how far the gate has come. */
  pipe(): { path: string; read: () => Promise<string> } {
    const file = path.join(this.folder, "pipe");
    execFileSync("sh", ["-c", `mkfifo "$0"`, file]);
    return { path: file, read: () => fs.promises.readFile(file, "utf8") };
  }

  log(result: GateResult): string {
    return fs.readFileSync(result.output_path ?? "", "utf8");
  }
}

type RunOptions = Partial<GateRun> & {
  ports?: Partial<GatePorts>;
  redact?: (text: string) => string;
  signal?: AbortSignal;
};

function gate(argv: [string, ...string[]], more: Partial<GateDefinition> = {}): GateDefinition {
  const [command, ...args] = argv;
  return GateDefinition.parse({ name: "gate", command, args, source: "config", ...more });
}

const shell = (script: string, more?: Partial<GateDefinition>) => gate(["sh", "-c", script], more);
const tests = (argv: [string, ...string[]], more?: Partial<GateDefinition>) =>
  gate(argv, { kind: "test", ...more });

/** Whether a process still does something; a zombie that nobody collects does not. */
function isRunning(pid: number): boolean {
  const state = fs.existsSync(`/proc/${pid}/stat`) ? fs.readFileSync(`/proc/${pid}/stat`, "utf8") : "";
  return state !== "" && !/\) [ZX] /.test(state);
}

function has(program: string): boolean {
  try {
    execFileSync(program, ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false; // not on this machine
  }
}

describe("a gate", () => {
  test("that passes leaves a result and a log that it names by digest", async () => {
    const rig = new Rig();
    const result = await rig.one(shell("echo out; echo err >&2", { name: "my gate", covers: ["smoke"] }));
    const text = "[stdout]\nout\n\n[stderr]\nerr\n";
    expect(result).toEqual({
      name: "my gate",
      passed: true,
      stdout: "out\n",
      stderr: "err\n",
      duration_ms: expect.any(Number),
      required: true,
      command_line: "sh -c echo out; echo err >&2",
      exit_code: 0,
      timed_out: false,
      stdout_summary: "out",
      stderr_summary: "err",
      output_path: path.join(rig.logFolder, "gate-01-my-gate.log"),
      timeout_secs: 0,
      verdict: "passed",
      tree: "tree-1",
      base: null,
      where: "worktree",
      source: "config",
      kind: "other",
      output: {
        sha256: createHash("sha256").update(text).digest("hex"),
        bytes: text.length,
        truncated: false,
      },
      covers: ["smoke"],
    });
    expect(rig.log(result)).toBe(text);
    expect(fs.statSync(result.output_path ?? "").mode & 0o777).toBe(0o600);
    expect(rig.events).toEqual(["start my gate omk-", "end my gate omk-"]);
  });

  test("that fails is told from one that failed before the change, too", async () => {
    const base = (verdict: GateVerdict) => ({ base: new Map([["gate", { verdict }]]) });
    const failing = shell("exit 3");
    expect(await new Rig().one(failing, base("passed"))).toMatchObject({
      verdict: "failed",
      passed: false,
      exit_code: 3,
      base: "passed",
    });
    expect(await new Rig().one(failing, base("failed"))).toMatchObject({
      verdict: "failed_on_base_too",
      passed: false,
      base: "failed",
    });
  });

  test("reads nothing from a terminal and sees no variable but those allowed and named", async () => {
    const rig = new Rig();
    const print =
      "process.stdin.on('data', () => {}); process.stdin.on('end', () => console.log(JSON.stringify(process.env)))";
    const result = await rig.one(gate([NODE, "-e", print], { env: ["DATABASE_URL", "NOT_SET"] }), {
      environment: { PATH: "/bin" },
      callerEnvironment: { DATABASE_URL: "db", AWS_SECRET: "no" },
    });
    const { OMK_SPAWN_ID: spawnId, ...seen } = JSON.parse(result.stdout) as Record<string, string>;
    expect(seen).toEqual({ PATH: "/bin", DATABASE_URL: "db", CI: "1", TERM: "dumb" });
    expect(spawnId).toMatch(/^omk-/);
  });

  test("keeps the caller's word on CI", () => {
    expect(environmentFor({ env: [] }, {}, { CI: "false", TERM: "xterm" })).toEqual({
      CI: "false",
      TERM: "dumb",
    });
  });

  test("that is skipped runs nothing and gives away no arguments", async () => {
    const rig = new Rig();
    const [result] = await rig.run([shell("echo secret", { skip: true })]);
    expect(result).toEqual({
      name: "gate",
      passed: true,
      verdict: "skipped",
      required: false,
      command_line: "<skipped by config>",
      stdout: "",
      stderr: "Skipped by gate config",
      stderr_summary: "Skipped by gate config",
      duration_ms: 0,
      timed_out: false,
      timeout_secs: 0,
      source: "config",
      kind: "other",
      tree: "tree-1",
      where: "worktree",
      base: null,
    });
    expect(rig.events).toEqual(["end gate none"]);
  });

  test("is not started before its start is known", async () => {
    const rig = new Rig();
    const onStart = () => Promise.reject(new Error("The disk is full."));
    await expect(rig.run([shell("touch ran")], { onStart })).rejects.toThrow("The disk is full.");
    expect(fs.existsSync(path.join(rig.cwd, "ran"))).toBe(false);
  });
});

describe("a gate that does not run", () => {
  test("because the program is not there says so", async () => {
    const result = await new Rig().one(gate(["no-such-program-here"]));
    expect(result).toMatchObject({ verdict: "did_not_run", passed: false, stdout: "", timed_out: false });
    expect(result.stderr).toMatch(/^Spawn error: .*no-such-program-here/);
    expect(result.stderr_summary).toBe(result.stderr);
    expect(result).not.toHaveProperty("exit_code");
    expect(result).not.toHaveProperty("output_path");
    const limited = await new Rig().one(gate(["no-such-program-here"], { timeout_secs: 5 }));
    expect(limited.stderr).toMatch(/^Run error: /);
  });

  test("because a shell, or npm behind it, does not find the program is no ordinary failure", async () => {
    const rig = new Rig({
      "package.json": '{"scripts":{"test":"no-such-program-here"}}',
      plain: "not executable",
    });
    const results = await rig.run([shell("no-such-program-here"), tests(["npm", "test"]), shell("./plain")]);
    expect(results.map(({ verdict, exit_code }) => [verdict, exit_code])).toEqual([
      ["did_not_run", 127],
      ["did_not_run", 127],
      ["did_not_run", 126],
    ]);
    expect(results[0]?.stderr).toContain("It did not run");
    expect(results[0]?.stderr_summary).toMatch(/^It did not run: /);
  });
});

describe("a gate that is ended", () => {
  test("by its time limit keeps what it said and leaves no descendant", async () => {
    const rig = new Rig();
    const clock = new ManualClock();
    const pipe = rig.pipe();
    // One grandchild in the group, one that left it.
    const script = `echo said; sleep 1000 & a=$!; setsid sleep 1000 & echo "$$ $a $!" > ${pipe.path}; wait`;
    const running = rig.one(shell(script, { timeout_secs: 7 }), { ports: { clock } });
    const pids = (await pipe.read()).trim().split(" ").map(Number);
    expect(pids.filter(isRunning)).toHaveLength(3);
    await clock.advance(7000);
    const result = await running;
    expect(result).toMatchObject({
      verdict: "timed_out",
      timed_out: true,
      passed: false,
      stdout: "said\n",
      stderr: "Timed out after 7s",
      stderr_summary: "Timed out after 7s",
      timeout_secs: 7,
    });
    expect(result).not.toHaveProperty("exit_code");
    expect(rig.log(result)).toBe("[stdout]\nsaid\n\n[stderr]\n\n\n[omk]\nTimed out after 7s\n");
    expect(pids.filter(isRunning)).toEqual([]);
  });

  test("by omk's own limit where it has none", async () => {
    const rig = new Rig();
    const clock = new ManualClock();
    const pipe = rig.pipe();
    const running = rig.one(shell(`echo up > ${pipe.path}; exec sleep 1000`), { ports: { clock } });
    await pipe.read();
    await clock.advance(600_000);
    expect(await running).toMatchObject({ verdict: "timed_out", timeout_secs: 0, duration_ms: 600_000 });
  });

  test("because it wrote too much fails", async () => {
    const rig = new Rig();
    const clock = new ManualClock();
    const pipe = rig.pipe();
    let isHuge = false;
    const disk: Disk = {
      ...world.disk,
      stat: (file) => {
        const found = world.disk.stat(file);
        return found && isHuge && file.endsWith(".out") ? { ...found, size: 1024 ** 3 + 1 } : found;
      },
    };
    const running = rig.one(shell(`echo up > ${pipe.path}; exec sleep 1000`), { ports: { clock, disk } });
    await pipe.read();
    isHuge = true;
    await clock.advance(500);
    const result = await running;
    expect(result).toMatchObject({ verdict: "failed", passed: false, timed_out: false });
    expect(result.stderr_summary).toBe("Ended because it wrote more than 1073741824 bytes");
  });

  test("by a signal of its own fails", async () => {
    const result = await new Rig().one(shell("kill -SEGV $$"));
    expect(result).toMatchObject({ verdict: "failed", stderr_summary: "Ended by signal SIGSEGV" });
    expect(result).not.toHaveProperty("exit_code");
  });

  test("by an interruption is no result: the reason is thrown and nothing is left", async () => {
    const rig = new Rig();
    const pipe = rig.pipe();
    const stop = new AbortController();
    const running = rig.run(
      [shell(`sleep 1000 & echo "$$ $!" > ${pipe.path}; wait`), shell("touch second")],
      {
        signal: stop.signal,
      },
    );
    const pids = (await pipe.read()).trim().split(" ").map(Number);
    stop.abort(new Error("Interrupted by a person."));
    await expect(running).rejects.toThrow("Interrupted by a person.");
    expect(pids.filter(isRunning)).toEqual([]);
    expect(rig.events).toEqual(["start gate omk-"]);
    expect(fs.readdirSync(rig.rawFolder)).toEqual([]);
    expect(fs.existsSync(path.join(rig.cwd, "second"))).toBe(false);
  });

  test("by itself takes along what it left in the background, and does not wait for it", async () => {
    const rig = new Rig();
    const result = await rig.one(shell("setsid sleep 1000 & echo $!"));
    expect(result.verdict).toBe("passed");
    expect(isRunning(Number(result.stdout))).toBe(false);
  });
});

describe("what a gate says", () => {
  test("may be 100 MB: only the ends are read, and the cut is marked", async () => {
    const rig = new Rig();
    let bytesRead = 0;
    const disk: Disk = {
      ...world.disk,
      open(file, how) {
        const opened = world.disk.open(file, how);
        const read = opened.read.bind(opened);
        opened.read = (into, position) => {
          const got = read(into, position);
          bytesRead += got;
          return got;
        };
        return opened;
      },
    };
    const megabytes = 100;
    const write = `const line = "0123456789 abcdefghij\\n".repeat(50000).slice(0, 1e6);
      for (let n = 0; n < ${megabytes}; n++) require("fs").writeSync(1, line);
      require("fs").writeSync(1, "\\nthe end\\n"); process.exitCode = 0;`;
    const result = await rig.one(gate([NODE, "-e", write]), { ports: { disk } });
    expect(result).toMatchObject({ verdict: "passed", output: { truncated: true } });
    expect(bytesRead).toBeLessThanOrEqual(10 * 1024 * 1024);
    expect(result.output?.bytes).toBeLessThan(10 * 1024 * 1024 + 200);
    expect(rig.log(result)).toMatch(/\n\[\.\.\. \d+ bytes left out \.\.\.\]\n/);
    expect(Buffer.byteLength(result.stdout)).toBeLessThanOrEqual(16 * 1024);
    expect(result.stdout).toMatch(/^\[\.\.\. \d+ bytes left out \.\.\.\]\n[\s\S]*\nthe end\n$/);
  });

  test("is redacted wherever it is kept", async () => {
    const rig = new Rig();
    const redact = (text: string) => text.replaceAll("s3cret", "[REDACTED:test]");
    const result = await rig.one(shell("echo s3cret; echo s3cret >&2; exit 1"), { redact });
    expect(JSON.stringify(result)).not.toContain("s3cret");
    expect(rig.log(result)).toBe("[stdout]\n[REDACTED:test]\n\n[stderr]\n[REDACTED:test]\n");
    expect(result).toMatchObject({ stdout: "[REDACTED:test]\n", stdout_summary: "[REDACTED:test]" });
    const everything = fs.readdirSync(rig.folder, { recursive: true, withFileTypes: true });
    for (const file of everything.filter((entry) => entry.isFile())) {
      expect(fs.readFileSync(path.join(file.parentPath, file.name), "utf8")).not.toContain("s3cret");
    }
  });

  test("is kept once: a log that is there is never written over", async () => {
    const rig = new Rig();
    await rig.run([shell("echo first")]);
    await expect(rig.run([shell("echo second")])).rejects.toMatchObject({ code: "state.io" });
    expect(fs.readFileSync(path.join(rig.logFolder, "gate-01-gate.log"), "utf8")).toContain("first");
    expect(fs.readdirSync(rig.rawFolder)).toEqual([]);
  });

  test("goes into one log per gate, in the order of the gates", async () => {
    const rig = new Rig();
    await rig.run([
      shell("true", { name: "a/b" }),
      shell("true", { skip: true }),
      shell("true", { name: "ä.." }),
    ]);
    expect(fs.readdirSync(rig.logFolder)).toEqual(["gate-01-a-b.log", "gate-03----.log"]);
  });
});

// What these runners really do, on this machine.
describe("a test runner", () => {
  const PASSING = 'require("node:test").test("one", () => {});\n';
  const MANIFEST = '{"scripts":{"test":"node --test"}}';

  test.each<[string, Record<string, string>, [string, ...string[]], GateVerdict, number | undefined]>([
    ["node with a test", { "a.test.js": PASSING }, [NODE, "--test"], "passed", 1],
    ["node behind npm", { "a.test.js": PASSING, "package.json": MANIFEST }, ["npm", "test"], "passed", 1],
    [
      "node whose test fails",
      { "a.test.js": 'require("node:test").test("one", () => { throw 1; });' },
      [NODE, "--test"],
      "failed",
      1,
    ],
    ["node without files", { "a.js": "" }, [NODE, "--test"], "ran_nothing", 0],
    ["node without files, behind npm", { "package.json": MANIFEST }, ["npm", "test"], "ran_nothing", 0],
    ["node with an emptied file", { "a.test.js": "" }, [NODE, "--test"], "ran_nothing", 0],
    [
      "node with an emptied file in a folder",
      { "test/sum.js": "" },
      [NODE, "--test", "--test-reporter=spec"],
      "ran_nothing",
      0,
    ],
    [
      "node with an emptied file, behind npm",
      { "a.test.js": "", "package.json": MANIFEST },
      ["npm", "test"],
      "ran_nothing",
      0,
    ],
    [
      "node where all is skipped",
      { "a.test.js": PASSING.replace("test(", "test.skip(") },
      [NODE, "--test"],
      "ran_nothing",
      1,
    ],
    ["node with a deleted file", {}, [NODE, "--test", "a.test.js"], "failed", undefined],
    ["vitest without files", {}, [NODE, VITEST, "run", "--passWithNoTests"], "ran_nothing", 0],
    ["vitest with an emptied file", { "a.test.js": "" }, [NODE, VITEST, "run"], "ran_nothing", 0],
    [
      "vitest with a test",
      { "a.test.js": "test('one', () => {});" },
      [NODE, VITEST, "run", "--globals"],
      "passed",
      1,
    ],
  ])("%s", async (_title, files, argv, verdict, count) => {
    const result = await new Rig(files).one(tests(argv));
    expect([result.verdict, result.counts?.tests]).toEqual([verdict, count]);
    const explains = result.stderr_summary?.startsWith("No test ran: ") ?? false;
    expect(explains).toBe(verdict === "ran_nothing");
  });

  test.skipIf(!has("pytest"))("pytest", async () => {
    const argv: [string, ...string[]] = ["python", "-m", "pytest", "-p", "no:cacheprovider"];
    expect(await new Rig().one(tests(argv))).toMatchObject({ verdict: "ran_nothing", exit_code: 5 });
    const rig = new Rig({ "test_a.py": "def test_a(): pass\n" });
    expect(await rig.one(tests(argv))).toMatchObject({ verdict: "passed", counts: { tests: 1 } });
  });

  test("that runs fewer tests than the gate promises ran nothing that counts", async () => {
    const result = await new Rig({ "a.test.js": PASSING }).one(tests([NODE, "--test"], { min_tests: 2 }));
    expect(result).toMatchObject({
      verdict: "ran_nothing",
      stderr_summary: "It ran 1 tests, and min_tests asks for 2",
    });
    const silent = await new Rig().one(tests(["true"], { min_tests: 2 }));
    expect(silent).toMatchObject({ verdict: "ran_nothing", passed: false });
  });

  test("that writes a report is believed when the report is of this run", async () => {
    const rig = new Rig();
    const report = "out/junit.xml";
    const write = `mkdir -p out; echo '<testsuite><testcase name="a"/><testcase name="b"/></testsuite>' > ${report}`;
    const fresh = await rig.one(tests(["sh", "-c", write], { report, min_tests: 2 }));
    expect(fresh).toMatchObject({
      verdict: "passed",
      counts: { tests: 2, passed: 2, failed: 0, skipped: 0 },
    });
    const logFolder = path.join(rig.folder, "later");
    const stale = await rig.one(tests(["true"], { report, min_tests: 2 }), { logFolder });
    expect(stale).toMatchObject({ verdict: "ran_nothing" });
    expect(stale).not.toHaveProperty("counts");
  });

  test("is not believed by a report that lies outside the project", async () => {
    const rig = new Rig();
    const write =
      "mkdir ../else; ln -s ../else out; echo '<testsuite><testcase/></testsuite>' > out/junit.xml";
    const result = await rig.one(tests(["sh", "-c", write], { report: "out/junit.xml" }));
    expect(result.verdict).toBe("passed");
    expect(result).not.toHaveProperty("counts");
  });
});

test("a result of 0.5.0 is read with what it leaves out, and keeps what we do not know", () => {
  const old = { name: "tests", passed: true, stdout: "ok", stderr: "", duration_ms: 12, required: true };
  expect(GateResult.parse(old)).toEqual({ ...old, command_line: "", timed_out: false, timeout_secs: 0 });
  const later = {
    ...old,
    command_line: "npm test",
    timed_out: false,
    timeout_secs: 60,
    of_another_version: { a: 1 },
  };
  expect(GateResult.parse(later)).toEqual(later);
});
