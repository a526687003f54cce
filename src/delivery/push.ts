/**
 * Pushing from a goal's private git directory, and fetching into it. Of configuration, only what the user's own global file
 * says about logins and addresses counts; nothing is forced but from the commit that the caller expects there.
 */
import { join } from "node:path";

import { OmkError } from "../errors.ts";
import { findRepository, splitNul, succeeded, textOf, type GitPorts } from "../git/private-git.ts";
import { whyNoBranch } from "../git/ref-name.ts";
import type { Processes, RunResult } from "../ports.ts";
import { GitHubError, type GitHubFailure } from "./github.ts";
import { outsideEnvironment } from "./outside.ts";
import { githubRemote, parseRemote, type GitHubRemote } from "./remote.ts";

const LOOK_DEADLINE_MS = 120_000;
/** A first push carries whole histories, and so may a fetch. */
const PUSH_DEADLINE_MS = 600_000;
const OUTPUT_BYTES_MAX = 4 * 1024 * 1024;
const MESSAGE_CHARACTERS_MAX = 600;

type Environment = Readonly<Record<string, string | undefined>>;
type Ports = { processes: Pick<Processes, "run"> };

/** What is to be where. */
export interface PushRequest {
  /** The git directory that has the commit. */
  gitDir: string;
  remote: Pick<GitHubRemote, "url">;
  branch: string;
  commit: string;
  /** What the branch is expected to name now; null: it is expected not to be there. */
  expected: string | null;
  /** The caller's whole environment. */
  environment: Environment;
  /** How long the push may take; ten minutes unless said otherwise. */
  deadlineMs?: number;
}

/** What became of it. `moved`: somebody else's commit is there, and stays. */
export type Pushed =
  | { outcome: "pushed" | "already_there" }
  | { outcome: "moved"; found: string | null }
  | { outcome: "rejected"; because: string };

/**
 * Brings a commit to a branch of the remote, once: what is there already is left alone, and when the answer is lost one looks.
 * Throws `GitHubError` when the remote cannot be reached.
 */
export async function pushBranch(request: PushRequest, ports: Ports, signal: AbortSignal): Promise<Pushed> {
  const { branch, commit, expected } = request;
  const wrong = whyNoBranch(branch);
  if (wrong !== undefined) {
    throw new OmkError(
      "delivery.refused",
      `${JSON.stringify(branch)} cannot be the name of a branch: ${wrong}.`,
      {
        hint: "Give the task another id.",
      },
    );
  }
  const before = await remoteHead(request, ports, signal);
  if (before === commit) return { outcome: "already_there" };
  if (before !== expected) return { outcome: "moved", found: before };
  const ref = `refs/heads/${branch}`;
  const run = await runGit(
    [
      `--git-dir=${request.gitDir}`,
      "push",
      "--porcelain",
      "--no-verify",
      "--no-signed",
      "--no-follow-tags",
      "--recurse-submodules=no",
      `--force-with-lease=${ref}:${expected ?? ""}`,
      "--",
      request.remote.url,
      `${commit}:${ref}`,
    ],
    { ...request, cwd: request.gitDir, deadlineMs: request.deadlineMs ?? PUSH_DEADLINE_MS },
    ports,
    signal,
  );
  if (succeeded(run)) return { outcome: "pushed" };
  // Whatever git says of it, what is there now decides: it may have acted before it failed.
  const after = await remoteHead(request, ports, signal);
  if (after === commit) return { outcome: "pushed" };
  if (after !== expected) return { outcome: "moved", found: after };
  const refusal = /^!\t[^\t]*\t(.*)$/m.exec(textOf(run))?.[1];
  if (refusal === undefined) throw failureOf("push", run);
  const said = [...run.stderr.matchAll(/^remote: *(.+?) *$/gm)].map(([, line]) => line ?? "");
  return { outcome: "rejected", because: [refusal, ...said].join("; ").slice(0, MESSAGE_CHARACTERS_MAX) };
}

