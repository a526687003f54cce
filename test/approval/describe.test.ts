/** What a request really is: where its paths lead, what it runs, and what is the same request once more. */
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { describeRequest, digestOf, shortened, shownText } from "../../src/approval/describe.ts";
import { compilePolicy, decideByPolicy } from "../../src/approval/policy.ts";
import { withoutFolder } from "../../src/approval/own-folder.ts";
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

const read = (more: Partial<PermissionRequest>) =>
  describeRequest(request(more), { cwd: project, stateFolder: join(folder, "state") }, { disk });
const PATTERNS = { pattern: { patterns: ["^execute npm (test|run lint)( |$)", "^edit src/", "^edit f"] } };
/** What every policy that grants anything says of it, but yolo. */
const outcomes = (more: Partial<PermissionRequest>) =>
  (["safe", "workspace", PATTERNS] as const).map(
    (policy) => decideByPolicy(compilePolicy(policy, ""), read(more)).outcome,
  );
const ASKED = ["ask", "ask", "ask"];
const inWorkspace = (more: Partial<PermissionRequest>) => outcomes(more)[1];
const target = (path: string) => read({ locations: [path] }).targets[0];

const KNOWN = { isInside: true, isProtected: false, isUnknown: false, isPrivate: false };

describe("a path is where it leads", () => {
  test.each([
    ["src/a.ts", "src/a.ts"],
    ["./src/../src/a.ts", "src/a.ts"],
    ["new/folder/b.ts", "new/folder/b.ts"],
  ])("%s is in the project", (path, shown) => {
    expect(target(path)).toEqual({ ...KNOWN, path: shown });
    expect(target(join(project, path))).toEqual({ ...KNOWN, path: shown });
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
    "$HOME/.bashrc",
    "src/${X}",
    "src\\..\\..\\x",
    " /etc/passwd",
    "'/etc/passwd'",
    "file:/etc/passwd",
    `${"a/".repeat(3_000)}b`,
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
    ".g\u0131t/../.git /x",
    "\uff0egit/config",
    ".git::$INDEX/x".replace("$", ""),
    ".gitmodules",
    "sub/.GitModules",
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
    const paths = Array.from({ length: 600 }, (_, at) => `src/${at}`);
    expect(outcomes({ rawInput: { paths } })).toEqual(ASKED);
    expect(outcomes({ locations: paths.slice(0, 200) })).toEqual(ASKED);
    expect(outcomes({ locations: ["src/a.ts"], isCut: true })).toEqual(ASKED);
    let deep: unknown = "/etc/passwd";
    for (let at = 0; at < 40; at++) deep = { edit: deep };
    expect(outcomes({ locations: ["src/a.ts"], rawInput: deep })).toEqual(ASKED);
    const many = { edits: Array.from({ length: 6_000 }, () => ({ path: "src/a.ts" })) };
    expect(outcomes({ locations: ["src/a.ts"], rawInput: many })).toEqual(ASKED);
  });
});

