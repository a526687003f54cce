/** `docs/verify-a-proof.md`, followed as a stranger would: with git and ssh-keygen, and no omk. */
import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { Statement } from "../../src/format/statement.ts";
import { BROKEN_SUM, Place, REPAIR } from "../support/cli.ts";

const PAGE = readFileSync(new URL("../../docs/verify-a-proof.md", import.meta.url), "utf8");
/** The blocks of the page that are to be run, in their order. */
const [EXPORT = "", SIGNATURE = "", TREE = "", FILES = "", SAME_FILES = "", PROOF = "", ...MORE] = [
  ...PAGE.matchAll(/```sh\n([^]*?)```/g),
].map(([, block = ""]) => block);

const hasKeygen = spawnSync("ssh-keygen", ["-?"]).error === undefined;

let place: Place;

/** Runs a block of the page; what it printed and ended with. */
function follow(block: string, folder: string): { status: number | null; output: string } {
  const env = {
    ...place.environment,
    PATH: `${join(place.folder, "bin")}:${place.environment["PATH"]}`,
    GIT_CONFIG_GLOBAL: "/dev/null",
  };
  const ran = spawnSync("sh", ["-e", "-c", block], { cwd: folder, env, encoding: "utf8", timeout: 60_000 });
  return { status: ran.status, output: `${ran.stdout}${ran.stderr}` };
}

function makeKey(path: string, passphrase = ""): void {
  const made = spawnSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", passphrase, "-C", "signer", "-f", path]);
  expect(made.status).toBe(0);
}

/** A copy of the export that a test may spoil. */
function copyOfExport(name: string): string {
  const folder = join(place.folder, name);
  mkdirSync(folder);
  cpSync(join(place.folder, "proof"), join(folder, "proof"), { recursive: true });
  copyFileSync(join(place.folder, "allowed_signers"), join(folder, "allowed_signers"));
  return join(folder, "proof");
}

beforeAll(async () => {
  place = new Place({
    ...BROKEN_SUM,
    ".gitattributes": "*.txt text eol=lf\n",
    "lines.txt": "one\r\ntwo\r\n",
  });
  await place.commitAll();
  const engine = place.script({ turns: [{ steps: REPAIR }] });
  const goal = ["goal", "run", "Fix the failing test in sum.test.js", "--no-llm-planner"];
  const ran = await place.run(...goal, "--until-ready", "--auto-accept", "--engine", engine);
  expect(ran, ran.stderr).toMatchObject({ status: 0 });
  // `omk` as the page calls it.
  mkdirSync(join(place.folder, "bin"));
  const entry = new URL("../../bin/omk.cjs", import.meta.url).pathname;
  writeFileSync(join(place.folder, "bin", "omk"), `#!/bin/sh\nexec '${process.execPath}' '${entry}' "$@"\n`, {
    mode: 0o755,
  });
}, 120_000);

afterAll(() => place[Symbol.dispose]());

test("the page has the commands this test follows, and no others", () => {
  expect(EXPORT).toContain("omk proof export");
  expect(PROOF).toContain("proof_sha256");
  expect(MORE).toEqual([]);
});