/** What a branch of the remote names; null when there is none. Throws `GitHubError` when it cannot be asked. */
export async function remoteHead(
  request: Pick<PushRequest, "gitDir" | "remote" | "branch" | "environment">,
  ports: Ports,
  signal: AbortSignal,
): Promise<string | null> {
  const { gitDir, remote, environment } = request;
  const ref = `refs/heads/${request.branch}`;
  const args = [`--git-dir=${gitDir}`, "ls-remote", "--refs", "--", remote.url, ref];
  const where = { environment, cwd: gitDir, deadlineMs: LOOK_DEADLINE_MS };
  const run = await runGit(args, where, ports, signal);
  if (!succeeded(run)) throw failureOf("ls-remote", run);
  // The name is a pattern that also fits the end of longer ones.
  const line = textOf(run)
    .split("\n")
    .find((one) => one.endsWith(`\t${ref}`));
  return line === undefined ? null : (line.split("\t")[0] ?? null);
}

/**
 * Brings what a branch of the remote names into the git directory, under `ref`. Nothing else comes along: no tags, no
 * other branches. Throws `GitHubError` when that cannot be done.
 */
export async function fetchBranch(
  request: Pick<PushRequest, "gitDir" | "remote" | "branch" | "environment" | "deadlineMs"> & { ref: string },
  ports: Ports,
  signal: AbortSignal,
): Promise<void> {
  const { gitDir, remote, branch, ref, environment, deadlineMs = PUSH_DEADLINE_MS } = request;
  const args = [
    `--git-dir=${gitDir}`,
    "fetch",
    "--quiet",
    "--no-tags",
    "--no-write-fetch-head",
    "--no-auto-maintenance",
    "--no-recurse-submodules",
    "--force",
    "--",
    remote.url,
    `refs/heads/${branch}:${ref}`,
  ];
  const run = await runGit(args, { environment, cwd: gitDir, deadlineMs }, ports, signal);
  if (!succeeded(run)) throw failureOf("fetch", run);
}

/**
 * The repository on GitHub that a project's remote names. Of the repository's own configuration only the URL is read, and
 * only from its own file; `delivery.refused` when there is none, or one elsewhere.
 */
export async function findRemote(
  given: { projectDir: string; remote?: string; environment: Environment },
  ports: GitPorts,
  signal: AbortSignal,
): Promise<GitHubRemote> {
  const { projectDir, remote: name = "origin", environment } = given;
  const root = ports.disk.realPath(projectDir);
  const repository = root === undefined ? undefined : findRepository(root, ports);
  if (!repository) {
    throw new OmkError(
      "delivery.refused",
      `${projectDir} is no git repository, so there is nothing to push to.`,
      {
        hint: "Pull requests need a repository with a remote on GitHub. `--policy local` needs none.",
      },
    );
  }
  const where = { environment, cwd: repository.commonDir, deadlineMs: LOOK_DEADLINE_MS };
  const file = `--file=${join(repository.commonDir, "config")}`;
  let url: string | undefined;
  for (const key of [`remote.${name}.pushurl`, `remote.${name}.url`]) {
    if (url !== undefined) break;
    const run = await runGit(["config", file, "-z", "--get-all", key], where, ports, signal);
    if (succeeded(run)) url = splitNul(Buffer.from(run.stdout))[0]?.toString("utf8");
    // Status 1 says that there is no such key.
    else if (run.exit.kind !== "exited" || run.exit.code !== 1) throw failureOf("config", run);
  }
  if (url === undefined) {
    throw new OmkError("delivery.refused", `${repository.top} has no remote called ${name}.`, {
      hint: `Add it: git remote add ${name} https://github.com/<owner>/<repository>.git`,
    });
  }
  const host = environment["GH_HOST"];
  const direct = parseRemote(url, host);
  if (direct) return direct;
  // It may be an abbreviation that the user's own `url.*` settings spell out. Asked where no repository has a say.
  const args = ["ls-remote", "--get-url", "--", url];
  const run = await runGit(args, { ...where, cwd: "/" }, ports, signal);
  const longer = succeeded(run) ? parseRemote(textOf(run), host) : undefined;
  return longer ?? githubRemote(url, name, host);
}

// ---- Running git

/** Nothing that a repository could have set; the user's own settings come after, by the environment. */
const SETTINGS = [
  "core.hooksPath=/dev/null",
  "core.askPass=",
  "core.fsmonitor=false",
  "core.alternateRefsCommand=true",
  "core.logAllRefUpdates=false",
  // What comes of it an event names: it must survive with that.
  "core.fsync=added,reference",
  "core.fsyncMethod=batch",
  "credential.interactive=false",
  "gc.auto=0",
  "maintenance.auto=false",
  "push.gpgSign=false",
  "push.recurseSubmodules=no",
  "submodule.recurse=false",
].flatMap((setting) => ["-c", setting]);

