import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { OmkError } from "../../src/errors.ts";
import { parseGoalId } from "../../src/format/names.ts";
import { existingTeamName } from "../../src/team/find.ts";
import { defaultTeamName, newTeamName, parseTeamSpec } from "../../src/team/spec.ts";
import { CountingRandom } from "../support/fakes.ts";

function failure(act: () => unknown): OmkError {
  try {
    act();
  } catch (error) {
    if (error instanceof OmkError) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}

describe("a team's spec", () => {
  test.each([
    ["team", 3, "executor"],
    ["architect", 1, "architect"],
    ["executor", 2, "executor"],
    ["verifier", 1, "verifier"],
    ["reviewer", 1, "reviewer"],
    ["integrator", 1, "integrator"],
    ["1:executor", 1, "executor"],
    ["16:my-role", 16, "my-role"],
    [" 2 : reviewer ", 2, "reviewer"],
    [`2:${"r".repeat(55)}`, 2, "r".repeat(55)],
  ])("%s is %i × %s", (spec, count, role) => {
    expect(parseTeamSpec(spec)).toEqual({ count, role });
  });

  test.each([
    ["", "neither"],
    ["executr", "neither"],
    ["0:executor", "1 to 16"],
    ["17:executor", "1 to 16"],
    ["1.5:executor", "no whole number"],
    ["-1:executor", "no whole number"],
    ["x:executor", "no whole number"],
    [":executor", "no whole number"],
    ["3:", "no role behind the colon"],
    ["1:../../x", "a role has"],
    ["1:a/b", "a role has"],
    ["1:a:b", "a role has"],
    ["1:Big Role", "a role has"],
    ["1:.hidden", "a role has"],
    [`2:${"r".repeat(56)}`, "a role has"],
  ])("%j is refused, and what is wrong is said", (spec, because) => {
    const { code, exitStatus, message, hint } = failure(() => parseTeamSpec(spec));
    expect({ code, exitStatus }).toEqual({ code: "usage.invalid", exitStatus: 2 });
    expect(message).toContain(because);
    expect(hint).toContain("executor");
  });

  test("takes the roles of a project by their name alone", () => {
    const own = {
      id: "painter",
      name: "",
      description: "",
      systemPrompt: "",
      tools: [],
      defaultSkills: [],
      suggestedWorkerCount: 4,
    };
    expect(parseTeamSpec("painter", [own])).toEqual({ count: 4, role: "painter" });
  });

  test("whatever is taken gives a name that is one name of a folder", () => {
    const random = new CountingRandom();
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 80 }), (role) => {
        let spec;
        try {
          spec = parseTeamSpec(`1:${role}`);
        } catch (error) {
          expect(error).toBeInstanceOf(OmkError);
          return;
        }
        const name = defaultTeamName(spec.role, random);
        expect(parseGoalId(name).ok).toBe(true);
        expect(newTeamName(name)).toBe(name);
        expect(name).toMatch(/-[0-9a-f]{8}$/);
      }),
    );
  });
});

describe("a team's name", () => {
  test("of a new team follows the pattern of ids, and means nothing else", () => {
    for (const name of ["", " fix", "Fix", "../x", "a/b", ".x", "a..b", "x".repeat(65), "latest", "a\nb"]) {
      expect(failure(() => newTeamName(name)).exitStatus, name).toBe(2);
    }
    expect(newTeamName("fix-1.2_3")).toBe("fix-1.2_3");
  });

  test("of an existing team passes what 0.5.0 took, and nothing that is a path", () => {
    for (const name of [
      "",
      "x".repeat(65),
      "ü".repeat(33),
      ".x",
      "..",
      "a..b",
      "a/b",
      "a\\b",
      "a:b",
      "a\u0000b",
      "a\u001bb",
    ]) {
      expect(failure(() => existingTeamName(name)).exitStatus, name).toBe(2);
    }
    for (const name of ["x".repeat(64), "Big Team", "ü".repeat(32)])
      expect(existingTeamName(name)).toBe(name);
  });
});
