import fc from "fast-check";
import { expect, test } from "vitest";

import { strengthen, type Protection } from "../../src/delivery/protection.ts";

test("a bare branch gets what is wanted", () => {
  const step = strengthen(undefined, { checks: ["build / test"], approvals: 1 });
  expect(step).toMatchObject({
    step: "replace",
    protection: {
      required_status_checks: { strict: true, checks: [{ context: "build / test", app_id: -1 }] },
      required_pull_request_reviews: { required_approving_review_count: 1 },
      enforce_admins: false,
      restrictions: null,
      allow_force_pushes: false,
      allow_deletions: false,
    },
  });
});

test("people and apps in a present protection are carried over", () => {
  const people = { url: "u", users_url: "u", users: [{ login: "me" }], teams: [{ slug: "core" }], apps: [] };
  const present = {
    url: "u",
    restrictions: people,
    required_status_checks: {
      url: "u",
      contexts_url: "u",
      strict: false,
      contexts: ["ci"],
      checks: [{ context: "ci", app_id: 5 }],
    },
    required_pull_request_reviews: {
      url: "u",
      bypass_pull_request_allowances: people,
      required_approving_review_count: 2,
    },
    required_signatures: { url: "u", enabled: true },
  };
  const names = { users: ["me"], teams: ["core"], apps: [] };
  expect(strengthen(present, { checks: ["lint"], approvals: 1 })).toMatchObject({
    step: "replace",
    protection: {
      restrictions: names,
      required_status_checks: {
        strict: true,
        checks: [
          { context: "ci", app_id: 5 },
          { context: "lint", app_id: -1 },
        ],
      },
      required_pull_request_reviews: {
        bypass_pull_request_allowances: names,
        required_approving_review_count: 2,
      },
    },
  });
});

test("a part that is not known stops it, unless nothing has to be replaced", () => {
  const present = {
    future_rule: { enabled: true },
    required_status_checks: { strict: true, contexts: ["ci"] },
    required_pull_request_reviews: { required_approving_review_count: 1 },
  };
  expect(strengthen(present, { checks: ["ci"], approvals: 1 })).toEqual({ step: "nothing" });
  expect(strengthen(present, { checks: ["ci", "lint"], approvals: 1 })).toEqual({
    step: "add_checks",
    checks: ["lint"],
  });
  expect(strengthen(present, { checks: [], approvals: 2 })).toEqual({
    step: "refused",
    unknown: ["future_rule"],
  });
  expect(strengthen({ enforce_admins: "yes" }, { checks: [], approvals: 0 }).step).toBe("refused");
});

const Switch = fc.option(fc.record({ enabled: fc.boolean() }), { nil: undefined });
const Names = fc.uniqueArray(fc.constantFrom("ci", "lint", "test", "docs"), { maxLength: 4 });
const Present = fc.record({
  required_status_checks: fc.option(fc.record({ strict: fc.boolean(), contexts: Names }), { nil: undefined }),
  required_pull_request_reviews: fc.option(
    fc.record({
      required_approving_review_count: fc.integer({ min: 0, max: 3 }),
      dismiss_stale_reviews: fc.boolean(),
      require_code_owner_reviews: fc.boolean(),
    }),
    { nil: undefined },
  ),
  enforce_admins: Switch,
  required_linear_history: Switch,
  allow_force_pushes: Switch,
  allow_deletions: Switch,
  block_creations: Switch,
  required_conversation_resolution: Switch,
  lock_branch: Switch,
});

/** What GitHub tells after it was set so. */
function told(protection: Protection): Record<string, unknown> {
  const { required_status_checks: checks, required_pull_request_reviews: reviews } = protection;
  const switches = Object.entries(protection).filter(([, value]) => typeof value === "boolean");
  return {
    ...Object.fromEntries(switches.map(([key, enabled]) => [key, { enabled }])),
    ...(checks && {
      required_status_checks: {
        strict: checks.strict,
        contexts: checks.checks.map(({ context }) => context),
        checks: checks.checks.map(({ context }) => ({ context, app_id: null })),
      },
    }),
    ...(reviews && { required_pull_request_reviews: reviews }),
  };
}

test("whatever a branch has, it has no less afterwards, has what is wanted, and then nothing is left to do", () => {
  fc.assert(
    fc.property(Present, Names, fc.integer({ min: 0, max: 2 }), (present, checks, approvals) => {
      const step = strengthen(present, { checks, approvals });
      if (step.step !== "replace") {
        expect(step.step).not.toBe("refused");
        return;
      }
      const { protection } = step;
      const contexts = protection.required_status_checks?.checks.map(({ context }) => context) ?? [];
      expect(contexts).toEqual(
        expect.arrayContaining([...checks, ...(present.required_status_checks?.contexts ?? [])]),
      );
      expect(new Set(contexts).size).toBe(contexts.length);
      if (present.required_status_checks?.strict)
        expect(protection.required_status_checks?.strict).toBe(true);
      const reviews = present.required_pull_request_reviews;
      if (reviews) {
        const after = protection.required_pull_request_reviews;
        expect(after?.required_approving_review_count).toBeGreaterThanOrEqual(
          reviews.required_approving_review_count,
        );
        expect(after?.dismiss_stale_reviews).toBe(reviews.dismiss_stale_reviews);
        expect(after?.require_code_owner_reviews).toBe(reviews.require_code_owner_reviews);
      }
      for (const key of [
        "enforce_admins",
        "required_linear_history",
        "block_creations",
        "required_conversation_resolution",
        "lock_branch",
      ] as const) {
        expect(protection[key]).toBe(present[key]?.enabled === true);
      }
      expect([protection.allow_force_pushes, protection.allow_deletions]).toEqual([false, false]);
      expect(strengthen(told(protection), { checks, approvals })).toEqual({ step: "nothing" });
    }),
  );
});
