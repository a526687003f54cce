import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import { TeamExport } from "../../src/format/team-export.ts";
import { exportTeam, importTeam, writeExport } from "../../src/team/archive.ts";
import { findTeam, interruptedRuns, resumableTeam } from "../../src/team/find.ts";
import { Hud } from "../../src/team/hud.ts";
import { proofToShow } from "../../src/team/proof-view.ts";
import { imageOf, Runs } from "./rig.ts";

const sha = (text: string) => createHash("sha256").update(text).digest("hex");

/** A file with this in it; its path. */
function file(runs: Runs, content: unknown, name = "export.json"): string {
  const path = join(runs.folder, name);
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
}

const TEAM = {
  name: "theirs",
  task: "t",
  created_at: "2026-05-25T10:00:00Z",
  worker_count: 1,
  worker_role: "executor",
  phase: "Executing",
  tasks: [],
  state_dir: "/etc",
};

const PROOF = JSON.parse(
  readFileSync(join(import.meta.dirname, "../fixtures/v0.5.0/team/proof.json"), "utf8"),
) as object;

describe("an exported team", () => {
  test("comes back elsewhere with its state, tasks, proof and log, byte for byte", async () => {
    await using here = new Runs();
    await using there = new Runs();
    const big = Array.from({ length: 3_000 }, (_, at) => ({
      id: `t${at}`,
      state: "pending",
      note: "x".repeat(100),
    }));
    await here.ours("fix", {
      phase: "Shutdown",
      events: [
        {
          kind: "note",
          actor: null,
          payload: { text: "ä\u2028" },
          changes: [{ file: "proof.json", set: { ...PROOF } }],
        },
      ],
      later: [{ kind: "note", actor: null, payload: { big } }],
    });
    here.old("demo");
    for (const name of ["fix", "demo"]) {
      const record = exportTeam(here.root, name, here.ports);
      expect(record).toMatchObject({
        version: "1.0",
        exported_at: "2026-05-25T10:10:00.000Z",
        team: { name },
      });
      expect(TeamExport.safeParse(record).success).toBe(true);
      const path = join(here.folder, `${name}.json`);
      await writeExport(path, record, { force: false }, here.ports);
      const team = await importTeam(there.root, path, {}, there.ports);
      expect(team).toMatchObject({ name, phase: "Shutdown", isImported: true, folder: there.team(name) });
      const same = (from: string, to: string) =>
        expect(readFileSync(to).equals(readFileSync(from)), to).toBe(true);
      same(join(here.team(name), "events.jsonl"), join(there.team(name), "events.jsonl"));
      same(join(here.team(name), "proof.json"), join(there.team(name), "proof.json"));
      same(join(here.run(name), "tasks.jsonl"), join(there.run(name), "tasks.jsonl"));
      expect(findTeam(there.root, name, there.ports).tasks).toEqual(
        findTeam(here.root, name, here.ports).tasks,
      );
      expect(proofToShow({ id: name, folder: team.folder }, { regenerate: false }, there.ports).status).toBe(
        "failed",
      );
      expect(Hud.open(there.root, name, there.ports).hasEnded).toBe(true);
    }
    expect(readdirSync(join(there.team("fix"), "blobs"))).toHaveLength(1);
  });

  test("cannot be gone on with, whatever its phase says", async () => {
    await using runs = new Runs();
    await runs.ours("fix", { phase: "Executing", holder: "dead" });
    const path = join(runs.folder, "x.json");
    await writeExport(path, exportTeam(runs.root, "fix", runs.ports), { force: false }, runs.ports);
    await importTeam(runs.root, path, { name: "copy" }, runs.ports);
    expect(interruptedRuns(runs.root, runs.ports)).toEqual(["fix"]);
    expect(() => resumableTeam(runs.root, "copy", runs.ports)).toThrow("was imported");
  });

  test("replaces no file unless that is asked for", async () => {
    await using runs = new Runs();
    runs.old("demo");
    const path = file(runs, "mine");
    const record = exportTeam(runs.root, "demo", runs.ports);
    await expect(writeExport(path, record, { force: false }, runs.ports)).rejects.toMatchObject({
      code: "team.refused",
    });
    expect(readFileSync(path, "utf8")).toBe("mine");
    await writeExport(path, record, { force: true }, runs.ports);
    expect(JSON.parse(readFileSync(path, "utf8"))).toMatchObject({ team: { name: "demo" } });
    expect(readdirSync(runs.folder).filter((name) => name.endsWith(".tmp"))).toEqual([]);
    expect(() => exportTeam(runs.root, "nope", runs.ports)).toThrow("not found");
  });
});

