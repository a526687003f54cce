import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";

import { systemCode } from "../../src/errors.ts";
import type { Disk } from "../../src/ports.ts";
import { AutoClock, CountingRandom, ManualClock, NoProcesses } from "./fakes.ts";
import { canFail, crashStates, PowerCut, SimulatedDisk, type CrashState } from "./simulated-disk.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (content: Uint8Array): string => new TextDecoder().decode(content);

/** Everything that a crash after the last operation may leave. */
function leftOf(disk: SimulatedDisk): CrashState[] {
  return [...crashStates(disk, { at: disk.operationCount, seed: 1, perPointMax: 10_000 })];
}

/** What may be found at a path after a crash now; undefined stands for no such file. */
function fatesOf(disk: SimulatedDisk, path: string): Set<string | null | undefined> {
  return new Set(leftOf(disk).map((state) => state.disk.tree()[path]));
}

async function write(disk: Disk, path: string, content: string, withSync: boolean): Promise<void> {
  const file = disk.open(path, "create");
  file.write(bytes(content));
  if (withSync) await file.sync();
  file.close();
}

describe("classic mistakes", () => {
  test("a replaced file may be empty when it was not synced before the rename", async () => {
    const disk = new SimulatedDisk({ files: { "/s/goal.json": "old" } });
    await write(disk, "/s/goal.json.tmp", "new!", false);
    disk.rename("/s/goal.json.tmp", "/s/goal.json");
    await disk.syncFolder("/s");
    const zeros = (from: number, to: string): string => "\0".repeat(from) + to;
    expect(fatesOf(disk, "/s/goal.json")).toEqual(
      new Set(["new!", "", "ne", "new", "n", zeros(4, ""), zeros(2, "w!")]),
    );
  });

  test("a replaced file may come back old when its folder was not synced, but is never gone", async () => {
    const disk = new SimulatedDisk({ files: { "/s/goal.json": "old" } });
    await write(disk, "/s/goal.json.tmp", "new", true);
    disk.rename("/s/goal.json.tmp", "/s/goal.json");
    expect(fatesOf(disk, "/s/goal.json")).toEqual(new Set(["old", "new"]));
    await disk.syncFolder("/s");
    expect(fatesOf(disk, "/s/goal.json")).toEqual(new Set(["new"]));
  });

  test("a rename within a folder never leaves both names", async () => {
    const disk = new SimulatedDisk({ files: { "/s/a": "text" } });
    disk.rename("/s/a", "/s/b");
    const trees = leftOf(disk).map((state) => Object.keys(state.disk.tree()));
    expect(trees).toEqual([
      ["/s", "/s/b"],
      ["/s", "/s/a"],
    ]);
  });

  test("a file moved between folders may have both names, but never none", async () => {
    const disk = new SimulatedDisk({ files: { "/a/x": "text" }, folders: ["/b"] });
    disk.rename("/a/x", "/b/x");
    const places = (): Set<string> =>
      new Set(
        leftOf(disk).map(({ disk: left }) =>
          Object.keys(left.tree())
            .filter((path) => path.endsWith("x"))
            .join(),
        ),
      );
    expect(places()).toEqual(new Set(["/a/x", "/b/x", "/a/x,/b/x"]));
    await disk.syncFolder("/b");
    expect(places()).toEqual(new Set(["/b/x", "/a/x,/b/x"]));
    await disk.syncFolder("/a");
    expect(places()).toEqual(new Set(["/b/x"]));
  });

  test("a file moved between folders has arrived when its leaving is synced", async () => {
    const disk = new SimulatedDisk({ files: { "/a/x": "text" }, folders: ["/b"] });
    disk.rename("/a/x", "/b/x");
    await disk.syncFolder("/a");
    expect(leftOf(disk).map((state) => state.disk.tree())).toEqual([
      { "/a": null, "/b": null, "/b/x": "text" },
    ]);
  });

  test("a sync of a folder covers the names made before it was called, not those made while it ran", async () => {
    const disk = new SimulatedDisk({ folders: ["/s"] });
    disk.makeFolder("/s/before");
    const synced = disk.syncFolder("/s");
    disk.makeFolder("/s/during");
    await synced;
    expect(fatesOf(disk, "/s/before")).toEqual(new Set([null]));
    expect(fatesOf(disk, "/s/during")).toEqual(new Set([null, undefined]));
  });

  test("an appended line may be torn or zeros until it is synced, and earlier lines stay", async () => {
    const disk = new SimulatedDisk({ files: { "/s/log": "one\n" } });
    const log = disk.open("/s/log", "append");
    log.write(bytes("two\n"));
    expect(fatesOf(disk, "/s/log")).toEqual(
      new Set(["one\ntwo\n", "one\n", "one\nt", "one\ntw", "one\ntwo", "one\n\0\0\0\0", "one\n\0\0o\n"]),
    );
    await log.sync();
    expect(fatesOf(disk, "/s/log")).toEqual(new Set(["one\ntwo\n"]));
    log.close();
  });

  test("a later unsynced line may survive an earlier one, which reads as zeros", () => {
    const disk = new SimulatedDisk({ files: { "/s/log": "" } });
    const log = disk.open("/s/log", "append");
    log.write(bytes("one\n"));
    log.write(bytes("two\n"));
    expect(fatesOf(disk, "/s/log")).toContain("\0\0\0\0two\n");
    log.close();
  });

  test("a synced file without a synced folder may have no name", async () => {
    const disk = new SimulatedDisk({ folders: ["/s"] });
    await write(disk, "/s/proof.json", "proof", true);
    expect(fatesOf(disk, "/s/proof.json")).toEqual(new Set(["proof", undefined]));
    await disk.syncFolder("/s");
    expect(fatesOf(disk, "/s/proof.json")).toEqual(new Set(["proof"]));
  });

  test("a new folder is lost with all it holds until its parent is synced", async () => {
    const disk = new SimulatedDisk();
    disk.makeFolder("/s");
    await write(disk, "/s/a", "text", true);
    await disk.syncFolder("/s");
    expect(fatesOf(disk, "/s/a")).toEqual(new Set(["text", undefined]));
    await disk.syncFolder("/");
    expect(fatesOf(disk, "/s/a")).toEqual(new Set(["text"]));
  });

  test("a link survives only after the folder is synced, and its temporary name may stay", async () => {
    const disk = new SimulatedDisk({ folders: ["/c"] });
    await write(disk, "/c/x.tmp", "claim", true);
    disk.link("/c/x.tmp", "/c/1.json");
    await disk.syncFolder("/c");
    disk.remove("/c/x.tmp");
    expect(fatesOf(disk, "/c/1.json")).toEqual(new Set(["claim"]));
    expect(fatesOf(disk, "/c/x.tmp")).toEqual(new Set(["claim", undefined]));
  });

  test("a cut-off tail may come back, and what was written behind the cut may be lost", () => {
    const disk = new SimulatedDisk({ files: { "/s/log": "one\ntor" } });
    const log = disk.open("/s/log", "edit");
    log.truncate(4);
    log.write(bytes("two\n"));
    const fates = fatesOf(disk, "/s/log");
    for (const fate of ["one\ntor", "one\n", "one\ntwo\n", "one\nt"]) expect(fates).toContain(fate);
    log.close();
  });

  test("a sync covers what was written before it was called, not what came while it ran", async () => {
    const disk = new SimulatedDisk({ files: { "/s/log": "" } });
    const log = disk.open("/s/log", "append");
    log.write(bytes("a"));
    const synced = log.sync();
    log.write(bytes("b"));
    await synced;
    expect(fatesOf(disk, "/s/log")).toEqual(new Set(["a", "ab", "a\0"]));
    log.close();
  });

  test("bytes whose sync failed stay unsafe, even when a later sync succeeds", async () => {
    const disk = new SimulatedDisk({ files: { "/s/log": "" } });
    const log = disk.open("/s/log", "append");
    log.write(bytes("a"));
    disk.failAt({ operation: disk.operationCount + 1, mode: "once", error: "EIO" });
    await expect(log.sync()).rejects.toMatchObject({ code: "EIO", syscall: "fsync", path: "/s/log" });
    log.write(bytes("b"));
    await log.sync();
    expect(fatesOf(disk, "/s/log")).toEqual(new Set(["ab", "\0b"]));
    log.close();
  });

  test("a derived file is replaced without promises, and the old one may come back", async () => {
    const disk = new SimulatedDisk({ files: { "/s/goal.md": "old" } });
    await disk.writeDerived("/s/goal.md", "new");
    const fates = fatesOf(disk, "/s/goal.md");
    for (const fate of ["new", "old", ""]) expect(fates).toContain(fate);
    expect(fates).not.toContain(undefined);
  });
});

