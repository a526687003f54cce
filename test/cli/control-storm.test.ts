/** Test 5 of the reliability suite: many requests from eight processes at goals at work (P5). */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { expect, test } from "vitest";

import { parseDuration } from "../../src/budget/duration.ts";
import type { Event } from "../../src/format/event.ts";
import { foldFolder } from "../../src/store/journal.ts";
import { createWorld } from "../../src/world.ts";
import { Place } from "../support/cli.ts";

const REQUESTS = Number(process.env["OMK_TEST_REQUESTS"] ?? 400);
const SEED = Number(process.env["OMK_TEST_SEED"] ?? 1);
const WORKERS = 8;
const GOALS = 4;
const TOKENS = 1_000_000;
const SECONDS = 36_000;

const WORKER = fileURLToPath(new URL("../support/storm-worker.mjs", import.meta.url));
const MAIN = fileURLToPath(new URL("../../dist/main.cjs", import.meta.url));

/** Events that say what became of a request. */
const APPLIED = new Set([
  "goal_paused",
  "manual_interrupt",
  "goal_budget_extended",
  "approval_answered",
  "request_refused",
]);

/** What a worker says of one command. */
interface Said {
  worker: number;
  at: number;
  kind: "pause" | "cancel" | "budget" | "answer";
  goal: string;
  /** Of a budget. */
  what?: "--tokens" | "--time";
  amount?: number;
  /** Of an answer. */
  id?: string;
  decision?: string;
  status: number;
  /** It was recorded, and not yet applied when the caller stopped waiting. */
  isLate: boolean;
  stderr: string;
}

/** An agent that asks a person one thing after another and never gets anywhere. */
const ASKS = {
  default: Array.from({ length: 400 }, (_, at) => ({
    ask: `step ${at}`,
    kind: "execute",
    input: { command: `echo ${at}` },
    on_allow: [],
    on_reject: [],
  })),
};

/** Goals that work, each in a project of its own, and are put back to work whenever they end. */
class Workshop {
  readonly ids: string[] = [];
  readonly #place: Place;
  readonly #working: Promise<void>[] = [];
  #isOver = false;

  constructor(place: Place) {
    this.#place = place;
  }

  async open(name: string): Promise<void> {
    const place = this.#place;
    const folder = join(place.folder, name);
    mkdirSync(folder);
    writeFileSync(join(folder, "notes.txt"), "nothing\n");
    place.work = folder;
    const limits = ["--budget-tokens", `${TOKENS}`, "--budget-time", `${SECONDS}s`, "--max-attempts", "20"];
    const approvals = ["--approval-policy", "never", "--approval-timeout", "10m"];
    const text = `Create made.txt for ${name}`;
    const gate = ["--gate", "made=test -e made.txt"];
    const engine = place.script(ASKS);
    const drive = ["goal", "run", text, "--until-ready", "--no-llm-planner", "--engine", engine];
    const running = place.start(...drive, ...gate, ...limits, ...approvals);
    await running.says("waits for a person");
    const id = readdirSync(join(place.state, "goals")).find((one) => !this.ids.includes(one)) ?? "";
    this.ids.push(id);
    this.#working.push(this.#keep(id, running.ended));
  }

  async #keep(id: string, first: Promise<unknown>): Promise<void> {
    await first;
    while (!this.#isOver) {
      // Busy while one of the others applies its request by itself, and an error once the goal is cancelled.
      const { stderr } = await this.#place.run("goal", "resume", id, "--approval-policy", "never");
      if (stderr.includes("is cancelled")) return;
    }
  }

  /** Lets no goal go on, ends those that work, and has all that waits applied. */
  async close(): Promise<void> {
    this.#isOver = true;
    for (const id of this.ids) await this.#place.run("goal", "pause", id);
    await Promise.all(this.#working);
    // A goal that was just being put back to work may have been paused before it was.
    for (const id of this.ids) await this.#place.run("goal", "pause", id);
  }
}

async function worker(number: number, goals: readonly string[], place: Place): Promise<Said[]> {
  const count = Math.ceil(REQUESTS / WORKERS);
  const given = { seed: SEED, worker: number, count, goals, environment: place.environment };
  const child = spawn(process.execPath, [WORKER, MAIN, JSON.stringify(given)], {
    env: place.environment,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let out = "";
  let error = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (error += text));
  const [status] = (await once(child, "close")) as [number | null];
  expect(status, error).toBe(0);
  return out
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Said);
}

/** The events of a goal, and its documents as they fold. */
function logOf(folder: string): { events: Event[]; documents: ReadonlyMap<string, object> } {
  const events: Event[] = [];
  const { documents } = foldFolder(folder, createWorld(), (event) => void events.push(event));
  return { events, documents };
}

