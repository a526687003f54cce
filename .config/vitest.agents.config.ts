import { fileURLToPath } from "node:url";

import { defineConfig } from "vitest/config";

import { AgentSummary } from "../test/agents/summary.ts";

/** `npm run test:agents`: real agent programs under the built omk, their model played by the test. */
export default defineConfig({
  root: fileURLToPath(new URL("..", import.meta.url)),
  test: {
    environment: "node",
    include: ["test/agents/**/*.test.ts"],
    // In this order: the second takes the caller's OMK_ variables away.
    globalSetup: ["test/agents/setup.ts", "test/support/setup-run.ts"],
    setupFiles: ["test/support/setup-file.ts"],
    pool: "forks",
    // An agent takes up to 600 MiB and a core while it starts; a team test has two of them.
    maxWorkers: 2,
    testTimeout: 360_000,
    hookTimeout: 60_000,
    reporters: ["default", new AgentSummary()],
    watch: false,
  },
});
