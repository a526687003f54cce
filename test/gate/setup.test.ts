import { expect, test } from "vitest";

import { setupCommands } from "../../src/gate/setup.ts";

test.each([
  [["package-lock.json"], "npm ci --ignore-scripts"],
  [["pnpm-lock.yaml", "package-lock.json"], "pnpm install --frozen-lockfile --ignore-scripts"],
  [["yarn.lock"], "yarn install --frozen-lockfile --ignore-scripts"],
  [["yarn.lock", ".yarnrc.yml"], "yarn install --immutable --mode=skip-build"],
  [["bun.lock"], "bun install --frozen-lockfile --ignore-scripts"],
  [["uv.lock"], "uv sync --frozen"],
])("%j is set up by %s, with install scripts off", (files, expected) => {
  const [setup, ...others] = setupCommands(undefined, ["package.json", ...files]);
  expect(others).toEqual([]);
  expect([setup?.command, ...(setup?.args ?? [])].join(" ")).toContain(expected);
  expect(setup).toMatchObject({ name: "setup", timeout_secs: 600, source: "detected" });
});

test("without a lock file there is nothing to set up", () => {
  expect(setupCommands(undefined, ["package.json", "src/yarn.lock"])).toEqual([]);
});

test("what gates.toml says comes first, also when it says nothing is needed", () => {
  const commands = [
    { command: "make", args: ["deps"], timeout_secs: 30 },
    { command: "true", args: [], timeout_secs: 0 },
  ];
  expect(setupCommands(commands, ["package-lock.json"])).toMatchObject([
    { name: "setup-1", command: "make", timeout_secs: 30, source: "config" },
    { name: "setup-2", command: "true", timeout_secs: 600 },
  ]);
  expect(setupCommands([], ["package-lock.json"])).toEqual([]);
});
