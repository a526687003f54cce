/** What a hostile or unlucky machine does to files, sleeps and processes. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

import type { Child, RunRequest, SpawnRequest } from "../../src/ports.ts";
import { createWorld } from "../../src/world.ts";

const world = createWorld();
const { clock, disk, processes, random } = world;
const ENV = { PATH: process.env["PATH"] ?? "" };
const LINUX = process.platform === "linux";
let folder: string;
let started: Child[];

beforeEach(() => {
  folder = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), "world-"));
  started = [];
});

afterEach(async () => {
  await Promise.all(started.map((child) => child.end(0)));
  fs.rmSync(folder, { recursive: true, force: true });
});

const at = (name: string) => path.join(folder, name);
const modeOf = (name: string) => fs.statSync(at(name)).mode & 0o777;

function spawn(script: string, given: Partial<SpawnRequest> = {}): Child {
  const child = processes.spawn({
    argv: ["sh", "-c", script],
    cwd: folder,
    env: ENV,
    spawnId: random.name(16),
    stdin: "none",
    stdout: "pipe",
    stderr: "pipe",
    ...given,
  });
  started.push(child);
  return child;
}

function run(argv: RunRequest["argv"], given: Partial<RunRequest> = {}) {
  return processes.run({
    argv,
    cwd: folder,
    env: ENV,
    timeoutMs: 20_000,
    outputBytesMax: 1_000,
    ...given,
  });
}

async function textOf(stream: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts).toString("utf8");
}

test("files are private whatever the umask", async () => {
  const umask = process.umask(0o777);
  try {
    for (const how of ["append", "create"] as const) disk.open(at(how), how).close();
    disk.makeFolder(at("folder"));
    await disk.writeDerived(at("derived"), "d");
    await spawn("true", { stdout: { file: at("out") }, stderr: { file: at("err") } }).exited;
  } finally {
    process.umask(umask);
  }
  for (const name of ["append", "create", "derived", "out", "err"]) expect(modeOf(name)).toBe(0o600);
  expect(modeOf("folder")).toBe(0o700);
});

test("a derived file replaces a link in its place and leaves what the link names", async () => {
  fs.writeFileSync(at("outside"), "mine");
  fs.symlinkSync("outside", at("report.md"));
  await disk.writeDerived(at("report.md"), "new");
  expect(fs.readFileSync(at("outside"), "utf8")).toBe("mine");
  expect(disk.stat(at("report.md"))?.kind).toBe("file");
});

test.runIf(LINUX)("a named pipe in place of a file stops nobody", () => {
  execFileSync("sh", ["-c", 'mkfifo "$@"', "sh", at("pipe")]);
  const file = disk.open(at("pipe"), "read");
  expect(() => file.read(new Uint8Array(1), 0)).toThrow("ESPIPE");
  file.close();
  expect(() => disk.open(at("pipe"), "append")).toThrow("ENXIO");
});

test("a sleep of months does not end at once", async () => {
  const stop = new AbortController();
  const reason = new Error("seen enough");
  const long = [40 * 24 * 3_600_000, Number.POSITIVE_INFINITY].map((ms) => clock.sleep(ms, stop.signal));
  const first = Promise.race([...long, clock.sleep(30).then(() => "still asleep")]);
  expect(await first).toBe("still asleep");
  stop.abort(reason);
  for (const sleeping of long) await expect(sleeping).rejects.toBe(reason);
});

test.runIf(LINUX)("a log on a full disk does not end what it logs", async () => {
  const log = await world.openLog("/dev/full");
  for (let n = 0; n < 3; n++) expect(() => log.write("info", "lost")).not.toThrow();
});

test("output that is read only after the exit is there", async () => {
  const child = spawn("echo out; echo err >&2");
  await child.exited;
  await clock.sleep(20); // Node drops unread output a turn after the exit
  expect(await Promise.all([textOf(child.stdout), textOf(child.stderr)])).toEqual(["out\n", "err\n"]);
});

test("a short command that cannot be started says so, whatever the reason", async () => {
  fs.writeFileSync(at("plain"), "");
  const cases: [RunRequest["argv"], Partial<RunRequest>, string][] = [
    [["true"], { cwd: at("none") }, "ENOENT"],
    [["true"], { cwd: at("plain") }, "ENOTDIR"],
    [[at("plain")], {}, "EACCES"],
    [["true", "x".repeat(3_000_000)], {}, "E2BIG"],
    [["true", "a\0b"], {}, "EINVAL"],
  ];
  for (const [argv, given, code] of cases) {
    const result = await run(argv, given);
    expect(result).toMatchObject({ exit: { kind: "not_started", code }, stderr: "" });
    expect(result.stdout).toHaveLength(0);
    expect(JSON.stringify(result.exit).length).toBeLessThan(2_000);
  }
});

test.runIf(LINUX)("a short command that said too much and falls silent is ended at once", async () => {
  for (const to of ["1", "2"]) {
    const result = await run(["sh", "-c", `trap '' PIPE; head -c 100000 /dev/zero >&${to}; sleep 1000`]);
    expect(result).toMatchObject({ timedOut: false, truncated: true });
    expect(result.stdout.length + result.stderr.length).toBe(1_000);
  }
});

test.runIf(LINUX)("a short command that must end may clean up first", async () => {
  const stop = new AbortController();
  const script = "trap 'rm lock; exit 1' TERM; echo >lock; while :; do sleep 0.01; done";
  const running = processes.run(
    { argv: ["sh", "-c", script], cwd: folder, env: ENV, timeoutMs: 20_000, outputBytesMax: 1_000 },
    stop.signal,
  );
  while (!fs.existsSync(at("lock"))) await clock.sleep(5);
  stop.abort(new Error("stopped by the test"));
  await expect(running).rejects.toThrow("stopped by the test");
  expect(fs.existsSync(at("lock"))).toBe(false);
});

test.runIf(LINUX)(
  "processes that multiply while they are ended, in sessions of their own, are all ended",
  async () => {
    const spawnId = random.name(16);
    const bomb =
      "b() { [ $1 -le 0 ] && exec sleep 60; b $(($1-1)) & setsid sleep 60 & b $(($1-1)); }; echo up; b 5; wait";
    const child = spawn(bomb, { spawnId, stdout: { file: at("out") }, stderr: { file: at("err") } });
    while (fs.statSync(at("out")).size === 0) await clock.sleep(5);
    await child.end(0);
    expect(await processes.sweep([spawnId])).toBe(0);
  },
);

test("the world loads nothing but small things before it is used", () => {
  const source = fs.readFileSync(new URL("../../src/world.ts", import.meta.url), "utf8");
  const imports = [...source.matchAll(/^(?:import|\} from) .*"(.+)";$/gm)].map((found) => found[1] ?? "");
  const others = imports.filter((name) => !name.startsWith("node:"));
  expect(others.toSorted()).toEqual(["./ports.ts", "nanoid"]);
});
