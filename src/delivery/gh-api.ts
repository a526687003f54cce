/**
 * GitHub by `gh api`, the only part of gh that says exactly what it does. Host and repository are named in every call and it
 * runs in an empty folder, so that nothing of the user's project has a say; gh brings the login.
 */
import { dirname } from "node:path";

import { z } from "zod";

import { OmkError } from "../errors.ts";
import type { Clock, Disk, Processes, RunResult } from "../ports.ts";
import type { Check } from "./checks.ts";
import {
  GitHubError,
  type CommitInfo,
  type GitHub,
  type GitHubFailure,
  type MergeAnswer,
  type MergeMethod,
  type NewPullRequest,
  type PullRequest,
  type PullRequestUpdate,
  type RepositoryInfo,
} from "./github.ts";
import { outsideEnvironment } from "./outside.ts";
import type { Protection } from "./protection.ts";
import type { GitHubRemote } from "./remote.ts";

const DEADLINE_MS = 120_000;
const OUTPUT_BYTES_MAX = 8 * 1024 * 1024;
const MESSAGE_CHARACTERS_MAX = 600;
/** Pull requests carry their texts, so there are few on a page. */
const PULLS_PER_PAGE = 20;
const CHECKS_PER_PAGE = 100;
const PAGES_MAX = 10;
/** A service that wants us to wait longer than this has not named a time. */
const RESET_MS_MAX = 24 * 60 * 60_000;

const Oid = z.string().regex(/^[0-9a-f]{40,64}$/);
const Repository = z.looseObject({
  default_branch: z.string().min(1),
  // Only shown to those who may push.
  allow_merge_commit: z.boolean().default(true),
  allow_squash_merge: z.boolean().default(true),
  archived: z.boolean().default(false),
});
/** A fork that is gone has no repository any more. */
const End = z.looseObject({
  ref: z.string(),
  sha: Oid,
  repo: z.looseObject({ full_name: z.string() }).nullable(),
});
const Pull = z.looseObject({
  number: z.int().min(1),
  html_url: z.url({ protocol: /^https?$/ }),
  node_id: z.string().min(1),
  state: z.enum(["open", "closed"]),
  draft: z.boolean().default(false),
  title: z.string(),
  body: z.string().nullable().default(null),
  head: End,
  base: End,
  merged_at: z.string().nullable().default(null),
  merge_commit_sha: Oid.nullable().default(null),
});
const Merged = z.looseObject({ sha: Oid, merged: z.literal(true) });
const Commit = z.looseObject({
  sha: Oid,
  tree: z.looseObject({ sha: Oid }),
  parents: z.array(z.looseObject({ sha: Oid })),
});
const Ref = z.looseObject({ ref: z.string(), object: z.looseObject({ sha: Oid }) });
const CheckRuns = z.looseObject({
  check_runs: z.array(
    z.looseObject({
      name: z.string(),
      head_sha: Oid,
      status: z.string(),
      conclusion: z.string().nullable().default(null),
      html_url: z.string().nullable().default(null),
    }),
  ),
});
const Statuses = z.looseObject({
  sha: Oid,
  statuses: z.array(
    z.looseObject({
      context: z.string(),
      state: z.string(),
      target_url: z.string().nullable().default(null),
    }),
  ),
});
const Branch = z.looseObject({
  name: z.string(),
  protection: z
    .looseObject({
      required_status_checks: z
        .looseObject({ contexts: z.array(z.string()).default([]) })
        .nullable()
        .optional(),
    })
    .optional(),
});
const Rules = z.array(
  z.looseObject({
    type: z.string(),
    parameters: z
      .looseObject({
        required_status_checks: z.array(z.looseObject({ context: z.string() })).optional(),
      })
      .nullable()
      .optional(),
  }),
);
const Answered = z.looseObject({
  errors: z.array(z.looseObject({ type: z.string().optional(), message: z.string() })).optional(),
  data: z
    .looseObject({ change: z.looseObject({ pullRequest: z.looseObject({ number: z.int() }) }) })
    .optional(),
});
/** GitHub's way to say what is wrong. */
const Complaint = z.looseObject({
  message: z.string(),
  errors: z
    .array(
      z.union([
        z.string(),
        z.looseObject({
          message: z.string().optional(),
          field: z.string().optional(),
          code: z.string().optional(),
        }),
      ]),
    )
    .optional(),
});

