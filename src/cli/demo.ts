/** `omk demo`: the whole road in a temporary repository, with the built-in scripted agent and no network. */
import { join } from "node:path";

import { OmkError } from "../errors.ts";
import { runGoal } from "../goal/run-goal.ts";
import type { GoalPorts } from "../goal/open.ts";
import { verifyProof } from "../goal/verify-proof.ts";
import { ensureFolder } from "../store/files.ts";
import type { App } from "./app.ts";
import { exitStatusOf } from "./exit-status.ts";
import { renderCheck } from "./proof.ts";
import { goalPorts } from "./runtime.ts";

const GOAL = "Fix the failing test in sum.test.js";

/** The repository of the demo: one function that is wrong, and a test that says so. */
const REPOSITORY: Readonly<Record<string, string>> = {
  "package.json": `${JSON.stringify({ name: "sum", private: true, type: "module", scripts: { test: "node --test" } }, null, 2)}\n`,
  "sum.js": "export function sum(a, b) {\n  return a - b;\n}\n",
  "sum.test.js": [
    'import assert from "node:assert/strict";',
    'import { test } from "node:test";',
    "",
    'import { sum } from "./sum.js";',
    "",
    'test("sum adds its arguments", () => {',
    "  assert.equal(sum(2, 3), 5);",
    "});",
    "",
  ].join("\n"),
};

const HONEST = {
  version: 1,
  turns: [
    {
      steps: [
        { say: "The test expects a sum, the function subtracts. " },
        { edit: "sum.js", replace: "a - b", with: "a + b" },
        { usage: { input_tokens: 1200, output_tokens: 80 } },
        { say: "sum() adds now." },
      ],
    },
  ],
};

const LIAR = {
  version: 1,
  default: [{ usage: { input_tokens: 900, output_tokens: 40 } }, { say: "Fixed. All tests pass now." }],
  turns: [],
};

/** Runs the demo; its exit status is that of the goal. */
export async function demoCommand(app: App, flags: { lie: boolean; keep: boolean }): Promise<void> {
  app.listen();
  const { disk } = app.world;
  const folder = join(app.io.env["TMPDIR"] || "/tmp", `omk-demo-${app.world.random.name(10)}`);
  const repository = join(folder, "repository");
  const root = join(folder, "state");
  await ensureFolder(repository, app.world);
  const ports: GoalPorts = await goalPorts(app, root);
  try {
    await makeRepository(repository, flags.lie, ports, app);
    ports.tell(`demo: a repository with a failing test is in ${repository}`);
    ports.tell(
      flags.lie ? "demo: the agent will only claim to have fixed it" : "demo: the agent will repair it",
    );
    const request = {
      text: GOAL,
      projectDir: repository,
      untilReady: true,
      autoAccept: true,
      engine: `scripted:${join(folder, "agent.json")}`,
      ...(flags.lie && { maxAttempts: 1 }),
    };
    const { open, ending } = await runGoal(request, ports, app.signal, ({ id }) => ports.tell(`goal ${id}`));
    app.exitStatus = exitStatusOf(ending);
    const check = verifyProof(open.folder, open.id, app.world);
    if (!check.valid) app.exitStatus = 1;
    for (const line of renderCheck(check).split("\n").slice(0, 1)) ports.tell(line);
    const proof = join(open.folder, "proof.json");
    const omk = `OMK_STATE_DIR=${root} omk`;
    app.output.text(
      [
        `Status: ${ending.status}`,
        `Readiness: ${open.proof?.readiness ?? ending.reasonCode}`,
        `Proof: ${proof}${flags.keep ? "" : " (removed with the demo; --keep leaves it)"}`,
        ...(flags.keep
          ? ["Look further:", `  ${omk} goal proof`, `  ${omk} goal replay`, `  ${omk} proof verify`]
          : ["Look further:", `  omk demo${flags.lie ? " --lie" : ""} --keep`]),
      ].join("\n"),
    );
  } finally {
    if (!flags.keep) disk.removeTree(folder);
  }
}

async function makeRepository(repository: string, lie: boolean, ports: GoalPorts, app: App): Promise<void> {
  for (const [name, text] of Object.entries(REPOSITORY)) {
    await ports.disk.writeDerived(join(repository, name), text);
  }
  const script = JSON.stringify(lie ? LIAR : HONEST, null, 2);
  await ports.disk.writeDerived(join(repository, "..", "agent.json"), script);
  const author = ["-c", "user.name=omk demo", "-c", "user.email=demo@omk.invalid"];
  await git(repository, ["init", "--quiet", "--initial-branch=main"], ports, app);
  await git(repository, ["add", "--all"], ports, app);
  await git(repository, [...author, "commit", "--quiet", "-m", "a sum that subtracts"], ports, app);
}

async function git(repository: string, args: readonly string[], ports: GoalPorts, app: App): Promise<void> {
  const result = await app.world.processes.run(
    {
      argv: ["git", ...args],
      cwd: repository,
      env: { ...ports.environment, GIT_CONFIG_NOSYSTEM: "1", GIT_CONFIG_GLOBAL: "/dev/null" },
      timeoutMs: 30_000,
      outputBytesMax: 1024 * 1024,
    },
    app.signal,
  );
  if (result.exit.kind === "exited" && result.exit.code === 0) return;
  const why = result.exit.kind === "not_started" ? result.exit.message : result.stderr.trim();
  throw new OmkError("git.failed", `git ${args[0]} failed in the demo's repository: ${why}`, {
    hint: "omk needs git on the PATH.",
  });
}