describe("crash states", () => {
  test("after kill -9 everything is there, and can still be lost by a later power cut", async () => {
    const disk = new SimulatedDisk({ folders: ["/s"] });
    await write(disk, "/s/a", "text", true);
    const killed = leftOf(disk).find((state) => state.cause === "killed");
    expect(killed?.disk.tree()).toEqual(disk.tree());
    const again = killed?.disk ?? new SimulatedDisk();
    expect(fatesOf(again, "/s/a")).toEqual(new Set(["text", undefined]));
    expect(fatesOf(disk.survivor(), "/s/a")).toEqual(new Set(["text", undefined]));
    await again.syncFolder("/s");
    expect(fatesOf(again, "/s/a")).toEqual(new Set(["text"]));
  });

  test("what a power cut left is durable on the next disk", async () => {
    const disk = new SimulatedDisk({ folders: ["/s"] });
    await write(disk, "/s/a", "text", true);
    for (const state of leftOf(disk).filter(({ cause }) => cause === "power")) {
      expect(leftOf(state.disk).map((left) => left.disk.tree())).toEqual([state.disk.tree()]);
    }
  });

  test("a tree seen before comes again when more has been acknowledged since, marked as not new", async () => {
    const disk = new SimulatedDisk({ files: { "/s/log": "" } });
    const log = disk.open("/s/log", "append");
    log.write(bytes("a"));
    // The mistake to be found: the line is acknowledged here, without a sync.
    const acknowledgedAt = [disk.operationCount];
    log.close();
    const options = { seed: 1, perPointMax: 100 };
    const lost = (states: Iterable<CrashState>): CrashState[] =>
      [...states].filter((state) => state.at >= disk.operationCount && state.disk.tree()["/s/log"] === "");
    expect(lost(crashStates(disk, options))).toHaveLength(0);
    const found = lost(crashStates(disk, { ...options, acknowledgedAt }));
    expect(found.map(({ isNew }) => isNew)).toEqual([false]);
    expect(found[0]?.story()).toMatch(/bytes of inode 3: lost/);
  });

  test("the same seed takes the same sample, and a sample always has all and nothing", async () => {
    const disk = new SimulatedDisk({ folders: ["/s"] });
    for (let file = 0; file < 12; file++) await write(disk, `/s/${file}`, `text ${file}`, false);
    const sample = (seed: number): number[] =>
      [...crashStates(disk, { at: disk.operationCount, seed, perPointMax: 40 })].map(({ digest }) => digest);
    expect(sample(1)).toEqual(sample(1));
    expect(sample(1)).not.toEqual(sample(2));
    expect(sample(1)).toHaveLength(40);
    expect(sample(3).slice(0, 2)).toEqual([disk.digest(), new SimulatedDisk({ folders: ["/s"] }).digest()]);
  });

  test("removing a tree without syncing inside it leaves nothing behind that is dragged along", async () => {
    const disk = new SimulatedDisk({ files: { "/s/t/a": "a", "/s/t/b/c": "c" } });
    disk.removeTree("/s/t");
    await disk.syncFolder("/s");
    await write(disk, "/s/new", "new", true);
    expect(leftOf(disk).map((state) => state.disk.tree())).toEqual([
      { "/s": null, "/s/new": "new" },
      { "/s": null },
    ]);
  });
});

