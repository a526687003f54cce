import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    environment: "node",
    include: ["test/**/*.test.ts"],
    // These measure or install; they run on their own (`npm run bench`, `npm run test:package`, `npm run test:agents`).
    exclude: ["test/agents/**", "test/bench/**", "test/package/**", "test/fixtures/**"],
    globalSetup: ["test/support/setup-run.ts"],
    setupFiles: ["test/support/setup-file.ts"],
    // Processes, not threads: the environment and signals belong to a process.
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 30_000,
    watch: false,
  },
});