describe("an export without a key", () => {
  test("is the same statement each time, is typed, and says that nobody signed it", async () => {
    const first = await place.run("proof", "export", "--out", join(place.folder, "first"));
    expect(first, first.stderr).toMatchObject({ status: 0 });
    expect(first.stdout).toContain("Not signed");
    const statement = readFileSync(join(place.folder, "first", "statement.json"), "utf8");
    const parsed = Statement.parse(JSON.parse(statement));
    const proof = place.json("proof.json") as { result: { tree: string } };
    expect(parsed.subject[0]?.digest).toEqual({ gitTree: proof.result.tree });
    expect(parsed.predicate).toMatchObject({ status: "ready", changed_files: ["sum.js"] });
    const again = await place.run(
      "proof",
      "export",
      "--out",
      join(place.folder, "again"),
      "--no-bundle",
      "--json",
    );
    expect(JSON.parse(again.stdout)).toMatchObject({
      signed: false,
      files: expect.not.arrayContaining(["trees.bundle"]),
    });
    expect(readFileSync(join(place.folder, "again", "statement.json"), "utf8")).toBe(statement);
    expect(readFileSync(join(place.folder, "again", "how-to-check.md"), "utf8")).toContain("not signed");
  });

  test("goes into the goal's folder when no other is named, and the proof still holds", async () => {
    expect(await place.run("proof", "export")).toMatchObject({ status: 0 });
    expect(existsSync(join(place.goalFolder(), "export", "statement.json"))).toBe(true);
    expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });
    expect(await place.git("status", "--porcelain")).toBe(" M sum.js\n");
  });

  test("is finished where an earlier one was cut short, at whatever file", async () => {
    const out = join(place.folder, "cut");
    mkdirSync(out);
    writeFileSync(join(out, "proof.json"), "{}");
    writeFileSync(join(out, "trees.bundle.unfinished.lock"), "");
    writeFileSync(join(out, ".proof.json.17.abcdefghij.tmp"), "half");
    expect(await place.run("proof", "export", "--out", out)).toMatchObject({ status: 0 });
    expect(readdirSync(out).toSorted()).toEqual([
      "how-to-check.md",
      "proof.json",
      "statement.json",
      "trees.bundle",
    ]);
    expect(readdirSync(join(place.state, "temporary"))).toEqual([]);
    // With anything else in it, a folder that lacks the statement is somebody's own.
    rmSync(join(out, "statement.json"));
    writeFileSync(join(out, "mine.txt"), "mine");
    expect(await place.run("proof", "export", "--out", out)).toMatchObject({ status: 2 });
  });

  test("writes over nothing that is no export", async () => {
    const ran = await place.run("proof", "export", "--out", place.project);
    expect(ran).toMatchObject({ status: 2, stdout: "" });
    expect(ran.stderr).toContain("is no export of a proof");
  });

  test("is refused for a proof that does not hold, and for a goal without a result", async () => {
    const path = join(place.goalFolder(), "proof.json");
    const whole = readFileSync(path);
    writeFileSync(path, `${whole.toString("utf8")} `);
    const ran = await place.run("proof", "export", "--out", join(place.folder, "never"));
    writeFileSync(path, whole);
    expect(ran).toMatchObject({ status: 1 });
    expect(ran.stderr).toContain("proof.json");
    expect(existsSync(join(place.folder, "never"))).toBe(false);
    using untouched = new Place(BROKEN_SUM);
    await untouched.run("goal", "create", "Fix the failing test in sum.test.js", "--no-llm-planner");
    const nothing = await untouched.run("proof", "export");
    expect(nothing).toMatchObject({ status: 1 });
    expect(nothing.stderr).toContain("no result");
  });
});