/** One step of a random run on three names in two folders. */
type Step =
  | { act: "write"; path: string; text: string; sync: boolean }
  | { act: "append" | "truncate" | "remove" | "makeFolder" | "removeFolder" | "read" | "list"; path: string }
  | { act: "rename" | "link"; path: string; to: string }
  | { act: "sync" | "syncFolder"; path: string }
  | { act: "symbolicLink"; path: string; to: string };

const PATHS = ["/a", "/b", "/f", "/f/a", "/f/b", "/f/g", "/f/g/a", "/a/x"];
const path = fc.constantFrom(...PATHS);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ act: fc.constant("write" as const), path, text: fc.string(), sync: fc.boolean() }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      act: fc.constantFrom("append", "truncate", "remove", "makeFolder", "removeFolder", "read", "list"),
      path,
    }),
  },
  { weight: 3, arbitrary: fc.record({ act: fc.constantFrom("rename", "link"), path, to: path }) },
  { weight: 2, arbitrary: fc.record({ act: fc.constantFrom("sync", "syncFolder"), path }) },
);
const linkStep: fc.Arbitrary<Step> = fc.record({
  act: fc.constant("symbolicLink" as const),
  path,
  to: fc.constantFrom("a", "/f", "..", "g/../b", "/nowhere"),
});

