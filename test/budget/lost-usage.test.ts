import { mkdtempSync, rmSync, writeFileSync, appendFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, expect, onTestFinished, test } from "vitest";

import { Ledger } from "../../src/budget/ledger.ts";
import { usageInTranscript } from "../../src/budget/lost-usage.ts";
import type { Usage } from "../../src/format/proof.ts";
import { createWorld } from "../../src/world.ts";

const { disk, clock } = createWorld();
const PRICING = { own: { default: { input: 0, output: 0 } }, engine: null };
let path: string;

beforeEach(() => {
  const folder = mkdtempSync(join(tmpdir(), "lost-usage-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  path = join(folder, "engine-events.jsonl");
});

const tokens = (input_tokens: number, more: object = {}): Usage => ({
  input_tokens,
  output_tokens: 0,
  quality: "exact",
  ...more,
});
const report = (spent?: Usage, more: object = {}): object => ({
  kind: "usage",
  context_tokens: 0,
  context_size: 0,
  ...(spent && { spent }),
  ...more,
});

function write(...lines: (object | string)[]): void {
  const texts = lines.map((line) => (typeof line === "string" ? line : JSON.stringify(line)));
  writeFileSync(path, texts.join("\n"));
}

const lost = (before: Usage | null): Usage | null => usageInTranscript(path, before, PRICING, { disk });

test("finds the last report, whatever else stands in the transcript and however it is torn", () => {
  write(
    { kind: "turn-started" },
    report(tokens(10)),
    report(tokens(900)),
    { kind: "text", text: '{"kind":"usage","context_tokens":0,"spent":{"input_tokens":5000}}' },
    report(tokens(-1)),
    { ...report(), spent: { input_tokens: "many" } },
    'not JSON, although it has "kind":"usage"',
    JSON.stringify(report(tokens(7_000))).slice(0, -9),
  );
  expect(lost(null)).toEqual(tokens(900));
  expect(lost(tokens(10))).toEqual(tokens(900));
});

test("answers the same when it is asked again, and never less than what is recorded", () => {
  write(report(tokens(900)), "");
  expect(lost(lost(tokens(10)))).toEqual(tokens(900));
  expect(lost(tokens(1_200))).toEqual(tokens(1_200));
});

test("leaves what is recorded where nothing was reported, or nothing was written", () => {
  expect(lost(null)).toBeNull();
  expect(lost(tokens(3))).toEqual(tokens(3));
  write({ kind: "turn-started" }, { kind: "turn-ended", usage: { ...tokens(0), quality: "missing" } }, "");
  expect(lost(null)).toBeNull();
  expect(lost(tokens(3))).toEqual(tokens(3));
});

test("takes the report at the turn's end, the size of a context and a cost as they count while a turn runs", () => {
  write(report(tokens(5)), { kind: "turn-ended", usage: tokens(40) }, "");
  expect(lost(null)).toEqual(tokens(40));
  write(report(undefined, { context_tokens: 700, session_cost_usd: 0.25 }), "");
  expect(lost(null)).toEqual(tokens(700, { cost_usd: 0.25, cost_source: "reported", quality: "estimated" }));
});

test("looks for the last report in the end of a long transcript, and for the agent's name in its beginning", () => {
  write({ kind: "session-started", agent: "codex-cli" }, report(tokens(1_000)), "");
  const filler = `${JSON.stringify({ kind: "text", text: "x".repeat(1_000_000) })}\n`;
  for (let count = 0; count < 20; count++) appendFileSync(path, filler);
  appendFileSync(path, `${JSON.stringify(report(tokens(1_000_000)))}\n`);
  for (let count = 0; count < 15; count++) appendFileSync(path, filler);
  const found = usageInTranscript(path, null, { own: {}, engine: null }, { disk });
  expect(found).toEqual(tokens(1_000_000, { cost_usd: 6, cost_source: "priced" }));
});

test("is charged once, beyond what the account knew of the turn", () => {
  write(report(tokens(900)), "");
  const limits = { tokens: 1_000, usd: Infinity, ms: Infinity };
  const ledger = new Ledger(() => limits, { tokens: 10, usd: 0, activeMs: 0 }, PRICING, { clock });
  const usage = ledger.chargeLost(path, tokens(10), { disk });
  expect([usage?.input_tokens, ledger.spent.tokens]).toEqual([900, 900]);
  ledger.chargeLost(path, usage, { disk });
  expect(ledger.spent.tokens).toBe(900);
  expect(ledger.exhausted()).toBeUndefined();
});
