import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

import type { Child, ProcessIdentity, SpawnRequest } from "../../src/ports.ts";
import { createWorld } from "../../src/world.ts";

const { processes, random } = createWorld();
const ENV = { PATH: process.env["PATH"] ?? "" };
const LINUX = process.platform === "linux";
let folder: string;
let started: Child[];

beforeEach(() => {
  folder = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), "processes-"));
  started = [];
});

afterEach(async () => {
  await Promise.all(started.map((child) => child.end(0)));
  fs.rmSync(folder, { recursive: true, force: true });
});

function spawn(argv: readonly [string, ...string[]], given: Partial<SpawnRequest> = {}): Child {
  const request: SpawnRequest = {
    argv,
    cwd: folder,
    env: ENV,
    spawnId: random.name(16),
    stdin: "none",
    stdout: "pipe",
    stderr: "pipe",
    ...given,
  };
  const child = processes.spawn(request);
  started.push(child);
  return child;
}

function shell(script: string, given: Partial<SpawnRequest> = {}): Child {
  return spawn(["sh", "-c", script], given);
}

async function textOf(stream: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts).toString("utf8");
}

/** Reads lines one by one: how a test waits until a child has come to a point. */
function lines(stream: AsyncIterable<Uint8Array>): () => Promise<string> {
  const bytes = stream[Symbol.asyncIterator]();
  let rest = "";
  return async () => {
    while (!rest.includes("\n")) {
      const { value, done } = await bytes.next();
      if (done === true) throw new Error(`It ended after ${JSON.stringify(rest)}.`);
      rest += Buffer.from(value).toString("utf8");
    }
    const [line = ""] = rest.split("\n", 1);
    rest = rest.slice(line.length + 1);
    return line;
  };
}

function lives(pid: number): boolean {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, "utf8");
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(")") + 2));
  } catch {
    return false; // there is no such process
  }
}

test("a child gets exactly the environment it was given, and the spawn id", async () => {
  const child = spawn([process.execPath, "-e", "console.log(JSON.stringify(process.env))"], {
    env: { ONLY: "this" },
    spawnId: "spawn-1",
  });
  expect(JSON.parse(await textOf(child.stdout))).toEqual({ ONLY: "this", OMK_SPAWN_ID: "spawn-1" });
  expect(await child.exited).toEqual({ kind: "exited", code: 0 });
});

test("what is written arrives, and the end of stdin is seen", async () => {
  const child = spawn(["cat"], { stdin: "pipe" });
  const text = textOf(child.stdout);
  const big = Buffer.alloc(300_000, "x");
  await child.write(Buffer.from("ä\n"));
  await child.write(big);
  child.closeStdin();
  expect(await text).toBe(`ä\n${big.toString()}`);
  expect(await child.exited).toEqual({ kind: "exited", code: 0 });
});

test("a write to a child that is gone rejects and breaks nothing else", async () => {
  const child = shell("exit 3", { stdin: "pipe" });
  expect(await child.exited).toEqual({ kind: "exited", code: 3 });
  await expect(child.write(Buffer.alloc(1_000_000))).rejects.toThrow(/EPIPE|after|destroyed/);
  await expect(child.write(Buffer.from("again"))).rejects.toThrow(/EPIPE|after|destroyed/);
  child.closeStdin();
  const without = shell("true");
  await expect(without.write(Buffer.from("x"))).rejects.toThrow("no stdin");
});

test("a child without stdin reads its end at once", async () => {
  const child = spawn(["cat"]);
  expect(await textOf(child.stdout)).toBe("");
  expect(await child.exited).toEqual({ kind: "exited", code: 0 });
});

test("what cannot be started says so by its exit and has empty pipes", async () => {
  fs.writeFileSync(path.join(folder, "plain"), "text", { mode: 0o600 });
  const cases: [Child, string][] = [
    [spawn(["/no/such/program"]), "ENOENT"],
    [spawn(["no-such-program-on-the-path"]), "ENOENT"],
    [spawn([path.join(folder, "plain")]), "EACCES"],
    [spawn(["sh"], { cwd: path.join(folder, "none") }), "ENOENT"],
    [spawn(["sh", "a\0b"]), "ERR_INVALID_ARG_VALUE"],
    [spawn(["sh"], { stdout: { file: path.join(folder, "none", "out") } }), "ENOENT"],
    [spawn(["sh"], { stdout: { file: path.join(folder, "plain") } }), "EEXIST"],
  ];
  for (const [child, code] of cases) {
    expect(await child.exited).toMatchObject({ kind: "not_started", code });
    expect(await textOf(child.stdout)).toBe("");
    expect(await textOf(child.stderr)).toBe("");
    expect(child.pid).toBeUndefined();
    await child.end(1_000);
  }
});

