// The benchmarks: one line each, with the median of its ratios against a floor or a rival in the same run. Never a
// timed assertion: a slow machine is no failure, so the status is 0 unless a benchmark itself breaks.
//
//   npm run bench [-- [--quick] [name ...]]     a name is a whole one (`tail/100-1M`) or a beginning (`startup`)
import { createRequire } from "node:module";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";

import { rolldown } from "rolldown";

import * as demo from "./demo.mjs";
import * as follow from "./follow.mjs";
import * as frames from "./frames.mjs";
import * as gate from "./gate.mjs";
import { lineOf } from "./measure.mjs";
import * as plan from "./plan.mjs";
import * as read from "./read.mjs";
import * as sched from "./sched.mjs";
import * as startup from "./startup.mjs";
import * as store from "./store.mjs";
import * as team from "./team.mjs";
import * as turn from "./turn.mjs";
import * as worktree from "./worktree.mjs";

const root = path.resolve(import.meta.dirname, "../..");
const suites = [startup, store, follow, read, gate, frames, plan, sched, team, turn, worktree, demo];

/** The runtime's parts that are measured inside this process, as one CommonJS bundle like the shipped one. */
async function bundleOf(folder) {
  const bundle = await rolldown({
    cwd: root,
    input: { measured: path.join(import.meta.dirname, "measured.ts") },
    platform: "node",
    tsconfig: path.join(root, "tsconfig.json"),
    transform: { target: "node20.19", define: { OMK_VERSION: '"bench"' } },
  });
  await bundle.write({
    dir: folder,
    format: "cjs",
    exports: "named",
    dynamicImportInCjs: false,
    entryFileNames: "[name].cjs",
    chunkFileNames: "[name]-[hash].cjs",
  });
  await bundle.close();
  return path.join(folder, "measured.cjs");
}

/** Only what programs need: certificates and options of the caller would cost start-up time on one side or on both. */
function quietEnvironment(folder) {
  const { PATH = "" } = process.env;
  return {
    PATH,
    HOME: folder,
    TMPDIR: folder,
    LANG: "C.UTF-8",
    GIT_CONFIG_GLOBAL: os.devNull,
    GIT_CONFIG_NOSYSTEM: "1",
  };
}

async function main() {
  const { values, positionals } = parseArgs({
    options: { quick: { type: "boolean", default: false } },
    allowPositionals: true,
  });
  const isWanted = (name) =>
    positionals.length === 0 ||
    positionals.some((wanted) => name === wanted || name.startsWith(`${wanted.replace(/\/$/, "")}/`));
  const known = suites.flatMap(({ names }) => names);
  const wanted = known.filter(isWanted);
  if (wanted.length === 0) {
    process.stderr.write(`No benchmark is called that. There are:\n  ${known.join("\n  ")}\n`);
    process.exitCode = 2;
    return;
  }

  const folder = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), "omk-bench-"));
  const remove = () => fs.rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  const stop = (signal) => {
    remove();
    process.exit(signal === "SIGINT" ? 130 : 143);
  };
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  try {
    delete process.env["NODE_EXTRA_CA_CERTS"];
    const bundle = await bundleOf(path.join(folder, "bundle"));
    const context = {
      root,
      folder,
      bundle,
      measured: createRequire(import.meta.url)(bundle),
      environment: quietEnvironment(folder),
      quick: values.quick,
    };
    process.stdout.write(
      `Node ${process.versions.node}, ${process.platform}, ${os.availableParallelism()} cores${values.quick ? ", quick" : ""}\n`,
    );
    for (const suite of suites) {
      const names = new Set(suite.names.filter(isWanted));
      if (names.size === 0) continue;
      try {
        for await (const one of suite.run(names, context)) process.stdout.write(`${lineOf(one)}\n`);
      } catch (error) {
        process.exitCode = 1;
        process.stdout.write(`${[...names].join(", ")}: failed\n`);
        process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
      }
    }
  } finally {
    remove();
  }
}

await main();
