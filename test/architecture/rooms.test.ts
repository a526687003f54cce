import fs from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import {
  defaultExportsAndBarrels,
  silentCatches,
  wrongDirections,
  worldlyImports,
  worldlyUses,
} from "./rules.ts";
import { parseSource, readSources, ROOT } from "./sources.ts";

const sources = readSources("src");

describe("the sources", () => {
  test("are found at all", () => {
    expect(sources.map((source) => source.path)).toContain("src/ports.ts");
  });

  test("import only from their own room and from rooms below", () => {
    expect(sources.flatMap(wrongDirections)).toEqual([]);
  });

  test("leave what reaches disk, processes, clocks and chance to world.ts", () => {
    expect(sources.flatMap(worldlyImports)).toEqual([]);
  });

  test("take time, chance and the process from their ports", () => {
    expect(sources.flatMap(worldlyUses)).toEqual([]);
  });

  test("have no default exports and no barrels", () => {
    expect(sources.flatMap(defaultExportsAndBarrels)).toEqual([]);
  });

  test("give a reason wherever an error is swallowed", () => {
    expect(sources.flatMap(silentCatches)).toEqual([]);
  });
});

describe("the entry points under bin/", () => {
  test("load nothing but Node's own modules, the package's data and the bundle", () => {
    const folder = path.join(ROOT, "bin");
    for (const name of fs.readdirSync(folder)) {
      const text = fs.readFileSync(path.join(folder, name), "utf8");
      const requests = [...text.matchAll(/require(?:\.resolve)?\("([^"]+)"\)/g)].map((match) => match[1]);
      for (const request of requests) {
        expect(["node:fs", "../package.json", "../dist/main.cjs", "./omk.cjs"]).toContain(request);
      }
    }
  });
});

// A rule that finds nothing might look at nothing: each is shown what it must find, and what it must leave alone.
describe("the rules", () => {
  const goal = (text: string) => parseSource("src/goal/example.ts", text);

  test("see imports that point up, leave src, or reach for the real world", () => {
    const found = (text: string) => wrongDirections(goal(text)).length;
    expect(found('import { a } from "../cli/a.ts";')).toBe(1);
    expect(found('import type { a } from "../main.ts";')).toBe(1);
    expect(found('export { a } from "../cli/a.ts";')).toBe(1);
    expect(found('const a = await import("../cli/a.ts");')).toBe(1);
    expect(found('type A = import("../cli/a.ts").A;')).toBe(1);
    expect(found('import { createWorld } from "../world.ts";')).toBe(1);
    expect(found('import { a } from "../../test/a.ts";')).toBe(1);
    expect(found('import { a } from "./other";')).toBe(1);
    expect(found('import { a } from "../attic/other.ts";')).toBe(1);
    expect(found('import { a } from "../store/a.ts"; import "./b.ts"; import path from "node:path";')).toBe(
      0,
    );
  });

  test("see imports that reach disk, processes, clocks or chance", () => {
    const found = (text: string) => worldlyImports(goal(text)).length;
    expect(found('import fs from "node:fs";')).toBe(1);
    expect(found('import fs from "fs/promises";')).toBe(1);
    expect(found('export * from "node:child_process";')).toBe(1);
    expect(found('const { execa } = await import("execa");')).toBe(1);
    expect(found('import { setTimeout } from "node:timers/promises";')).toBe(1);
    expect(found('import { randomUUID } from "node:crypto";')).toBe(1);
    expect(found("const a = await import(name);")).toBe(1);
    expect(found('import { createHash } from "node:crypto"; import { z } from "zod";')).toBe(0);
  });

  test("see uses of clocks, chance, timers and the process", () => {
    const found = (text: string) => worldlyUses(goal(text)).length;
    expect(found("export const a = Date.now();")).toBe(1);
    expect(found("export const a = new Date();")).toBe(1);
    expect(found("export const a = Math.random();")).toBe(1);
    expect(found("setTimeout(() => {}, 1);")).toBe(1);
    expect(found("export const a = process.env;")).toBe(1);
    expect(found("export const a = { process };")).toBe(1);
    expect(found("export const a = AbortSignal.timeout(5);")).toBe(1);
    expect(found("export const a = globalThis;")).toBe(1);
    expect(found("export const a = new Date(0); // not Date.now()")).toBe(0);
    expect(found("export const a = (ports: P) => ports.process.setTimeout({ process: 1 });")).toBe(0);
    expect(found("export const a = (performance: number) => performance;")).toBe(0);
  });

  test("see default exports and barrels", () => {
    const found = (text: string) => defaultExportsAndBarrels(goal(text)).length;
    expect(found("export default 1;")).toBe(1);
    expect(found("const a = 1; export { a as default };")).toBe(1);
    expect(found('export { a } from "./a.ts"; export { b } from "./b.ts";')).toBe(1);
    expect(found('export { a } from "./a.ts"; export const b = 1;')).toBe(0);
  });

  test("see catches that swallow an error without a reason", () => {
    const found = (text: string) => silentCatches(goal(text)).length;
    expect(found("try { a(); } catch {}")).toBe(1);
    expect(found("try { a(); } catch { b = undefined; }")).toBe(1);
    expect(found("try { a(); } catch { /* gone already */ }")).toBe(0);
    expect(found("try {\n a();\n} catch {\n b();\n} // gone already")).toBe(0);
    expect(found("try {\n a();\n // gone already\n} catch {\n b();\n}")).toBe(0);
    expect(found("try { a(); } catch (error) { note(error); }")).toBe(0);
    expect(found("try { a(); } catch { throw b; }")).toBe(0);
  });
});
