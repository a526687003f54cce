/** What a request really is: where its paths lead, what it runs, and what is the same request once more. */
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { describeRequest, digestOf, shownText } from "../../src/approval/describe.ts";
import { compilePolicy, decideByPolicy } from "../../src/approval/policy.ts";
import type { PermissionRequest } from "../../src/engine/engine.ts";
import { createWorld } from "../../src/world.ts";

const { disk } = createWorld();
let folder = "";
let project = "";

beforeAll(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), "omk-describe-")));
  project = join(folder, "project");
  mkdirSync(join(project, "src"), { recursive: true });
  mkdirSync(join(folder, "elsewhere"));
  writeFileSync(join(project, "src", "a.ts"), "");
  symlinkSync(join(folder, "elsewhere"), join(project, "link"));
  symlinkSync(join(folder, "nothing"), join(project, "dangling"));
  symlinkSync(join(project, "loop"), join(project, "loop"));
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function request(more: Partial<PermissionRequest> = {}): PermissionRequest {
  return {
    id: "1",
    toolCallId: "call-1",
    title: "a tool",
    name: null,
    kind: "edit",
    command: null,
    locations: [],
    rawInput: undefined,
    content: [],
    options: [],
    ...more,
  };
}

const read = (more: Partial<PermissionRequest>) => describeRequest(request(more), project, { disk });
const target = (path: string) => read({ locations: [path] }).targets[0];

describe("a path is where it leads", () => {
  test.each([
    ["src/a.ts", "src/a.ts"],
    ["./src/../src/a.ts", "src/a.ts"],
    ["new/folder/b.ts", "new/folder/b.ts"],
  ])("%s is in the project", (path, shown) => {
    expect(target(path)).toEqual({ path: shown, isInside: true, isProtected: false });
    expect(target(join(project, path))).toEqual({ path: shown, isInside: true, isProtected: false });
  });

  test.each([
    "../elsewhere/x",
    "/etc/passwd",
    "src/../../elsewhere/x",
    "link/x",
    "link/../x",
    "dangling",
    "dangling/x",
    "loop/x",
    "~/.ssh/id_rsa",
    "https://example.com/a",
    "file://elsewhere/a",
    "a\nb",
  ])("%j is not", (path) => {
    expect(target(path)?.isInside).toBe(false);
  });

  test("a file address is the path it stands for", () => {
    expect(target(`file://${project}/src/a.ts`)?.path).toBe("src/a.ts");
  });

  test.each([
    ".git/config",
    "sub/.GIT/hooks/x",
    ".omk/config.toml",
    ".git./config",
    "git~1/config",
    ".gi\u200bt/x",
    ".",
  ])("%j steers git or omk", (path) => {
    expect(target(path)?.isProtected).toBe(true);
  });

  test("of a link that leads out the real place is shown", () => {
    expect(target("link/x")?.path).toBe(join(folder, "elsewhere", "x"));
  });
});

describe("paths are found wherever the agent puts them", () => {
  test.each<[string, Partial<PermissionRequest>]>([
    ["an input's path", { rawInput: { path: "/etc/x" } }],
    ["an input's file_path", { rawInput: { file_path: "/etc/x" } }],
    ["a list", { rawInput: { paths: ["src/a.ts", "/etc/x"] } }],
    ["records in a list", { rawInput: { files: [{ path: "/etc/x", content: "" }] } }],
    ["changes by path", { rawInput: { changes: { "/etc/x": { add: {} } } } }],
    ["a patch", { rawInput: { patch: "*** Begin Patch\n*** Update File: /etc/x\n" } }],
    ["a unified diff", { rawInput: { patch_text: "--- a/src/a.ts\n+++ /etc/x\n" } }],
    ["a diff that is shown", { content: [{ type: "diff", path: "/etc/x", newText: "" }] }],
  ])("%s", (_where, more) => {
    const asked = read({ locations: ["src/a.ts"], ...more });
    expect(asked.targets.map(({ path }) => path)).toContain("/etc/x");
    expect(decideByPolicy(compilePolicy("workspace", ""), asked).outcome).toBe("ask");
  });

  test("more than can be looked through is nothing that a rule grants", () => {
    const locations = Array.from({ length: 600 }, (_, at) => `src/${at}`);
    expect(decideByPolicy(compilePolicy("workspace", ""), read({ locations })).outcome).toBe("ask");
  });
});

