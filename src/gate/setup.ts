/** How a fresh checkout is made ready for the gates: what `[setup]` says, else what its lock file asks for. Pure. */
import type { GateDefinition, SetupCommand } from "../format/gate.ts";

/** Longer than this no single command of a set-up may take. */
const SETUP_TIMEOUT_SECS = 600;

/** A registry that cannot be reached is soon given up: then the project is judged in its own directory. */
const NPM_HURRIED = ["--fetch-retries=1", "--fetch-retry-mintimeout=1000"];

/** By lock file; install scripts stay off, since nobody has read them. The first that is there decides. */
const BY_LOCK_FILE: readonly (readonly [lock: string, argv: (has: (name: string) => boolean) => string[]])[] =
  [
    [
      "pnpm-lock.yaml",
      () => ["pnpm", "install", "--frozen-lockfile", "--ignore-scripts", "--prefer-offline"],
    ],
    [
      "yarn.lock",
      (has) =>
        has(".yarnrc.yml")
          ? ["yarn", "install", "--immutable", "--mode=skip-build"]
          : [
              "yarn",
              "install",
              "--frozen-lockfile",
              "--ignore-scripts",
              "--non-interactive",
              "--prefer-offline",
            ],
    ],
    ["bun.lock", () => ["bun", "install", "--frozen-lockfile", "--ignore-scripts"]],
    ["bun.lockb", () => ["bun", "install", "--frozen-lockfile", "--ignore-scripts"]],
    ...["package-lock.json", "npm-shrinkwrap.json"].map(
      (lock) =>
        [
          lock,
          () => [
            "npm",
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--prefer-offline",
            ...NPM_HURRIED,
          ],
        ] as const,
    ),
    ["uv.lock", () => ["uv", "sync", "--frozen"]],
  ];

/** The commands that set a tree up, in their order, in the form in which gates are run; none where there is nothing to do. */
export function setupCommands(
  configured: readonly SetupCommand[] | undefined,
  files: readonly string[],
): GateDefinition[] {
  const commands = configured ?? byLockFile(new Set(files));
  return commands.map(({ command, args, timeout_secs }, at) => ({
    name: commands.length === 1 ? "setup" : `setup-${at + 1}`,
    command,
    args,
    required: true,
    timeout_secs: timeout_secs > 0 ? timeout_secs : SETUP_TIMEOUT_SECS,
    skip: false,
    covers: [],
    env: [],
    kind: "other",
    source: configured ? "config" : "detected",
  }));
}

function byLockFile(files: ReadonlySet<string>): SetupCommand[] {
  const found = BY_LOCK_FILE.find(([lock]) => files.has(lock));
  const [command, ...args] = found?.[1]((name) => files.has(name)) ?? [];
  return command === undefined ? [] : [{ command, args, timeout_secs: 0 }];
}