test("output to files needs no reader, and the files are private and new", async () => {
  const out = path.join(folder, "out");
  const child = shell("echo to out; echo to err >&2; kill -USR1 $$", {
    stdout: { file: out },
    stderr: { file: path.join(folder, "err") },
  });
  expect(await child.exited).toEqual({ kind: "signalled", signal: "SIGUSR1" });
  expect(fs.readFileSync(out, "utf8")).toBe("to out\n");
  expect(fs.readFileSync(path.join(folder, "err"), "utf8")).toBe("to err\n");
  expect(fs.statSync(out).mode & 0o777).toBe(0o600);
  expect(await textOf(child.stdout)).toBe("");
});

test("a reader that waits makes the child wait: nothing piles up in memory", async () => {
  const script = `
    const chunk = Buffer.alloc(65536);
    let written = 0;
    const more = () => process.stdout.write(chunk, () => {
      require("node:fs").writeFileSync("written", String(written += chunk.length));
      if (written < 64 * 1024 * 1024) more();
    });
    more();`;
  const child = spawn([process.execPath, "-e", script]);
  const stream = child.stdout[Symbol.asyncIterator]();
  await stream.next();
  const seen = () => Number(fs.readFileSync(path.join(folder, "written"), "utf8") || "0");
  // It stands still once every buffer on the way is full: far below what it wants to write.
  let last = -1;
  for (let still = 0; still < 5;) {
    const now = fs.existsSync(path.join(folder, "written")) ? seen() : 0;
    still = now === last ? still + 1 : 0;
    last = now;
    await createWorld().clock.sleep(20);
  }
  expect(last).toBeLessThan(4 * 1024 * 1024);
  await stream.return?.();
  await child.end(0);
});

test("who stops reading early is not kept waiting for the exit", async () => {
  const child = shell("echo first; exec sleep 60");
  for await (const part of child.stdout) {
    expect(Buffer.from(part).toString()).toBe("first\n");
    break;
  }
  await child.end(0);
  expect(await child.exited).toEqual({ kind: "signalled", signal: "SIGKILL" });
});

test("a descendant that keeps the pipe open delays neither the exit nor, much, the end of the output", async () => {
  const child = shell("sleep 60 & echo said; exit 7");
  const before = performance.now();
  expect(await textOf(child.stdout)).toBe("said\n");
  expect(performance.now() - before).toBeLessThan(5_000);
  expect(await child.exited).toEqual({ kind: "exited", code: 7 });
});

test.runIf(LINUX)("ending a child ends its group, asked first: all of it has its time to leave", async () => {
  const trap = `trap 'echo asked; sleep 0.1; echo left >>left; exit 0' TERM; echo $$ >>pids; echo up; while :; do sleep 0.02; done`;
  const child = shell(`(${trap.replace("$$", "inner")}) & ${trap}`);
  const next = lines(child.stdout);
  expect([await next(), await next()]).toEqual(["up", "up"]);
  await child.end(10_000);
  expect(await child.exited).toEqual({ kind: "exited", code: 0 });
  expect(fs.readFileSync(path.join(folder, "left"), "utf8")).toBe("left\nleft\n");
});

test.runIf(LINUX)(
  "a child that ignores the request is killed, with those that left its group and session",
  async () => {
    const script = `trap '' TERM; (setsid sh -c 'trap "" TERM; echo $$; exec sleep 60' &) ; wait; echo up; while :; do sleep 1; done`;
    const child = shell(script);
    const next = lines(child.stdout);
    const said = [await next(), await next()];
    const grandchild = Number(said.find((line) => /^\d+$/.test(line)));
    expect(lives(grandchild)).toBe(true);
    await child.end(50);
    expect(await child.exited).toEqual({ kind: "signalled", signal: "SIGKILL" });
    expect(lives(grandchild)).toBe(false);
  },
);

test.runIf(LINUX)(
  "a sweep finds what a dead controller left, by spawn id alone, and leaves everybody else",
  async () => {
    const [mine, other] = [random.name(16), random.name(16)];
    const left = shell(`(setsid sh -c 'echo $$; exec sleep 60' &); exit 0`, { spawnId: mine });
    const grandchild = Number(await lines(left.stdout)());
    await left.exited;
    const bystander = shell("echo up; exec sleep 60", { spawnId: other });
    await lines(bystander.stdout)();
    expect(lives(grandchild)).toBe(true);
    expect(await processes.sweep([random.name(16), mine])).toBe(1);
    expect(lives(grandchild)).toBe(false);
    expect(lives(bystander.pid ?? 0)).toBe(true);
    expect(await processes.sweep([mine])).toBe(0);
    expect(await processes.sweep([])).toBe(0);
  },
);

