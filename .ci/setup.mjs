// Makes a checkout ready to run: dependencies as locked, then the bundle. Says nothing when nothing was to do, so
// every npm script may start with it. Only Node's own modules, for on a fresh clone there are no others.
import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const root = path.resolve(import.meta.dirname, "..");
const stampPath = path.join(root, "dist", ".stamp");
/** A first installation over a slow line takes minutes; nobody waits longer than this for another shell. */
const WAIT_MS_MAX = 15 * 60_000;

class SetupError extends Error {}

function say(text) {
  process.stderr.write(`setup: ${text}\n`);
}

function readText(file) {
  try {
    return fs.readFileSync(file, "utf8");
  } catch (error) {
    if (error.code === "ENOENT" || error.code === "ENOTDIR") return undefined;
    throw error;
  }
}

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    throw new SetupError(`Node ${process.versions.node} is too old: omk needs 20.19 or newer.`);
  }
}

/** npm empties what a link leads to, which is somebody else's. */
function refuseLink() {
  const modules = path.join(root, "node_modules");
  if (!fs.lstatSync(modules, { throwIfNoEntry: false })?.isSymbolicLink()) return;
  throw new SetupError(`${modules} is a link and does not fit the lock file: remove it, then try again.`);
}

/**
 * Whether node_modules holds what the lock file asks for. npm writes its own record at the very end of an
 * installation, so an interrupted one has none. Times say nothing after a clone or a branch switch; contents do.
 */
function isInstalled() {
  const wantedText = readText(path.join(root, "package-lock.json"));
  if (wantedText === undefined)
    throw new SetupError("package-lock.json is missing: the checkout is incomplete.");
  const presentText = readText(path.join(root, "node_modules", ".package-lock.json"));
  if (presentText === undefined) return false;
  let wanted;
  let present;
  try {
    wanted = JSON.parse(wantedText).packages;
    present = JSON.parse(presentText).packages;
  } catch {
    // Half a record is no record: npm ci makes it anew, and complains itself about a broken lock file.
    return false;
  }
  const same = (a, b) => a.version === b.version && a.integrity === b.integrity && a.link === b.link;
  for (const [place, entry] of Object.entries(wanted)) {
    if (place === "") continue;
    const found = present[place];
    // Packages for other platforms are in the lock and not on the disk.
    if (found ? !same(entry, found) : !(entry.optional || entry.devOptional)) return false;
  }
  return Object.keys(present).every((place) => place in wanted);
}

function* filesBelow(folder) {
  const entries = fs.readdirSync(folder, { withFileTypes: true });
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const place = path.join(folder, entry.name);
    if (entry.isDirectory()) yield* filesBelow(place);
    else if (entry.isFile()) yield place;
  }
}

/** A digest of everything the bundle is made from. Contents, because a clone and a checkout set times anew. */
function sourceDigest() {
  const digest = createHash("sha256");
  const inputs = [
    ...["package.json", "package-lock.json", ".config/rolldown.config.mjs"].map((name) =>
      path.join(root, name),
    ),
    ...filesBelow(path.join(root, "src")),
  ];
  for (const file of inputs) {
    const bytes = fs.readFileSync(file);
    digest.update(`${path.relative(root, file)}\0${bytes.length}\0`).update(bytes);
  }
  return digest.digest("hex");
}

function isBuilt() {
  return readText(stampPath) === sourceDigest() && fs.existsSync(path.join(root, "dist", "main.cjs"));
}

/** Runs a step silently; what it said matters only when it fails, and then goes to stderr. */
function run(what, argv) {
  return new Promise((resolve, reject) => {
    const shell = process.platform === "win32" && argv[0] === "npm";
    const child = spawn(argv[0], argv.slice(1), { cwd: root, stdio: ["ignore", "pipe", "pipe"], shell });
    // Should this process be killed, its step goes on; whoever waits for the lock must then wait for that too.
    if (child.pid) fs.writeFileSync(path.join(lockFolder(), "step"), String(child.pid));
    let said = "";
    // The end holds the reason, so that is what is kept of a talkative step.
    const keep = (chunk) => (said = (said + chunk).slice(-64 * 1024));
    child.stdout.setEncoding("utf8").on("data", keep);
    child.stderr.setEncoding("utf8").on("data", keep);
    child.once("error", (error) => reject(new SetupError(`${what} could not start: ${error.message}`)));
    child.once("close", (code, signal) => {
      if (code === 0) return resolve();
      process.stderr.write(said);
      reject(new SetupError(`${what} failed (${signal ?? `exit ${code}`}); its own words are above.`));
    });
  });
}