type Method = "GET" | "POST" | "PATCH" | "PUT";

interface Call {
  method: Method;
  path: string;
  body?: unknown;
}

interface Answer {
  status: number;
  headers: ReadonlyMap<string, string>;
  body: string;
}

/** What `GhApi` needs of the world. */
export interface GhPorts {
  disk: Disk;
  clock: Pick<Clock, "now">;
  processes: Pick<Processes, "run">;
}

/** Where and how calls are made. */
export interface GhOptions {
  remote: Pick<GitHubRemote, "host" | "owner" | "name">;
  /** Made when it is not there; nothing may be in it. */
  emptyFolder: string;
  /** The caller's whole environment: gh finds its login by it. */
  environment: Readonly<Record<string, string | undefined>>;
  /** How long one call may take; two minutes unless said otherwise. */
  deadlineMs?: number;
}

/** gh's words for a host that it has no token for, whatever its version. */
const NO_TOKEN = /no oauth token|gh auth login/i;
const TOKEN_DEADLINE_MS = 20_000;

/**
 * Whether gh says that it has no login for a host; it asks nobody for that. A gh that is too old for the question, or whose
 * keyring does not answer, is believed to have one: the first call will tell.
 */
export async function lacksLogin(
  { host, environment }: { host: string; environment: GhOptions["environment"] },
  ports: Pick<GhPorts, "processes">,
  signal: AbortSignal,
): Promise<boolean> {
  // What it prints is the token: it goes nowhere.
  const { exit, stderr } = await ports.processes.run(
    {
      argv: ["gh", "auth", "token", "--hostname", host],
      cwd: "/",
      env: { ...outsideEnvironment(environment), ...QUIET },
      timeoutMs: TOKEN_DEADLINE_MS,
      outputBytesMax: OUTPUT_BYTES_MAX,
      endsAll: true,
    },
    signal,
  );
  return exit.kind === "exited" && exit.code !== 0 && NO_TOKEN.test(stderr);
}

/** It asks nobody, and says nothing but the answer. */
const QUIET = { GH_PROMPT_DISABLED: "1", GH_NO_UPDATE_NOTIFIER: "1", GH_PAGER: "cat", NO_COLOR: "1" };

/** One repository on GitHub, through the user's `gh`. */
export class GhApi implements GitHub {
  readonly #options: GhOptions;
  readonly #ports: GhPorts;
  readonly #repository: string;

  constructor(options: GhOptions, ports: GhPorts) {
    this.#options = options;
    this.#ports = ports;
    this.#repository = `repos/${options.remote.owner}/${options.remote.name}`;
    const { disk } = ports;
    if (!disk.stat(options.emptyFolder)) disk.makeFolder(options.emptyFolder);
    if (disk.list(options.emptyFolder).length > 0) {
      throw new OmkError("state.damaged", `${options.emptyFolder} must be empty: gh is run there.`, {
        hint: "Remove what is in it, then run the command again.",
      });
    }
  }

  async repository(signal: AbortSignal): Promise<RepositoryInfo> {
    const call = this.#get("");
    const found = this.#read(call, await this.#ask(call, signal), Repository);
    const mergeMethods: MergeMethod[] = [];
    if (found.allow_merge_commit) mergeMethods.push("merge");
    if (found.allow_squash_merge) mergeMethods.push("squash");
    return { defaultBranch: found.default_branch, mergeMethods, archived: found.archived };
  }

  async pullRequestsOf(branch: string, signal: AbortSignal): Promise<PullRequest[]> {
    const head = encodeURIComponent(`${this.#options.remote.owner}:${branch}`);
    const path = `/pulls?state=all&sort=created&direction=desc&head=${head}`;
    const pulls = await this.#pages(path, PULLS_PER_PAGE, z.array(Pull), (page) => page, signal);
    // A filter that GitHub does not understand it leaves out, and a fork may bear our name: so each is looked at.
    return pulls.filter((pull) => pull.head.ref === branch && isFromHere(pull)).map(pullRequestOf);
  }

