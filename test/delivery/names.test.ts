import fc from "fast-check";
import { describe, expect, test } from "vitest";

import {
  fingerprintOf,
  integratorBranch,
  nameComponent,
  planWorktrees,
  trimmed,
  whyNoWorktreeName,
} from "../../src/delivery/names.ts";
import { whyNoBranch } from "../../src/git/ref-name.ts";

describe("a component of a name", () => {
  test.each([
    [" ../Goal MVP ", "goal-mvp"],
    ["omk/io2:2", "omk-io2-2"],
    ["goal-1", "goal-1"],
    ["-a--b-", "a-b"],
    ["Größe", "gr-e"],
    ["\ttask\n", "task"],
    ["x".repeat(60), "x".repeat(48)],
    [`${"x".repeat(47)}-yz`, "x".repeat(47)],
  ])("of %j is %j", (id, component) => {
    expect(nameComponent(id, "task id")).toBe(component);
  });

  test.each([
    ["../..", "goal id"],
    ["", "task id"],
    ["   ", "goal id"],
    ["a\nb", "task id"],
    ["a\u0085b", "goal id"],
    ["文", "task id"],
  ] as const)("cannot be made of %j, and the %s is named", (id, label) => {
    expect(() => nameComponent(id, label)).toThrow(
      expect.objectContaining({ code: "tasks.invalid", message: expect.stringContaining(label) }),
    );
  });

  test("is trimmed of white space as Unicode has it", () => {
    expect(trimmed("\u0085\u2003 a b\u3000\t")).toBe("a b");
    expect(trimmed("\ufeffa")).toBe("\ufeffa");
    expect(trimmed(" \n ")).toBe("");
  });
});

describe("a fingerprint", () => {
  test.each([
    ["goal-20260513-155000-deadbeef", "omk-io2.2", "7ec701dc2d4c52a1"],
    ["goal-materialize", "task-1", "d7727130f5ca1edb"],
    ["Goal MVP", "agent/implement", "8ab40bbbd8ccdd7a"],
    ["Goal MVP", "agent:implement", "3ee660d40f3eb453"],
    ["goal-20260514-delivery", "slice-ui", "9102ea2f978af751"],
    ["goal-20260514-delivery", "slice-docs", "66e8b0984d7c26fc"],
  ])("of %j and %j is %s", (goal, task, fingerprint) => {
    expect(fingerprintOf(goal, task)).toBe(fingerprint);
  });

  test("is FNV-1a with 64 bits", () => {
    const slow = (...texts: (string | number)[]): string => {
      const bytes = Buffer.concat(
        texts.map((text) => Buffer.from(typeof text === "number" ? [text] : Buffer.from(text))),
      );
      let hash = 0xcbf29ce484222325n;
      for (const byte of bytes) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
      return hash.toString(16).padStart(16, "0");
    };
    const id = fc.string({
      unit: fc.constantFrom("a", "Z", "0", "-", "/", ":", " ", "é", "文", "😀", "\0", "\ufeff"),
      maxLength: 30,
    });
    fc.assert(
      fc.property(id, id, (goal, task) => {
        expect(fingerprintOf(goal, task)).toBe(slow("omk-goal-worktree", goal, 0xff, task));
      }),
      { numRuns: 1_000 },
    );
  });
});

describe("names of slices", () => {
  test("have branch, folder and path", () => {
    expect(planWorktrees("/g/worktrees", "goal-20260513-155000-deadbeef", ["omk-io2.2"])).toEqual([
      {
        goal_id: "goal-20260513-155000-deadbeef",
        task_id: "omk-io2.2",
        goal_component: "goal-20260513-155000-deadbeef",
        task_component: "omk-io2-2",
        branch_name: "omk/goal/goal-20260513-155000-deadbeef/omk-io2-2-7ec701dc2d4c52a1",
        worktree_name: "goal-goal-20260513-155000-deadbeef-omk-io2-2-7ec701dc2d4c52a1",
        worktree_path: "/g/worktrees/goal-goal-20260513-155000-deadbeef-omk-io2-2-7ec701dc2d4c52a1",
      },
    ]);
    expect(integratorBranch("goal-1")).toBe("integrator/goal-1");
  });

  test("differ for ids that look alike", () => {
    const [one, other] = planWorktrees("/g/", "Goal MVP", ["agent/implement", "agent:implement"]);
    expect(one?.task_component).toBe(other?.task_component);
    expect(one?.branch_name).not.toBe(other?.branch_name);
    expect(one?.worktree_path).toMatch(/^\/g\/goal-goal-mvp-agent-implement-[0-9a-f]{16}$/);
  });

  test("are refused for one task twice", () => {
    expect(() => planWorktrees("/g", "g", ["t", "u", "t"])).toThrow(/worktree plan collision/);
  });

  test("always pass what git and folders ask of names", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", minLength: 1 }), (id) => {
        const [plan] = planWorktrees("/g", `g${id.replaceAll(/\p{Cc}/gu, "")}`, ["t.lock"]);
        expect(whyNoBranch(plan?.branch_name ?? "")).toBeUndefined();
        expect(whyNoWorktreeName(plan?.worktree_name ?? "")).toBeUndefined();
      }),
    );
  });
});

describe("a worktree's folder", () => {
  test.each(["", ".", "..", "a/b", "a\\b", ".a", "a.", "a\nb"])("cannot be called %j", (name) => {
    expect(whyNoWorktreeName(name)).toBeDefined();
  });
});