// Without ssh-keygen there is nothing that could sign, here or for a user.
describe.skipIf(!hasKeygen)("a signed export", () => {
  beforeAll(() => {
    const keys = join(place.environment["HOME"] ?? "", ".ssh");
    mkdirSync(keys, { mode: 0o700 });
    makeKey(join(keys, "id_ed25519"));
    const exported = follow(EXPORT, place.folder);
    expect(exported, exported.output).toMatchObject({ status: 0 });
    const key = readFileSync(join(keys, "id_ed25519.pub"), "utf8");
    writeFileSync(join(place.folder, "allowed_signers"), `signer@example.org namespaces="omk-proof" ${key}`);
  });

  test("holds by git and ssh-keygen alone, command by command of the page", () => {
    const folder = copyOfExport("stranger");
    for (const block of [SIGNATURE, TREE, FILES, SAME_FILES, PROOF]) {
      const followed = follow(block, folder);
      expect(followed, `${block}\n${followed.output}`).toMatchObject({ status: 0 });
    }
    expect(readFileSync(join(folder, "files", "sum.js"), "utf8")).toContain("a + b");
    expect(readFileSync(join(folder, "files", "lines.txt"), "utf8")).toBe("one\r\ntwo\r\n");
  });

  test("names the same commands in the file that comes with it", () => {
    const folder = copyOfExport("guided");
    const guide = readFileSync(join(folder, "how-to-check.md"), "utf8");
    const commands = [...guide.matchAll(/^ {4}(?!ssh-keygen)(.*)$/gm)].map(([, line]) => line).join("\n");
    expect(commands).toContain("git");
    expect(follow(commands, folder)).toMatchObject({ status: 0 });
  });

  test("fails after an edit of any byte of the statement", () => {
    const folder = copyOfExport("edited");
    const path = join(folder, "statement.json");
    const whole = readFileSync(path);
    // Every seventh: each try is a process.
    for (let at = 0; at < whole.length; at += Math.ceil(whole.length / 40)) {
      const bent = Buffer.from(whole);
      bent[at] = (bent[at] ?? 0) ^ 1;
      writeFileSync(path, bent);
      expect(follow(SIGNATURE, folder).status, `byte ${at}`).not.toBe(0);
    }
  });

  test("fails for another tree, for files that differ, and for another proof", async () => {
    const folder = copyOfExport("other-tree");
    expect(follow(TREE, folder)).toMatchObject({ status: 0 });
    expect(follow(FILES, folder)).toMatchObject({ status: 0 });
    writeFileSync(join(folder, "files", "sum.js"), "export const sum = () => 5;\n");
    expect(follow(SAME_FILES, folder).status).not.toBe(0);
    rmSync(join(folder, "files", "sum.js"));
    expect(follow(SAME_FILES, folder).status).not.toBe(0);
    const proof = join(folder, "proof.json");
    writeFileSync(proof, `${readFileSync(proof, "utf8")} `);
    expect(follow(PROOF, folder).status).not.toBe(0);
    // A bundle of something else under the same names.
    rmSync(join(folder, "kept.git"), { recursive: true });
    await place.git("update-ref", "refs/omk/result", "HEAD");
    await place.git("bundle", "create", "--quiet", join(folder, "trees.bundle"), "refs/omk/result");
    await place.git("update-ref", "-d", "refs/omk/result");
    expect(follow(TREE, folder).status).not.toBe(0);
  });

  test("fails for a bundle with a flipped byte", () => {
    const folder = copyOfExport("bent-bundle");
    const path = join(folder, "trees.bundle");
    const whole = readFileSync(path);
    for (const at of [whole.length - 100, whole.length - 10]) {
      const bent = Buffer.from(whole);
      bent[at] = (bent[at] ?? 0) ^ 1;
      writeFileSync(path, bent);
      rmSync(join(folder, "kept.git"), { recursive: true, force: true });
      expect(follow(TREE, folder).status, `byte ${at}`).not.toBe(0);
    }
  });

  test("fails with another key, for another signer, and for another namespace", () => {
    const folder = copyOfExport("other-key");
    makeKey(join(folder, "other"));
    const signers = join(folder, "..", "allowed_signers");
    const other = readFileSync(join(folder, "other.pub"), "utf8");
    writeFileSync(signers, `signer@example.org namespaces="omk-proof" ${other}`);
    expect(follow(SIGNATURE, folder).status).not.toBe(0);
    copyFileSync(join(place.folder, "allowed_signers"), signers);
    expect(follow(SIGNATURE, folder).status).toBe(0);
    expect(follow(SIGNATURE.replace("-I signer", "-I somebody"), folder).status).not.toBe(0);
    expect(follow(SIGNATURE.replace("-n omk-proof", "-n git"), folder).status).not.toBe(0);
  });

  test("is refused at once, with nothing written, for a key that would ask for a passphrase", async () => {
    const key = join(place.folder, "locked");
    makeKey(key, "secret");
    const ran = await place.run("proof", "export", "--sign", key, "--out", join(place.folder, "unsigned"));
    expect(ran).toMatchObject({ status: 1, stdout: "" });
    expect(ran.stderr).toContain("ssh-add");
    expect(existsSync(join(place.folder, "unsigned"))).toBe(false);
    const missing = await place.run("proof", "export", "--sign", join(place.folder, "no-such-key"));
    expect(missing).toMatchObject({ status: 2 });
  });

  test("takes an earlier signature away when it is made anew without a key", async () => {
    const out = join(place.folder, "twice");
    const key = join(place.environment["HOME"] ?? "", ".ssh", "id_ed25519");
    expect(await place.run("proof", "export", "--sign", key, "--out", out)).toMatchObject({ status: 0 });
    expect(readdirSync(out)).toContain("statement.json.sig");
    expect(await place.run("proof", "export", "--out", out)).toMatchObject({ status: 0 });
    expect(readdirSync(out)).not.toContain("statement.json.sig");
  });
});