/** Does a step and tells what came of it; refusals are values. */
async function take(disk: Disk, { act, path: at, ...rest }: Step, root = ""): Promise<unknown> {
  const here = join(root, at);
  const to = "to" in rest ? rest.to : "";
  try {
    switch (act) {
      case "write":
        return await write(disk, here, "text" in rest ? rest.text : "", "sync" in rest && rest.sync);
      case "append": {
        const file = disk.open(here, "append");
        file.write(bytes("more "));
        const size = file.size();
        file.close();
        return size;
      }
      case "truncate": {
        const file = disk.open(here, "edit");
        file.truncate(3);
        file.write(bytes("!"));
        const into = new Uint8Array(4);
        const got = file.read(into, 1);
        file.close();
        return text(into.subarray(0, got));
      }
      case "sync": {
        const file = disk.open(here, "read");
        await file.sync();
        return file.close();
      }
      case "syncFolder":
        return await disk.syncFolder(here);
      case "remove":
        return disk.remove(here);
      case "makeFolder":
        return disk.makeFolder(here);
      case "removeFolder":
        return disk.removeFolder(here);
      case "read":
        return text(disk.readFile(here));
      case "list":
        return disk.list(here);
      case "rename":
        return disk.rename(here, join(root, to));
      case "link":
        return disk.link(here, join(root, to));
      case "symbolicLink":
        return disk.symbolicLink(to.startsWith("/") ? join(root, to) : to, here);
    }
  } catch (error) {
    const code = systemCode(error);
    if (code === undefined) throw error;
    return `refused: ${code}`;
  }
}

