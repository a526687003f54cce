import { appendFileSync, chmodSync, readFileSync, realpathSync, statSync } from "node:fs";
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import { BROKEN_SUM, Place, REPAIR } from "../support/cli.ts";

const CONFIG = `
env = ["OF_THE_PROJECT"]

[[hooks]]
event = "PreToolUse"
command = ".omk/check.sh"
matcher = "WriteFile"

[[hooks]]
event = "Stop"
command = ".omk/stop.sh"

[mcp_servers.db]
command = "db-server"
env = { DB_PASSWORD = "opens-the-database" }
`;
const CHECK =
  '#!/bin/sh\ncat > "$OMK_PROJECT_DIR/../asked.json"\necho "sum.js is not to be touched"\nexit 1\n';

/** A project with a configuration of its own. */
async function configured(): Promise<Place> {
  const place = new Place({
    ...BROKEN_SUM,
    ".omk/config.toml": CONFIG,
    ".omk/check.sh": CHECK,
    ".omk/stop.sh": '#!/bin/sh\ntouch "$OMK_PROJECT_DIR/../stopped"\n',
  });
  for (const name of ["check.sh", "stop.sh"]) chmodSync(join(place.project, ".omk", name), 0o755);
  await place.commitAll();
  return place;
}

describe("omk trust", () => {
  test("shows what a project's configuration would do, and lets it once it is told to", async () => {
    using place = await configured();
    const shown = await place.run("trust", "--show");
    expect(shown.status).toBe(0);
    for (const line of [
      "hook at PreToolUse (WriteFile): runs .omk/check.sh",
      "MCP server db: runs db-server with DB_PASSWORD",
      "agents see the variables: OF_THE_PROJECT",
      "It is not trusted: nothing of it is used.",
    ])
      expect(shown.stdout).toContain(line);
    expect(shown.stdout).not.toContain("opens-the-database");
    const list = async () => JSON.parse((await place.run("trust", "--list", "--json")).stdout) as unknown;
    expect(await list()).toEqual([]);

    const trusted = await place.run("trust", "--json");
    expect(trusted.status).toBe(0);
    expect(trusted.stdout).not.toContain("opens-the-database");
    expect(JSON.parse(trusted.stdout)).toMatchObject({
      project: realpathSync(place.project),
      state: "trusted",
      commands: [{ command: ".omk/check.sh" }, { command: ".omk/stop.sh" }],
    });
    const project = realpathSync(place.project);
    expect(await list()).toMatchObject([{ project, state: "trusted" }]);

    appendFileSync(join(place.project, ".omk", "check.sh"), "# later\n");
    expect(await list()).toMatchObject([{ project, state: "changed" }]);
    expect((await place.run("trust", "--show")).stdout).toContain("no longer trusted");

    expect((await place.run("trust", "--revoke")).stdout).toContain("is no longer trusted");
    expect((await place.run("trust", "--revoke")).stdout).toContain("was not trusted");
    expect(await list()).toEqual([]);
  });

  test("refuses what it cannot promise: no configuration, a broken one, a hook that is not there", async () => {
    using place = new Place();
    expect(await place.run("trust")).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("no configuration") as string,
    });
    place.write({ ".omk/config.toml": "[[hooks]]\nevent = 'Stop'\ncommand = 'none.sh'\n" });
    expect(await place.run("trust")).toMatchObject({
      status: 78,
      stderr: expect.stringContaining("none.sh is not there") as string,
    });
    place.write({ ".omk/config.toml": "hooks = 1\n" });
    expect(await place.run("trust")).toMatchObject({
      status: 78,
      stderr: expect.stringContaining("config.toml:1: hooks") as string,
    });
    expect(await place.run("trust", "--show", "--list")).toMatchObject({ status: 2 });
  });
});