/** What the log says became of a command. */
function appliedBy(said: Said, events: readonly Event[]): number[] {
  return events.flatMap(({ kind, payload = {} }, at) => {
    const isIt =
      said.kind === "budget"
        ? kind === "goal_budget_extended" &&
          payload[said.what === "--time" ? "added_budget_secs" : "added_budget_tokens"] === said.amount
        : said.kind === "answer"
          ? kind === "approval_answered" &&
            payload["approval_id"] === said.id &&
            payload["decision"] === said.decision
          : false;
    return isIt ? [at] : [];
  });
}

test(
  `${REQUESTS} requests from ${WORKERS} processes at ${GOALS} goals at work are each applied once, in one order`,
  { timeout: 600_000 },
  async () => {
    using place = new Place();
    const workshop = new Workshop(place);
    for (let at = 0; at < GOALS; at++) await workshop.open(`project-${at}`);
    const said = (
      await Promise.all(Array.from({ length: WORKERS }, (_, at) => worker(at, workshop.ids, place)))
    ).flat();
    await workshop.close();

    const where = (one: Said) => `seed ${SEED}: ${JSON.stringify(one)}`;
    for (const one of said) {
      // Applied, or refused because of how the goal stands or because somebody answered before.
      expect([0, 1], where(one)).toContain(one.status);
      if (one.status === 1) expect(one.stderr, where(one)).toMatch(/cannot take|already|a moment ago/);
    }
    expect(said.filter(({ kind, status }) => kind === "cancel" && status === 0)).toHaveLength(1);

    for (const [at, id] of workshop.ids.entries()) {
      const folder = join(place.state, "goals", id);
      const { events, documents } = logOf(folder);
      // What was still waiting when its goal was cancelled is refused later, when nobody waits to hear it.
      const mine = said.filter(({ goal, isLate }) => goal === id && !(isLate && at === GOALS - 1));
      const acknowledged = mine.filter(({ status }) => status === 0);

      // Each once: in the log as often as it was acknowledged, and no request twice.
      for (const one of mine.filter(({ kind }) => kind === "budget" || kind === "answer"))
        expect(appliedBy(one, events), where(one)).toHaveLength(
          one.status === 0 ? 1 : appliedElsewhere(one, acknowledged),
        );
      const ids = events
        .filter(({ kind }) => APPLIED.has(kind))
        .flatMap(({ payload }) => payload?.["request_id"] ?? []);
      expect(new Set(ids).size).toBe(ids.length);
      expect(ids.length).toBeGreaterThan(0);
      const paused = mine.filter(({ kind, status }) => kind === "pause" && status === 0).length;
      const byOthers = events.filter(({ kind }) => kind === "goal_paused").length - paused;
      // The workshop's own: one or two at its closing.
      expect(byOthers, `pauses of ${id}`).toBe(at === GOALS - 1 ? 0 : 2);
      expect(readdirSync(join(folder, "commands")).filter((name) => name.endsWith(".json"))).toEqual([]);

      // One order: what a process asked and was told of comes after what it had asked before.
      for (let number = 0; number < WORKERS; number++) {
        const places = acknowledged
          .filter((one) => one.worker === number && (one.kind === "budget" || one.kind === "answer"))
          .filter((one) => !one.isLate)
          .flatMap((one) => appliedBy(one, events));
        expect(places).toEqual(places.toSorted((a, b) => a - b));
      }

      // The documents are the fold, and the budget is the sum of what was acknowledged.
      const goal = JSON.parse(readFileSync(join(folder, "goal.json"), "utf8")) as Record<string, unknown>;
      const { seq: _seq, log_bytes: _bytes, ...written } = goal;
      expect(written).toEqual(documents.get("goal.json"));
      const sum = (what: string) =>
        acknowledged
          .filter((one) => one.kind === "budget" && one.what === what)
          .reduce((total, { amount = 0 }) => total + amount, 0);
      expect(Number(goal["budget_tokens"])).toBe(TOKENS + sum("--tokens"));
      expect(parseDuration(String(goal["budget_time"]), "budget")).toBe(SECONDS + sum("--time"));
      expect(goal["status"]).toBe(at === GOALS - 1 ? "cancelled" : "paused");
      expect(await place.run("proof", "verify", id)).toMatchObject({ status: 0 });
    }
    const count = (kind: string) => said.filter((one) => one.kind === kind && one.status === 0).length;
    console.log(
      `requests: ${said.length}, applied: ${["budget", "answer", "pause", "cancel"].map((kind) => `${kind} ${count(kind)}`).join(", ")}; seed ${SEED}`,
    );
  },
);

/** Whether somebody else's acknowledged answer was the same. */
function appliedElsewhere(one: Said, acknowledged: readonly Said[]): number {
  return acknowledged.filter(
    ({ kind, id, decision }) =>
      one.kind === "answer" && kind === "answer" && id === one.id && decision === one.decision,
  ).length;
}
