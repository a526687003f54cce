import { randomInt } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** A process that outlived the tests. */
interface Leftover {
  pid: number;
  command: string;
}

/**
 * Around the whole run: one seed, one temporary folder, an environment without the caller's habits; at the end nothing
 * that the tests started may be left.
 */
export default function setup(): () => Promise<void> {
  const seed = Number(process.env["OMK_TEST_SEED"] ?? randomInt(2 ** 31));
  if (!Number.isSafeInteger(seed)) throw new Error("OMK_TEST_SEED must be a whole number.");
  process.stderr.write(`fast-check seed: ${seed} (OMK_TEST_SEED=${seed} repeats it)\n`);

  // The folder's name is in the environment of every worker and, because TMPDIR is passed on, of what they start: that
  // is how this run's processes are told from those of another run. Short, since sockets allow about 100 characters.
  const folder = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), "omk-t-"));
  for (const name of Object.keys(process.env)) {
    // A git hook exports its repository; a developer's omk has its own state; extra certificates cost start-up time.
    if (/^(GIT_|OMK_(?!TEST_|SIM$|CRASH_|BENCH_))|^NODE_EXTRA_CA_CERTS$/.test(name)) delete process.env[name];
  }
  process.env["OMK_TEST_SEED"] = String(seed);
  process.env["TMPDIR"] = folder;
  process.env["GIT_CONFIG_GLOBAL"] = os.devNull;
  process.env["GIT_CONFIG_NOSYSTEM"] = "1";

  return async () => {
    const leftovers = await settle(folder);
    for (const { pid } of leftovers) endProcess(pid);
    fs.rmSync(folder, { recursive: true, force: true });
    if (leftovers.length > 0) {
      process.exitCode = 1; // The runner only prints what a teardown throws.
      const lines = leftovers.map(({ pid, command }) => `  ${pid} ${command}`);
      throw new Error(`The tests left processes behind (ended now):\n${lines.join("\n")}`);
    }
  };
}

/** The processes that stay. One that is just being ended may need a moment, so it is looked for a few times. */
async function settle(folder: string): Promise<Leftover[]> {
  let found = processesOf(folder);
  for (let look = 0; look < 20 && found.length > 0; look += 1) {
    await sleep(100);
    found = processesOf(folder);
  }
  return found;
}

/** Every process started through omk's own spawner that knows this folder. Elsewhere than on Linux: none. */
function processesOf(folder: string): Leftover[] {
  if (process.platform !== "linux") return [];
  const found: Leftover[] = [];
  for (const name of fs.readdirSync("/proc")) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    const environment = readProc(name, "environ");
    if (!environment.split("\0").some((entry) => entry.startsWith("OMK_SPAWN_ID="))) continue;
    const command = readProc(name, "cmdline").replaceAll("\0", " ").trim();
    const ours =
      environment.includes(folder) || command.includes(folder) || workingFolder(name).startsWith(folder);
    if (ours) found.push({ pid: Number(name), command });
  }
  return found;
}

function readProc(pid: string, file: string): string {
  try {
    return fs.readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return ""; // It ended between listing and reading, or belongs to another user.
  }
}

function workingFolder(pid: string): string {
  try {
    return fs.readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return ""; // As above.
  }
}

function endProcess(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It ended by itself meanwhile, which is all that was wanted.
  }
}