describe("a goal in a project with hooks of its own", () => {
  const GOAL = "Fix the failing test in sum.test.js";
  const [edit] = REPAIR;
  const drive = (place: Place) =>
    place.run(
      "goal",
      "run",
      GOAL,
      "--until-ready",
      "--auto-accept",
      "--max-attempts",
      "1",
      "--engine",
      engine(place),
    );
  const engine = (place: Place) =>
    place.script({
      turns: [
        {
          steps: [
            { run: 'echo "saw $OF_THE_PROJECT" > ../saw' },
            { ...edit, ask_first: true, on_reject: [] },
            { say: "done" },
          ],
        },
      ],
    });
  const beside = (place: Place, name: string) => readFileSync(join(place.folder, name), "utf8");

  test("runs none of them before they are trusted, says so, and reaches ready", async () => {
    using place = await configured();
    place.environment["OF_THE_PROJECT"] = "a value";
    const ran = await drive(place);
    expect(ran.stderr).toContain("config.toml is left out: nobody has trusted it");
    expect(ran.stderr.split("left out")).toHaveLength(2);
    expect(ran).toMatchObject({ status: 0 });
    expect(() => beside(place, "asked.json")).toThrow(/ENOENT/);
    expect(beside(place, "saw")).toBe("saw \n");
    expect(place.events().filter(({ kind }) => kind.startsWith("hook_"))).toEqual([]);
  });

  test("obeys them once they are trusted: the change is blocked, and both hooks are in the log", async () => {
    using place = await configured();
    place.environment["OF_THE_PROJECT"] = "a value";
    expect(await place.run("trust")).toMatchObject({ status: 0 });
    const ran = await drive(place);
    expect(ran.status).toBe(1);
    expect(ran.stderr).toContain("blocked by a hook (PreToolUse): sum.js is not to be touched");
    expect(readFileSync(join(place.project, "sum.js"), "utf8")).toContain("a - b");
    expect(JSON.parse(beside(place, "asked.json"))).toMatchObject({ hook_event_name: "PreToolUse" });
    expect(beside(place, "saw")).toBe("saw a value\n");
    const hooks = place.events().filter(({ kind }) => kind === "hook_resolved");
    expect(hooks.map(({ payload }) => [payload?.["event"], payload?.["action"]])).toEqual([
      ["PreToolUse", "block"],
      ["Stop", "allow"],
    ]);
    expect(beside(place, "stopped")).toBe("");
    expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });
  });

  test("does not start with a configuration of the user's that it does not understand", async () => {
    using place = await configured();
    place.environment["XDG_CONFIG_HOME"] = join(place.project, "own");
    place.write({ "own/omk/config.toml": '[[hooks]]\nevent = "PreToolUse"\ncommand = "x"\nmatcher = "("\n' });
    const ran = await drive(place);
    expect(ran.status).toBe(78);
    expect(ran.stderr).toMatch(/config\.toml:4: hooks\[0\]\.matcher: .*missing closing/);
  });
});

describe("omk config", () => {
  test("sets keys without touching the rest of the file, and shows what holds", async () => {
    using place = new Place();
    const path = join(place.folder, "home", ".config", "omk", "config.toml");
    expect((await place.run("config", "path")).stdout).toBe(`${path}\n`);
    expect((await place.run("config", "set", "default_team_size", "3")).stdout).toBe(
      "✓ Set default_team_size = 3\n",
    );
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(join(path, "..")).mode & 0o777).toBe(0o700);
    appendFileSync(path, "# prices of last week\n[prices.default]\ninput = 1.5\noutput = 6\n");
    expect(await place.run("config", "set", "approval.policy", "pattern:^git ")).toMatchObject({ status: 0 });
    expect(await place.run("config", "set", "approval.timeout", "600")).toMatchObject({ status: 0 });
    expect(readFileSync(path, "utf8")).toBe(
      'default_team_size = 3\napproval_policy = { pattern = { patterns = ["^git "] } }\napproval_timeout_secs = 600\n' +
        "# prices of last week\n[prices.default]\ninput = 1.5\noutput = 6\n",
    );
    const shown = await place.run("config", "show");
    for (const text of [
      "omk Configuration",
      `Config: ${path}`,
      "default_team_size: 3",
      "approval.timeout: 600s",
      "prices of: default",
    ])
      expect(shown.stdout).toContain(text);
    expect(JSON.parse((await place.run("config", "show", "--json")).stdout)).toMatchObject({
      paths: { config: path, state: place.state },
      settings: { default_team_size: 3, approval_policy: { pattern: { patterns: ["^git "] } } },
    });
  });

  test.each([
    ["foo", "1", "Unknown config key: foo"],
    ["default_team_size", "17", "1 to 16"],
    ["approval.policy", "sometimes", "none of never, safe, workspace, yolo"],
    ["approval.policy", "pattern:(", "cannot be set"],
    ["kimi_binary", "/nowhere/kimi", "no file /nowhere/kimi"],
  ])("refuses to set %s to %s", async (key, value, why) => {
    using place = new Place();
    const ran = await place.run("config", "set", key, value);
    expect(ran).toMatchObject({ status: 2, stderr: expect.stringContaining(why) as string });
  });

  test("tells by its status whether the files can be understood, and leaves a broken one alone", async () => {
    using place = new Place({ ".omk/config.toml": "engin = 'x'\n" });
    const good = await place.run("config", "validate");
    expect(good).toMatchObject({ status: 0, stderr: "" });
    expect(good.stdout).toContain("unknown key, ignored: engin");
    expect(good.stdout).toContain("Configuration is valid");
    place.write({ "own/omk/config.toml": "engine = \n", ".omk/config.toml": "default_yolo = 'yes'\n" });
    place.environment["XDG_CONFIG_HOME"] = join(place.project, "own");
    const bad = await place.run("config", "validate");
    expect(bad.status).toBe(78);
    expect(bad.stdout).toContain("Found 2 issue(s)");
    expect(bad.stdout).toMatch(/config\.toml:1: default_yolo/);
    expect(await place.run("config", "show")).toMatchObject({ status: 78 });
    expect(await place.run("config", "set", "engine", "kimi")).toMatchObject({ status: 78 });
    expect(readFileSync(join(place.project, "own/omk/config.toml"), "utf8")).toBe("engine = \n");
  });
});
