import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { KimiSessionLog } from "../../src/engine/kimi-session-log.ts";
import { createWorld } from "../../src/world.ts";
import { StoppedClock } from "./rig.ts";

const SESSION = "session_d16710b1-eb3d-437e-92a5-36f84810ee28";
const { disk } = createWorld();

/** As Kimi Code 2.1.0 writes them. */
const usage = (other: number, output: number, read = 0, agentId = "main"): object => ({
  type: "usage.record",
  agentId,
  model: "scripted",
  usage: { inputOther: other, output, inputCacheRead: read, inputCacheCreation: 0 },
  usageScope: "turn",
  time: 1_795_276_816_376,
});
const ended = (error?: object): object => ({
  type: "turn.ended",
  agentId: "main",
  turnId: 0,
  reason: error ? "failed" : "completed",
  ...(error && { error }),
  durationMs: 55,
  time: 1_795_276_817_517,
});

function home(): {
  home: string;
  write(...records: (object | string)[]): void;
  writeAs(agent: string, record: object): void;
} {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "omk-kimi-"));
  onTestFinished(() => fs.rmSync(folder, { recursive: true, force: true }));
  const append = (agent: string, text: string): void => {
    const at = path.join(folder, "sessions", "wd_work_03133f44673e", SESSION, "agents", agent);
    fs.mkdirSync(at, { recursive: true });
    fs.appendFileSync(path.join(at, "wire.jsonl"), text);
  };
  return {
    home: folder,
    write: (...records) => {
      for (const one of records) append("main", typeof one === "string" ? one : `${JSON.stringify(one)}\n`);
    },
    writeAs: (agent, record) => append(agent, `${JSON.stringify(record)}\n`),
  };
}

describe("the session log of Kimi Code", () => {
  test("tells what a turn has used call by call, helpers included, and what was before does not count", () => {
    const kimi = home();
    kimi.write({ type: "metadata", protocol_version: "1.5" }, usage(9000, 900));
    const log = new KimiSessionLog(kimi.home, SESSION, { disk, clock: new StoppedClock() });
    log.begin();
    expect(log.read()).toEqual({ retrying: [] });
    kimi.write(usage(800, 10, 200));
    expect(log.read().spent).toEqual({
      input_tokens: 800,
      output_tokens: 10,
      cache_read_tokens: 200,
      quality: "exact",
    });
    kimi.writeAs("agent-1", usage(1000, 5, 0, "agent-1"));
    kimi.write(usage(100, 1), ended());
    log.read();
    expect(log.spent).toMatchObject({ input_tokens: 1900, output_tokens: 16, cache_read_tokens: 200 });
    expect([log.hasEnded, log.failure]).toEqual([true, undefined]);
  });

  test.each([
    ["provider.auth_error", "401 bad key", 401, { class: "auth", retryable: false }],
    ["provider.auth_error", "403 You exceeded your current quota", 403, { class: "quota" }],
    ["provider.rate_limit", "Slow down", null, { class: "rate_limit", retryable: true }],
    ["provider.api_error", "400 bad request", 400, { class: "provider", retryable: false }],
    ["internal", "something broke", null, { class: "provider", retryable: true }],
  ])("turns %s, %s into a failure", (code, message, statusCode, expected) => {
    const kimi = home();
    kimi.write(
      ended({ code, message, details: { statusCode, requestId: null }, retryable: code === "internal" }),
    );
    const log = new KimiSessionLog(kimi.home, SESSION, { disk, clock: new StoppedClock() });
    log.read();
    expect(log.failure).toMatchObject(expected);
    expect(log.failure?.message).toContain(message);
  });

  test("names the moment until which the provider asked to wait", () => {
    const kimi = home();
    kimi.write(
      {
        type: "turn.step.retrying",
        agentId: "main",
        turnId: 0,
        step: 1,
        failedAttempt: 1,
        delayMs: 20_000,
        errorMessage: "429 Too many requests",
        statusCode: 429,
      },
      ended({ code: "provider.rate_limit", message: "429 Too many requests", details: { statusCode: 429 } }),
    );
    const log = new KimiSessionLog(kimi.home, SESSION, { disk, clock: new StoppedClock() });
    expect(log.read().retrying).toEqual(["tries again in 20000 ms: 429 Too many requests"]);
    expect(log.failure).toMatchObject({ class: "rate_limit", resets_at: "2026-01-01T00:00:20.000Z" });
  });

  test("tells nothing where there is no log, and is not misled by what a conversation quotes", () => {
    const kimi = home();
    const nothing = new KimiSessionLog(kimi.home, SESSION, { disk, clock: new StoppedClock() });
    expect([nothing.read(), nothing.isThere]).toEqual([{ retrying: [] }, false]);
    const outside = new KimiSessionLog(kimi.home, "../../etc", { disk, clock: new StoppedClock() });
    expect([outside.read(), outside.isThere]).toEqual([{ retrying: [] }, false]);

    kimi.write(
      { type: "context.append_message", message: { content: JSON.stringify(ended({ code: "x" })) } },
      { type: "tool.call", args: usage(5, 5) },
      { type: "usage.record", usage: "nonsense" },
      { ...usage(1, 1), padding: "x".repeat(100_000) },
      '{"type":"usage.record","usage":{"inputOther":7\n',
      '{"type":"usage.record",',
    );
    const log = new KimiSessionLog(kimi.home, SESSION, { disk, clock: new StoppedClock() });
    log.begin();
    log.read();
    expect([log.spent, log.failure, log.hasEnded, log.isThere]).toEqual([undefined, undefined, false, true]);
    kimi.write('"usage":{"inputOther":3,"output":1}}\n');
    expect(log.read().spent).toMatchObject({ input_tokens: 3, output_tokens: 1 });
  });
});