async function install() {
  refuseLink();
  say("installing dependencies (npm ci)");
  // Under npm the program that runs us is the one to use; it may not be on the PATH.
  const caller = process.env.npm_execpath;
  const npm = caller && path.basename(caller) === "npm-cli.js" ? [process.execPath, caller] : ["npm"];
  await run("npm ci", [...npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"]);
  if (!isInstalled())
    throw new SetupError("npm ci ended well, but node_modules does not match package-lock.json.");
}

async function build() {
  say("building dist/");
  // Taken before the build: a file saved meanwhile makes the stamp stale, never wrongly fresh.
  const digest = sourceDigest();
  const rolldown = path.join(root, "node_modules", "rolldown", "bin", "cli.mjs");
  const config = path.join(root, ".config", "rolldown.config.mjs");
  await run("the build", [process.execPath, rolldown, "-c", config]);
  const draft = `${stampPath}.${process.pid}`;
  fs.writeFileSync(draft, digest);
  fs.renameSync(draft, stampPath);
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code !== "ESRCH"; // EPERM: it lives, under another user
  }
}

/** Where this checkout's lock lies while somebody holds it. */
function lockFolder() {
  const user = process.getuid?.() ?? os.userInfo().username;
  const key = createHash("sha256").update(fs.realpathSync(root)).digest("hex").slice(0, 16);
  return path.join(os.tmpdir(), `omk-setup-${user}-${key}`, "lock");
}

/**
 * Holds this checkout's lock while `work` runs. The lock is a folder that names its owner; it appears complete, by
 * rename, which refuses a folder with something in it. A dead owner's lock is moved to a name made from its token.
 * That name stays, so of two who saw the same dead owner the second cannot move the first one's new lock away.
 */
async function withLock(work) {
  const held = lockFolder();
  const home = path.dirname(held);
  fs.mkdirSync(home, { recursive: true, mode: 0o700 });
  const token = `${process.pid}-${randomBytes(8).toString("hex")}`;
  const mine = path.join(home, `new-${token}`);
  fs.mkdirSync(mine);
  fs.writeFileSync(path.join(mine, "owner"), token);

  const deadline = performance.now() + WAIT_MS_MAX;
  let waited = false;
  for (;;) {
    try {
      fs.renameSync(mine, held);
      break;
    } catch (error) {
      if (!["ENOTEMPTY", "EEXIST", "EPERM"].includes(error.code)) throw error;
    }
    const owner = readText(path.join(held, "owner"));
    const step = readText(path.join(held, "step"));
    if (owner !== undefined && !isAlive(Number.parseInt(owner, 10)) && !(step && isAlive(Number(step)))) {
      try {
        fs.renameSync(held, path.join(home, `dead-${owner}`));
      } catch (error) {
        // Another waiter moved it, or the name shows that it was moved before: either way, look again.
        if (!["ENOENT", "ENOTEMPTY", "EEXIST", "EPERM"].includes(error.code)) throw error;
      }
      continue;
    }
    if (performance.now() > deadline) {
      fs.rmSync(mine, { recursive: true });
      throw new SetupError(`another setup (process ${owner ?? "unknown"}) has held ${held} for too long.`);
    }
    if (!waited) say("waiting for another setup of this checkout");
    waited = true;
    await sleep(200);
  }
  try {
    await work();
  } finally {
    fs.rmSync(held, { recursive: true });
  }
}

async function main() {
  checkNode();
  if (isInstalled() && isBuilt()) return;
  await withLock(async () => {
    // Asked again under the lock: the one we waited for has usually done it all.
    if (!isInstalled()) await install();
    if (!isBuilt()) await build();
  });
}

try {
  await main();
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  say(error.message);
  process.exitCode = 1;
}