describe("what nobody understands is asked about by every rule", () => {
  test.each<[string, Partial<PermissionRequest>]>([
    ["a kind that is a sentence", { kind: "execute npm test &&", rawInput: { command: "rm -rf /x" } }],
    [
      "a kind that is a pattern's subject",
      { kind: "edit src/x", locations: ["src/a.ts"], rawInput: { content: "x" } },
    ],
    ["a kind in capitals", { kind: "EDIT", locations: ["src/a.ts"] }],
    ["a kind that every object has", { kind: "constructor", locations: ["src/a.ts"] }],
    [
      "a command called by a path",
      { kind: "execute", locations: ["npm test"], rawInput: { code: "rm -rf /" } },
    ],
    ["a command called by a tool", { kind: "execute", name: "npm test", rawInput: { code: "rm -rf /" } }],
    ["commands under a key of no tool", { kind: "execute", rawInput: { commands: ["npm test"], path: "f" } }],
    ["code beside a command", { kind: "execute", rawInput: { command: "npm test", code: "rm -rf /" } }],
    ["options of a command", { kind: "execute", rawInput: { command: "npm test", options: { cwd: "/" } } }],
    ["variables", { kind: "execute", rawInput: { command: "npm test", env: { PATH: "/evil" } } }],
    ["an edit with a command", { locations: ["f"], rawInput: { path: "f", run_after: "rm -rf /" } }],
    ["a nested edit elsewhere", { rawInput: { path: "f", edit: { path: "/etc/passwd" } } }],
    ["a text that is no patch", { locations: ["f"], rawInput: '{"path":"/etc/passwd"}' }],
    ["a patch as text", { locations: ["f"], rawInput: "*** Begin Patch\n*** Update File: /etc/passwd\n" }],
    [
      "an indented line of a patch",
      { locations: ["f"], rawInput: "*** Begin Patch\n  *** Add File: /etc/x\n" },
    ],
    [
      "a rename of git's",
      { locations: ["f"], rawInput: { patch: "diff --git a/f b/f\nrename to /etc/x\n" } },
    ],
    ["a folder that paths start in", { rawInput: { path: "etc/passwd", cwd: "/" } }],
    ["a path under a key of no tool", { rawInput: { path: "f", outfile: "/etc/y" } }],
    [
      "a change of no file",
      { locations: ["f"], content: [{ type: "diff", path: ["/etc/x"], newText: "x" }] },
    ],
    ["a variable in a path", { rawInput: { path: "$HOME/.bashrc" } }],
    [
      "a command that shows a change",
      {
        kind: "execute",
        command: "npm test",
        content: [{ type: "diff", path: ".git/hooks/x", newText: "" }],
      },
    ],
    [
      "a prototype",
      { locations: ["f"], rawInput: JSON.parse('{"path":"f","__proto__":{"path":"/etc/x"}}') as unknown },
    ],
  ])("%s", (_what, more) => {
    expect(outcomes(more)).toEqual(ASKED);
  });

  test.each<[string, unknown]>([
    ["arguments with a command", { args: { command: "rm -rf /" } }],
    ["a text", '{"command":"rm -rf /"}'],
    ["commands", { commands: ["rm -rf /"], shell: "rm -rf /" }],
    ["a text to write", { path: "src/a.ts", new_content: "x", write: true }],
    ["a switch that writes", { path: "src/a.ts", write: true }],
    ["a server's tool", { server: "db", tool: "drop" }],
    ["a list", ["rm -rf /"]],
  ])("a read whose input is %s", (_what, rawInput) => {
    expect(outcomes({ kind: "read", rawInput })).toEqual(ASKED);
    expect(outcomes({ kind: "read", name: "Read", rawInput })).toEqual(ASKED);
  });

  test("an input of random fields is granted only when all of them are known", () => {
    const known = fc.constantFrom<[string, unknown]>(
      ["path", "src/a.ts"],
      ["content", "text"],
      ["old_string", "x"],
      ["replace_all", true],
      ["edits", [{ old: "a", new: "b" }]],
    );
    const strange = fc.tuple(
      fc.stringMatching(/^[a-z_]{1,12}$/).map((key) => `x_${key}`),
      fc.oneof(
        fc.string({ minLength: 1 }),
        fc.array(fc.string({ minLength: 1 }), { minLength: 1 }),
        fc.constant({ a: 1 }),
      ),
    );
    fc.assert(
      fc.property(fc.array(known), fc.array(strange, { maxLength: 2 }), (fields, others) => {
        const rawInput = Object.fromEntries([["path", "src/a.ts"], ...fields, ...others]) as unknown;
        expect(inWorkspace({ rawInput })).toBe(others.length === 0 ? "allow" : "ask");
      }),
    );
  });
});