async function runGit(
  args: readonly string[],
  where: { environment: Environment; cwd: string; deadlineMs: number },
  ports: Ports,
  signal: AbortSignal,
): Promise<RunResult> {
  const base = {
    ...outsideEnvironment(where.environment),
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_ATTR_NOSYSTEM: "1",
    GIT_TERMINAL_PROMPT: "0",
    GIT_ASKPASS: "",
    SSH_ASKPASS: "",
    SSH_ASKPASS_REQUIRE: "never",
    GCM_INTERACTIVE: "never",
    GIT_OPTIONAL_LOCKS: "0",
    GIT_NO_LAZY_FETCH: "1",
  };
  const own = await ownSettings(base, where.cwd, ports, signal);
  const hasSshCommand = own.some(([key]) => key === "core.sshcommand");
  return ports.processes.run(
    {
      argv: ["git", ...SETTINGS, ...args],
      cwd: where.cwd,
      env: {
        ...base,
        GIT_CONFIG_GLOBAL: "/dev/null",
        // Local paths only by the user's own `url.*` settings: a remote's URL is none.
        GIT_ALLOW_PROTOCOL: "https:ssh:file",
        ...(!hasSshCommand && { GIT_SSH_COMMAND: "ssh -oBatchMode=yes" }),
        // By the environment, since everybody can read the arguments of a process.
        GIT_CONFIG_COUNT: String(own.length),
        ...Object.fromEntries(
          own.flatMap(([key, value], at) => [
            [`GIT_CONFIG_KEY_${at}`, key],
            [`GIT_CONFIG_VALUE_${at}`, value],
          ]),
        ),
      },
      timeoutMs: where.deadlineMs,
      outputBytesMax: OUTPUT_BYTES_MAX,
    },
    signal,
  );
}

/** Logins and addresses in the user's own global git configuration, in its order: an empty value ends what was before. */
async function ownSettings(
  env: Readonly<Record<string, string>>,
  cwd: string,
  ports: Ports,
  signal: AbortSignal,
): Promise<[string, string][]> {
  const run = await ports.processes.run(
    {
      argv: ["git", "config", "--global", "--includes", "-z", "--list"],
      cwd,
      env,
      timeoutMs: LOOK_DEADLINE_MS,
      outputBytesMax: OUTPUT_BYTES_MAX,
    },
    signal,
  );
  // There need not be such a file.
  if (!succeeded(run)) return [];
  const settings: [string, string][] = [];
  for (const entry of splitNul(Buffer.from(run.stdout))) {
    const [key = "", ...value] = entry.toString("utf8").split("\n");
    if (!/^(?:user|credential|url|http)\.|^core\.sshcommand$/.test(key)) continue;
    settings.push([key, value.length === 0 ? "true" : value.join("\n")]);
  }
  return settings;
}

/** git has no codes for these, so its words (in English, by LC_ALL) become one here and nowhere else. */
const WORDS: readonly [GitHubFailure, RegExp][] = [
  [
    "auth",
    /authentication failed|could not read (?:username|password)|permission denied \(|invalid (?:username|credentials)|terminal prompts disabled|host key verification failed|returned error: 401/i,
  ],
  ["not_found", /repository .*not found|does not appear to be a git repository|returned error: 404/i],
  ["forbidden", /returned error: 403|permission to \S+ denied|access denied|not authorized/i],
  ["server", /returned error: 5\d\d|internal server error/i],
];

function failureOf(command: string, run: RunResult): GitHubError {
  const told = (failure: GitHubFailure, says: string) =>
    new GitHubError({
      failure,
      message: `git ${command} failed, ${failure}: ${says.slice(-MESSAGE_CHARACTERS_MAX)}`,
      mayHaveActed:
        command === "push" && ["timeout", "died", "network", "server", "nonsense"].includes(failure),
    });
  if (run.exit.kind === "not_started") return told("missing", `git cannot be started: ${run.exit.message}`);
  if (run.timedOut) return told("timeout", "it did not end in time");
  if (run.truncated) return told("nonsense", `it said more than ${OUTPUT_BYTES_MAX} bytes`);
  if (run.exit.kind === "signalled") return told("died", `it was ended by ${run.exit.signal}`);
  const says = run.stderr.trim();
  return told(WORDS.find(([, words]) => words.test(says))?.[0] ?? "network", says || "it said nothing");
}
