import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import readline from "node:readline";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";

import type { GuardianNote } from "../../src/ports.ts";
import { createWorld } from "../../src/world.ts";
import { BROKEN_SUM, Place } from "../support/cli.ts";

const GUARDIAN = [
  process.execPath,
  fileURLToPath(new URL("../../dist/guardian.cjs", import.meta.url)),
] as const;
const CONTROLLER = fileURLToPath(new URL("controller.mjs", import.meta.url));
/** What P11 promises. */
const GONE_MS = 2_000;
const { clock, processes } = createWorld();

/** Leaves its group and session behind two parents that are gone, and listens to nobody. */
const DAEMON = `(setsid sh -c 'trap "" TERM HUP INT; echo up >>"$1"; while :; do sleep 0.05; done' sh daemon </dev/null >/dev/null 2>&1 &)`;
const IDLE = "trap '' TERM; while :; do sleep 0.05; done";

let built: string;
let longestMs = 0;

beforeAll(async () => {
  built = fs.mkdtempSync(path.join(os.tmpdir(), "world-"));
  const bundle = await rolldown({
    input: fileURLToPath(new URL("../../src/world.ts", import.meta.url)),
    platform: "node",
    logLevel: "silent",
  });
  await bundle.write({ dir: built, format: "cjs", entryFileNames: "world.cjs", exports: "named" });
  await bundle.close();
});

afterAll(() => {
  fs.rmSync(built, { recursive: true, force: true });
  console.log(`guardian: everything was gone at most ${Math.round(longestMs)} ms after the controller's end`);
});

