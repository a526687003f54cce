import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { describe, expect, onTestFinished, test } from "vitest";

import {
  observeCommand,
  OBSERVED_BYTES_MAX,
  type Observed,
  type ObservedRun,
} from "../../src/gate/observe.ts";
import { createWorld } from "../../src/world.ts";

const world = createWorld();

async function observe(
  command: string,
  given: Partial<ObservedRun> = {},
  signal = new AbortController().signal,
): Promise<Observed & { cwd: string }> {
  const folder = mkdtempSync(join(tmpdir(), "observe-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const cwd = join(folder, "project");
  mkdirSync(cwd);
  writeFileSync(join(folder, "in.txt"), "b\na\n");
  symlinkSync(join(folder, "in.txt"), join(cwd, "link.txt"));
  const rawFolder = join(folder, "raw");
  const run: ObservedRun = {
    command,
    cwd,
    timeoutSecs: 30,
    files: [],
    rawFolder,
    spawnId: "omk-observed",
    environment: { PATH: process.env["PATH"] ?? "" },
    env: [],
    ...given,
    ...(given.stdin !== undefined && { stdin: join(folder, given.stdin) }),
  };
  try {
    return { ...(await observeCommand(run, world, signal)), cwd };
  } finally {
    expect(existsSync(rawFolder) ? readdirSync(rawFolder) : []).toEqual([]);
  }
}

describe("observing a command", () => {
  test("keeps both streams, the exit status and the files it wrote", async () => {
    const seen = await observe("printf out; printf err >&2; mkdir d; printf '\\377' > d/f; exit 3", {
      files: ["d/f", "gone"],
    });
    expect(seen).toMatchObject({ exitCode: 3 });
    expect([seen.stdout.toString(), seen.stderr.toString()]).toEqual(["out", "err"]);
    expect([...seen.files]).toEqual([["d/f", Buffer.from([0xff])]]);
    expect(seen.unusable).toBeUndefined();
  });

  test("gives it a file as its stdin, or nothing to read", async () => {
    expect((await observe("sort", { stdin: "in.txt" })).stdout.toString()).toBe("a\nb\n");
    expect((await observe("cat")).stdout.toString()).toBe("");
  });

  test("sees no file that a link leads to elsewhere", async () => {
    expect((await observe("true", { files: ["link.txt"] })).files.size).toBe(0);
  });

  test("gives it only the variables it may have", async () => {
    const run = { env: ["WANTED"], callerEnvironment: { WANTED: "yes", OTHER: "no" } };
    expect((await observe('echo "$WANTED $OTHER"', run)).stdout.toString()).toBe("yes \n");
  });

  test("says -1 where a signal ended it", async () => {
    expect(await observe("kill -9 $$")).toMatchObject({ exitCode: -1 });
  });

  test("ends what does not end, with all it started, and says that it is not usable", async () => {
    const seen = await observe("sleep 1000 & echo $! > child; sleep 1000", { timeoutSecs: 1 });
    expect(seen.unusable).toContain("did not end within 1s");
    const child = readFileSync(join(seen.cwd, "child"), "utf8").trim();
    const state = existsSync(`/proc/${child}/stat`) ? readFileSync(`/proc/${child}/stat`, "utf8") : "";
    // A zombie that nobody collects does nothing any more.
    expect(state === "" || /\) [ZX] /.test(state)).toBe(true);
  });

  test("says that what is too much is not usable", async () => {
    const seen = await observe(`head -c ${OBSERVED_BYTES_MAX + 1} /dev/zero`);
    expect(seen.unusable).toContain("more than");
  });

  test("is ended when it is interrupted", async () => {
    const control = new AbortController();
    control.abort(new Error("stop"));
    await expect(observe("sleep 1000", {}, control.signal)).rejects.toThrow("stop");
  });
});
