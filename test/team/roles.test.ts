import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import fc from "fast-check";
import { describe, expect, test } from "vitest";

import type { OmkError } from "../../src/errors.ts";
import { ROLE_TOOLS } from "../../src/format/role.ts";
import { allowsTool, BUILT_IN_ROLES, roleNamed, roleOf, rolesOf } from "../../src/team/roles.ts";
import { createWorld } from "../../src/world.ts";

const { disk } = createWorld();
const ports = { disk };

class Project implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), "omk-roles-"));
  constructor(files: Readonly<Record<string, string | Uint8Array>> = {}) {
    for (const [name, text] of Object.entries(files)) {
      const path = join(this.folder, ".omk", "roles", name);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, text);
    }
  }
  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

const PAINTER = [
  "---",
  "name: Painter",
  'description: "paints --- and nothing else"',
  "tools: [read, write, shell, test, ask]",
  "default_skills: colour, light",
  "suggested_worker_count: 3",
  "---",
  "Paint it.",
  "",
  "---",
  "This line stands between two of them and is text.",
].join("\n");

describe("the built-in roles", () => {
  test("are the five of 0.5.0, with their counts, tools and skills", () => {
    const shown = BUILT_IN_ROLES.map(({ id, suggestedWorkerCount, tools, defaultSkills }) => [
      id,
      suggestedWorkerCount,
      tools.join(","),
      defaultSkills.join(","),
    ]);
    expect(shown).toEqual([
      ["architect", 1, "read,write,ask", "architect"],
      ["executor", 2, "read,write,shell,test", "backend,qa"],
      ["verifier", 1, "read,shell,test", "qa"],
      ["reviewer", 1, "read,ask", "security-review"],
      ["integrator", 1, "shell,read,write", "devops"],
    ]);
  });

  test("tell the worker whose word counts, what not to write and how to check it", () => {
    for (const { systemPrompt } of BUILT_IN_ROLES) {
      for (const words of ["Instruction Hierarchy", "AGENTS.md", "Anti-Slop", "Review Discipline"]) {
        expect(systemPrompt).toContain(words);
      }
    }
  });
});

