import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { featuresOf, slugOf } from "../../src/goal/features.ts";

const texts = (goal: string, max: number) => featuresOf(goal, max).map(({ text }) => text);

describe("the features a goal names", () => {
  test.each([
    ["Build a CLI with config parsing and logging", 4, ["build a cli with config parsing", "logging"]],
    ["Add OAuth, rate limiting, and audit logging", 4, ["add oauth", "rate limiting", "and audit logging"]],
    ["Alpha and Beta and Gamma and Delta and Epsilon", 3, ["alpha", "beta", "gamma"]],
    ["Build a simple CLI", 4, []],
  ])("of %s, at most %i, are those that 0.5.0 found", (goal, max, expected) => {
    expect(texts(goal, max)).toEqual(expected);
  });

  test("are named once, where 0.5.0 named them twice", () => {
    expect(texts("Build a CLI with logging", 4)).toEqual(["build a cli", "logging"]);
    expect(texts("logging and logging and tracing", 4)).toEqual(["logging", "tracing"]);
  });

  test("have slugs that no other has and that are never empty", () => {
    const words = fc.constantFrom(
      "a-b",
      "ab",
      "日本",
      "ß",
      "config",
      "rate limiting",
      "of",
      "the thing",
      "OAuth 2.0",
    );
    const joints = fc.constantFrom(" and ", ", ", ", and ", " with ", " plus ", " ");
    fc.assert(
      fc.property(
        fc.array(fc.tuple(words, joints), { maxLength: 12 }),
        fc.integer({ min: 1, max: 6 }),
        (parts, max) => {
          const found = featuresOf(parts.flat().join(""), max);
          expect(found.length).toBeLessThanOrEqual(max);
          expect(new Set(found.map(({ slug }) => slug)).size).toBe(found.length);
          expect(new Set(found.map(({ text }) => text)).size).toBe(found.length);
          for (const { slug } of found) expect(slug).toMatch(/^[a-z0-9_]+$/);
        },
      ),
    );
  });

  test("of an endless sentence are found at once", () => {
    expect(featuresOf("and , with ".repeat(100_000), 4).length).toBeLessThanOrEqual(4);
  });
});

test.each([
  ["config parsing", "config_parsing"],
  ["OAuth 2.0", "oauth_20"],
  ["Rate-Limiting!", "ratelimiting"],
])("the slug of %s is %s", (text, slug) => {
  expect(slugOf(text)).toBe(slug);
});
