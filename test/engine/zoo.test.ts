/** Hostile agents in every protocol: each ends as it must, in time, with nothing left of it and in bounded memory. */
import { execFile } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { ANIMALS, programOf, type Animal } from "./zoo/animals.ts";
import type { Caged, Protocol, Watched } from "./zoo/cage.ts";

const PROTOCOLS: readonly Protocol[] = ["acp", "wire", "command"];
/** Long enough for a busy machine; what must end earlier says so. */
const LIMITS = { handshakeMs: 30_000, idleMs: 30_000, turnMs: 30_000 };
/** From the limit that ended it, or from its own end, to the last of its processes. */
const DEADLINE_MS = 25_000;
/** Of the controller, whatever its agents do. */
const RSS_MIB_MAX = 256;
/** Calm animals that are kept at the same time. */
const AT_ONCE = 8;

let folder: string;
let keeper: string;
/** All calm ones together. */
let herd: Promise<Herd>;
/** Each of the others, by its name. */
const alone = new Map<string, Promise<Herd>>();

/** What a keeper saw. */
interface Herd {
  watched: Map<string, Watched>;
  rssMiB: number;
}

const specimens = ANIMALS.flatMap((animal) =>
  (animal.speaks ?? PROTOCOLS).map((protocol) => ({ animal, protocol, name: `${protocol}: ${animal.name}` })),
);

beforeAll(async () => {
  folder = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "omk-zoo-")));
  const bundle = await rolldown({
    input: fileURLToPath(new URL("zoo/keeper.ts", import.meta.url)),
    platform: "node",
    logLevel: "silent",
  });
  await bundle.write({ dir: folder, format: "cjs", entryFileNames: "keeper.cjs" });
  await bundle.close();
  keeper = path.join(folder, "keeper.cjs");
  herd = keep(specimens.filter(({ animal }) => !animal.floods).map(caged), AT_ONCE);
  let before: Promise<unknown> = Promise.resolve();
  for (const specimen of specimens.filter(({ animal }) => animal.floods)) {
    const own = before.then(() => keep([caged(specimen)], 1));
    alone.set(specimen.name, own);
    before = own.catch(() => undefined);
  }
  // The tests look at what became of them; until then nobody does.
  herd.catch(() => undefined);
});

afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

function caged({ animal, protocol, name }: { animal: Animal; protocol: Protocol; name: string }): Caged {
  const own = fs.mkdtempSync(path.join(folder, "cage-"));
  const script = path.join(own, "agent.cjs");
  fs.writeFileSync(script, programOf(animal, protocol));
  const { limits, cancelled = false, decides = "allow", clockFactor = 1 } = animal;
  return {
    name,
    protocol,
    script,
    folder: own,
    limits: { ...LIMITS, ...limits },
    cancelled,
    decides,
    clockFactor,
  };
}

/** Has animals run in a process of their own. */
async function keep(animals: Caged[], atOnce: number): Promise<Herd> {
  const list = path.join(fs.mkdtempSync(path.join(folder, "list-")), "animals.json");
  fs.writeFileSync(list, JSON.stringify(animals));
  const printed = await new Promise<string>((resolve, reject) => {
    const env = { PATH: process.env["PATH"], TMPDIR: folder };
    execFile(
      process.execPath,
      [keeper, list, String(atOnce)],
      { env, maxBuffer: 64 * 1024 * 1024, timeout: 120_000, killSignal: "SIGKILL" },
      (error, stdout, stderr) =>
        error ? reject(new Error(`The keeper failed: ${stderr}`, { cause: error })) : resolve(stdout),
    );
  });
  const lines = printed
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Watched & { rssMiB?: number });
  const rssMiB = lines.at(-1)?.rssMiB ?? Number.NaN;
  return { watched: new Map(lines.map((one) => [one.name, one])), rssMiB };
}

function check(watched: Watched | undefined, animal: Animal, protocol: Protocol): void {
  const { ends } = animal;
  const end = typeof ends === "string" ? ends : ends[protocol];
  const statuses = ["finished", "cancelled", "limit", "refused", "denied", "empty"];
  const isStatus = end !== undefined && statuses.includes(end);
  const expected = isStatus ? { status: end } : { status: "failed", failure: { class: end } };
  expect(watched).toMatchObject({ ...expected, left: 0, holdsSecret: false, isPolluted: false });
  if (!watched) return;
  expect(animal.check?.(watched, protocol)).toBeUndefined();
  expect(watched.elapsedMs).toBeLessThan(DEADLINE_MS);
  expect(watched.failure?.message.length ?? 0).toBeLessThan(20_000);
}

describe.each(PROTOCOLS)("an agent that speaks %s and sends or does", (protocol) => {
  const own = specimens.filter((one) => one.protocol === protocol);
  test.each(own)(
    "$animal.name",
    async ({ animal, name }) => {
      const { watched, rssMiB } = await (alone.get(name) ?? herd);
      check(watched.get(name), animal, protocol);
      // Those that are calm share their memory.
      expect(rssMiB).toBeLessThan(RSS_MIB_MAX);
    },
    120_000,
  );
});

test("there are many of them", () => {
  expect(new Set(specimens.map(({ animal }) => animal)).size).toBeGreaterThan(50);
});
