import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { OmkError } from "../../src/errors.ts";
import { existingGoalId, parseRelPath, parseTaskId } from "../../src/format/names.ts";

const accepts = (path: string) => parseRelPath(path).ok;

describe("a path inside a work tree", () => {
  test("may be any ordinary path, dot files and other alphabets included", () => {
    const ordinary = [
      "a",
      "src/index.ts",
      ".gitignore",
      ".gitattributes",
      ".github/workflows/ci.yml",
      "git",
      "omk/gates.toml",
      ".omkrc",
      "größe/Ünïcode.md",
      "größe/n\u0303.md", // decomposed, as some systems list it
      "日本語/ファイル.txt",
      "with space/and 'quotes'.txt",
      "-leading-dash",
      "console.log",
      "communication.md",
      "nullable.ts",
      "foo.git",
      "emoji 👩‍💻.md",
      "a".repeat(1024),
    ];
    for (const path of ordinary) expect(parseRelPath(path)).toEqual({ ok: true, name: path });
  });

  test("is never absolute, not normal, too long, or full of controls", () => {
    const wrong = [
      "",
      "/etc/passwd",
      "a//b",
      "a/",
      "./a",
      "a/./b",
      "..",
      "a/../b",
      "../a",
      "a\\b",
      "c:/a",
      "a:stream",
      "a\0b",
      "a\nb",
      "a\u007f",
      "a\u0085",
      "a\ud800",
      "ä".repeat(513),
      "...",
      "a/. /b",
      "a/\u200d/b",
      "a/.\u200c./b",
    ];
    for (const path of wrong)
      expect(parseRelPath(path)).toMatchObject({ ok: false, because: expect.any(String) });
  });

  test("never leads into .git, .gitmodules or .omk, however they are written", () => {
    const ignorable = ["", "\u200c", "\u200d", "\u200e", "\u202a", "\u206a", "\ufeff", "\u00ad"];
    const written = fc
      .record({
        name: fc.constantFrom(".git", ".gitmodules", ".omk"),
        upper: fc.array(fc.boolean(), { minLength: 11, maxLength: 11 }),
        wide: fc.array(fc.boolean(), { minLength: 11, maxLength: 11 }),
        between: fc.array(fc.constantFrom(...ignorable), { minLength: 11, maxLength: 11 }),
        end: fc.constantFrom("", ".", " ", "...", " . "),
      })
      .map(({ name, upper, wide, between, end }) => {
        const letters = name.split("").map((letter, at) => {
          const cased = upper[at] ? letter.toUpperCase() : letter;
          const form = wide[at] ? String.fromCodePoint((cased.codePointAt(0) ?? 0) + 0xfee0) : cased;
          return form + (between[at] ?? "");
        });
        return letters.join("") + end;
      });
    const around = fc.constantFrom("", "a/", "deep/er/");
    fc.assert(
      fc.property(
        around,
        written,
        fc.constantFrom("", "/config", "/hooks/post-commit"),
        (before, part, after) => {
          expect(accepts(before + part + after)).toBe(false);
        },
      ),
      { numRuns: 3_000 },
    );
    for (const short of [
      "git~1",
      "GIT~2",
      "gitmod~1",
      "GITMOD~4",
      "gi7eba~1",
      "GI7EBA~9",
      "omk~1",
      "OMK~3",
      "git~1 .",
    ]) {
      expect(accepts(`a/${short}/x`)).toBe(false);
    }
    expect(accepts(".gitmodule\u017f")).toBe(false); // a long s is an s where case is ignored
    expect(accepts(".om\u212a")).toBe(false); // and a Kelvin sign a k
  });

  test("never names a device of Windows", () => {
    for (const device of [
      "con",
      "PRN",
      "aux.c",
      "nul .txt",
      "COM1",
      "com¹.log",
      "lpt9",
      "CONIN$",
      "conout$.x",
    ]) {
      expect(accepts(`a/${device}`)).toBe(false);
    }
  });

  test("that is accepted has only ordinary parts, whatever was given", () => {
    const part = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.constantFrom(".", "..", ".git", "a", "b.ts", "", "\\", ":", "\u200c", "~1"),
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 5 }), fc.constantFrom("/", ""), (parts, glue) => {
        const path = parts.join(glue);
        const read = parseRelPath(path);
        if (!read.ok) return;
        expect(read.name).toBe(path);
        expect(Buffer.byteLength(path)).toBeLessThanOrEqual(1024);
        expect(path).not.toMatch(/[\p{Cc}\p{Cs}\\:]/u);
        for (const one of path.split("/")) {
          expect(one).not.toMatch(/^\.{0,2}$/);
          expect(one.normalize("NFKC").toLowerCase()).not.toMatch(/^\.(git|gitmodules|omk)[. ]*$/);
        }
      }),
      { numRuns: 5_000 },
    );
  });
});

describe("an id", () => {
  test("that omk makes fits its pattern", () => {
    for (const id of [
      "goal-20260514-085416-149-ea263039",
      "a",
      "0",
      "goal-agent-implement-0",
      "a.b_c-d",
      "x".repeat(64),
    ]) {
      expect(parseTaskId(id)).toEqual({ ok: true, name: id });
    }
    for (const id of ["", "A", ".a", "-a", "_a", "a..b", "a/b", "a b", "a\n", "ä", "x".repeat(65)]) {
      expect(parseTaskId(id).ok).toBe(false);
    }
  });

  test("that exists may be anything but a path", () => {
    expect(existingGoalId("  missing-9999 ")).toBe("missing-9999");
    expect(existingGoalId("Goal 7 (later)")).toBe("Goal 7 (later)");
    for (const id of [
      "",
      "  ",
      "a/b",
      "..",
      "../x",
      "a\\b",
      ".hidden",
      "a..b",
      "c:x",
      "a\0",
      "a\u001b[2J",
      "x".repeat(256),
    ]) {
      expect(() => existingGoalId(id)).toThrow(OmkError);
      expect(() => existingGoalId(id)).toThrow(
        expect.objectContaining({ code: "usage.invalid", hint: expect.any(String) }),
      );
    }
  });

  test("that is refused is shown without its control characters", () => {
    expect(() => existingGoalId("a/\u001b[2Jb")).toThrow(/"a\/\\u001b\[2Jb" is no goal id/);
  });
});