  async pullRequest(number: number, signal: AbortSignal): Promise<PullRequest> {
    const call = this.#get(`/pulls/${number}`);
    return this.#pull(call, await this.#ask(call, signal), (pull) => pull.number === number);
  }

  async createPullRequest(wanted: NewPullRequest, signal: AbortSignal): Promise<PullRequest> {
    const call = this.#call("POST", "/pulls", wanted);
    return this.#pull(
      call,
      await this.#ask(call, signal),
      ({ head, base }) => head.ref === wanted.head && base.ref === wanted.base,
    );
  }

  async updatePullRequest(
    number: number,
    update: PullRequestUpdate,
    signal: AbortSignal,
  ): Promise<PullRequest> {
    const call = this.#call("PATCH", `/pulls/${number}`, update);
    return this.#pull(call, await this.#ask(call, signal), (pull) => pull.number === number);
  }

  async setDraft(pull: PullRequest, draft: boolean, signal: AbortSignal): Promise<void> {
    // The other API cannot: this is the one thing for which the second one is needed.
    const name = draft ? "convertPullRequestToDraft" : "markPullRequestReadyForReview";
    const query = `mutation($id: ID!) { change: ${name}(input: {pullRequestId: $id}) { pullRequest { number } } }`;
    const call: Call = { method: "POST", path: "graphql", body: { query, variables: { id: pull.nodeId } } };
    const answer = await this.#ask(call, signal);
    const { errors = [], data } = this.#read(call, answer, Answered);
    const [error] = errors;
    if (error) {
      const failure = GRAPH_FAILURES[error.type ?? ""] ?? "validation";
      const mayHaveActed = failure === "server";
      throw this.#error(call, { failure, says: error.message, mayHaveActed, answer });
    }
    if (data?.change.pullRequest.number !== pull.number) throw this.#nonsense(call, ANOTHER);
  }

  async mergePullRequest(
    request: { number: number; head: string; method: MergeMethod; title: string },
    signal: AbortSignal,
  ): Promise<MergeAnswer> {
    const { number, head, method, title } = request;
    const body = { merge_method: method, sha: head, commit_title: title };
    const call = this.#call("PUT", `/pulls/${number}/merge`, body);
    const answer = await this.#ask(call, signal, [405, 409, 422]);
    if (answer.status === 409) return { outcome: "moved" };
    if (answer.status >= 400) return { outcome: "refused", because: complaintOf(answer.body) };
    return { outcome: "merged", commit: this.#read(call, answer, Merged).sha };
  }

  async commit(oid: string, signal: AbortSignal): Promise<CommitInfo> {
    const call = this.#get(`/git/commits/${encodeURIComponent(oid)}`);
    const { sha, tree, parents } = this.#read(call, await this.#ask(call, signal), Commit);
    if (sha !== oid) throw this.#nonsense(call, "it is about another commit");
    return { oid: sha, tree: tree.sha, parents: parents.map((parent) => parent.sha) };
  }

  async branchHead(branch: string, signal: AbortSignal): Promise<string | undefined> {
    const call = this.#get(`/git/ref/heads/${branch.split("/").map(encodeURIComponent).join("/")}`);
    // 409 is what a repository without any commit says.
    const answer = await this.#ask(call, signal, [404, 409]);
    if (answer.status >= 400) return undefined;
    const { ref, object } = this.#read(call, answer, Ref);
    if (ref !== `refs/heads/${branch}`) throw this.#nonsense(call, "it is about another branch");
    return object.sha;
  }

  async checks(commit: string, signal: AbortSignal): Promise<Check[]> {
    const runs = await this.#pages(
      `/commits/${commit}/check-runs?filter=latest`,
      CHECKS_PER_PAGE,
      CheckRuns,
      (page) => page.check_runs,
      signal,
    );
    const statuses = await this.#pages(
      `/commits/${commit}/status`,
      CHECKS_PER_PAGE,
      Statuses,
      (page) => (page.sha === commit ? page.statuses : undefined),
      signal,
    );
    return [
      ...runs.map((run): Check => ({
        name: run.name,
        kind: "run",
        status: run.status,
        conclusion: run.conclusion,
        url: run.html_url,
      })),
      ...statuses.map((status): Check => {
        const hasEnded = ["success", "failure", "error"].includes(status.state);
        return {
          name: status.context,
          kind: "status",
          status: hasEnded ? "completed" : status.state,
          conclusion: hasEnded ? status.state : null,
          url: status.target_url,
        };
      }),
    ];
  }

  async requiredChecks(branch: string, signal: AbortSignal): Promise<string[]> {
    const call = this.#get(`/branches/${encodeURIComponent(branch)}`);
    const found = this.#read(call, await this.#ask(call, signal), Branch);
    if (found.name !== branch) throw this.#nonsense(call, "it is about another branch");
    const rules = await this.#pages(
      `/rules/branches/${encodeURIComponent(branch)}`,
      CHECKS_PER_PAGE,
      Rules,
      (page) => page,
      signal,
      // Servers older than rule sets do not know the question.
      [404],
    );
    const byRules = rules.flatMap(({ parameters }) => parameters?.required_status_checks ?? []);
    return [
      ...new Set([
        ...(found.protection?.required_status_checks?.contexts ?? []),
        ...byRules.map(({ context }) => context),
      ]),
    ].sort();
  }

  async protection(branch: string, signal: AbortSignal): Promise<Record<string, unknown> | undefined> {
    const call = this.#get(`/branches/${encodeURIComponent(branch)}/protection`);
    const answer = await this.#ask(call, signal, [404]);
    if (answer.status === 404) {
      // The same status is said of a branch that is not there, and to those who may not look.
      if (/branch not protected/i.test(complaintOf(answer.body))) return undefined;
      throw this.#refusal(call, answer);
    }
    return this.#read(call, answer, z.looseObject({}));
  }

  async addRequiredChecks(branch: string, names: readonly string[], signal: AbortSignal): Promise<void> {
    const path = `/branches/${encodeURIComponent(branch)}/protection/required_status_checks/contexts`;
    const call = this.#call("POST", path, { contexts: names });
    const all = this.#read(call, await this.#ask(call, signal), z.array(z.string()));
    if (names.some((name) => !all.includes(name))) throw this.#nonsense(call, "checks are missing in it");
  }

  async protect(branch: string, protection: Protection, signal: AbortSignal): Promise<void> {
    const call = this.#call("PUT", `/branches/${encodeURIComponent(branch)}/protection`, protection);
    this.#read(call, await this.#ask(call, signal), z.looseObject({}));
  }

  // ---- Calls

  #get(path: string): Call {
    return this.#call("GET", path);
  }

  #call(method: Method, path: string, body?: unknown): Call {
    return { method, path: `${this.#repository}${path}`, ...(body !== undefined && { body }) };
  }

  /** All pages of a list, up to a bound. `items` answers undefined for a page that is about something else. */
  async #pages<P, T>(
    path: string,
    perPage: number,
    schema: z.ZodType<P>,
    items: (page: P) => T[] | undefined,
    signal: AbortSignal,
    mayBe: readonly number[] = [],
  ): Promise<T[]> {
    const all: T[] = [];
    for (let page = 1; page <= PAGES_MAX; page++) {
      const call = this.#get(`${path}${path.includes("?") ? "&" : "?"}per_page=${perPage}&page=${page}`);
      const answer = await this.#ask(call, signal, mayBe);
      if (answer.status >= 400) return all;
      const found = items(this.#read(call, answer, schema));
      if (!found) throw this.#nonsense(call, ANOTHER);
      all.push(...found);
      if (found.length < perPage) return all;
    }
    const says = `there are more than ${PAGES_MAX * perPage} entries`;
    throw this.#error(this.#get(path), { failure: "validation", says, mayHaveActed: false });
  }

  /** One call. Statuses from 400 on are errors, unless the caller has a use for them. */
  async #ask(call: Call, signal: AbortSignal, mayBe: readonly number[] = []): Promise<Answer> {
    const { remote, emptyFolder, environment, deadlineMs = DEADLINE_MS } = this.#options;
    const body = call.body === undefined ? undefined : Buffer.from(JSON.stringify(call.body));
    const run = await this.#ports.processes.run(
      {
        argv: [
          ...(["gh", "api", "--include", "--hostname", remote.host, "--method", call.method] as const),
          ...(body ? ["--input", "-"] : []),
          call.path,
        ],
        cwd: emptyFolder,
        env: {
          ...outsideEnvironment(environment),
          ...QUIET,
          // Should it ask git for anything, there is none to be found above either.
          GIT_CEILING_DIRECTORIES: dirname(emptyFolder),
        },
        ...(body && { stdin: body }),
        timeoutMs: deadlineMs,
        outputBytesMax: OUTPUT_BYTES_MAX,
        endsAll: true,
      },
      signal,
    );
    const answer = answerIn(run);
    if (!answer) throw this.#unanswered(call, run);
    if (answer.status < 400 || mayBe.includes(answer.status)) return answer;
    throw this.#refusal(call, answer);
  }

  #read<T>(call: Call, answer: Answer, schema: z.ZodType<T>): T {
    let record: unknown;
    try {
      record = JSON.parse(answer.body);
    } catch {
      // Whatever is wrong with it, it is no answer.
      throw this.#nonsense(call, "it is no JSON");
    }
    const read = schema.safeParse(record);
    if (read.success) return read.data;
    const [issue] = read.error.issues;
    throw this.#nonsense(call, `${issue?.path.join(".") || "it"}: ${issue?.message ?? "not understood"}`);
  }

  #pull(call: Call, answer: Answer, isTheOne: (pull: z.infer<typeof Pull>) => boolean): PullRequest {
    const pull = this.#read(call, answer, Pull);
    if (!isTheOne(pull)) throw this.#nonsense(call, ANOTHER);
    return pullRequestOf(pull);
  }

  // ---- Failures

  /** gh ended without an answer from GitHub. */
  #unanswered(call: Call, run: RunResult): GitHubError {
    const says = run.stderr.trim();
    const told = (failure: GitHubFailure, text: string, mayHaveActed = true) =>
      this.#error(call, { failure, says: text, mayHaveActed });
    if (run.exit.kind === "not_started")
      return told("missing", `gh cannot be started: ${run.exit.message}`, false);
    if (run.timedOut) return told("timeout", "gh did not answer in time and was ended");
    if (run.truncated) return told("nonsense", `the answer is longer than ${OUTPUT_BYTES_MAX} bytes`);
    if (run.exit.kind === "signalled") return told("died", `gh was ended by ${run.exit.signal}`);
    // gh's own status for a login that is missing.
    if (run.exit.code === 4) return told("auth", says || "gh is not logged in", false);
    // From 126 on a shell speaks, in whose words programs that were ended by a signal are above 128.
    if (run.exit.code >= 126) return told("died", says || `gh ended with status ${run.exit.code}`);
    if (run.exit.code !== 0 && run.stdout.length === 0) return told("network", says || "gh said nothing");
    return told("nonsense", "the answer has no status");
  }

  /** GitHub said no. */
  #refusal(call: Call, answer: Answer): GitHubError {
    const { status, body } = answer;
    const says = complaintOf(body);
    const failure = failureOf(answer, says);
    return this.#error(call, { failure, says, mayHaveActed: failure === "server", status, answer });
  }

  #nonsense(call: Call, says: string): GitHubError {
    return this.#error(call, {
      failure: "nonsense",
      says: `the answer is not one to this question: ${says}`,
      mayHaveActed: true,
    });
  }

  #error(
    call: Call,
    given: {
      failure: GitHubFailure;
      says: string;
      mayHaveActed: boolean;
      status?: number;
      answer?: Answer;
    },
  ): GitHubError {
    const { failure, status } = given;
    const what = `${call.method} ${call.path.split("?")[0]} on ${this.#options.remote.host}`;
    const number = status === undefined ? "" : ` (HTTP ${status})`;
    const says = given.says.slice(0, MESSAGE_CHARACTERS_MAX);
    return new GitHubError({
      failure,
      message: `GitHub call failed, ${failure}${number}: ${what}: ${says}`,
      status,
      mayHaveActed: given.mayHaveActed && call.method !== "GET",
      resetsAt: failure === "rate_limit" && given.answer ? this.#resetIn(given.answer) : undefined,
    });
  }

  #resetIn({ headers }: Answer): Date | undefined {
    const now = this.#ports.clock.now().getTime();
    const after = Number(headers.get("retry-after") ?? Number.NaN);
    const reset = Number(headers.get("x-ratelimit-reset") ?? Number.NaN);
    const at = Number.isNaN(after) ? reset * 1_000 : now + after * 1_000;
    return at >= 0 && at <= now + RESET_MS_MAX ? new Date(at) : undefined;
  }
}