describe("what tools of the known agents send is understood", () => {
  test.each<[string, Partial<PermissionRequest>]>([
    [
      "kimi's edit",
      { name: "StrReplaceFile", rawInput: { path: "f", edit: { old: "a", new: "b", replace_all: true } } },
    ],
    [
      "kimi's file",
      { name: "WriteFile", rawInput: { path: "f", content: "/etc/x $HOME", mode: "overwrite" } },
    ],
    [
      "kimi's command",
      { name: "Shell", kind: "execute", command: "npm test", rawInput: { command: "npm test", timeout: 60 } },
    ],
    [
      "opencode's edit",
      {
        rawInput: {
          filepath: "f",
          diff: "--- f\n+++ f\n",
          files: [{ filePath: "f", relativePath: "f", type: "update", patch: "", additions: 1 }],
        },
      },
    ],
    [
      "gemini's edit",
      {
        rawInput: {
          file_path: "f",
          old_string: "a",
          new_string: "b",
          instruction: "do / it",
          expected_replacements: 1,
        },
      },
    ],
    ["codex's change", { rawInput: { changes: { f: { update: { unified_diff: "@@", move_path: null } } } } }],
    [
      "claude's command",
      { kind: "execute", rawInput: { command: "npm test", description: "run", run_in_background: true } },
    ],
    ["a patch", { rawInput: "*** Begin Patch\n*** Update File: f\n@@\n-a\n+b\n*** End Patch\n" }],
    ["a command with its folder", { kind: "execute", rawInput: { command: "npm test", cwd: "src" } }],
    [
      "variables that the command shows",
      { kind: "execute", command: "A=b npm test", rawInput: { command: "A=b npm test", env: { A: "b" } } },
    ],
    [
      "a search",
      { kind: "search", name: "grep", rawInput: { pattern: "a$", path: "src", include: "*.ts", "-n": true } },
    ],
    ["a read", { kind: "read", rawInput: { path: "src/a.ts", limit: 5 } }],
    ["an address", { kind: "fetch", name: "FetchURL", rawInput: { url: "https://example.com/a" } }],
    [
      "a list of what to do",
      { kind: "think", name: "SetTodoList", rawInput: { todos: [{ title: "a", status: "done" }] } },
    ],
  ])("%s", (_what, more) => {
    expect(read(more).unclear).toBeNull();
    expect(inWorkspace(more)).toBe("allow");
  });
});

describe("reading", () => {
  const reads = (path: string, kind = "read") => outcomes({ kind, locations: [path] }).slice(0, 2);

  test("a file outside the project is granted, a folder with all that is in it is not", () => {
    writeFileSync(join(folder, "elsewhere", "plain.txt"), "");
    expect(reads(join(folder, "elsewhere", "plain.txt"))).toEqual(["allow", "allow"]);
    expect(reads(join(folder, "elsewhere"), "search")).toEqual(["ask", "ask"]);
    expect(reads(project, "search")).toEqual(["allow", "allow"]);
  });

  test.each([
    "home/.ssh/config",
    "home/.gnupg/x",
    "home/.aws/credentials",
    "home/.config/gh/hosts.yml",
    "home/.netrc",
    "home/server.pem",
    "home/api-token.txt",
    "state/goals/g/goal.json",
    "project/.ssh/id_rsa",
  ])("%s is asked about", (path) => {
    const file = join(folder, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, "");
    expect(reads(file)).toEqual(["ask", "ask"]);
    symlinkSync(file, join(project, `to-${path.replaceAll("/", "-")}`));
    expect(reads(`to-${path.replaceAll("/", "-")}`)).toEqual(["ask", "ask"]);
  });

  test.each(["/etc/shadow", "/proc/self/environ", "~/.ssh/id_rsa", "$HOME/x", "/", "/nothing-there"])(
    "%s is asked about, also as a pattern to look for",
    (path) => {
      expect(reads(path)).toEqual(["ask", "ask"]);
      expect(outcomes({ kind: "search", name: "Glob", rawInput: { pattern: `${path}/*` } })).toEqual(ASKED);
    },
  );

  test.each([
    "http://169.254.169.254/latest",
    "http://localhost:80/",
    "http://0x7f.1/",
    "http://db.internal/",
    "ftp://a.b/",
  ])("%s is nothing that everybody may see", (url) => {
    expect(outcomes({ kind: "fetch", name: "FetchURL", rawInput: { url } })).toEqual(ASKED);
  });
});