describe("a project's own role", () => {
  test("is read with its front matter, which ends at a line of its own", () => {
    using project = new Project({ "painter.md": PAINTER });
    const { pack, source } = roleNamed("painter", project.folder, ports);
    expect(source).toBe("project");
    expect(pack).toEqual({
      id: "painter",
      name: "Painter",
      description: "paints --- and nothing else",
      systemPrompt: "Paint it.\n\n---\nThis line stands between two of them and is text.",
      tools: ["read", "write", "shell", "test", "ask"],
      defaultSkills: ["colour", "light"],
      suggestedWorkerCount: 3,
    });
  });

  test("without front matter, or with Windows line ends, is a role as well", () => {
    using project = new Project({
      "plain.md": "Just do it.\n",
      "dos.md": "---\r\ntools: read\r\n---\r\nRead.\r\n",
    });
    expect(roleNamed("plain", project.folder, ports).pack).toMatchObject({
      systemPrompt: "Just do it.",
      tools: ["read", "write", "shell", "test"],
    });
    expect(roleNamed("dos", project.folder, ports).pack).toMatchObject({
      systemPrompt: "Read.",
      tools: ["read"],
    });
  });

  test("can take leave away from a built-in one, and give it none", () => {
    using project = new Project({
      "executor.md": "---\ntools: [read]\n---\nLook.",
      "reviewer.md": "---\ntools: [read, write, shell]\n---\nDo all.",
    });
    expect(roleNamed("executor", project.folder, ports).pack.tools).toEqual(["read"]);
    expect(roleNamed("reviewer", project.folder, ports).pack.tools).toEqual(["read"]);
    fc.assert(
      fc.property(
        fc.constantFrom(...BUILT_IN_ROLES, undefined),
        fc.subarray([...ROLE_TOOLS]),
        (builtIn, tools) => {
          const id = builtIn?.id ?? "own";
          using one = new Project({ [`${id}.md`]: `---\ntools: [${tools.join(", ")}]\n---\n` });
          const { pack } = roleNamed(id, one.folder, ports);
          const most = builtIn ?? BUILT_IN_ROLES.find((role) => role.id === "executor");
          for (const kind of [
            "read",
            "search",
            "fetch",
            "edit",
            "delete",
            "move",
            "execute",
            "other",
            "switch_mode",
          ]) {
            if (allowsTool(pack, kind)) expect(most && allowsTool(most, kind), `${id} ${kind}`).toBe(true);
          }
        },
      ),
      { numRuns: 50 },
    );
  });

  test("that cannot be used is named, hides no other, and is never replaced by one that may do more", () => {
    using project = new Project({
      "open.md": "---\nname: x\n",
      "yaml.md": "---\nname: [x\n---\n",
      "tool.md": "---\ntools: [read, nuke]\n---\n",
      "count.md": "---\nsuggested_worker_count: 99\n---\n",
      "other.md": "---\nid: another\n---\n",
      "list.md": "---\n- a\n- b\n---\n",
      "bomb.md": `---\na: &a [x, x]\nb: [*a, *a]\n---\n`,
      "deep.md": `---\na: ${"[".repeat(8_000)}${"]".repeat(8_000)}\n---\n`,
      "unclosed.md": "---\nnote: {a\n---\n",
      "long.md": `---\nname: ${"x".repeat(20_000)}\n---\n`,
      "huge.md": "x".repeat(70_000),
      "bytes.md": new Uint8Array([0xff, 0xfe, 0xfd]),
      "Wrong Name.md": "hello",
      "good.md": "---\ndescription: fine\n---\nDo it.",
      "notes.txt": "not a role",
    });
    symlinkSync("/etc/passwd", join(project.folder, ".omk", "roles", "link.md"));
    mkdirSync(join(project.folder, ".omk", "roles", "folder.md"));
    const { roles, warnings } = rolesOf(project.folder, ports);
    expect(roles.map(({ pack }) => pack.id)).toEqual([...BUILT_IN_ROLES.map(({ id }) => id), "good"]);
    const bad = [
      "open",
      "yaml",
      "tool",
      "count",
      "other",
      "list",
      "bomb",
      "deep",
      "unclosed",
      "long",
      "huge",
      "bytes",
      "link",
      "folder",
      "Wrong Name",
    ];
    expect(warnings).toHaveLength(bad.length);
    for (const id of bad) {
      expect(
        warnings.filter((warning) => warning.includes(join("roles", `${id}.md`))),
        id,
      ).toHaveLength(1);
      if (id === "Wrong Name") continue;
      expect(() => roleNamed(id, project.folder, ports), id).toThrow(
        expect.objectContaining({ code: "role.invalid", exitStatus: 78 }) as OmkError,
      );
    }
  });

  test("is not looked for behind a link", () => {
    using project = new Project();
    using elsewhere = new Project({ "spy.md": "Spy." });
    symlinkSync(join(elsewhere.folder, ".omk"), join(project.folder, ".omk"));
    expect(rolesOf(project.folder, ports)).toMatchObject({
      roles: { length: 5 },
      warnings: [expect.stringContaining(".omk")],
    });
    expect(() => roleNamed("spy", project.folder, ports)).toThrow("not a folder");
  });
});

describe("a role nobody knows", () => {
  test("is allowed, said, and gets the task without instructions", () => {
    using project = new Project();
    expect(roleNamed("poet", project.folder, ports)).toMatchObject({
      source: "unknown",
      pack: { id: "poet", systemPrompt: "" },
    });
    expect(roleNamed("../../x", project.folder, ports).source).toBe("unknown");
    expect(roleNamed("executor", project.folder, ports).source).toBe("built-in");
  });
});

describe("what a role may use", () => {
  const kinds = [
    "read",
    "search",
    "fetch",
    "think",
    "edit",
    "delete",
    "move",
    "execute",
    "other",
    "switch_mode",
  ];
  test.each([
    [[], ["think"]],
    [["ask"], ["think"]],
    [["test"], ["think"]],
    [["read"], ["read", "search", "fetch", "think"]],
    [["write"], ["think", "edit", "delete", "move"]],
    [["shell"], ["think", "execute"]],
    [
      ["read", "shell", "test"],
      ["read", "search", "fetch", "think", "execute"],
    ],
    [["read", "write", "shell"], kinds],
    [["everything"], ["think"]],
  ])("follows its tools %j", (tools, allowed) => {
    expect(kinds.filter((kind) => allowsTool({ tools }, kind))).toEqual(allowed);
  });

  test("is what it was when the run was made", () => {
    const role = roleOf({ role: { id: "painter", system_prompt: "Paint.", tools: ["read"] } });
    expect(role).toMatchObject({ id: "painter", systemPrompt: "Paint.", tools: ["read"] });
  });
});