test.runIf(LINUX)("a child within another is ended alone, and with the one that it belongs to", async () => {
  const attempt = random.name(16);
  const agent = shell("echo up; exec sleep 60", { spawnId: attempt });
  const [first, second] = ["t1", "t2"].map((name) =>
    shell("(setsid sleep 60 &); echo up; exec sleep 60", { spawnId: `${attempt}-${name}`, within: attempt }),
  );
  for (const child of [agent, first, second]) if (child) await lines(child.stdout)();
  await first?.end(50);
  expect([agent, first, second].map((child) => lives(child?.pid ?? 0))).toEqual([true, false, true]);
  expect(await processes.sweep([`${attempt}-t1`])).toBe(0);
  await agent.end(50);
  expect(lives(second?.pid ?? 0)).toBe(false);
  expect(await processes.sweep([`${attempt}-t2`])).toBe(0);
});

test.runIf(LINUX)("killing all ends every group that still runs, at once", async () => {
  const { processes: own } = createWorld();
  const child = own.spawn({
    argv: ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"],
    cwd: folder,
    env: ENV,
    spawnId: random.name(16),
    stdin: "none",
    stdout: "pipe",
    stderr: "pipe",
  });
  started.push(child);
  await lines(child.stdout)();
  own.killAll();
  expect(await child.exited).toEqual({ kind: "signalled", signal: "SIGKILL" });
});

test("a short command gives its output, its status and its words on stderr", async () => {
  const request = {
    cwd: folder,
    env: { ...ENV, ONLY: "this" },
    timeoutMs: 20_000,
    outputBytesMax: 1_000_000,
  };
  const result = await processes.run({
    ...request,
    argv: ["sh", "-c", 'cat; echo "$ONLY$HOME" >&2; exit 4'],
    stdin: Buffer.from([0, 255, 10]),
  });
  expect(result).toMatchObject({
    exit: { kind: "exited", code: 4 },
    stderr: "this\n",
    timedOut: false,
    truncated: false,
  });
  expect([...result.stdout]).toEqual([0, 255, 10]);
  expect((await processes.run({ ...request, argv: ["cat"] })).stdout).toHaveLength(0);
  const killed = await processes.run({ ...request, argv: ["sh", "-c", "kill -KILL $$"] });
  expect(killed.exit).toEqual({ kind: "signalled", signal: "SIGKILL" });
  const missing = await processes.run({ ...request, argv: ["/no/such/program"] });
  expect(missing.exit).toMatchObject({ kind: "not_started", code: "ENOENT" });
  // Nobody reads what is written: no error of ours.
  const deaf = await processes.run({ ...request, argv: ["true"], stdin: Buffer.alloc(1_000_000) });
  expect(deaf.exit).toEqual({ kind: "exited", code: 0 });
});

test.runIf(LINUX)(
  "a short command that takes too long, says too much or is aborted goes with all it started",
  async () => {
    const request = { cwd: folder, env: ENV, timeoutMs: 20_000, outputBytesMax: 1_000_000 };
    const script = 'trap "" TERM; sleep 60 & echo $! >"$1"; wait';
    const pid = (name: string) => Number(fs.readFileSync(path.join(folder, name), "utf8"));

    const slow = await processes.run({
      ...request,
      argv: ["sh", "-c", script, "sh", "slow"],
      timeoutMs: 1_500,
    });
    expect(slow).toMatchObject({ exit: { kind: "signalled", signal: "SIGKILL" }, timedOut: true });
    expect(lives(pid("slow"))).toBe(false);

    const loud = `sleep 60 & echo $! >loud; yes`;
    const much = await processes.run({ ...request, argv: ["sh", "-c", loud], outputBytesMax: 10_000 });
    expect(much).toMatchObject({ truncated: true, timedOut: false });
    expect(much.stdout).toHaveLength(10_000);
    await gone(pid("loud"));

    const stop = new AbortController();
    const reason = new Error("stopped by the test");
    const aborted = processes.run({ ...request, argv: ["sh", "-c", script, "sh", "aborted"] }, stop.signal);
    while (!fs.existsSync(path.join(folder, "aborted")) || pid("aborted") === 0)
      await createWorld().clock.sleep(5);
    stop.abort(reason);
    await expect(aborted).rejects.toBe(reason);
    await gone(pid("aborted"));
    await expect(processes.run({ ...request, argv: ["true"] }, stop.signal)).rejects.toBe(reason);
  },
);

