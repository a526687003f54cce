/** The pages under `docs/contracts/` say what modules promise and which test shows it: the names and the tests are there. */
import fs from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { z } from "zod";

import { parseSource, readSources, ROOT, type Source } from "./sources.ts";

const FOLDER = path.join(ROOT, "docs", "contracts");

/** What stands between the `---` lines of a page. */
const Contract = z.strictObject({
  module: z.union([z.string(), z.array(z.string())]),
  purpose: z.string().min(1),
  surface: z.array(
    z.strictObject({ name: z.string(), in: z.string(), contract: z.string().min(1), test: z.string() }),
  ),
  dependencies: z.array(z.strictObject({ room: z.string(), reason: z.string().min(1) })),
  invariants: z.array(z.strictObject({ rule: z.string().min(1), proof: z.string() })),
});

const pages = fs.readdirSync(FOLDER).map((name) => {
  const [, front] = /^---\n([\s\S]*?)\n---\n/.exec(fs.readFileSync(path.join(FOLDER, name), "utf8")) ?? [];
  return { name, contract: Contract.parse(parse(front ?? "")) };
});

/** The modules a contract is about. */
function modulesOf(module: string | string[]): Source[] {
  return [module]
    .flat()
    .flatMap((one) =>
      one.endsWith(".ts")
        ? [parseSource(one, fs.readFileSync(path.join(ROOT, one), "utf8"))]
        : readSources(one),
    );
}

/** Whether a file has a test of that title, `file › title`. */
function hasTest(reference: string): boolean {
  const [file = "", title = ""] = reference.split(" › ");
  const place = path.join(ROOT, file);
  return (
    title !== "" && fs.existsSync(place) && fs.readFileSync(place, "utf8").includes(JSON.stringify(title))
  );
}

describe.each(pages)("the contract $name", ({ contract }) => {
  test("names things that its modules export", async () => {
    const modules = modulesOf(contract.module).map((source) => source.path);
    for (const { name, in: file } of contract.surface) {
      expect(modules).toContain(file);
      const exported = (await import(path.join(ROOT, file))) as Record<string, unknown>;
      expect(Object.keys(exported), file).toContain(name);
    }
  });

  test("names tests that there are", () => {
    const named = [
      ...contract.surface.map((one) => one.test),
      ...contract.invariants.map((one) => one.proof),
    ];
    expect(named.filter((reference) => !hasTest(reference))).toEqual([]);
  });

  test("gives a reason for each room it imports from, and for no other", () => {
    const own = [contract.module].flat()[0]?.split("/")[1];
    const rooms = modulesOf(contract.module).flatMap(({ path: file, imports }) =>
      imports
        .filter(({ request }) => request.startsWith("."))
        .map(({ request }) => path.posix.join(path.posix.dirname(file), request).split("/")[1] ?? "")
        .map((room) => room.replace(/\.ts$/, "")),
    );
    const wanted = new Set(rooms.filter((room) => room !== own));
    expect(new Set(contract.dependencies.map(({ room }) => room))).toEqual(wanted);
  });
});