function makeFolder(): string {
  const folder = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), "guardian-"));
  onTestFinished(async () => {
    for (const pid of marked(folder)) signal(pid, "SIGKILL");
    await until("the test's own processes are gone", () => marked(folder).length === 0);
    fs.rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}

interface Controller {
  child: ChildProcess;
  pid: number;
  tell(line: string): void;
  /** Its next line. */
  says(): Promise<string>;
}

interface ControllerRequest {
  guardian?: readonly string[];
  dies?: boolean;
  env?: Record<string, string>;
}

function controllerArgument(folder: string, scripts: readonly string[], request: ControllerRequest): string {
  const { guardian = GUARDIAN, dies = false } = request;
  return JSON.stringify({ bundle: path.join(built, "world.cjs"), guardian, folder, scripts, dies });
}

/** Starts a controller with these children. All that it starts can be told by `MARK`. */
function startController(
  folder: string,
  scripts: readonly string[],
  request: ControllerRequest = {},
): Controller {
  const child = spawn(process.execPath, [CONTROLLER, controllerArgument(folder, scripts, request)], {
    cwd: "/",
    env: { PATH: process.env["PATH"] ?? "", MARK: folder, ...request.env },
    stdio: ["pipe", "pipe", "inherit"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const lines = readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    child,
    pid: child.pid ?? 0,
    tell: (line) => void child.stdin.write(`${line}\n`),
    says: async () => String((await lines.next()).value),
  };
}

async function kill(controller: Controller): Promise<void> {
  const ended = once(controller.child, "exit");
  controller.child.kill("SIGKILL");
  await ended;
}

function allPids(): number[] {
  return fs
    .readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

function proc(pid: number, file: string): string {
  try {
    return fs.readFileSync(`/proc/${pid}/${file}`, "latin1");
  } catch {
    return ""; // it is gone
  }
}

function folderOf(pid: number): string {
  try {
    return fs.readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return ""; // it is gone
  }
}

/** State, parent and start time of a process, or undefined for one that is gone or only waits to be collected. */
function stateOf(pid: number): { parent: number; startTime: string } | undefined {
  const stat = proc(pid, "stat");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  if (fields.length < 20 || fields[0] === "Z" || fields[0] === "X") return undefined;
  return { parent: Number(fields[1]), startTime: fields[19] ?? "" };
}

function lives(pid: number): boolean {
  return stateOf(pid) !== undefined;
}

/** Everything that runs with this folder's mark. */
function marked(folder: string): number[] {
  return allPids().filter((pid) => proc(pid, "environ").split("\0").includes(`MARK=${folder}`) && lives(pid));
}

function guardiansOf(controller: number): number[] {
  return allPids().filter(
    (pid) => stateOf(pid)?.parent === controller && proc(pid, "cmdline").endsWith("/dist/guardian.cjs\0"),
  );
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It ended meanwhile.
  }
}

/** Waits for something that must happen; the longest a test waits for anything. */
async function until(what: string, isSo: () => boolean, ms = 20_000): Promise<void> {
  for (const since = performance.now(); !isSo();) {
    if (performance.now() - since > ms) throw new Error(`It took more than ${ms} ms until ${what}.`);
    await clock.sleep(5);
  }
}

async function allGone(what: string, isSo: () => boolean): Promise<void> {
  const since = performance.now();
  await until(what, isSo, GONE_MS);
  longestMs = Math.max(longestMs, performance.now() - since);
}

const linesIn = (file: string): number =>
  fs.existsSync(file) ? fs.readFileSync(file, "utf8").split("\n").length - 1 : 0;

describe.runIf(process.platform === "linux")("a controller that is killed", () => {
  test("leaves nothing: no child, no group, no daemon in a session of its own, nobody stopped", async () => {
    for (let round = 0; round < 3; round++) {
      const folder = makeFolder();
      const controller = startController(folder, [
        `${DAEMON}; ${IDLE}`,
        `(${IDLE}) & ${DAEMON}; exit 0`,
        `kill -STOP $$`,
        `while :; do setsid sh -c 'setsid sleep 30 & sleep 30' & sleep 0.02; done`,
      ]);
      expect(await controller.says()).toBe("up");
      await until("both daemons are up", () => linesIn(path.join(folder, "daemon")) === 2);
      const [guardian = 0] = guardiansOf(controller.pid);
      expect(guardian).toBeGreaterThan(0);
      await kill(controller);
      await allGone("all are gone", () => marked(folder).length === 0);
      await until("the guardian is gone", () => !lives(guardian));
    }
  });

  test("leaves nothing although it dies before its guardian is up", async () => {
    for (let round = 0; round < 3; round++) {
      const folder = makeFolder();
      const controller = startController(folder, [`${DAEMON}; ${IDLE}`], { dies: true });
      expect(await once(controller.child, "exit")).toEqual([null, "SIGKILL"]);
      await allGone("all are gone", () => marked(folder).length === 0);
    }
  });

  test("leaves nothing of a group whose leader is gone and whose members bear no id", async () => {
    const folder = makeFolder();
    const hides = `env -i "MARK=$MARK" "PATH=$PATH" sh -c "echo up >>hidden; ${IDLE}" & exit 0`;
    const controller = startController(folder, [hides]);
    expect(await controller.says()).toBe("up");
    await until("it is up", () => linesIn(path.join(folder, "hidden")) === 1);
    await kill(controller);
    await allGone("all are gone", () => marked(folder).length === 0);
  });

  test("has its short commands asked to leave before they are killed", async () => {
    const folder = makeFolder();
    const controller = startController(folder, [IDLE]);
    expect(await controller.says()).toBe("up");
    // Its words would go into a pipe whose reader is dead, which would end it before it has cleaned up.
    const cleans = "exec >/dev/null 2>&1; trap 'rm lock; exit' TERM; echo >lock";
    controller.tell(`run ${cleans}; while :; do sleep 0.05; done`);
    controller.tell(`run echo >deaf; ${IDLE}`);
    const [lock, deaf] = [path.join(folder, "lock"), path.join(folder, "deaf")];
    await until("both run", () => linesIn(lock) === 1 && linesIn(deaf) === 1);
    await kill(controller);
    // Not among what is measured: a second of it is given to those that clean up.
    await until("all are gone", () => marked(folder).length === 0, GONE_MS);
    expect(fs.existsSync(lock)).toBe(false);
  });

  test("leaves nothing of an omk that it started itself, and of one below only its own", async () => {
    const folder = makeFolder();
    const mine = path.join(folder, "inner");
    fs.mkdirSync(mine);
    const inner = controllerArgument(mine, [`${DAEMON}; ${IDLE}`], {});
    fs.writeFileSync(path.join(folder, "inner.json"), inner);
    const startInner = `tail -f /dev/null | '${process.execPath}' '${CONTROLLER}' "$(cat inner.json)"`;
    const controller = startController(folder, [`(${startInner}) & ${DAEMON}; wait`]);
    expect(await controller.says()).toBe("up");
    const daemons = [path.join(folder, "daemon"), path.join(mine, "daemon")];
    await until("both daemons are up", () => daemons.every((file) => linesIn(file) === 1));
    const innerPid = (outer: Controller) =>
      marked(folder).find(
        (pid) => proc(pid, "cmdline").startsWith(`${process.execPath}\0${CONTROLLER}`) && pid !== outer.pid,
      );
    const chains = marked(folder).map((pid) => /OMK_SPAWN_ID=([^\0]*)/.exec(proc(pid, "environ"))?.[1]);
    const depths = chains.map((chain) => chain?.split(",").length ?? 0);
    expect(new Set(depths)).toEqual(new Set([0, 1, 2])); // the controller itself, its own, those of the inner one
    const below = () => marked(folder).filter((pid) => folderOf(pid) === mine);
    const first = innerPid(controller) ?? 0;
    const [innerGuardian = 0] = guardiansOf(first);
    expect(proc(innerGuardian, "environ")).toBe(
      `OMK_SPAWN_ID=${chains.find((one) => one && !one.includes(","))}\0`,
    );

    // The inner one alone dies: what it started goes, what the outer one started stays.
    signal(first, "SIGKILL");
    await allGone("those of the inner one are gone", () => below().length === 0);
    expect(marked(folder).length).toBeGreaterThan(1);

    // Both die at once, the inner guardian with them: the outer one finds everybody.
    await kill(controller);
    await allGone("all are gone", () => marked(folder).length === 0);

    const again = startController(folder, [`${startInner} & wait`]);
    await until("the inner daemon is up", () => linesIn(daemons[1] ?? "") === 2);
    const innerGuardians = guardiansOf(innerPid(again) ?? 0);
    expect(innerGuardians).toHaveLength(1);
    for (const pid of innerGuardians) signal(pid, "SIGSTOP");
    await kill(again);
    await allGone("all are gone", () => [...marked(folder), ...innerGuardians.filter(lives)].length === 0);
  });

  test("that ends by itself takes its guardian along, and what it forgot", async () => {
    const folder = makeFolder();
    const controller = startController(folder, [`${DAEMON}; exit 0`]);
    expect(await controller.says()).toBe("up");
    await until("the daemon is up", () => linesIn(path.join(folder, "daemon")) === 1);
    const [guardian = 0] = guardiansOf(controller.pid);
    controller.tell("exit");
    await once(controller.child, "exit");
    await allGone("all are gone", () => marked(folder).length === 0);
    await until("the guardian is gone", () => !lives(guardian));
  });
});

describe.runIf(process.platform === "linux")("a guardian", () => {
  test("that dies is followed by another one, which knows everything; the fifth death is told and the work goes on", async () => {
    const folder = makeFolder();
    const controller = startController(folder, [`${DAEMON}; ${IDLE}`]);
    expect(await controller.says()).toBe("up");
    await until("the daemon is up", () => linesIn(path.join(folder, "daemon")) === 1);
    const [first = 0] = guardiansOf(controller.pid);
    signal(first, "SIGKILL");
    await until("there is another one", () => guardiansOf(controller.pid).some((pid) => pid !== first));
    await kill(controller);
    await allGone("all are gone", () => marked(folder).length === 0);

    const unlucky = startController(folder, [IDLE]);
    expect(await unlucky.says()).toBe("up");
    for (let last = 0, deaths = 0; deaths < 5; deaths++) {
      await until("there is another one", () => guardiansOf(unlucky.pid).some((pid) => pid !== last));
      [last = 0] = guardiansOf(unlucky.pid);
      signal(last, "SIGKILL");
    }
    expect(await unlucky.says()).toMatch(/^told: .*no guardian runs \(it ended with SIGKILL\)$/);
    expect(guardiansOf(unlucky.pid)).toEqual([]);
    unlucky.tell("run echo >went-on");
    await until("the work goes on", () => fs.existsSync(path.join(folder, "went-on")));
    await kill(unlucky);
  });

  test("that cannot be started is missed once, and the work goes on", async () => {
    const folder = makeFolder();
    for (const guardian of [["/no/such/program"], [process.execPath, "-e", "process.exit(7)"]]) {
      const out = path.join(folder, "out");
      const controller = startController(folder, ["echo >>out", "echo >>out"], { guardian });
      const said = [await controller.says(), await controller.says()];
      expect(said).toEqual(
        expect.arrayContaining(["up", expect.stringMatching(/^told: .*(ENOENT|status 7)/)]),
      );
      await until("both children ran", () => linesIn(out) === 2);
      controller.tell("exit");
      await once(controller.child, "exit");
      expect(await controller.says()).toBe("undefined"); // nothing more was said
      fs.rmSync(out);
    }
  });

  test("is told by a pipe that no child of its controller holds", async () => {
    const folder = makeFolder();
    const controller = startController(folder, [
      `ls -l /proc/$$/fd >first; ${IDLE}`,
      `ls -l /proc/$$/fd >second; echo >>third; ${IDLE}`,
    ]);
    expect(await controller.says()).toBe("up");
    await until("both looked", () => linesIn(path.join(folder, "third")) === 1);
    const targets = (listing: string) => [...listing.matchAll(/-> (socket:\S+)/g)].map((match) => match[1]);
    const own = fs
      .readdirSync(`/proc/${controller.pid}/fd`)
      .map((name) => fs.readlinkSync(`/proc/${controller.pid}/fd/${name}`));
    // To the guardian, and to the stdout and stderr of two children.
    expect(own.filter((target) => target.startsWith("socket:")).length).toBeGreaterThanOrEqual(5);
    for (const name of ["first", "second"]) {
      const open = targets(fs.readFileSync(path.join(folder, name), "utf8"));
      expect(open.length).toBeGreaterThan(0);
      expect(open.filter((target) => own.includes(target ?? ""))).toEqual([]);
    }
    await kill(controller);
    await allGone("all are gone", () => marked(folder).length === 0);
  });

  /** A guardian of our own, told by hand. */
  function startGuardian(): {
    child: ChildProcess;
    tell(note: GuardianNote): void;
    close(): Promise<unknown>;
  } {
    const [file, ...args] = GUARDIAN;
    const child = spawn(file, args, { cwd: "/", env: {}, stdio: ["pipe", "pipe", "pipe"], detached: true });
    onTestFinished(() => void child.kill("SIGKILL"));
    return {
      child,
      tell: (note) => void child.stdin.write(`${JSON.stringify(note)}\n`),
      close: () => {
        const ended = once(child, "exit");
        child.stdin.end();
        return ended;
      },
    };
  }

  /** A process that leads a group of its own, as strangers do. */
  async function stranger(folder: string, env: Record<string, string> = {}): Promise<number> {
    const child = spawn("sh", ["-c", "echo up; exec sleep 30"], {
      env: { PATH: process.env["PATH"] ?? "", MARK: folder, ...env },
      detached: true,
      stdio: ["ignore", "pipe", "ignore"],
    });
    await once(child.stdout, "data");
    return child.pid ?? 0;
  }

  test("spares a stranger who was given the number of a group it was told of", async () => {
    const folder = makeFolder();
    const [other, bearer, brief, own] = [
      await stranger(folder),
      await stranger(folder, { OMK_SPAWN_ID: "above,mine-2" }),
      await stranger(folder),
      await stranger(folder),
    ];
    const hold = (spawn_id: string, pid?: number, start_time: string | null = null, is_brief = false) => {
      const group = pid === undefined ? null : { pid, start_time, ended_tick: null };
      guardian.tell({ hold: { spawn_id, is_brief, group } });
    };
    const guardian = startGuardian();
    hold("mine-1", other, "12345");
    hold("mine-3", bearer);
    hold("mine-4", brief, "12345", true);
    hold("mine-5", own, stateOf(own)?.startTime);
    hold("mine");
    hold("mine-2");
    guardian.tell({ drop: "mine-2" });
    guardian.child.stdin?.write('nonsense\n{"hold":{"spawn_id":"x","is_brief":false,"group":{"pid":1}}}\n');
    guardian.child.stdin?.write('{"hold":{"spawn_id":"mine-2","is_brief":false,"gro');
    expect(await guardian.close()).toEqual([0, null]);
    expect([other, bearer, brief, own].map(lives)).toEqual([true, true, true, false]);
  });

  test("hears no Ctrl-C, stands in no folder, says nothing, and goes when there is nothing to do", async () => {
    const guardian = startGuardian();
    let said = "";
    for (const stream of [guardian.child.stdout, guardian.child.stderr])
      stream?.on("data", (bytes: Buffer) => (said += bytes.toString()));
    const pid = guardian.child.pid ?? 0;
    // Its handlers are there when it has begun to listen to its pipe, which is when it waits for events.
    const catches = () => Number.parseInt(/SigCgt:\s*(\w+)/.exec(proc(pid, "status"))?.[1] ?? "0", 16);
    const [hup, int, term] = [1, 2, 15].map((number) => 2 ** (number - 1));
    await until("it listens", () =>
      [hup, int, term].every((bit) => Math.floor(catches() / (bit ?? 1)) % 2 === 1),
    );
    for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) signal(pid, name);
    expect(fs.readlinkSync(`/proc/${pid}/cwd`)).toBe("/");
    expect(await guardian.close()).toEqual([0, null]);
    expect(said).toBe("");
  });
});

describe.runIf(process.platform === "linux")("the built command line", () => {
  test(
    "killed while an agent works, and while a gate does, leaves no process",
    { timeout: 60_000 },
    async () => {
      for (const when of ["agent", "gate"]) {
        using place = new Place(BROKEN_SUM);
        await place.commitAll();
        const up = path.join(place.project, `${when}.up`);
        const daemon = {
          daemon: ["sh", "-c", `trap '' TERM HUP; echo >${when}.up; while :; do sleep 0.05; done`],
        };
        const engine = place.script({
          turns: [{ steps: when === "agent" ? [daemon, { hang: "deaf" }] : [{ say: "done" }] }],
        });
        const gate = `until [ -n "$HOME" ]; do :; done; (setsid sh -c 'echo >gate.up; exec sleep 30' &) ; sleep 30`;
        if (when === "gate") {
          const toml = `[[gates]]\nname = "test"\ncommand = "sh"\nargs = ["-c", ${JSON.stringify(gate)}]\n`;
          place.write({ ".omk/gates.toml": toml });
          await place.git("add", "--all");
          await place.git("commit", "--quiet", "-m", "gate");
        }
        const running = place.start(
          "goal",
          "run",
          "Fix the failing test in sum.test.js",
          "--until-ready",
          "--engine",
          engine,
        );
        const ours = () =>
          allPids().filter(
            (pid) =>
              lives(pid) &&
              (proc(pid, "environ").includes(place.folder) ||
                guardiansOf(running.child.pid ?? 0).includes(pid)),
          );
        await until(`the ${when} is up`, () => fs.existsSync(up));
        const guardians = guardiansOf(running.child.pid ?? 0);
        expect(guardians).toHaveLength(1);
        running.child.kill("SIGKILL");
        await running.ended;
        await allGone("all are gone", () => ours().length === 0);
        await until("the guardian is gone", () => !guardians.some(lives));
      }
    },
  );
});

test.runIf(process.platform === "linux")(
  "a sweep finds an id anywhere in a chain, and only whole",
  async () => {
    const folder = makeFolder();
    const inner = createWorld({ spawnChain: "outer-1,middle-1" });
    const child = inner.processes.spawn({
      argv: ["sh", "-c", "echo $OMK_SPAWN_ID; exec sleep 30"],
      cwd: folder,
      env: { PATH: process.env["PATH"] ?? "", MARK: folder },
      spawnId: "inner-1",
      stdin: "none",
      stdout: "pipe",
      stderr: "pipe",
    });
    for await (const bytes of child.stdout) {
      expect(Buffer.from(bytes).toString()).toBe("outer-1,middle-1,inner-1\n");
      break;
    }
    for (const id of ["outer", "er-1,mid", "outer-1,middle-1", "inner-11"]) {
      expect(await processes.sweep([id]), id).toBe(0);
    }
    expect(await processes.sweep(["middle-1"])).toBe(1);
    expect(await child.exited).toEqual({ kind: "signalled", signal: "SIGKILL" });
  },
);

test.runIf(process.platform === "linux")(
  "killing all at once reaches those that left their group",
  async () => {
    const folder = makeFolder();
    const own = createWorld().processes;
    const request = {
      cwd: folder,
      env: { PATH: process.env["PATH"] ?? "", MARK: folder },
      stdin: "none",
      stdout: "pipe",
      stderr: "pipe",
    } as const;
    const busy = own.spawn({ ...request, argv: ["sh", "-c", `${DAEMON}; ${IDLE}`], spawnId: "kill-all-1" });
    const gone = own.spawn({ ...request, argv: ["sh", "-c", `${DAEMON}; exit 0`], spawnId: "kill-all-2" });
    await gone.exited;
    await until("both daemons are up", () => linesIn(path.join(folder, "daemon")) === 2);
    own.killAll();
    expect(await busy.exited).toEqual({ kind: "signalled", signal: "SIGKILL" });
    await allGone("all are gone", () => marked(folder).length === 0);
  },
);

test.runIf(process.platform === "linux")(
  "a child's end reaches a daemon that holds its output open",
  async () => {
    const folder = makeFolder();
    const holds = DAEMON.replace("</dev/null >/dev/null 2>&1", "");
    const child = processes.spawn({
      argv: ["sh", "-c", `${holds}; until [ -e daemon ]; do :; done`],
      cwd: folder,
      env: { PATH: process.env["PATH"] ?? "", MARK: folder },
      spawnId: "holds-open-1",
      stdin: "none",
      stdout: "pipe",
      stderr: "pipe",
    });
    await child.exited;
    expect(marked(folder).length).toBeGreaterThan(0);
    const since = performance.now();
    await child.end(5_000);
    expect(marked(folder)).toEqual([]);
    for await (const bytes of child.stdout) expect(bytes).toHaveLength(0);
    expect(performance.now() - since).toBeLessThan(3_000);
  },
);