/** A killed process needs a moment; the test's own deadline bounds this. */
async function gone(pid: number): Promise<void> {
  while (lives(pid)) await createWorld().clock.sleep(5);
}

test.runIf(LINUX).each([
  ["ends by itself", "exit 0", 60_000],
  ["fails", "exit 3", 60_000],
  ["hangs", "trap '' TERM; while :; do sleep 0.1; done", 300],
])("a program of others that %s takes along what hid from it", async (name, end, timeoutMs) => {
  const hide = (how: string): string =>
    `(${how} sh -c 'trap "" TERM; echo $$ >>"$1"; while :; do sleep 0.1; done' sh "$1" </dev/null >/dev/null 2>&1 &)`;
  const script = `${hide("setsid")}; ${hide("")}; while [ "$(wc -l <"$1")" -lt 2 ]; do sleep 0.01; done; ${end}`;
  const request = { cwd: folder, env: ENV, timeoutMs, outputBytesMax: 1_000 };
  const argv = ["sh", "-c", script, "sh", path.join(folder, "hidden")] as const;
  fs.writeFileSync(path.join(folder, "hidden"), "");
  await processes.run({ ...request, argv, endsAll: true });
  const hidden = fs.readFileSync(path.join(folder, "hidden"), "utf8").trim().split("\n");
  expect([name, hidden.length]).toEqual([name, 2]);
  expect(hidden.map((pid) => lives(Number(pid)))).toEqual([false, false]);
});

test.runIf(LINUX)("a short command whose descendant hides with its output open still ends", async () => {
  const request = { cwd: folder, env: ENV, timeoutMs: 60_000, outputBytesMax: 1_000_000 };
  const script =
    "(setsid sh -c 'echo $$ >hidden; exec sleep 60' &); while [ ! -s hidden ]; do sleep 0.01; done; echo done";
  const result = await processes.run({ ...request, argv: ["sh", "-c", script] });
  process.kill(Number(fs.readFileSync(path.join(folder, "hidden"), "utf8")), "SIGKILL");
  expect(Buffer.from(result.stdout).toString()).toBe("done\n");
  expect(result).toMatchObject({ exit: { kind: "exited", code: 0 }, timedOut: false });
});

test.runIf(LINUX)(
  "who lives is told by PID and start time together, and only where that can be known",
  async () => {
    const { self } = processes;
    expect(self).toMatchObject({ pid: process.pid, host: os.hostname() });
    expect(self.start_time).toMatch(/^\d+$/);
    expect(self.boot_id).toMatch(/^[0-9a-f-]{36}$/);
    expect(self.pid_namespace).toMatch(/^pid:\[\d+\]$/);
    const cases: [Partial<ProcessIdentity>, string][] = [
      [{}, "alive"],
      [{ start_time: null }, "alive"],
      [{ start_time: "1" }, "dead"],
      [{ boot_id: "another" }, "dead"],
      [{ host: "elsewhere" }, "unknown"],
      [{ pid_namespace: "pid:[1]" }, "unknown"],
      [{ pid_namespace: "pid:[1]", boot_id: "another" }, "unknown"],
    ];
    for (const [change, verdict] of cases) expect(processes.liveness({ ...self, ...change })).toBe(verdict);

    const child = shell("echo up; exec sleep 60");
    await lines(child.stdout)();
    const identity = { ...self, pid: child.pid ?? 0, start_time: null };
    expect(processes.liveness(identity)).toBe("alive");
    await child.end(0);
    expect(processes.liveness(identity)).toBe("dead");
  },
);

test.runIf(LINUX)("a zombie that nobody collects counts as dead", async () => {
  // A shell that becomes a program which never collects its children, before its child may end.
  execFileSync("sh", ["-c", 'mkfifo "$@"', "sh", path.join(folder, "pipe")]);
  const child = shell("cat pipe & echo $!; exec sleep 60");
  const zombie = Number(await lines(child.stdout)());
  const parent = child.pid ?? 0;
  const { clock } = createWorld();
  while (fs.readFileSync(`/proc/${parent}/comm`, "utf8") !== "sleep\n") await clock.sleep(5);
  fs.writeFileSync(path.join(folder, "pipe"), "");
  while (lives(zombie)) await clock.sleep(5);
  expect(fs.existsSync(`/proc/${zombie}`)).toBe(true);
  expect(processes.liveness({ ...processes.self, pid: zombie, start_time: null })).toBe("dead");
  await child.end(0);
});