describe("importing", () => {
  test("takes a file of 0.5.0, and puts it where it belongs and not where it says", async () => {
    await using runs = new Runs();
    const outside = join(runs.folder, "outside");
    const path = file(runs, {
      version: "1.0",
      exported_at: "2026-05-25T10:00:00Z",
      team: { ...TEAM, state_dir: outside, mood: "good" },
    });
    const team = await importTeam(runs.root, path, {}, runs.ports);
    expect(existsSync(outside)).toBe(false);
    expect(readdirSync(team.folder)).toEqual(["import.json", "team-state.json"]);
    expect(team.record).toMatchObject({ name: "theirs", state_dir: runs.team("theirs"), mood: "good" });
    expect(
      (await importTeam(runs.root, file(runs, { team: TEAM }, "bare.json"), { name: "again" }, runs.ports))
        .name,
    ).toBe("again");
  });

  test("refuses what is hostile or not right, says why, and leaves nothing", async () => {
    await using runs = new Runs();
    runs.old("demo");
    const before = imageOf(runs.root);
    const line = `${JSON.stringify({ id: "x", run_id: "r", ts: "2026-05-25T10:00:00Z", schema_version: 1, kind: "k", actor: null })}\n`;
    const proof = (evidence: unknown) => ({ ...PROOF, evidence });
    const chained = await ourLog();
    for (const [content, because] of [
      ["", "no exported team"],
      ["nonsense", "not valid JSON"],
      ["[]", "team"],
      ["null", "team"],
      ["[".repeat(100_000), "nests deeper"],
      ['{"team":{}}', "team.name"],
      [{ version: "2.0", team: TEAM }, "version"],
      [{ team: { ...TEAM, phase: "Dancing" } }, "team.phase"],
      [{ team: { ...TEAM, name: "../../escape" } }, "names its team"],
      [{ team: { ...TEAM, name: "/etc/x" } }, "names its team"],
      [{ team: { ...TEAM, name: "latest" } }, "names its team"],
      [{ team: { ...TEAM, name: "demo" } }, "exists already"],
      [{ team: TEAM, events: "not json\n" }, "line 1 of its log"],
      [{ team: TEAM, events: line.trimEnd() }, "middle of a line"],
      [{ team: TEAM, events: `${line}${line.replace('"k"', '""')}` }, "line 2 of its log"],
      [{ team: TEAM, events: chained.split("\n").slice(1).join("\n") }, "log is damaged at line 1"],
      [{ team: TEAM, events: chained.replace("Build a parser", "Steal a parser") }, "digest does not fit"],
      [{ team: TEAM, events: line, digests: { events: sha("other") } }, "digest"],
      [{ team: TEAM, digests: { surprise: sha("x") } }, "digest"],
      [{ team: TEAM, blobs: { [sha("a")]: "b" } }, "another content"],
      [{ team: TEAM, blobs: { "../../../escape": "b" } }, "blobs"],
      [
        { team: TEAM, proof: proof([{ path: "../../.ssh/id", sha256: sha("x"), bytes: 1 }]) },
        "leads outside",
      ],
      [{ team: TEAM, proof: proof([{ path: "/etc/passwd" }]) }, "leads outside"],
      [{ team: TEAM, proof: proof([null]) }, "leads outside"],
      [{ team: TEAM, proof: proof("x") }, "no list"],
      [{ team: TEAM, tasks: [{ id: "" }] }, "tasks"],
      [
        {
          team: TEAM,
          blobs: Object.fromEntries(
            Array.from({ length: 100_001 }, (_, at) => [sha(String(at)), String(at)]),
          ),
        },
        "entries",
      ],
    ] as const) {
      const path = file(runs, content);
      const error: unknown = await importTeam(runs.root, path, {}, runs.ports).then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      expect(error, JSON.stringify(content).slice(0, 200)).toMatchObject({
        exitStatus: 1,
        message: expect.stringContaining(because) as string,
      });
    }
    // Folders were made and removed in the two that hold all.
    const { team: _team, runs: _runs, ...after } = imageOf(runs.root);
    expect(before).toMatchObject(after);
    expect(Object.keys(before)).toHaveLength(Object.keys(after).length + 2);
  });

  test("reads only files, and none that is too large", async () => {
    await using runs = new Runs();
    mkdirSync(join(runs.folder, "folder"));
    symlinkSync("/dev/zero", join(runs.folder, "zero"));
    for (const name of ["nothing", "folder", "zero"]) {
      await expect(importTeam(runs.root, join(runs.folder, name), {}, runs.ports)).rejects.toMatchObject({
        code: "team.refused",
      });
    }
    const disk = { ...runs.ports.disk, readFile: () => failWith("EFBIG") };
    const path = file(runs, { team: TEAM });
    await expect(importTeam(runs.root, path, {}, { ...runs.ports, disk })).rejects.toThrow("is larger than");
  });

  test("that fails half-way leaves nothing under the name and nothing else", async () => {
    await using runs = new Runs();
    await using other = new Runs();
    other.old("demo");
    const path = join(runs.folder, "demo.json");
    await writeExport(path, exportTeam(other.root, "demo", other.ports), { force: false }, runs.ports);
    const { disk } = runs.ports;
    const failing = {
      ...disk,
      rename: (from: string, to: string) =>
        to === runs.team("demo") ? failWith("EIO") : disk.rename(from, to),
    };
    await expect(importTeam(runs.root, path, {}, { ...runs.ports, disk: failing })).rejects.toMatchObject({
      code: "state.io",
    });
    expect([readdirSync(join(runs.root, "team")), readdirSync(join(runs.root, "runs"))]).toEqual([[], []]);
    expect((await importTeam(runs.root, path, {}, runs.ports)).name).toBe("demo");
  });
});

function failWith(code: string): never {
  throw Object.assign(new Error(code), { code, path: "x", syscall: "x" });
}

/** The log of a run of ours. */
async function ourLog(): Promise<string> {
  await using runs = new Runs();
  const folder = await runs.ours("theirs", { later: [{ kind: "note", actor: null }] });
  return readFileSync(join(folder, "events.jsonl"), "utf8");
}
