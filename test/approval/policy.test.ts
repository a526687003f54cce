/** The rules that grant without asking: what a request is decides, and nothing it calls itself. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";

import type { Described } from "../../src/approval/describe.ts";
import { compilePolicy, decideByPolicy, parsePolicy, patternSubjects } from "../../src/approval/policy.ts";
import { commandParts } from "../../src/approval/shell-parts.ts";

function described(more: Partial<Described> = {}): Described {
  return {
    name: null,
    kind: "other",
    targets: [],
    command: null,
    hasDiff: false,
    isForeign: false,
    content: {},
    shown: [],
    ...more,
  };
}

const inside = (path: string) => ({ path, isInside: true, isProtected: false });
const outside = (path: string) => ({ path, isInside: false, isProtected: false });
const said = (policy: Parameters<typeof compilePolicy>[0], asked: Described) =>
  decideByPolicy(compilePolicy(policy, "test"), asked).outcome;

test("never leaves everything to a person, yolo nothing", () => {
  const any = described({ kind: "read", name: "ReadFile", targets: [inside("a")] });
  expect(said("never", any)).toBe("ask");
  expect(said("yolo", described({ kind: "execute", command: "rm -rf /" }))).toBe("allow");
});

describe("safe", () => {
  test.each(["ReadFile", "Glob", "Grep", "Read", "read", "read_file"])(
    "grants the reading tool %s",
    (name) => {
      expect(said("safe", described({ name, kind: "read" }))).toBe("allow");
    },
  );

  test("looks at kind and name: neither a name that reads on a tool that writes, nor the other way round", () => {
    expect(said("safe", described({ name: "ReadFile", kind: "edit" }))).toBe("ask");
    expect(said("safe", described({ name: "WriteFile", kind: "read" }))).toBe("ask");
    expect(said("safe", described({ name: "ReadFile", kind: "execute" }))).toBe("ask");
  });

  test("asks about a reading tool that brings a command or a change along", () => {
    expect(said("safe", described({ name: "ReadFile", kind: "read", command: "cat a" }))).toBe("ask");
    expect(said("safe", described({ name: "ReadFile", kind: "read", hasDiff: true }))).toBe("ask");
  });

  test("never grants a tool of an added server, whatever that calls it", () => {
    expect(said("safe", described({ name: "mcp__files__read", kind: "read", isForeign: true }))).toBe("ask");
    expect(said("workspace", described({ name: "mcp__files__read", kind: "read", isForeign: true }))).toBe(
      "ask",
    );
    expect(
      said("workspace", described({ name: "mcp__sh__run", kind: "execute", command: "ls", isForeign: true })),
    ).toBe("ask");
  });

  test("goes out of the machine only with a tool that is known", () => {
    expect(said("safe", described({ kind: "fetch" }))).toBe("ask");
    expect(said("safe", described({ name: "FetchURL", kind: "fetch" }))).toBe("allow");
  });
});

describe("workspace", () => {
  test("grants reads anywhere, and changes and commands in the project", () => {
    expect(said("workspace", described({ kind: "read", targets: [outside("/etc/hosts")] }))).toBe("allow");
    expect(said("workspace", described({ kind: "edit", targets: [inside("a.ts"), inside("b.ts")] }))).toBe(
      "allow",
    );
    expect(said("workspace", described({ kind: "execute", command: "npm test" }))).toBe("allow");
  });

  test.each([
    ["a change of which no target is known", { kind: "edit" }],
    [
      "a change of which one target lies outside",
      { kind: "edit", targets: [inside("a"), outside("/etc/b")] },
    ],
    [
      "a change in .git",
      { kind: "edit", targets: [{ path: ".git/config", isInside: true, isProtected: true }] },
    ],
    ["a move that tells only one end", { kind: "move", targets: [inside("a")] }],
    ["a command that is not told", { kind: "execute" }],
    ["a command that runs elsewhere", { kind: "execute", command: "make", targets: [outside("/opt")] }],
    ["a kind nobody knows", { kind: "other", targets: [inside("a")] }],
    ["a switch of the agent's mode", { kind: "switch_mode" }],
  ])("asks about %s", (_what, more) => {
    expect(said("workspace", described(more))).toBe("ask");
  });
});

describe("pattern", () => {
  const tests = { pattern: { patterns: ["^execute npm (test|run lint)( |$)", "^edit src/"] } };

  test("matches what the tool is: kind and command, or kind and every target", () => {
    expect(said(tests, described({ kind: "execute", command: "npm test -- a" }))).toBe("allow");
    expect(said(tests, described({ kind: "execute", command: "npm publish" }))).toBe("ask");
    expect(said(tests, described({ kind: "edit", targets: [inside("src/a"), inside("src/b")] }))).toBe(
      "allow",
    );
    expect(said(tests, described({ kind: "edit", targets: [inside("src/a"), inside("b")] }))).toBe("ask");
  });

  test.each(["npm test && rm -rf x", "npm test; rm x", "npm test | sh", "npm test\nrm x", "npm test & rm x"])(
    "grants no line of which a part matches nothing: %j",
    (command) => {
      expect(said(tests, described({ kind: "execute", command }))).toBe("ask");
    },
  );

  test("grants a line all of whose parts match", () => {
    const command = "npm test && npm run lint; npm test 2>&1 | npm test";
    expect(said(tests, described({ kind: "execute", command }))).toBe("allow");
  });

  test.each([
    "npm test $(rm x)",
    "npm test `rm x`",
    'npm test "$(rm x)"',
    "npm test > /etc/passwd",
    "npm test < x",
    "npm test <(rm x)",
    "(npm test)",
    "npm test 'x",
    'npm test "x',
    "npm test \\",
    "npm test # rm",
    "npm test $'\\n rm'",
    "npm test \u0000",
  ])("asks about what cannot be split: %j", (command) => {
    expect(commandParts(command)).toBeUndefined();
    expect(said(tests, described({ kind: "execute", command }))).toBe("ask");
  });

  test("a pattern that is none, is too long, or one too many is refused where it is given", () => {
    expect(() => parsePolicy("pattern:(", "--approval-policy")).toThrow(
      /--approval-policy has the pattern "\("/,
    );
    expect(() => parsePolicy("pattern:", "--approval-policy")).toThrow(/0 characters/);
    expect(() => parsePolicy(`pattern:${"a".repeat(1_001)}`, "x")).toThrow(/1001 characters/);
    expect(() => parsePolicy("pattern:(?=a)", "x")).toThrow(/no regular expression/);
    expect(() => parsePolicy("careful", "--approval-policy")).toThrow(/is no policy/);
    const many = { pattern: { patterns: Array.from({ length: 101 }, () => "a") } };
    expect(() => compilePolicy(many, "x")).toThrow(/101 patterns/);
  });

  test("an expression that would take others for ever is matched at once", () => {
    const policy = { pattern: { patterns: ["^execute (a+)+$"] } };
    expect(said(policy, described({ kind: "execute", command: `${"a".repeat(50_000)}!` }))).toBe("ask");
  });
});

const WORD = fc.stringMatching(/^[a-z]{1,6}$/);
const SIMPLE = fc.array(WORD, { minLength: 1, maxLength: 3 }).map((words) => words.join(" "));
const OPERATOR = fc.constantFrom(";", " && ", " || ", " | ", "\n", " & ");

test("a granted compound command has all its parts matching", () => {
  const line = fc.tuple(SIMPLE, fc.array(fc.tuple(OPERATOR, SIMPLE), { maxLength: 5 }));
  const pattern = "^execute [a-m]+( |$)";
  fc.assert(
    fc.property(line, ([first, rest]) => {
      const parts = [first, ...rest.map(([, part]) => part)];
      const command = first + rest.map((pair) => pair.join("")).join("");
      const asked = described({ kind: "execute", command });
      const expected = parts.every((part) => /^[a-m]+( |$)/.test(part)) ? "allow" : "ask";
      expect(said({ pattern: { patterns: [pattern] } }, asked)).toBe(expected);
    }),
  );
});

test("whatever line of whatever characters: what is granted splits, and each part matches", () => {
  const expression = /^execute npm/;
  fc.assert(
    fc.property(
      fc.array(
        fc.constantFrom("npm", " ", ";", "&", "|", "\n", "'", '"', "\\", "rm", "$", ">", "(", "#", "`"),
        {
          maxLength: 12,
        },
      ),
      (pieces) => {
        const asked = described({ kind: "execute", command: pieces.join("") });
        const outcome = said({ pattern: { patterns: ["^execute npm"] } }, asked);
        if (outcome === "ask") return;
        const subjects = patternSubjects(asked) ?? [];
        expect(subjects.length).toBeGreaterThan(0);
        expect(subjects.every((one) => expression.test(one))).toBe(true);
      },
    ),
  );
});