describe("as a real file system", () => {
  const roots: string[] = [];
  afterEach(() => {
    for (const root of roots.splice(0)) fs.rmSync(root, { recursive: true, force: true });
  });

  test("every call answers and refuses as the real one does", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof({ weight: 6, arbitrary: step }, linkStep), { maxLength: 40 }),
        async (steps) => {
          // The real path, so that links to absolute paths lead to the same place.
          const outside = fs.realpathSync(fs.mkdtempSync(join(tmpdir(), "disk-")));
          roots.push(outside);
          // Well down, as links lead up, and links made behind those lead further up.
          const root = join(outside, "1/2/3/4/5/6/7/8/9/root");
          fs.mkdirSync(root, { recursive: true });
          const real = new RealDisk();
          const simulated = new SimulatedDisk({ folders: [root] });
          for (const next of steps) {
            expect(await take(simulated, next, root)).toEqual(await take(real, next, root));
            for (const at of PATHS) {
              const shown = (disk: Disk): unknown => {
                let info: ReturnType<Disk["stat"]>;
                try {
                  info = disk.stat(join(root, at));
                } catch (error) {
                  // Links in a circle on the way.
                  return systemCode(error);
                }
                return {
                  kind: info?.kind,
                  size: info?.kind === "file" ? info.size : 0,
                  at: disk.realPath(join(root, at)),
                };
              };
              expect(shown(simulated)).toEqual(shown(real));
            }
          }
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe("against a small model", () => {
  test("every crash state keeps what was synced and invents nothing", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 14 }), fc.integer(), async (steps, seed) => {
        const disk = new SimulatedDisk({ folders: ["/f"] });
        const model = new Model(disk);
        // What the model allows after each operation; it looks after every step, so several operations share one.
        const after: { count: number; allowed: Allowed }[] = [{ count: 0, allowed: model.allowed() }];
        for (const next of steps) {
          await model.take(next);
          after.push({ count: disk.operationCount, allowed: model.allowed() });
        }
        for (const { count, allowed } of after) {
          const states = [...crashStates(disk, { at: count, seed, perPointMax: 60 })];
          expect(states.flatMap((state) => allowed(state.disk))).toEqual([]);
          expect(states[0]?.cause).toBe("killed");
        }
        expect(leftOf(disk)[0]?.disk.tree()).toEqual(disk.tree());
      }),
      { numRuns: 150 },
    );
  });

  test("trees handed out are distinct, their digests tell them apart, and writing on one changes no other", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 14 }), async (steps) => {
        const disk = new SimulatedDisk({ folders: ["/f"] });
        for (const next of steps) await take(disk, next);
        const before = disk.tree();
        const states = [...crashStates(disk, { seed: 1, perPointMax: 60 })];
        const trees = states.map((state) => JSON.stringify(state.disk.tree()));
        expect(new Set(trees).size).toBe(trees.length);
        expect(states.map((state) => state.disk.digest())).toEqual(states.map(({ digest }) => digest));
        for (const state of states) for (const next of steps) await take(state.disk, next);
        const again = [...crashStates(disk, { seed: 1, perPointMax: 60 })];
        expect(again.map((state) => JSON.stringify(state.disk.tree()))).toEqual(trees);
        expect(disk.tree()).toEqual(before);
      }),
      { numRuns: 100 },
    );
  });
});

describe("failures", () => {
  async function replace(disk: Disk): Promise<void> {
    await write(disk, "/s/a.tmp", "new text", true);
    disk.rename("/s/a.tmp", "/s/a");
    await disk.syncFolder("/s");
    disk.readFile("/s/a");
    disk.list("/s");
  }

  test("every operation can be made to fail once, and those before it are done", async () => {
    const reference = new SimulatedDisk({ files: { "/s/a": "old" } });
    await replace(reference);
    expect(reference.operations.map(({ call }) => call)).toEqual([
      "create",
      "write",
      "sync",
      "rename",
      "syncFolder",
      "readFile",
      "list",
    ]);
    for (const { number, call } of reference.operations) {
      const disk = new SimulatedDisk({ files: { "/s/a": "old" } });
      disk.failAt({ operation: number, mode: "once", error: "EIO" });
      await expect(replace(disk)).rejects.toMatchObject({ code: "EIO" });
      expect(disk.operations.at(-1)).toMatchObject({ number, call });
      expect(disk.faultsMet).toBe(1);
      expect(disk.tree()["/s/a"]).toBe(number <= 4 ? "old" : "new text");
    }
  });

  test("an error strikes only calls that can meet it", () => {
    const disk = new SimulatedDisk({ files: { "/s/a": "old" } });
    disk.failAt({ operation: 1, mode: "from_then_on", error: "ENOSPC" });
    expect(text(disk.readFile("/s/a"))).toBe("old");
    expect(() => disk.makeFolder("/s/f")).toThrow(expect.objectContaining({ code: "ENOSPC", errno: -28 }));
    disk.remove("/s/a");
    disk.heal();
    disk.makeFolder("/s/f");
    expect(canFail("open", "EMFILE")).toBe(true);
    expect(canFail("rename", "EMFILE")).toBe(false);
  });

  test("a short write takes half, and from then on there is no space", () => {
    const disk = new SimulatedDisk({ files: { "/s/log": "" } });
    const log = disk.open("/s/log", "append");
    disk.failAt({ operation: 2, mode: "from_then_on", error: "short_write" });
    expect(log.write(bytes("12345"))).toBe(2);
    expect(() => log.write(bytes("345"))).toThrow(
      expect.objectContaining({ code: "ENOSPC", path: "/s/log" }),
    );
    expect(log.size()).toBe(2);
    log.close();
    expect(disk.openFiles).toBe(0);
  });

  test("after the cut nothing happens any more, whatever is caught", async () => {
    const disk = new SimulatedDisk({ files: { "/s/a": "old" } });
    disk.cutAfter(4);
    await expect(replace(disk)).rejects.toThrow(PowerCut);
    expect(() => disk.stat("/s")).toThrow(PowerCut);
    expect(() => disk.remove("/s/a.tmp")).toThrow(PowerCut);
    expect(disk.operationCount).toBe(3);
    expect(disk.survivor().tree()).toEqual({ "/s": null, "/s/a": "old", "/s/a.tmp": "new text" });
  });

  test("a closed file is closed, and a file opened for reading takes nothing", () => {
    const disk = new SimulatedDisk({ files: { "/s/a": "old" } });
    const file = disk.open("/s/a", "read");
    expect(() => file.write(bytes("x"))).toThrow(expect.objectContaining({ code: "EBADF" }));
    file.close();
    expect(() => file.size()).toThrow(expect.objectContaining({ code: "EBADF" }));
    expect(() => disk.readFile("/s/a", 2)).toThrow(expect.objectContaining({ code: "EFBIG" }));
  });
});

