import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { failureDetails, providerFailure, resetTimeIn } from "../../src/engine/failure.ts";

const NOW = new Date("2026-11-21T16:00:00.000Z");
const after = (seconds: number): string => new Date(NOW.getTime() + seconds * 1000).toISOString();

describe("a failure of a provider", () => {
  test.each([
    ["401 Incorrect API key provided", "auth", false],
    ["Internal error: Incorrect API key provided", "auth", false],
    ["Login required", "auth", false],
    ["403 Forbidden", "auth", false],
    ["403 You exceeded your current quota", "quota", false],
    ["429 insufficient_quota: check your plan and billing details", "quota", false],
    ["402 Payment Required", "quota", false],
    ["Too many requests", "rate_limit", true],
    ["unexpected status 429", "rate_limit", true],
    ["500 boom", "provider", true],
    ["The model is overloaded", "provider", true],
    ["connect ECONNREFUSED 127.0.0.1:1", "provider", true],
    ["400 bad request", "provider", false],
    ["I cannot do that", "provider", false],
  ])("%j is of class %s", (message, expected, retryable) => {
    expect(providerFailure({ message })).toMatchObject({ class: expected, retryable });
  });

  test.each([
    ["Rate limit reached. Please try again in 20s.", after(20)],
    ["try again in 1m30.5s", after(90.5)],
    ["Try again in 5 days 3 hours 20 minutes.", after(5 * 86_400 + 3 * 3_600 + 20 * 60)],
    ["429: retry after 12 seconds", after(12)],
    ["retry-after: 7", after(7)],
    ["Your limit resets at 2026-11-21T18:30:00Z", "2026-11-21T18:30:00.000Z"],
    ["Usage limit reached. Resets at: 2026-11-22 08:00 UTC", "2026-11-22T08:00:00.000Z"],
    ["Claude AI usage limit reached|1795300000", new Date(1_795_300_000_000).toISOString()],
    ["retrying in 800ms", after(0.8)],
    ["it works again some day", undefined],
    ["resets at 3026-11-21T18:30:00Z", undefined],
  ])("%j says when it is over", (message, expected) => {
    expect(resetTimeIn(message, NOW)).toBe(expected);
  });

  test.each([
    [{ retryAfter: 20 }, { resetsAt: after(20) }],
    [
      { statusCode: 429, headers: { "retry-after": "30" } },
      { status: 429, resetsAt: after(30) },
    ],
    [
      { error: { status: 403, details: { resets_at: 1_795_300_000 } } },
      { status: 403, resetsAt: new Date(1_795_300_000_000).toISOString() },
    ],
    [{ retryDelay: "1m" }, { resetsAt: after(60) }],
    [{ headers: { "Retry-After": "Sat, 21 Nov 2026 16:01:00 GMT" } }, { resetsAt: after(60) }],
    [{ retry_after_ms: 1500, code: "slow_down" }, { resetsAt: after(1.5) }],
    [{ retryAfter: -1 }, {}],
    ["text", {}],
    [null, {}],
  ])("%j has the details beside the message", (data, expected) => {
    expect(failureDetails(data, NOW)).toEqual(expected);
  });

  test("names no moment for a login: waiting does not help", () => {
    expect(providerFailure({ message: "401, try again in 20s" }, NOW)).not.toHaveProperty("resets_at");
    expect(providerFailure({ message: "429, try again in 20s" }, NOW)).toMatchObject({
      resets_at: after(20),
    });
    expect(providerFailure({ message: "429, try again in 20s" })).not.toHaveProperty("resets_at");
  });

  test("is read in time linear to its message, whatever that says", () => {
    const pieces = fc.array(
      fc.constantFrom("try again in ", "1h ", "resets ", "at ", "2026-", "1 ", "key ", "a"),
      {
        minLength: 1,
        maxLength: 2000,
      },
    );
    fc.assert(
      fc.property(pieces, (parts) => {
        const failure = providerFailure({ message: parts.join("") }, NOW);
        expect(failure.message.length).toBeLessThanOrEqual(4097);
      }),
      { numRuns: 50 },
    );
  });
});