const ANOTHER = "it is about another pull request";

const GRAPH_FAILURES: Readonly<Record<string, GitHubFailure>> = {
  NOT_FOUND: "not_found",
  FORBIDDEN: "forbidden",
  INSUFFICIENT_SCOPES: "forbidden",
  RATE_LIMITED: "rate_limit",
  INTERNAL: "server",
};

/** The answer in gh's output: status line, headers, an empty line, the body. Undefined when there is none. */
function answerIn(run: RunResult): Answer | undefined {
  if (run.timedOut || run.truncated || run.exit.kind !== "exited" || run.exit.code >= 126) return undefined;
  const text = Buffer.from(run.stdout).toString("utf8");
  const head = /^HTTP\/[0-9.]+ ([1-5][0-9]{2})\b[^\n]*\n((?:[^\r\n]+\r?\n)*)\r?\n/.exec(text);
  if (!head) return undefined;
  const headers = new Map<string, string>();
  for (const line of (head[2] ?? "").split(/\r?\n/)) {
    const colon = line.indexOf(":");
    if (colon > 0) headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
  }
  return { status: Number(head[1]), headers, body: text.slice(head[0].length) };
}

function failureOf({ status, headers }: Answer, says: string): GitHubFailure {
  const isLimited =
    headers.get("x-ratelimit-remaining") === "0" || headers.has("retry-after") || /rate limit/i.test(says);
  if (status === 429 || (status === 403 && isLimited)) return "rate_limit";
  if (status === 401) return "auth";
  if (status === 403) return "forbidden";
  if (status === 404 || status === 410) return "not_found";
  if (status >= 500 || status === 408) return "server";
  return "validation";
}