describe("the other fakes", () => {
  test("a manual clock wakes sleepers in order, each at its time, also those who sleep again", async () => {
    const clock = new ManualClock();
    const woken: string[] = [];
    const beat = async (name: string, ms: number): Promise<void> => {
      for (;;) {
        await clock.sleep(ms);
        woken.push(`${name}${clock.monotonicMs()}`);
        if (clock.monotonicMs() >= 60) return;
      }
    };
    const all = Promise.all([beat("a", 30), beat("b", 20)]);
    await clock.someoneSleeps(2);
    await clock.advance(60);
    await all;
    expect(woken).toEqual(["b20", "a30", "b40", "a60", "b60"]);
    expect(clock.now().toISOString()).toBe("2026-01-01T00:00:00.060Z");
  });

  test("a sleep ends with the reason of its signal", async () => {
    const controller = new AbortController();
    for (const clock of [new ManualClock(), new AutoClock()]) {
      const slept = clock.sleep(1000, controller.signal);
      controller.abort(new Error("enough"));
      await expect(slept).rejects.toThrow("enough");
    }
  });

  test("an automatic clock moves only when nobody works, and a deadline loses against work", async () => {
    const clock = new AutoClock();
    const controller = new AbortController();
    const work = async (): Promise<string> => {
      for (let count = 0; count < 5; count++) await clock.sleep(1000);
      controller.abort(new Error("not needed any more"));
      return "done";
    };
    const deadline = clock.sleep(3_600_000, controller.signal).catch(() => "late");
    expect(await Promise.race([work(), deadline])).toBe("done");
    expect(clock.monotonicMs()).toBe(5000);

    const letGo = clock.hold();
    const slept = clock.sleep(10);
    for (let turns = 0; turns < 20; turns++) await new Promise(setImmediate);
    expect(clock.monotonicMs()).toBe(5000);
    letGo();
    await slept;
    expect(clock.monotonicMs()).toBe(5010);
    await expect(clock.sleep(31 * 24 * 3_600_000)).rejects.toThrow("Nothing else happened");
  });

  test("counted ids are valid, and differ between streams", () => {
    const ids = [new CountingRandom(), new CountingRandom(1)].flatMap((random) => [
      random.uuid(),
      random.uuid(),
    ]);
    expect(new Set(ids.map((id) => id.slice(0, 8))).size).toBe(4);
    for (const id of ids)
      expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/);
    const names = [new CountingRandom(), new CountingRandom(1)].map((random) => random.name(12));
    expect(names).toEqual(["000000000001", "000001000001"]);
  });

  test("where nothing can be started, we live and others are dead unless said otherwise", async () => {
    const processes = new NoProcesses({ liveness: new Map([[7, "unknown"]]) });
    const other = (pid: number) => ({ ...processes.self, pid, start_time: "1" });
    expect(processes.liveness(processes.self)).toBe("alive");
    expect(processes.liveness(other(4242))).toBe("dead");
    expect(processes.liveness(other(7))).toBe("unknown");
    expect(await processes.sweep(["x"])).toBe(0);
    expect(processes.swept).toEqual(["x"]);
    await expect(processes.run()).rejects.toThrow("No process");
    expect(() => processes.spawn()).toThrow("No process");
  });
});

