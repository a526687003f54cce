import fc from "fast-check";
import { describe, expect, test } from "vitest";

import {
  Breaker,
  outsideStop,
  type Cause,
  type OutsideClass,
  type Ticket,
} from "../../src/budget/breaker.ts";

const START = Date.UTC(2026, 0, 1);
const at = (ms: number): { wall: Date; ms: number } => ({ wall: new Date(START + ms), ms });
const failing = (kind: OutsideClass, resets_at?: string) => ({
  kind: "outside" as const,
  cause: { class: kind, message: "no", resets_at },
});
const WORKED = { kind: "worked" } as const;

describe("the breaker", () => {
  test.each(["auth", "quota", "config"] as const)("opens at once for %s", (kind) => {
    const breaker = new Breaker();
    breaker.end(breaker.begin(), failing(kind), at(0));
    expect(breaker.state).toBe("open");
    expect(breaker.waitMs(1e9)).toBe(Infinity);
  });

  test("rests one, two and four seconds after outages in a row, then opens", () => {
    const breaker = new Breaker();
    const rests: number[] = [];
    let now = 0;
    while (breaker.state !== "open") {
      breaker.end(breaker.begin(), failing("rate_limit"), at(now));
      const waitMs = breaker.waitMs(now);
      rests.push(waitMs);
      now += waitMs;
    }
    expect(rests).toEqual([1_000, 2_000, 4_000, Infinity]);
    expect(breaker.outages).toBe(4);
  });

  test("waits for a reset that is near, and opens for one that is far", () => {
    const near = new Breaker();
    near.end(near.begin(), failing("provider", new Date(START + 20_000).toISOString()), at(0));
    expect(near.waitMs(0)).toBe(20_500);
    const far = new Breaker();
    far.end(far.begin(), failing("rate_limit", new Date(START + 90_000).toISOString()), at(0));
    expect(far.state).toBe("open");
  });

  test("lets one turn try after a person said to go on, and opens again at its first failure", () => {
    const breaker = new Breaker("half_open");
    const probe = breaker.begin();
    expect(breaker.waitMs(0)).toBe(Infinity);
    breaker.end(probe, failing("rate_limit"), at(0));
    expect(breaker.state).toBe("open");
    breaker.resume();
    breaker.end(breaker.begin(), WORKED, at(0));
    expect([breaker.state, breaker.waitMs(0)]).toEqual(["closed", 0]);
  });

  test("counts an outage that several turns met side by side once", () => {
    const breaker = new Breaker();
    const turns = [breaker.begin(), breaker.begin(), breaker.begin()];
    for (const turn of turns) breaker.end(turn, failing("provider"), at(0));
    expect([breaker.state, breaker.outages]).toEqual(["resting", 1]);
  });

  test("is not closed by a turn that was begun before the trouble", () => {
    const breaker = new Breaker();
    const [early, other] = [breaker.begin(), breaker.begin()];
    breaker.end(other, failing("provider"), at(0));
    breaker.end(early, WORKED, at(10));
    expect(breaker.state).toBe("resting");
  });

  test("never lets two turns try at once, never begins one while it rests, and always opens or closes in the end", () => {
    const Result = fc.constantFrom("worked", "unknown", "rate_limit", "provider", "quota");
    const Move = fc.oneof(
      fc.record({ kind: fc.constant("begin" as const) }),
      fc.record({ kind: fc.constant("end" as const), turn: fc.nat(5), result: Result }),
      fc.record({ kind: fc.constant("wait" as const), ms: fc.integer({ min: 0, max: 5_000 }) }),
    );
    fc.assert(
      fc.property(
        fc.constantFrom("closed" as const, "half_open" as const),
        fc.array(Move),
        (state, moves) => {
          const breaker = new Breaker(state);
          let now = 0;
          let inARow = 0;
          const running: Ticket[] = [];
          for (const move of moves) {
            if (move.kind === "wait") now += move.ms;
            else if (move.kind === "begin") {
              if (breaker.waitMs(now) > 0) continue;
              running.push(breaker.begin());
            } else {
              const [turn] = running.splice(move.turn % Math.max(1, running.length), 1);
              if (!turn) continue;
              const { result } = move;
              const wasState = breaker.state;
              breaker.end(
                turn,
                result === "worked" || result === "unknown" ? { kind: result } : failing(result),
                at(now),
              );
              if (breaker.state === "closed") inARow = 0;
              else if (breaker.outages > inARow) inARow++;
              expect(breaker.outages).toBe(inARow);
              if (result === "quota") expect(breaker.state).toBe("open");
              if (wasState === "open") expect(breaker.state).toBe("open");
            }
            const probing = running.filter(({ isProbe }) => isProbe).length;
            if (breaker.state !== "closed") expect(probing).toBeLessThanOrEqual(1);
            expect(breaker.outages).toBeLessThanOrEqual(4);
          }
        },
      ),
    );
  });
});

test("each cause has a sentence of its own that says what to do next, and names the reset when it is known", () => {
  const kinds: OutsideClass[] = ["auth", "quota", "rate_limit", "provider", "config"];
  const cause = (kind: OutsideClass): Cause => ({ class: kind, message: "said so" });
  const stops = kinds.map((kind) => outsideStop(cause(kind), "omk goal resume g"));
  expect(stops.map(({ code }) => code)).toEqual(kinds.map((kind) => `agent_${kind}`));
  expect(new Set(stops.map(({ reason }) => reason)).size).toBe(5);
  for (const { reason } of stops) expect(reason).toContain("omk goal resume g");
  const resets_at = "2026-01-01T05:00:00Z";
  for (const kind of ["quota", "rate_limit", "provider"] as const)
    expect(outsideStop({ ...cause(kind), resets_at }, "x").reason).toContain(resets_at);
});