/** What GitHub says is wrong, on one line. */
function complaintOf(body: string): string {
  let record: unknown;
  try {
    record = JSON.parse(body);
  } catch {
    // A proxy or a server in trouble answers with a page; its words say nothing that the status does not.
    return "no reason given";
  }
  const read = Complaint.safeParse(record);
  if (!read.success) return "no reason given";
  const details = (read.data.errors ?? []).map((error) =>
    typeof error === "string"
      ? error
      : (error.message ?? [error.field, error.code].filter((part) => part !== undefined).join(" ")),
  );
  return [read.data.message, ...details].filter(Boolean).join("; ").replaceAll(/\s+/g, " ");
}

function isFromHere({ head, base }: z.infer<typeof Pull>): boolean {
  return head.repo !== null && head.repo.full_name === base.repo?.full_name;
}

function pullRequestOf(pull: z.infer<typeof Pull>): PullRequest {
  const { head, base } = pull;
  return {
    number: pull.number,
    url: pull.html_url,
    nodeId: pull.node_id,
    state: pull.merged_at === null ? pull.state : "merged",
    draft: pull.draft,
    title: pull.title,
    body: pull.body ?? "",
    head: { branch: head.ref, oid: head.sha },
    base: { branch: base.ref, oid: base.sha },
    // Of one that is open, it is a trial.
    mergeCommit: pull.merged_at === null ? null : pull.merge_commit_sha,
  };
}
