import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

import { DoctorReport } from "../../src/format/doctor.ts";
import { Place, type Ran } from "../support/cli.ts";

const ENTRY = fileURLToPath(new URL("../../bin/omk.cjs", import.meta.url));

/** A place whose PATH has a few programs that are shell scripts, and of the real ones only what is needed. */
class Machine extends Place {
  readonly bin = join(this.folder, "bin");

  constructor(programs: Readonly<Record<string, string>> = {}) {
    super({ ".omk/gates.toml": '[[gates]]\nname = "tests"\ncommand = "true"\n' });
    mkdirSync(this.bin);
    // A script, never a link: what a test writes to its own program would reach the machine's through one.
    this.program("git", `exec '${this.find("git")}' "$@"`);
    for (const [name, text] of Object.entries(programs)) this.program(name, text);
    this.environment["PATH"] = this.bin;
  }

  /** Makes a program, in place of one of that name. */
  program(name: string, text: string): void {
    const path = join(this.bin, name);
    rmSync(path, { force: true });
    writeFileSync(path, `#!/bin/sh\n${text}\n`, { mode: 0o755, flag: "wx" });
  }

  find(name: string): string {
    const folder = (process.env["PATH"] ?? "").split(delimiter).find((one) => {
      try {
        return readdirSync(one).includes(name);
      } catch {
        // PATH may name folders that are not there.
        return false;
      }
    });
    return join(folder ?? "", name);
  }

  /** An agent that speaks the protocol: omk's own, behind the name of another. */
  agent(name: string, version = "1.18.33"): void {
    const script = join(this.folder, "agent.json");
    writeFileSync(script, JSON.stringify({ version: 1, turns: [] }));
    const start = `exec '${process.execPath}' '${ENTRY}' scripted-agent '${script}'`;
    this.program(name, `test "$1" = --version && { echo ${version}; exit; }\n${start}`);
  }

  async doctor(...flags: string[]): Promise<{ ran: Ran; report: DoctorReport }> {
    const ran = await this.run("doctor", "--json", ...flags);
    return { ran, report: DoctorReport.parse(JSON.parse(ran.stdout)) };
  }
}

/** A small agent in JavaScript: what it answers to each method. */
function nodeAgent(answers: string): string {
  const code = [
    'if (process.argv.includes("--version")) { console.log("2.1.0"); process.exit(0); }',
    'require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {',
    "  const { id, method } = JSON.parse(line);",
    `  const answer = (${answers})[method];`,
    '  if (answer) console.log(JSON.stringify({ jsonrpc: "2.0", id, ...answer }));',
    "});",
  ].join("\n");
  return `exec '${process.execPath}' -e '${code}' -- "$@"`;
}

function checkOf(report: DoctorReport, id: string) {
  return report.checks.find((check) => check.id === id);
}