describe("a command", () => {
  test.each<[Partial<PermissionRequest>, string]>([
    [{ command: "npm test" }, "npm test"],
    [{ rawInput: { command: "npm test" } }, "npm test"],
    [{ rawInput: { cmd: ["npm", "test", "a b"] } }, "npm test 'a b'"],
    [{ command: "bash -lc 'npm test'", rawInput: { command: ["bash", "-lc", "npm test"] } }, "npm test"],
    [{ command: "npm test", rawInput: { command: "npm test" } }, "npm test"],
    [{ rawInput: { command: "git", args: ["push", "--force"] } }, "git push --force"],
    [{ rawInput: { command: "bash", args: ["-c", "npm test"] } }, "npm test"],
    [{ rawInput: { input: { command: "rm x" } } }, "rm x"],
  ])("%j", (more, command) => {
    expect(read({ kind: "execute", ...more }).commands).toEqual([command]);
  });

  test.each<Partial<PermissionRequest>>([
    { command: "npm test", rawInput: { command: "rm -rf x" } },
    { rawInput: { command: "npm test; rm -rf /x", cmd: "npm test '; rm -rf /x'" } },
    { command: "npm test", rawInput: { command: "npm test " } },
    { command: 'npm test "a"', rawInput: { command: "npm test a" } },
    { command: "npm test", rawInput: { command: "npm test", args: ["--", "x"] } },
  ])("that differs from another one in anything is a second one, shown and asked about: %j", (more) => {
    const asked = read({ kind: "execute", ...more });
    expect(asked.commands).toHaveLength(2);
    const shown = asked.shown.filter(({ label }) => label === "command").map(({ text }) => text);
    expect(shown).toEqual(asked.commands);
    expect(outcomes({ kind: "execute", ...more })).toEqual(ASKED);
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

  describe("of an attempt in a folder of its own", () => {
    const attempt = (name: string) => join(folder, "worktrees", name);
    const inFolder = (cwd: string, more: Partial<PermissionRequest>) =>
      digestOf(describeRequest(request(more), { cwd }, { disk }), scope);
    const running = (command: string): Partial<PermissionRequest> => ({
      kind: "execute",
      command,
      rawInput: { command },
    });
    const first = () => attempt("work-1");
    const second = () => attempt("work-2");

    test.each<[string, (own: string) => Partial<PermissionRequest>]>([
      ["a command", (own) => running(`cd ${own} && cat ${own}/a "${own}/b c" > ${own}/d; ls -- '${own}'`)],
      ["a command in a shell", (own) => running(`sh -c "PATH=${own}/bin tool ${own}/a"`)],
      ["a list of words", (own) => ({ kind: "execute", rawInput: { command: ["cat", `${own}/a`, own] } })],
      ["a volume", (own) => running(`docker run -v ${own}:/app node`)],
      ["an input", (own) => ({ rawInput: { path: `${own}/a b`, content: "x" }, locations: [`${own}/a b`] })],
      ["a key", (own) => ({ rawInput: { changes: { [`${own}/a`]: { add: {} } } } })],
      ["a change", (own) => ({ content: [{ type: "diff", path: `${own}/a`, newText: "x" }] })],
      ["an address", (own) => ({ rawInput: { uri: `file://${own}/a` } })],
    ])("is the same in another folder for %s that names its own", (_what, of) => {
      expect(inFolder(second(), of(second()))).toBe(inFolder(first(), of(first())));
      expect(inFolder(second(), of(first()))).not.toBe(inFolder(first(), of(first())));
      expect(inFolder(second(), of(project))).not.toBe(inFolder(first(), of(first())));
    });

    test.each<(own: string) => string>([
      (own) => `cat ${own}0/a`,
      (own) => `cat ${own}.bak`,
      (own) => `cat ${own}-x/a`,
      (own) => `cat ${own}*/a`,
      (own) => `cat "${own}"0/a`,
      (own) => `cat ${own}"0"/a`,
      (own) => `cat "${own} copy/a"`,
      (own) => `cat /mnt${own}/a`,
      (own) => `cat "/mnt"${own}/a`,
      (own) => `cat "/mnt""${own}/a"`,
      (own) => `cat host:${own}/a`,
      (own) => `cat ${own}/../work-1/a`,
      (own) => `cat "${own}"/../work-1/a`,
      (own) => `cat "${own}/b c/../../work-1/a"`,
      (own) => `cat ${own}/.\\./work-1/a`,
    ])("is another one where the path only begins like it, or leads out of it: %s", (of) => {
      expect(inFolder(second(), running(of(second())))).not.toBe(inFolder(first(), running(of(first()))));
    });

    test("knows the folder by its real name too, and does not mistake one for the other", () => {
      const [one, other] = [join(folder, "linked-1"), join(folder, "linked-2")];
      for (const [link, real] of [
        [one, first()],
        [other, second()],
      ] as const) {
        mkdirSync(real, { recursive: true });
        symlinkSync(real, link);
      }
      const asked = (path: string) => running(`cd ${path}/src`);
      expect(inFolder(other, asked(second()))).toBe(inFolder(one, asked(first())));
      expect(inFolder(other, asked(other))).toBe(inFolder(one, asked(one)));
      // `cd <link>/..` leads elsewhere than `cd <real>/..`.
      expect(inFolder(one, asked(one))).not.toBe(inFolder(one, asked(first())));
    });

    test("tells any two texts of an attempt apart", () => {
      const piece = fc.constantFrom(
        "\0",
        "0",
        "1",
        "/own",
        "/real/own",
        "/",
        "..",
        " ",
        '"',
        "'",
        ":",
        "=",
        "x",
      );
      const any = fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join(""));
      fc.assert(
        fc.property(any, any, (a, b) => {
          const [one, other] = [a, b].map((text) => withoutFolder(text, ["/own", "/real/own"]));
          expect(one === other).toBe(a === b);
        }),
      );
    });
  });

  test("does not depend on the order of keys", () => {
    expect(digest({ rawInput: { a: 1, b: 2 } })).toBe(digest({ rawInput: { b: 2, a: 1 } }));
  });
});

describe("what a person is shown", () => {
  const shownTo = (more: Partial<PermissionRequest>) =>
    read(more)
      .shown.map(({ label, text }) => `${label}: ${text}`)
      .join("\n");

  test("has the input beside a diff, which is what the tool gets", () => {
    const text = shownTo({
      rawInput: { file_path: "f", content: "EVIL-CONTENT", run_after: "rm -rf /", old: "bad" },
      content: [{ type: "diff", path: "f", oldText: "bad", newText: "harmless", more: "HIDDEN" }],
    });
    for (const word of ["harmless", "EVIL-CONTENT", "run_after", "HIDDEN", "(the old text above)"])
      expect(text).toContain(word);
    expect(text).toMatch(/^not understood: .*"run_after"/m);
  });

  test("has every target, and those outside or protected first", () => {
    const locations = Array.from({ length: 60 }, (_, at) => `src/${at}`);
    const asked = read({ locations: [...locations, ".git/config", "/etc/passwd", "~/x"] });
    expect(asked.targets.slice(0, 3).map(({ path }) => path)).toEqual(["~/x", "/etc/passwd", ".git/config"]);
    expect(asked.shown.slice(1).map(({ label }) => label)).toEqual([
      "nobody knows where",
      "outside the project",
      "steers git or omk",
      "in the project",
    ]);
    expect(asked.shown.at(-1)?.text.split("\n")).toHaveLength(60);
  });

  test("is whole, and on a screen says where the rest is", () => {
    const command = `echo ${"a".repeat(20_000)}; rm -rf /SECRETMIDDLE; ${"b".repeat(20_000)}`;
    const { shown } = read({ kind: "execute", command });
    expect(shown.find(({ label }) => label === "command")?.text).toBe(command);
    const screen = shortened(shown, "ap-1");
    expect(screen.find(({ label }) => label === "command")?.text).toMatch(/\[…\].*characters\)$/);
    expect(screen.at(-1)).toEqual({
      label: "left out",
      text: "see all of it: omk approvals show ap-1 --full",
    });
    expect(shortened(read({ kind: "execute", command: "ls" }).shown, "ap-1")).toHaveLength(2);
  });

  test("has an input that is no record, and what the agent shows beside it", () => {
    expect(shownTo({ rawInput: "do it" })).toContain("input: do it");
    expect(shownTo({ rawInput: ["rm x"] })).toContain('input: ["rm x"]');
    expect(shownTo({ content: [{ type: "content", content: { type: "text", text: "HELLO" } }] })).toContain(
      "HELLO",
    );
  });

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
