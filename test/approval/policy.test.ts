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
    commands: [],
    hasDiff: false,
    isForeign: false,
    unclear: null,
    isBare: true,
    content: {},
    folders: [],
    shown: [],
    ...more,
  };
}

const PLACE = { isInside: true, isProtected: false, isUnknown: false, isPrivate: false };
const inside = (path: string) => ({ ...PLACE, path });
const outside = (path: string) => ({ ...PLACE, path, isInside: false });
const said = (policy: Parameters<typeof compilePolicy>[0], asked: Described) =>
  decideByPolicy(compilePolicy(policy, "test"), asked).outcome;

test("never leaves everything to a person, yolo nothing", () => {
  const any = described({ kind: "read", name: "ReadFile", targets: [inside("a")] });
  expect(said("never", any)).toBe("ask");
  expect(said("yolo", described({ kind: "execute", commands: ["rm -rf /"] }))).toBe("allow");
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
    expect(said("safe", described({ name: "ReadFile", kind: "read", commands: ["cat a"] }))).toBe("ask");
    expect(said("safe", described({ name: "ReadFile", kind: "read", hasDiff: true }))).toBe("ask");
  });

  test("never grants a tool of an added server, whatever that calls it", () => {
    expect(said("safe", described({ name: "mcp__files__read", kind: "read", isForeign: true }))).toBe("ask");
    expect(said("workspace", described({ name: "mcp__files__read", kind: "read", isForeign: true }))).toBe(
      "ask",
    );
    expect(
      said(
        "workspace",
        described({ name: "mcp__sh__run", kind: "execute", commands: ["ls"], isForeign: true }),
      ),
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
    expect(said("workspace", described({ kind: "execute", commands: ["npm test"] }))).toBe("allow");
    const atRoot = { kind: "execute", commands: ["ls"], targets: [{ ...inside("."), isProtected: true }] };
    expect(said("workspace", described(atRoot))).toBe("allow");
  });

  test.each([
    ["a change of which no target is known", { kind: "edit" }],
    [
      "a change of which one target lies outside",
      { kind: "edit", targets: [inside("a"), outside("/etc/b")] },
    ],
    ["a change in .git", { kind: "edit", targets: [{ ...PLACE, path: ".git/config", isProtected: true }] }],
    ["a move that tells only one end", { kind: "move", targets: [inside("a")] }],
    ["a command that is not told", { kind: "execute" }],
    ["a command that runs elsewhere", { kind: "execute", commands: ["make"], targets: [outside("/opt")] }],
    ["what is not understood", { kind: "edit", targets: [inside("a")], unclear: "it is odd" }],
    ["a place that nobody knows", { kind: "edit", targets: [{ ...outside("$A"), isUnknown: true }] }],
    ["two commands at once", { kind: "execute", commands: ["a", "b"], unclear: "it names 2" }],
    ["a read where secrets are kept", { kind: "read", targets: [{ ...outside("/k"), isPrivate: true }] }],
    ["a read that tells nothing", { kind: "read" }],
    ["a read by a tool that nobody knows", { kind: "read", name: "Peek", targets: [inside("a")] }],
    ["a kind nobody knows", { kind: "other", targets: [inside("a")] }],
    ["a switch of the agent's mode", { kind: "switch_mode" }],
  ])("asks about %s", (_what, more) => {
    expect(said("workspace", described(more))).toBe("ask");
  });
});

describe("pattern", () => {
  const tests = { pattern: { patterns: ["^execute npm (test|run lint)( |$)", "^edit src/"] } };

  test("matches what the tool is: kind and command, or kind and every target", () => {
    expect(said(tests, described({ kind: "execute", commands: ["npm test -- a"] }))).toBe("allow");
    expect(said(tests, described({ kind: "execute", commands: ["npm publish"] }))).toBe("ask");
    expect(said(tests, described({ kind: "edit", targets: [inside("src/a"), inside("src/b")] }))).toBe(
      "allow",
    );
    expect(said(tests, described({ kind: "edit", targets: [inside("src/a"), inside("b")] }))).toBe("ask");
  });

  test.each<[string, Partial<Described>]>([
    ["a path", { kind: "execute", targets: [inside("npm test")] }],
    ["a tool's name", { kind: "execute", name: "npm test" }],
    ["another kind's command", { kind: "other", commands: ["npm test"] }],
    ["an edit's command", { kind: "edit", commands: ["npm test"], unclear: "it names a command" }],
    ["a name that looks like a path", { kind: "edit", name: "src/x" }],
    ["a path in .git", { kind: "edit", targets: [{ ...inside("src/.git/x"), isProtected: true }] }],
    ["a command elsewhere", { kind: "execute", commands: ["npm test"], targets: [outside("/")] }],
    ["a command with more to it", { kind: "execute", commands: ["npm test"], unclear: "it sets variables" }],
  ])("never takes %s for what a pattern is about", (_what, more) => {
    const all = { pattern: { patterns: [...tests.pattern.patterns, "npm test", "src/"] } };
    expect(said(tests, described(more))).toBe("ask");
    expect(said(all, described(more))).toBe("ask");
  });

  test("grants a tool by its name alone where nothing else is known of it, in words of its own", () => {
    const tool = (name: string) => ({ pattern: { patterns: [`^tool ${name}$`] } });
    expect(said(tool("Task"), described({ name: "Task" }))).toBe("allow");
    const foreign = { name: "mcp__db__query", kind: "edit", isForeign: true, targets: [inside("src/a")] };
    expect(said(tool("mcp__db__query"), described(foreign))).toBe("allow");
    expect(said(tests, described(foreign))).toBe("ask");
    expect(said(tool("WriteFile"), described({ name: "WriteFile", kind: "edit" }))).toBe("ask");
  });

  test.each(["npm test && rm -rf x", "npm test; rm x", "npm test | sh", "npm test\nrm x", "npm test & rm x"])(
    "grants no line of which a part matches nothing: %j",
    (command) => {
      expect(said(tests, described({ kind: "execute", commands: [command] }))).toBe("ask");
    },
  );

  test("grants a line all of whose parts match", () => {
    const command = "npm test && npm run lint; npm test 2>&1 | npm test";
    expect(said(tests, described({ kind: "execute", commands: [command] }))).toBe("allow");
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
    expect(said(tests, described({ kind: "execute", commands: [command] }))).toBe("ask");
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
    expect(said(policy, described({ kind: "execute", commands: [`${"a".repeat(50_000)}!`] }))).toBe("ask");
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
      const asked = described({ kind: "execute", commands: [command] });
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
        const asked = described({ kind: "execute", commands: [pieces.join("")] });
        const outcome = said({ pattern: { patterns: ["^execute npm"] } }, asked);
        if (outcome === "ask") return;
        const subjects = patternSubjects(asked) ?? [];
        expect(subjects.length).toBeGreaterThan(0);
        expect(subjects.every((one) => expression.test(one))).toBe(true);
      },
    ),
  );
});
