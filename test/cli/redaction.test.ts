/** Secrets that this machine knows, or whose form is known, in everything a goal touches: none may be kept or printed. */
import { existsSync, readdirSync, readFileSync, statSync, watch } from "node:fs";
import { dirname, join } from "node:path";

import { describe, expect, test } from "vitest";

import { BROKEN_SUM, Place, REPAIR, type Ran } from "../support/cli.ts";

const CANARY = "zq7-Canary/Velvet+19xK";
const IN_GOAL = `ghp_${"Gg1h".repeat(9)}`;
const BY_AGENT = `sk-proj-${"Ab3d".repeat(10)}`;
const BY_GATE = `xoxb-${"1234567890-".repeat(3)}AbCdEf`;
const IN_PATCH = `glpat-${"Zz9y".repeat(6)}`;
const IN_TOOL = `npm_${"Qw8e".repeat(9)}`;
const SECRETS = { CANARY, IN_GOAL, BY_AGENT, BY_GATE, IN_PATCH, IN_TOOL };

/** The secret as it is and as a JSON file or a base64 text would carry it. */
function formsOf(secret: string): string[] {
  return [
    secret,
    JSON.stringify(secret).slice(1, -1),
    Buffer.from(secret).toString("base64").replace(/=+$/, "").slice(0, -1),
  ];
}

/** Which secrets a text holds, by name. */
function secretsIn(text: string): string[] {
  return Object.entries(SECRETS)
    .filter(([, secret]) => formsOf(secret).some((form) => text.includes(form)))
    .map(([name]) => name);
}

function expectNoneKept(folder: string): number {
  let files = 0;
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    expect(secretsIn(name), name).toEqual([]);
    if (!statSync(join(folder, name)).isFile()) continue;
    files++;
    expect(secretsIn(readFileSync(join(folder, name), "latin1")), name).toEqual([]);
  }
  return files;
}

function expectNonePrinted(ran: Ran, what: string): void {
  expect(secretsIn(`${ran.stdout}\n${ran.stderr}`), what).toEqual([]);
}

/** Cuts a text into pieces of a few characters, as agents send it. */
function pieces(text: string): { say: string }[] {
  return (text.match(/[^]{1,5}/g) ?? []).map((say) => ({ say }));
}

async function placeWithSecrets(): Promise<Place> {
  const place = new Place({ ...BROKEN_SUM, ".gitignore": ".env\n.gate\n" });
  await place.commitAll();
  // Where the project itself keeps it, out of omk's sight.
  place.write({ ".env": `MY_API_TOKEN=${CANARY}\n`, ".gate": `${BY_GATE}\n` });
  place.environment["MY_API_TOKEN"] = CANARY;
  return place;
}

