import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { describe, expect, onTestFinished, test } from "vitest";

import { compatibilityPlan, detectSurface, surfacePaths } from "../../src/goal/surface.ts";
import { createWorld } from "../../src/world.ts";

const world = createWorld();

function project(...paths: string[]): string {
  const folder = mkdtempSync(join(tmpdir(), "surface-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  for (const path of paths) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), "");
  }
  return folder;
}

describe("the surface of a project", () => {
  test("is found for several ecosystems at once, sorted", () => {
    const folder = project(
      "package.json",
      "src/main.ts",
      "src/index.js",
      "Cargo.toml",
      "src/lib.rs",
      "pyproject.toml",
      "tool/__init__.py",
      "tests/test_tool.py",
    );
    expect(detectSurface(surfacePaths(folder, world))).toEqual({
      commands: ["cargo check --all-targets", "cargo test", "npm run build", "npm test", "python -m pytest"],
      api_files: ["src/index.js", "src/lib.rs", "src/main.ts", "tool/__init__.py"],
    });
  });

  test("is empty for an empty folder, and knows no pytest without a folder of tests", () => {
    expect(detectSurface(surfacePaths(project(), world))).toEqual({ commands: [], api_files: [] });
    expect(detectSurface(surfacePaths(project("setup.py"), world)).commands).toEqual([]);
  });

  test("is part of the plan of goals that must keep what there is, and of no other", () => {
    const surface = { commands: ["npm test"], api_files: ["src/index.ts"] };
    expect(compatibilityPlan("bugfix", "goal-1", surface)).toEqual([]);
    const plan = compatibilityPlan("rewrite", "goal-1", surface).join("\n");
    expect(plan).toContain("## Compatibility Test Plan");
    expect(plan).toContain("- `src/index.ts`");
    expect(plan).toContain("omk goal golden record goal-1");
  });
});
