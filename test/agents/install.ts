/**
 * The agent programs that the suite drives, unmodified, at pinned versions. They are installed once into a cache beside
 * each other, without running any of their install scripts, and found by name through a folder each for `PATH`.
 */
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { homedir } from "node:os";
import { basename, join } from "node:path";
import { promisify } from "node:util";

import { lock } from "proper-lockfile";

const OPENCODE = "1.18.33";
const KIMI_CODE = "2.1.0";
/** Later ones do nothing but say that they are retired. */
const KIMI_CLI = "1.49.0";
/** For agents that want a newer Node than the one omk is tested with. */
const NODE = "24.21.0";
const KIMI_CODE_NODE_MIN = [22, 19] as const;
/** It takes 3.12, too, and trips over a defect of its first releases. */
const KIMI_CLI_PYTHON_MIN = [3, 13] as const;

/** One program: the folder to put on `PATH`, or why it is not here. */
export type Installed =
  | { name: string; version: string; bin: string }
  | { name: string; version: string; bin: undefined; because: string };

/** Every program the suite knows. */
export interface Programs {
  opencode: Installed;
  kimiCode: Installed;
  kimiCli: Installed;
}

const execute = promisify(execFile);
/** Hundreds of megabytes over a slow line. */
const INSTALL_MS_MAX = 15 * 60_000;

/** Installs what is not in the cache yet. A program that cannot be had is no error here; it says why. */
export async function installPrograms(
  environment: Readonly<Record<string, string | undefined>>,
  say: (line: string) => void,
): Promise<Programs> {
  const cache = cacheFolder(environment);
  mkdirSync(cache, { recursive: true });
  // Two suites at once would fetch everything twice; that nothing half-made is used is what `made` sees to.
  const release = await lock(cache, {
    lockfilePath: join(cache, ".lock"),
    stale: 60_000,
    retries: { retries: INSTALL_MS_MAX / 1_000, factor: 1, minTimeout: 1_000, maxTimeout: 1_000 },
  });
  try {
    return {
      opencode: await attempt("opencode", OPENCODE, () => opencode(cache, say)),
      kimiCode: await attempt("kimi-code", KIMI_CODE, () => kimiCode(cache, say)),
      kimiCli: await attempt("kimi-cli", KIMI_CLI, () => kimiCli(cache, environment, say)),
    };
  } finally {
    await release();
  }
}

function cacheFolder(environment: Readonly<Record<string, string | undefined>>): string {
  const named = environment["OMK_AGENTS_CACHE"];
  if (named) return named;
  const home = environment["XDG_CACHE_HOME"];
  if (home) return join(home, "omk-agents");
  const usual = process.platform === "darwin" ? ["Library", "Caches"] : [".cache"];
  return join(homedir(), ...usual, "omk-agents");
}

async function attempt(name: string, version: string, install: () => Promise<string>): Promise<Installed> {
  try {
    return { name, version, bin: await install() };
  } catch (error) {
    const because = (error instanceof Error ? error.message : String(error)).trim();
    return { name, version, bin: undefined, because: because.slice(-2_000) };
  }
}

