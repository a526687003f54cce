/** A project for several workers, the scripts they follow, and what a run leaves to be read. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import type { Place } from "./cli.ts";

/** Three functions that are wrong, each with a test that says so. */
export const THREE_BROKEN: Record<string, string> = {
  "package.json": JSON.stringify({
    name: "three",
    private: true,
    type: "module",
    scripts: { test: "node --test" },
  }),
  ...Object.fromEntries(
    ["one", "two", "three"].flatMap((name, at) => [
      [`${name}.js`, `export const ${name} = () => 0;\n`],
      [
        `${name}.test.js`,
        [
          'import assert from "node:assert/strict";',
          'import { test } from "node:test";',
          `import { ${name} } from "./${name}.js";`,
          `test("${name}", () => assert.equal(${name}(), ${at + 1}));`,
          "",
        ].join("\n"),
      ],
    ]),
  ),
};

const NAMES = ["one", "two", "three"] as const;

/** The planner's answer: one subtask for each file. */
export const THREE_SUBTASKS = NAMES.map((name) => ({
  id: `fix-${name}`,
  description: `Make ${name}.test.js pass.`,
  write_set: [`${name}.js`],
}));

/** The repair of one file. */
export function repair(name: (typeof NAMES)[number]): object[] {
  const right = NAMES.indexOf(name) + 1;
  return [{ edit: `${name}.js`, replace: "=> 0", with: `=> ${right}` }, { say: `${name} is ${right} now.` }];
}

/** The script of a team that splits the task in three and repairs every file; `turns` come first. */
export function threeRepaired(turns: object[] = []): object {
  return {
    turns: [
      ...turns,
      { match: { role: "decompose" }, steps: [{ say: JSON.stringify(THREE_SUBTASKS) }] },
      { match: { role: "synthesize" }, steps: [{ say: "All three functions are right now." }] },
      ...NAMES.map((name) => ({ match: { task: `fix-${name}` }, steps: repair(name) })),
    ],
  };
}

/** One line of a run's log. */
export interface RunEvent {
  seq: number;
  kind: string;
  actor: string | null;
  ts: string;
  payload?: Record<string, unknown>;
}

/** The folder of a run. */
export function runFolder(place: Place, name: string): string {
  return join(place.state, "team", name);
}

/** Every whole line of a run's log. */
export function runEvents(place: Place, name: string): RunEvent[] {
  const text = readFileSync(join(runFolder(place, name), "events.jsonl"), "utf8");
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as RunEvent);
}

/** A JSON file of a run. */
export function runJson(place: Place, name: string, file: string): Record<string, unknown> {
  return JSON.parse(readFileSync(join(runFolder(place, name), file), "utf8")) as Record<string, unknown>;
}

/** Processes that bear a mark in their environment, by PID. */
export function bearing(mark: string): number[] {
  const found: number[] = [];
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    try {
      const environment = readFileSync(`/proc/${name}/environ`, "latin1");
      const isZombie = /\) Z /.test(readFileSync(`/proc/${name}/stat`, "latin1"));
      if (!isZombie && environment.includes(mark)) found.push(Number(name));
    } catch {
      // Gone meanwhile, or another user's.
    }
  }
  return found;
}