describe("a secret", () => {
  test(
    "is in no file of the state and in no output, wherever it came from",
    { timeout: 60_000 },
    async () => {
      using place = await placeWithSecrets();
      const engine = place.script({
        turns: [
          {
            steps: [
              ...pieces(`I will use ${BY_AGENT} and ${CANARY} for this.\n`),
              { run: ["sh", "-c", `cat .env; printf '%s\\n' ${IN_TOOL}; printf '%s\\n' ${IN_TOOL} >&2`] },
              ...REPAIR.slice(0, 1),
              { write: "config.js", text: `export const token = "${IN_PATCH}";\n` },
              ...pieces(`Done with ${CANARY}.`),
            ],
          },
          {
            match: { task: "goal-agent-security-cleanup-*" },
            steps: [{ delete: "config.js" }, { say: `The token ${IN_PATCH} is gone.` }],
          },
        ],
      });
      // One secret whole from a file, one in two writes, on both channels.
      const half = Math.floor(BY_GATE.length / 2);
      const noisy = `noisy=cat .env; head -c ${half} .gate; tail -c +${half + 1} .gate; cat .env >&2`;
      const text = `Fix the failing test in sum.test.js with ${IN_GOAL} and ${CANARY}`;
      const gates = ["--gate", "tests=node --test", "--gate", noisy];
      const ran = await place.run(
        "goal",
        "run",
        text,
        "--until-ready",
        "--auto-accept",
        "--engine",
        engine,
        ...gates,
      );
      expectNonePrinted(ran, "run");
      expect(ran.status).toBe(0);

      // The wall had seen the token of the patch and sent the agent back.
      const cleanup = { task_id: "goal-agent-security-cleanup-goal-agent-execute", number: 1 };
      expect(place.json("proof.json")["attempts"]).toMatchObject([{ number: 1 }, cleanup]);
      expect(expectNoneKept(place.state)).toBeGreaterThan(20);
      const kept = readdirSync(place.goalFolder(), { recursive: true, encoding: "utf8" });
      const written = kept
        .filter((name) => /\.(?:jsonl?|md|log|diff)$/.test(name))
        .map((name) => readFileSync(join(place.goalFolder(), name), "utf8"))
        .join("\n");
      for (const kind of [
        "environment",
        "github-token",
        "model-provider-key",
        "slack-token",
        "gitlab-token",
      ]) {
        expect(written, kind).toContain(`[REDACTED:${kind}]`);
      }
      // Joined again, the pieces of what the agent said hold no secret either.
      const said = kept
        .filter((name) => name.endsWith("engine-events.jsonl"))
        .flatMap((name) => readFileSync(join(place.goalFolder(), name), "utf8").split("\n").filter(Boolean))
        .map((line) => (JSON.parse(line) as { text?: string }).text ?? "")
        .join("");
      expect(said).toContain("I will use [REDACTED:model-provider-key] and [REDACTED:environment] for this.");
      expect(secretsIn(said)).toEqual([]);
      expect(kept.filter((name) => name.startsWith("raw/"))).toEqual([]);
      for (const args of [
        ["list"],
        ["status"],
        ["show"],
        ["show", "--json"],
        ["proof"],
        ["proof", "--json"],
        ["replay"],
        ["replay", "--json"],
      ]) {
        expectNonePrinted(await place.run("goal", ...args), args.join(" "));
      }
      expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });
    },
  );

  test("in what a person says is kept as little: accept, attest, reject", { timeout: 60_000 }, async () => {
    using place = await placeWithSecrets();
    const engine = place.script({ turns: [{ steps: REPAIR }] });
    await place.run(
      "goal",
      "run",
      "Fix the failing test in sum.test.js",
      "--until-ready",
      "--engine",
      engine,
    );
    for (const args of [
      ["reject", "--reason", `leaks ${CANARY}`],
      ["accept", "--summary", `tried with ${IN_GOAL}`, "--attest", `regression=used ${CANARY}`],
      ["cancel"],
    ]) {
      expectNonePrinted(await place.run("goal", ...args), args.join(" "));
    }
    expect(expectNoneKept(place.state)).toBeGreaterThan(20);
  });

  test(
    "in a variable is seen by no agent and no gate, which see only what they need",
    { timeout: 60_000 },
    async () => {
      using place = await placeWithSecrets();
      place.environment["HARMLESS_BUT_UNLISTED"] = "not for children";
      place.environment["LC_TIME"] = "C";
      const engine = place.script({
        turns: [{ steps: [{ run: ["sh", "-c", "env > agent-environment.txt"] }, ...REPAIR] }],
      });
      const gates = ["--gate", "tests=node --test", "--gate", "look=env > gate-environment.txt"];
      const ran = await place.run(
        "goal",
        "run",
        "Fix the failing test in sum.test.js",
        "--until-ready",
        "--auto-accept",
        "--engine",
        engine,
        ...gates,
      );
      expect(ran.status).toBe(0);
      for (const name of ["agent-environment.txt", "gate-environment.txt"]) {
        const names = readFileSync(join(place.project, name), "utf8")
          .split("\n")
          .map((line) => line.split("=", 1)[0]);
        expect(names, name).toEqual(expect.arrayContaining(["PATH", "HOME", "LC_TIME", "OMK_SPAWN_ID"]));
        expect(names, name).not.toContain("MY_API_TOKEN");
        expect(names, name).not.toContain("HARMLESS_BUT_UNLISTED");
        expect(names, name).not.toContain("OMK_STATE_DIR");
      }
    },
  );

  test(
    "is swept with the raw output of a gate when omk was killed, by whatever comes next",
    { timeout: 60_000 },
    async () => {
      using place = await placeWithSecrets();
      const engine = place.script({ turns: [{ steps: REPAIR }] });
      const gate = `tests=cat .env; : > started; while [ ! -e go ]; do sleep 0.05; done; node --test`;
      const running = place.start(
        "goal",
        "run",
        "Fix the failing test in sum.test.js",
        "--until-ready",
        "--engine",
        engine,
        "--gate",
        gate,
      );
      await running.says("gate tests");
      await fileAppears(join(place.project, "started"));
      running.child.kill("SIGKILL");
      await running.ended;
      const raw = join(place.goalFolder(), "raw");
      const left = readdirSync(raw).map((name) => readFileSync(join(raw, name), "utf8"));
      expect(left.join("")).toContain(CANARY); // or the test would show nothing
      expect(await place.run("goal", "cancel")).toMatchObject({ status: 0 });
      place.write({ go: "" });
      expectNoneKept(place.state);
    },
  );
});

async function fileAppears(path: string): Promise<void> {
  await new Promise<void>((resolve) => {
    const watcher = watch(dirname(path), () => look());
    const look = () => {
      if (!existsSync(path)) return;
      watcher.close();
      resolve();
    };
    look();
  });
}