/** The folder of this name, made by `make` in a draft and moved into place whole. */
async function made(cache: string, name: string, make: (draft: string) => Promise<void>): Promise<string> {
  const folder = join(cache, `${name}-${process.platform}-${process.arch}`);
  if (existsSync(folder)) return folder;
  const draft = `${folder}.${randomBytes(6).toString("hex")}.draft`;
  mkdirSync(draft);
  try {
    await make(draft);
    renameSync(draft, folder);
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
  return folder;
}

async function opencode(cache: string, say: (line: string) => void): Promise<string> {
  const folder = await made(cache, `opencode-${OPENCODE}`, async (draft) => {
    await npmInstall(draft, { "opencode-ai": OPENCODE }, say);
    // The package's own launcher needs its install script; the programs for this platform lie beside it.
    const found = readdirSync(join(draft, "node_modules"))
      .filter((name) => name.startsWith("opencode-") && name !== "opencode-ai")
      .filter((name) => existsSync(join(draft, "node_modules", name, "bin", "opencode")));
    const [program] = found.sort((a, b) => Number(isSecondBest(a)) - Number(isSecondBest(b)));
    if (program === undefined) throw new Error("opencode has no program for this platform.");
    wrapper(draft, "opencode", [`$here/../node_modules/${program}/bin/opencode`]);
  });
  return join(folder, "bin");
}

/** Builds for old processors and for musl come along with the usual one; only one of the latter two can run here. */
function isSecondBest(name: string): boolean {
  return (name.includes("baseline") && hasAvx2()) || name.includes("musl") !== isMusl();
}

function hasAvx2(): boolean {
  if (process.platform !== "linux" || process.arch !== "x64") return true;
  return readFileSync("/proc/cpuinfo", "latin1").includes(" avx2 ");
}

function isMusl(): boolean {
  return process.platform === "linux" && existsSync("/etc/alpine-release");
}

async function kimiCode(cache: string, say: (line: string) => void): Promise<string> {
  const needsNode = isBelow(process.versions.node.split(".").map(Number), KIMI_CODE_NODE_MIN);
  const node = `node-${process.platform}-${process.arch}`;
  const name = `kimi-code-${KIMI_CODE}${needsNode ? `-node-${NODE}` : ""}`;
  const folder = await made(cache, name, async (draft) => {
    await npmInstall(draft, { "@moonshot-ai/kimi-code": KIMI_CODE, ...(needsNode && { [node]: NODE }) }, say);
    const program = needsNode ? `$here/../node_modules/${node}/bin/node` : "node";
    wrapper(draft, "kimi", [program, "$here/../node_modules/@moonshot-ai/kimi-code/dist/main.mjs"]);
  });
  return join(folder, "bin");
}

/** The Python program, which has the same name as its successor and so a folder of its own. */
async function kimiCli(
  cache: string,
  environment: Readonly<Record<string, string | undefined>>,
  say: (line: string) => void,
): Promise<string> {
  const named = environment["OMK_KIMI_CLI"];
  if (named) {
    const { stdout } = await execute(named, ["--version"], { timeout: 60_000 });
    const folder = join(cache, "kimi-cli-named");
    mkdirSync(folder, { recursive: true });
    wrapper(folder, "kimi", [named]);
    say(`kimi-cli is ${named} (${stdout.trim().split("\n", 1)[0] ?? ""})`);
    return join(folder, "bin");
  }
  const python = await newEnoughPython(environment);
  if (python === undefined)
    throw new Error("not on this machine, and no Python from 3.13 on to install it with");
  const folder = await made(cache, `kimi-cli-${KIMI_CLI}`, async (draft) => {
    say(`installing kimi-cli ${KIMI_CLI} (pip)`);
    await execute(python, ["-m", "venv", join(draft, "venv")], { timeout: INSTALL_MS_MAX });
    const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", `kimi-cli==${KIMI_CLI}`];
    await execute(join(draft, "venv", "bin", "python"), pip, { timeout: INSTALL_MS_MAX, maxBuffer: 2 ** 26 });
    // Started as a module: scripts of a virtual environment name the folder they were made in, which is the draft.
    wrapper(draft, "kimi", ["$here/../venv/bin/python", "-m", "kimi_cli"]);
  });
  return join(folder, "bin");
}

async function newEnoughPython(
  environment: Readonly<Record<string, string | undefined>>,
): Promise<string | undefined> {
  const versions = join(environment["PYENV_ROOT"] ?? join(homedir(), ".pyenv"), "versions");
  const managed = existsSync(versions) ? readdirSync(versions) : [];
  const candidates = [
    "python3.13",
    "python3.12",
    "python3",
    ...managed.map((name) => join(versions, name, "bin", "python")),
  ];
  const found: string[] = [];
  for (const candidate of candidates) {
    try {
      const { stdout } = await execute(
        candidate,
        ["-c", "import ensurepip, sys, venv; print(*sys.version_info[:2])"],
        { timeout: 30_000 },
      );
      if (!isBelow(stdout.trim().split(" ").map(Number), KIMI_CLI_PYTHON_MIN)) found.push(candidate);
    } catch {
      // Not here, or without what a virtual environment needs: the next one.
    }
  }
  return found[0];
}

function isBelow(version: readonly number[], [major, minor]: readonly [number, number]): boolean {
  const [hasMajor = 0, hasMinor = 0] = version;
  return hasMajor < major || (hasMajor === major && hasMinor < minor);
}

async function npmInstall(
  folder: string,
  dependencies: Readonly<Record<string, string>>,
  say: (line: string) => void,
): Promise<void> {
  const what = Object.entries(dependencies).map(([name, version]) => `${name}@${version}`);
  say(`installing ${what.join(", ")} (npm)`);
  writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true, dependencies }));
  const caller = process.env["npm_execpath"];
  const npm = caller && basename(caller) === "npm-cli.js" ? [process.execPath, caller] : ["npm"];
  const flags = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
  const [program = "npm", ...first] = npm;
  // The script that runs this has settings of its own for npm in the environment; they are about another package.
  const environment = Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !/^npm_(?:package|lifecycle|config_local_prefix)/.test(name),
    ),
  );
  await execute(program, [...first, ...flags], {
    cwd: folder,
    env: environment,
    timeout: INSTALL_MS_MAX,
    maxBuffer: 2 ** 26,
  });
}

/** A program in `bin` that becomes another one; `$here` is the folder it lies in, so that the whole may be moved. */
function wrapper(folder: string, name: string, argv: readonly string[]): void {
  mkdirSync(join(folder, "bin"), { recursive: true });
  const path = join(folder, "bin", name);
  const words = argv.map((word) => `"${word}"`).join(" ");
  writeFileSync(path, `#!/bin/sh\nhere=$(dirname "$(readlink -f "$0")")\nexec ${words} "$@"\n`);
  chmodSync(path, 0o755);
}