describe("omk doctor", () => {
  test("passes where an agent answers, and shows a mark, a reason and a cure in every line", async () => {
    using machine = new Machine();
    machine.agent("opencode");
    const { ran, report } = await machine.doctor();
    expect(ran.status).toBe(0);
    expect(report).toMatchObject({ version: 1, passed: true, issues: 0 });
    expect(report.engines).toMatchObject([
      { name: "opencode", in_use: true, handshake: "ok", tested: true, protocol_version: 1 },
    ]);
    for (const id of ["node", "git", "state", "config", "trust", "disk", "gates", "engine:opencode"]) {
      expect(checkOf(report, id), id).toMatchObject({ result: "ok", cure: null });
    }
    expect(checkOf(report, "gh")).toMatchObject({ result: "warning" });
    const text = await machine.run("doctor");
    const lines = text.stdout.trimEnd().split("\n");
    expect(lines[0]).toBe("🔍 omk doctor");
    expect(lines.at(-1)).toContain("All checks passed");
    expect(text.stdout).toMatch(/^opencode \.+ ✓ .*session started in /m);
    expect(text.stdout).toMatch(/^gh \.+ ⚠ not found\n +Only pull requests need it/m);
    // Nothing of it stays but the log.
    expect(readdirSync(machine.state)).toEqual(["logs"]);
  });

  test("finds that there is no agent at all, and says what to do and where it looked", async () => {
    using machine = new Machine();
    const { ran, report } = await machine.doctor();
    expect(ran.status).toBe(1);
    expect(report).toMatchObject({ passed: false, issues: 1, engines: [] });
    expect(checkOf(report, "engine:auto")).toMatchObject({
      result: "issue",
      cure: expect.stringContaining("opencode") as string,
    });
    const text = await machine.run("doctor");
    expect(text.status).toBe(1);
    expect(text.stdout.trimEnd().split("\n").at(-1)).toContain("Found 1 issue(s)");
    machine.environment["OMK_COMPAT"] = "0.5";
    expect((await machine.run("doctor")).status).toBe(0);
  });

  test("tells who is not logged in from who is broken, and counts only those that would be used", async () => {
    using machine = new Machine({ opencode: "echo 1.18.33; echo this is no protocol" });
    const answers = `{
      initialize: { result: { protocolVersion: 1 } },
      "session/new": { error: { code: -32000, message: "Authentication required" } } }`;
    machine.program("kimi", nodeAgent(answers));
    const { ran, report } = await machine.doctor();
    expect(ran.status).toBe(1);
    expect(report.issues).toBe(1);
    expect(checkOf(report, "engine:opencode")).toMatchObject({
      result: "issue",
      cure: expect.stringContaining("npm install -g opencode-ai") as string,
    });
    expect(checkOf(report, "engine:kimi")).toMatchObject({
      result: "warning",
      detail: expect.stringContaining("not logged in") as string,
      cure: expect.stringContaining("kimi login") as string,
    });
    expect(report.engines[1]).toMatchObject({ name: "kimi", login: "needed", in_use: false });
  });

  test("starts nothing under --no-handshake, so that a hanging agent costs no time", async () => {
    using machine = new Machine({
      opencode: 'test "$1" = --version && { echo 9.0.0; exit; }\necho started >&2; sleep 600',
    });
    const { ran, report } = await machine.doctor("--no-handshake");
    expect(ran.status).toBe(0);
    expect(report.engines).toMatchObject([{ name: "opencode", handshake: "not_tried", tested: false }]);
    expect(checkOf(report, "engine:opencode")).toMatchObject({
      result: "warning",
      detail: expect.stringContaining("was not tried") as string,
    });
  });

  test("gives up an agent that never answers when it is interrupted, and leaves nothing of it", async () => {
    using machine = new Machine();
    const meeting = join(machine.folder, "meeting");
    execFileSync("mkfifo", [meeting]);
    machine.program(
      "opencode",
      `test "$1" = --version && { echo 1.18.33; exit; }\necho $$ > '${meeting}'\nexec '${process.execPath}' -e 'setInterval(() => {}, 1000)'`,
    );
    const running = machine.start("doctor");
    // Comes when the agent runs.
    const pid = Number(await readFile(meeting, "utf8"));
    running.child.kill("SIGINT");
    const { status, stdout } = await running.ended;
    expect(status).toBe(130);
    expect(stdout).toBe("");
    expect(() => process.kill(pid, 0)).toThrow("ESRCH");
    expect(readdirSync(machine.state).filter((name) => name.startsWith("doctor-"))).toEqual([]);
  });

  test("finds what is wrong with folders, gates, configuration, git, and another omk", async () => {
    using machine = new Machine();
    machine.agent("opencode");
    machine.program("omk", "exit 0");
    machine.program("gh", 'test "$1" = --version && { echo gh version 2.60.1; exit; }; exit 1');
    machine.write({ ".omk/gates.toml": "gates = 3\n" });
    const config = join(machine.environment["HOME"] ?? "", ".config", "omk", "config.toml");
    mkdirSync(dirname(config), { recursive: true });
    writeFileSync(config, "engine = \n");
    const { ran, report } = await machine.doctor();
    expect(ran.status).toBe(1);
    expect(checkOf(report, "gates")).toMatchObject({ result: "issue" });
    expect(checkOf(report, "trust")).toMatchObject({ result: "issue" });
    expect(checkOf(report, "gh")).toMatchObject({
      result: "warning",
      cure: expect.stringContaining("gh auth login") as string,
    });
    expect(checkOf(report, "path")).toMatchObject({
      result: "warning",
      detail: expect.stringContaining(join(machine.bin, "omk")) as string,
    });

    machine.program("git", "echo git version 2.11.0");
    mkdirSync(machine.state, { recursive: true });
    chmodSync(machine.state, 0o777);
    const worse = await machine.doctor();
    expect(checkOf(worse.report, "git")).toMatchObject({
      result: "issue",
      detail: "git version 2.11.0 is too old",
    });
    expect(checkOf(worse.report, "state")).toMatchObject({
      result: "issue",
      cure: expect.stringContaining("chmod") as string,
    });
    expect(worse.report.engines).toEqual([]);
  });

  test("warns of a git that cannot merge slices, and says what that needs", async () => {
    using machine = new Machine();
    machine.program("git", "echo git version 2.34.1");
    const { ran, report } = await machine.doctor("--no-handshake");
    expect(ran.stdout).toContain("2.34.1 is too old for work in slices");
    expect(checkOf(report, "git")).toMatchObject({
      result: "warning",
      cure: "Install git 2.38 or newer for that.",
    });
  });

  test("warns where memory is short for the agents that were asked for, and refuses a number that is none", async () => {
    using machine = new Machine();
    machine.agent("opencode");
    const { ran, report } = await machine.doctor("--no-handshake", "--workers", "1000000");
    expect(ran.status).toBe(0);
    const memory = checkOf(report, "memory");
    // Where the system does not tell, there is no such line.
    if (memory)
      expect(memory).toMatchObject({ result: "warning", cure: expect.stringContaining("1000000") as string });
    expect((await machine.run("doctor", "--workers", "0")).status).toBe(2);
  });

  test("keeps secrets that an agent shouts out of what it prints", async () => {
    using machine = new Machine({ opencode: 'echo "key is $OPENAI_API_KEY" >&2; exit 3' });
    machine.environment["OPENAI_API_KEY"] = "hush-hush-4711-abcdef";
    const { ran } = await machine.doctor();
    expect(ran.status).toBe(1);
    expect(ran.stdout + ran.stderr).not.toContain("hush-hush-4711");
    expect((await machine.run("doctor")).stdout).not.toContain("hush-hush-4711");
  });
});