describe("a command", () => {
  test.each<[Partial<PermissionRequest>, string]>([
    [{ command: "npm test" }, "npm test"],
    [{ rawInput: { command: "npm test" } }, "npm test"],
    [{ rawInput: { cmd: ["npm", "test", "a b"] } }, "npm test 'a b'"],
    [{ command: "bash -lc npm test", rawInput: { command: ["bash", "-lc", "npm test"] } }, "npm test"],
    [{ command: "npm test", rawInput: { command: "npm test" } }, "npm test"],
    [{ command: "npm test", rawInput: { command: "rm -rf x" } }, "npm test\nrm -rf x"],
  ])("%j", (more, command) => {
    expect(read({ kind: "execute", ...more }).command).toBe(command);
  });

  test("that runs elsewhere has that place as its target", () => {
    expect(read({ kind: "execute", rawInput: { command: "make", cwd: "/opt" } }).targets[0]?.path).toBe(
      "/opt",
    );
  });
});

test("the title never changes what a request is, but where nothing else tells requests apart", () => {
  fc.assert(
    fc.property(
      fc.string(),
      fc.string(),
      fc.constantFrom("edit", "execute", "read", "other"),
      fc.constantFrom("never", "safe", "workspace", "yolo"),
      (one, other, kind, policy) => {
        const more = { kind, locations: ["src/a.ts"] };
        const [a, b] = [read({ ...more, title: one }), read({ ...more, title: other })];
        expect(digestOf(a, { run: "g", task: "t" })).toBe(digestOf(b, { run: "g", task: "t" }));
        const compiled = compilePolicy(policy, "");
        expect(decideByPolicy(compiled, a)).toEqual(decideByPolicy(compiled, b));
      },
    ),
  );
});

describe("the digest", () => {
  const scope = { run: "goal-1", task: "t" };
  const digest = (more: Partial<PermissionRequest>, where = scope) => digestOf(read(more), where);
  const base = { kind: "execute", command: "npm test", locations: ["src/a.ts"], rawInput: { timeout: 5 } };

  test("is the same for the same request of another attempt, whatever its protocol calls it", () => {
    const again = {
      ...base,
      id: "77",
      toolCallId: "call-9",
      content: [{ type: "terminal", terminalId: "t-2" }],
    };
    expect(digest(again)).toBe(digest(base));
    expect(digest({ ...base, locations: [join(project, "src/a.ts")] })).toBe(digest(base));
    expect(digest({ ...base, rawInput: { timeout: 5, description: "once more" } })).toBe(digest(base));
  });

  test.each<[string, Partial<PermissionRequest>]>([
    ["kind", { kind: "edit" }],
    ["tool", { name: "Shell" }],
    ["command", { command: "npm test; rm x" }],
    ["target", { locations: ["src/b.ts"] }],
    ["input", { rawInput: { timeout: 6 } }],
    ["content", { content: [{ type: "diff", path: "src/a.ts", newText: "x" }] }],
  ])("is another one for another %s", (_what, more) => {
    expect(digest({ ...base, ...more })).not.toBe(digest(base));
  });

  test("is another one for another goal or task", () => {
    expect(digest(base, { run: "goal-2", task: "t" })).not.toBe(digest(base));
    expect(digest(base, { run: "goal-1", task: "u" })).not.toBe(digest(base));
  });

  test("does not depend on the order of keys", () => {
    expect(digest({ rawInput: { a: 1, b: 2 } })).toBe(digest({ rawInput: { b: 2, a: 1 } }));
  });
});

describe("what a person is shown", () => {
  test("is parsed fields, with no character that could steer a terminal", () => {
    const asked = read({
      title: "harmless",
      kind: "execute",
      command: "echo \u001b[2J\u202e",
      rawInput: { command: "echo \u001b[2J\u202e", cwd: "src" },
    });
    const text = asked.shown.map(({ label, text: one }) => `${label}: ${one}`).join("\n");
    expect(text).not.toContain("\u001b");
    expect(text).not.toContain("\u202e");
    expect(text).not.toContain("harmless");
    expect(text).toContain(String.raw`command: echo \u{1b}[2J\u{202e}`);
  });

  test("has long fields cut in the middle, with the length named", () => {
    const text = shownText(`begin${"x".repeat(10_000)}end`, 100);
    expect(text).toMatch(/^begin.* \[…\] .*end \(10008 characters\)$/);
    expect(text.length).toBeLessThan(150);
  });

  test("has the agent's own words only where there is nothing else", () => {
    expect(read({ title: "do it", kind: "other" }).shown).toEqual([
      { label: "tool", text: "other" },
      { label: "the agent calls it", text: "do it" },
    ]);
  });
});