// ---- What the properties compare with.

/** What is wrong with a crash state. */
type Allowed = (left: SimulatedDisk) => string[];

interface ModelFile {
  synced: string;
  /** What the file held at any time since its last sync. */
  written: string;
  isAppendOnly: boolean;
}

/**
 * A model that knows nothing about how states are made. It keeps, for each path, which files it may stand for, and for
 * each file, the bytes that must be there.
 */
class Model {
  readonly #disk: SimulatedDisk;
  readonly #files = new Map<number, ModelFile>();
  /** For each name in a folder (by inode): the inodes (or nothing) that it stood for since the folder was synced. */
  readonly #names = new Map<string, Set<number | undefined>>();

  constructor(disk: SimulatedDisk) {
    this.#disk = disk;
    this.#look();
    this.#names.forEach((all, key) => this.#names.set(key, new Set([[...all].at(-1)])));
  }

  async take(next: Step): Promise<void> {
    const isDone = (await take(this.#disk, next)) === undefined;
    this.#look();
    const info = this.#disk.stat(next.path);
    if (!info) return;
    const file = this.#files.get(info.inode);
    // What is written behind the cut may make the file look as if nothing had been cut.
    if (file && next.act === "truncate") file.isAppendOnly = false;
    if (!isDone) return;
    if (file && (next.act === "sync" || (next.act === "write" && next.sync))) {
      file.synced = file.written;
      file.isAppendOnly = true;
    }
    if (next.act === "syncFolder" && info.kind === "folder") {
      for (const [key, all] of this.#names) {
        if (key.startsWith(`${info.inode}/`)) this.#names.set(key, new Set([[...all].at(-1)]));
      }
    }
  }

  allowed(): Allowed {
    const names = new Map([...this.#names].map(([key, all]) => [key, new Set(all)]));
    const files = new Map([...this.#files].map(([inode, file]) => [inode, { ...file }]));
    return (left) => {
      const wrong: string[] = [];
      const present = namesOf(left);
      for (const [key, inode] of present) {
        if (!names.get(key)?.has(inode)) wrong.push(`${key} never was inode ${inode}`);
        const file = files.get(inode);
        if (!file?.isAppendOnly) continue;
        const content = contentOf(left, inode);
        const isMadeUp = content
          .split("")
          .some((letter, at) => letter !== file.written[at] && letter !== "\0");
        if (!content.startsWith(file.synced)) wrong.push(`inode ${inode} lost synced bytes`);
        if (isMadeUp || content.length > file.written.length)
          wrong.push(`inode ${inode} has bytes never written`);
      }
      const reached = new Set([left.stat("/")?.inode, ...present.values()]);
      for (const [key, all] of names) {
        // A name that stood for one thing since its folder was synced must still stand for it.
        const isCertain = all.size === 1 && reached.has(Number(key.split("/")[0]));
        if (isCertain && !all.has(present.get(key))) wrong.push(`${key} is not what it was synced as`);
      }
      return wrong;
    };
  }

  #look(): void {
    const now = namesOf(this.#disk);
    for (const [key, inode] of now) {
      const all = this.#names.get(key) ?? new Set<number | undefined>([undefined]);
      // The current one stands last.
      all.delete(inode);
      this.#names.set(key, all.add(inode));
      const content = contentOf(this.#disk, inode);
      const file = this.#files.get(inode) ?? { synced: "", written: "", isAppendOnly: true };
      if (!content.startsWith(file.written)) file.isAppendOnly = false;
      this.#files.set(inode, { ...file, written: content });
    }
    for (const [key, all] of this.#names) {
      if (now.has(key)) continue;
      all.delete(undefined);
      all.add(undefined);
    }
  }
}

/** Every name, as inode of its folder and name, with the inode it stands for. */
function namesOf(disk: SimulatedDisk): Map<string, number> {
  const names = new Map<string, number>();
  const visit = (folder: string): void => {
    const inode = disk.stat(folder)?.inode;
    for (const at of Object.keys(disk.tree())) {
      if (at.slice(0, at.lastIndexOf("/") + 1) !== (folder === "/" ? "/" : `${folder}/`)) continue;
      const info = disk.stat(at);
      names.set(`${inode}/${at.slice(at.lastIndexOf("/") + 1)}`, info?.inode ?? 0);
      if (info?.kind === "folder") visit(at);
    }
  };
  visit("/");
  return names;
}

/** Without counting as an operation. */
function contentOf(disk: SimulatedDisk, inode: number): string {
  const found = Object.entries(disk.tree()).find(([at]) => disk.stat(at)?.inode === inode);
  return found?.[1] ?? "";
}

/** The real file system, called as directly as can be. */
class RealDisk implements Pick<Disk, keyof Disk> {
  readFile(at: string): Uint8Array {
    return fs.readFileSync(at);
  }
  stat(at: string): ReturnType<Disk["stat"]> {
    try {
      const found = fs.lstatSync(at, { throwIfNoEntry: false });
      if (!found) return undefined;
      const kind = found.isFile()
        ? "file"
        : found.isDirectory()
          ? "folder"
          : found.isSymbolicLink()
            ? "link"
            : "other";
      const { size, mode, uid, mtimeMs, ino } = found;
      return { kind, size, mode: mode & 0o7777, uid, modifiedMs: mtimeMs, inode: ino };
    } catch (error) {
      if (systemCode(error) === "ENOTDIR") return undefined;
      throw error;
    }
  }
  list(at: string): string[] {
    return fs.readdirSync(at).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  }
  makeFolder(at: string): void {
    fs.mkdirSync(at, 0o700);
  }
  open(at: string, how: "read" | "edit" | "append" | "create"): ReturnType<Disk["open"]> {
    const { O_RDONLY, O_RDWR, O_WRONLY, O_APPEND, O_CREAT, O_EXCL, O_NOFOLLOW } = fs.constants;
    const flags = {
      read: O_RDONLY,
      edit: O_RDWR | O_APPEND,
      append: O_WRONLY | O_APPEND | O_CREAT,
      create: O_WRONLY | O_APPEND | O_CREAT | O_EXCL,
    };
    const file = fs.openSync(at, flags[how] | O_NOFOLLOW, 0o600);
    if (fs.fstatSync(file).isDirectory()) {
      fs.closeSync(file);
      throw Object.assign(new Error("a folder"), { code: "EISDIR" });
    }
    return {
      size: () => fs.fstatSync(file).size,
      modifiedMs: () => fs.fstatSync(file).mtimeMs,
      read: (into, position) => fs.readSync(file, into, 0, into.length, position),
      write: (content) => fs.writeSync(file, content),
      truncate: (size) => fs.ftruncateSync(file, size),
      // What really reaches the platter cannot be seen here, and syncing would only cost time.
      sync: () => Promise.resolve(),
      close: () => fs.closeSync(file),
    };
  }
  rename(from: string, to: string): void {
    fs.renameSync(from, to);
  }
  link(from: string, to: string): void {
    fs.linkSync(from, to);
  }
  symbolicLink(target: string, at: string): void {
    fs.symlinkSync(target, at);
  }
  setMode(at: string, mode: number): void {
    fs.chmodSync(at, mode);
  }
  remove(at: string): void {
    fs.unlinkSync(at);
  }
  removeFolder(at: string): void {
    fs.rmdirSync(at);
  }
  removeTree(at: string): void {
    fs.rmSync(at, { recursive: true, force: true });
  }
  syncFolder(at: string): Promise<void> {
    fs.readdirSync(at);
    return Promise.resolve();
  }
  realPath(at: string): string | undefined {
    try {
      return fs.realpathSync.native(at);
    } catch (error) {
      if (systemCode(error) === undefined) throw error;
      return undefined;
    }
  }
  watch(): () => void {
    return () => undefined;
  }
  freeBytes(): number {
    return 0;
  }
  writeDerived(at: string, content: string): Promise<void> {
    fs.writeFileSync(at, content);
    return Promise.resolve();
  }
}
