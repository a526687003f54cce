import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

import { configPlaces, defaultSettings, loadSettings, type Settings } from "../../src/config/settings.ts";
import { listTrust, projectConfig, readForTrust, recordTrust, revokeTrust } from "../../src/config/trust.ts";
import { createWorld } from "../../src/world.ts";

const world = createWorld();
let folder: string;
let project: string;
let root: string;
let home: string;

beforeEach(() => {
  folder = mkdtempSync(join(realpathSync(tmpdir()), "omk-settings-"));
  project = join(folder, "project");
  root = join(folder, "state");
  home = join(folder, "home");
  for (const one of [project, home]) mkdirSync(one);
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

function write(path: string, text: string | Uint8Array, mode = 0o644): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text, { mode });
  return path;
}

const user = (text: string | Uint8Array) => write(join(home, ".config", "omk", "config.toml"), text);
const own = (text: string) => write(join(project, ".omk", "config.toml"), text);
const script = (name: string, text = "#!/bin/sh\n") => write(join(project, name), text, 0o755);

function load(): Settings {
  return loadSettings({ projectDir: project, root, places: configPlaces({ HOME: home }) }, world);
}

async function trust(): Promise<void> {
  await recordTrust(readForTrust(project, world).bytes, { ...world, root, uid: process.getuid?.() });
}

describe("settings", () => {
  test("are the defaults where nobody has configured anything", () => {
    expect(load()).toEqual(defaultSettings());
    expect(loadSettings({ projectDir: project, root, places: undefined }, world)).toEqual(defaultSettings());
  });

  test("join what both say about reviews: lists add up, a single value of the project wins", async () => {
    user('[review]\nrequire_performance = true\n[[review.allowed_secrets]]\npath = "a"\nreason = "mine"\n');
    own('[[review.allowed_secrets]]\npath = "b"\nreason = "ours"\n');
    expect(load().review).toMatchObject({ allowed_secrets: [{ path: "a" }] });
    await trust();
    const allowed_secrets = [{ path: "a" }, { path: "b" }];
    expect(load().review).toMatchObject({ require_performance: true, allowed_secrets });
  });

  test("are the user's, with keys of other versions kept", () => {
    user('engine = "opencode"\napproval_policy = "safe"\nnews = 1\n[approvals]\nx = 1\n');
    expect(load()).toMatchObject({ engine: "opencode", approval_policy: "safe", news: 1, notices: [] });
  });

  test("lie where the XDG variable says, else in .config; a relative one counts as unset", () => {
    expect(configPlaces({ HOME: "/h", XDG_CONFIG_HOME: "/x" })?.configFile).toBe("/x/omk/config.toml");
    expect(configPlaces({ HOME: "/h", XDG_CONFIG_HOME: "x" })?.configFile).toBe("/h/.config/omk/config.toml");
    expect(configPlaces({ XDG_CONFIG_HOME: "/x" })).toEqual({ configFile: "/x/omk/config.toml" });
    expect(configPlaces({})).toBeUndefined();
  });

  test("are read from the old place with a notice, and only where the new one is empty", () => {
    const old = write(join(home, ".omk", "config.toml"), 'engine = "old"\n');
    expect(load()).toMatchObject({ engine: "old", notices: [expect.stringContaining(old)] });
    user('engine = "new"\n');
    expect(load()).toMatchObject({ engine: "new", notices: [] });
  });

  test("in the home directory take the user's old file for the user's, not for a project's", () => {
    write(join(home, ".omk", "config.toml"), 'engine = "old"\n');
    const settings = loadSettings({ projectDir: home, root, places: configPlaces({ HOME: home }) }, world);
    expect(settings.engine).toBe("old");
    expect(settings.notices).toHaveLength(1);
  });

  test("follow a link for the user's own file", () => {
    const real = write(join(home, "dotfiles", "omk.toml"), 'engine = "linked"\n');
    mkdirSync(join(home, ".config", "omk"), { recursive: true });
    symlinkSync(real, join(home, ".config", "omk", "config.toml"));
    expect(load().engine).toBe("linked");
  });

  test.each([
    ["a syntax error", 'engine = "a"\nx = = 1\n', /config\.toml:2: /],
    ["a wrong type", "# one\nengine = 5\n", /config\.toml:2: engine: expected string/],
    [
      "an unknown event of a hook",
      '[[hooks]]\nevent = "Stop"\ncommand = "a"\n[[hooks]]\ncommand = "b"\nevent = "PreTool"\n',
      /:6: hooks\[1\]\.event: .*"PreToolUse"/,
    ],
    [
      "a broken matcher",
      '[[hooks]]\nevent = "Stop"\ncommand = "a"\nmatcher = "a("\n',
      /:4: hooks\[0\]\.matcher: .*missing closing \)/,
    ],
    [
      "a matcher that needs more than linear time",
      `[[hooks]]\nevent = "Stop"\ncommand = "a"\nmatcher = '(a)\\1'\n`,
      /:4: hooks\[0\]\.matcher/,
    ],
    [
      "a broken pattern of a policy",
      '[approval_policy.pattern]\npatterns = ["ok", "["]\n',
      /:2: approval_policy\.pattern\.patterns/,
    ],
    ["an unknown policy", 'approval_policy = "sometimes"\n', /:1: approval_policy/],
    ["no time to answer", "approval_timeout_secs = 0\n", /:1: approval_timeout_secs: .*above 0/],
    ["a team of nobody", "default_team_size = 0\n", /:1: default_team_size: .*1 to 16/],
    [
      "a server that is neither command nor address",
      "[mcp_servers.db]\nargs = []\n",
      /:1: mcp_servers\.db: .*command or a url/,
    ],
    ["a variable that is none", 'env = ["A=B"]\n', /:1: env\[0\]: .*name of a variable/],
    ["a file that is too large", `# ${"x".repeat(1024 * 1024)}\n`, /larger than 1048576 bytes/],
  ])("say which file and key is wrong: %s", (_what, text, message) => {
    const path = user(text);
    const error = failure(load);
    expect(error).toMatchObject({ code: "config.invalid", exitStatus: 78 });
    expect(error?.message.startsWith(path)).toBe(true);
    expect(error?.message).toMatch(message);
  });

  test("refuse a file that is no UTF-8", () => {
    user(Buffer.from([0x61, 0x3d, 0x22, 0xff, 0x22]));
    expect(failure(load)?.message).toMatch(/not valid UTF-8/);
  });

  test("give the user's hooks the files beside the configuration; one that is missing can only block", () => {
    user('[[hooks]]\nevent = "Stop"\ncommand = "a.sh"\n[[hooks]]\nevent = "Stop"\ncommand = "gone.sh"\n');
    const path = write(join(home, ".config", "omk", "a.sh"), "", 0o755);
    const [first, second] = load().hooks;
    expect(first).toMatchObject({ path, sha256: expect.stringMatching(/^[0-9a-f]{64}$/) as string });
    expect(second?.sha256).toBeNull();
  });
});

describe("a project's configuration", () => {
  const CONFIG = 'engine = "theirs"\n[[hooks]]\nevent = "PreToolUse"\ncommand = ".omk/check.sh"\n';

  test("is left out whole until it is trusted, with a notice that says how", async () => {
    user('engine = "mine"\n');
    own(CONFIG);
    script(".omk/check.sh");
    expect(load()).toMatchObject({
      engine: "mine",
      hooks: [],
      notices: [expect.stringMatching(/nobody has trusted it.*`omk trust`/)],
    });
    await trust();
    const settings = load();
    expect(settings).toMatchObject({ engine: "theirs", notices: [] });
    expect(settings.hooks).toMatchObject([
      { event: "PreToolUse", folder: project, path: join(project, ".omk/check.sh") },
    ]);
  });

  test("is not even parsed while it is not trusted, however broken", () => {
    own("= = =");
    expect(load().notices).toHaveLength(1);
    expect(failure(() => readForTrust(project, world))).toMatchObject({ code: "config.invalid" });
  });

  test.each([
    ["its text", () => own(`${CONFIG}# more\n`), /it has changed/],
    ["its size", () => own(`${CONFIG}#${"x".repeat(2_000_000)}\n`), /it has changed .* cannot be read/],
    ["that it is there", () => rmSync(join(project, ".omk/config.toml")), /it is gone/],
    ["the file of a hook", () => script(".omk/check.sh", "#!/bin/sh\nexit 0\n"), /check\.sh has changed/],
    ["a hook that is no longer there", () => rmSync(join(project, ".omk/check.sh")), /check\.sh has changed/],
    [
      "a hook that cannot be run any more",
      () => chmodSync(join(project, ".omk/check.sh"), 0o644),
      /check\.sh has changed/,
    ],
  ])("is not trusted any longer once somebody changes %s", async (_what, change, because) => {
    own(CONFIG);
    script(".omk/check.sh");
    await trust();
    change();
    expect(load()).toMatchObject({ hooks: [], notices: [expect.stringMatching(because)] });
    expect(load().engine).toBeUndefined();
    // It was a guard: whoever is guarded must not be able to take it away.
    expect(load().guardGone).toMatch(because);
  });

  test("is refused when a key is nested without end", () => {
    own(`${"a.".repeat(20_000)}b = 1\n`);
    expect(failure(() => readForTrust(project, world))).toMatchObject({
      code: "config.invalid",
      message: expect.stringContaining("nested deeper than 32") as string,
    });
  });

  test("is trusted again when the bytes are the old ones", async () => {
    own(CONFIG);
    script(".omk/check.sh");
    await trust();
    own("");
    expect(load().notices).toHaveLength(1);
    own(CONFIG);
    expect(load().notices).toEqual([]);
  });

  test("comes over the user's: single values win, tables are joined by name, hooks and variables add up", async () => {
    user(
      'engine = "a"\napproval_policy = "safe"\nenv = ["A", "B"]\n[prices.m]\ninput = 1\noutput = 2\n[roles.reviewer]\nengine = "r"\n[[hooks]]\nevent = "Stop"\ncommand = "/bin/true"\n',
    );
    own(
      'engine = "b"\nenv = ["B", "C"]\n[prices.n]\ninput = 3\noutput = 4\n[roles.executor]\nengine = "e"\n[[hooks]]\nevent = "Stop"\ncommand = "check.sh"\n',
    );
    script("check.sh");
    await trust();
    const settings = load();
    expect(settings).toMatchObject({ engine: "b", approval_policy: "safe", env: ["A", "B", "C"] });
    expect(Object.keys(settings.prices)).toEqual(["m", "n"]);
    expect(Object.keys(settings.roles)).toEqual(["reviewer", "executor"]);
    expect(settings.hooks.map(({ command }) => command)).toEqual(["/bin/true", "check.sh"]);
  });

  test.each([
    [
      "the file",
      () => symlinkSync(write(join(folder, "x.toml"), "a = 1\n"), join(project, ".omk", "config.toml")),
    ],
    [
      "the folder",
      () => {
        rmSync(join(project, ".omk"), { recursive: true });
        write(join(folder, "elsewhere", "config.toml"), "a = 1\n");
        symlinkSync(join(folder, "elsewhere"), join(project, ".omk"));
      },
    ],
  ])("is never reached through a link: %s", (_what, link) => {
    mkdirSync(join(project, ".omk"));
    link();
    expect(load().notices[0]).toMatch(/is a link/);
    expect(failure(() => readForTrust(project, world))).toMatchObject({ code: "trust.refused" });
  });

  test.each([
    ["outside the project by its path", "../outside.sh", /not inside the project/],
    ["outside the project by an absolute path", "/bin/sh", /not inside the project/],
    ["reached through a link", "linked/outside.sh", /through a link/],
    ["a link", "link.sh", /is a link/],
    ["not there", "none.sh", /is not there/],
    ["a folder", ".omk", /is a folder/],
    ["not executable", "plain.sh", /not executable/],
  ])("cannot be trusted with a hook that is %s", (_what, command, why) => {
    write(join(folder, "outside.sh"), "", 0o755);
    symlinkSync(folder, join(project, "linked"));
    symlinkSync(join(folder, "outside.sh"), join(project, "link.sh"));
    write(join(project, "plain.sh"), "");
    own(`[[hooks]]\nevent = "Stop"\ncommand = "${command}"\n`);
    const error = failure(() => readForTrust(project, world));
    expect(error?.code).toBe("config.invalid");
    expect(error?.message).toMatch(why);
  });

  test("is trusted in one place: a copy elsewhere is not", async () => {
    own("engine = 'x'\n");
    await trust();
    const moved = join(folder, "moved");
    renameSync(project, moved);
    expect(projectConfig({ projectDir: moved, root }, world).state).toBe("untrusted");
    expect(projectConfig({ projectDir: project, root }, world).state).toBe("none");
    expect(await revokeTrust(project, { ...world, root })).toEqual({ project, wasTrusted: true });
    expect(listTrust(root, world)).toEqual([]);
  });

  test("is found by its real path, and several are kept beside each other", async () => {
    own("engine = 'x'\n");
    await trust();
    const first = project;
    const alias = join(folder, "alias");
    symlinkSync(first, alias);
    expect(projectConfig({ projectDir: alias, root }, world).state).toBe("trusted");
    project = join(folder, "second");
    own("engine = 'y'\n");
    await trust();
    expect(listTrust(root, world).map((one) => one.project)).toEqual([first, project]);
    expect(await revokeTrust(alias, { ...world, root })).toEqual({ project: first, wasTrusted: true });
    expect(listTrust(root, world).map((one) => one.project)).toEqual([project]);
  });
});

interface Told {
  code: string;
  exitStatus: number;
  message: string;
}

function failure(run: () => unknown): Told | undefined {
  try {
    run();
  } catch (error) {
    return error as Told;
  }
  return undefined;
}
