/**
 * GitHub on a unix socket: repositories in memory, each backed by a real bare git repository, with the part of the API that
 * omk uses. `gh` reaches it by its setting `http_unix_socket`; git reaches the bare repository by `url.*.insteadOf`.
 */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** One call that was made. */
export interface StandInCall {
  method: string;
  /** With the query, without the prefix of enterprise servers. */
  path: string;
  body: Record<string, unknown>;
}

/** What goes wrong with a call: an answer instead of acting, or acting without an answer that arrives. */
export type StandInFault =
  | { kind: "answer"; status: number; message: string; headers?: Record<string, string> }
  /** Acts, then breaks the connection. */
  | { kind: "lost" }
  /** Breaks the connection without acting. */
  | { kind: "dropped" };

/** A check of a commit, as GitHub tells it. */
export interface StandInCheck {
  name: string;
  kind: "run" | "status";
  /** Of a run; a status has only its conclusion, `pending` while it lasts. */
  status?: string;
  conclusion: string | null;
}

interface StandInPull {
  number: number;
  nodeId: string;
  title: string;
  body: string;
  head: string;
  base: string;
  draft: boolean;
  state: "open" | "closed";
  mergedAt: string | null;
  mergeCommit: string | null;
  /** What the head was when it was closed or merged. */
  headOid: string | null;
  /** From a fork of this name. */
  fork: string | null;
}

type Json = Record<string, unknown>;

class Refusal extends Error {
  readonly status: number;
  readonly errors: Json[];
  constructor(status: number, message: string, errors: Json[] = []) {
    super(message);
    this.status = status;
    this.errors = errors;
  }
}

const AT = "2026-01-01T00:00:00Z";

/** A repository, with what a test may set. */
export class StandInRepository {
  readonly owner: string;
  readonly name: string;
  /** The bare repository. */
  readonly bare: string;
  readonly pulls: StandInPull[] = [];
  readonly #checks = new Map<string, StandInCheck[]>();
  /** Says what judges a commit, beside what was set for it. */
  ci: ((commit: string) => readonly StandInCheck[]) | undefined;
  allowMergeCommit = true;
  allowSquashMerge = true;
  archived = false;
  defaultBranch = "main";
  /** Protections by branch, as GitHub tells them. */
  readonly protections = new Map<string, Json>();
  /** Rules by branch. */
  readonly rules = new Map<string, Json[]>();

  constructor(owner: string, name: string, bare: string) {
    this.owner = owner;
    this.name = name;
    this.bare = bare;
    execFileSync("git", ["init", "--quiet", "--bare", "--initial-branch=main", bare]);
  }

  get fullName(): string {
    return `${this.owner}/${this.name}`;
  }

  /** The URL that a clone has as its `origin`. */
  get url(): string {
    return `https://github.com/${this.fullName}.git`;
  }

  git(...args: string[]): string {
    const env = {
      PATH: process.env["PATH"] ?? "",
      HOME: "/nonexistent",
      GIT_CONFIG_NOSYSTEM: "1",
      GIT_CONFIG_GLOBAL: "/dev/null",
      ...identity("AUTHOR"),
      ...identity("COMMITTER"),
    };
    return execFileSync("git", [`--git-dir=${this.bare}`, ...args], {
      env,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    }).trim();
  }

  /** The commit of a branch. */
  branch(name: string): string | undefined {
    try {
      return this.git("rev-parse", "--verify", "--quiet", `refs/heads/${name}^{commit}`);
    } catch {
      return undefined; // no such branch
    }
  }

  setCheck(commit: string, check: StandInCheck): void {
    const others = (this.#checks.get(commit) ?? []).filter(
      ({ name, kind }) => name !== check.name || kind !== check.kind,
    );
    this.#checks.set(commit, [...others, check]);
  }

  checksOf(commit: string): StandInCheck[] {
    return [...(this.#checks.get(commit) ?? []), ...(this.ci?.(commit) ?? [])];
  }

  /** A stranger's pull request from a branch of the same name. */
  addForkPull(head: string, fork: string): void {
    this.#add({ title: "from a fork", body: "", head, base: this.defaultBranch, draft: false, fork });
  }

  #add(given: Pick<StandInPull, "title" | "body" | "head" | "base" | "draft" | "fork">): StandInPull {
    const number = this.pulls.length + 1;
    const pull: StandInPull = {
      ...given,
      number,
      nodeId: `PR_${this.owner}_${this.name}_${number}`,
      state: "open",
      mergedAt: null,
      mergeCommit: null,
      headOid: given.fork === null ? null : "f".repeat(40),
    };
    this.pulls.push(pull);
    return pull;
  }

  // ---- What the API does

  create(body: Json): StandInPull {
    const { title, head, base, draft = false } = body as { [key: string]: string } & { draft?: boolean };
    const text = typeof body["body"] === "string" ? body["body"] : "";
    const invalid = (field: string) =>
      new Refusal(422, "Validation Failed", [{ resource: "PullRequest", field, code: "invalid" }]);
    if (title === undefined || title.trim() === "") throw invalid("title");
    if (text.length > 65_536) {
      throw new Refusal(422, "Validation Failed", [
        { message: "body is too long (maximum is 65536 characters)" },
      ]);
    }
    const [headOid, baseOid] = [this.branch(head ?? ""), this.branch(base ?? "")];
    if (head === undefined || headOid === undefined) throw invalid("head");
    if (base === undefined || baseOid === undefined) throw invalid("base");
    if (this.pulls.some((pull) => pull.state === "open" && pull.head === head && pull.fork === null)) {
      const message = `A pull request already exists for ${this.owner}:${head}.`;
      throw new Refusal(422, "Validation Failed", [{ resource: "PullRequest", code: "custom", message }]);
    }
    if (this.git("rev-list", "--count", `${baseOid}..${headOid}`) === "0") {
      const message = `No commits between ${base} and ${head}`;
      throw new Refusal(422, "Validation Failed", [{ resource: "PullRequest", code: "custom", message }]);
    }
    return this.#add({ title, body: text, head, base, draft, fork: null });
  }

  update(pull: StandInPull, body: Json): void {
    if (typeof body["title"] === "string") pull.title = body["title"];
    if (typeof body["body"] === "string") pull.body = body["body"];
    if (typeof body["base"] === "string") {
      if (this.branch(body["base"]) === undefined) throw new Refusal(422, "Validation Failed");
      pull.base = body["base"];
    }
    if (body["state"] === "closed" && pull.state === "open") {
      pull.headOid = this.headOf(pull);
      pull.state = "closed";
    }
  }

  headOf(pull: StandInPull): string {
    return pull.headOid ?? this.branch(pull.head) ?? "0".repeat(40);
  }

  merge(pull: StandInPull, body: Json): string {
    const { merge_method: method = "merge", sha, commit_title: title } = body as Record<string, string>;
    const head = this.headOf(pull);
    if (pull.state !== "open" || pull.draft) throw new Refusal(405, "Pull Request is not mergeable");
    if (sha !== undefined && sha !== head) {
      throw new Refusal(409, "Head branch was modified. Review and try the merge again.");
    }
    if (method === "merge" && !this.allowMergeCommit) {
      throw new Refusal(405, "Merge commits are not allowed on this repository.");
    }
    if (method === "squash" && !this.allowSquashMerge) {
      throw new Refusal(405, "Squash merges are not allowed on this repository.");
    }
    const passed = new Set(
      this.checksOf(head)
        .filter(({ conclusion }) => ["success", "neutral", "skipped"].includes(conclusion ?? ""))
        .map(({ name }) => name),
    );
    const missing = this.required(pull.base).filter((name) => !passed.has(name));
    if (missing.length > 0) {
      throw new Refusal(405, `Required status check "${missing[0]}" is expected.`);
    }
    const base = this.branch(pull.base) ?? "";
    let tree: string;
    try {
      tree = this.git("merge-tree", "--write-tree", base, head).split("\n")[0] ?? "";
    } catch {
      throw new Refusal(405, "Pull Request is not mergeable"); // it conflicts
    }
    const parents = method === "squash" ? ["-p", base] : ["-p", base, "-p", head];
    const commit = this.git("commit-tree", tree, ...parents, "-m", title ?? `Merge #${pull.number}`);
    this.git("update-ref", `refs/heads/${pull.base}`, commit, base);
    Object.assign(pull, { state: "closed", mergedAt: AT, mergeCommit: commit, headOid: head });
    return commit;
  }

  required(branch: string): string[] {
    const checks = this.protections.get(branch)?.["required_status_checks"] as
      | { contexts: string[] }
      | undefined;
    const rules = (this.rules.get(branch) ?? []).flatMap(
      (rule) =>
        (rule["parameters"] as { required_status_checks?: { context: string }[] } | undefined)
          ?.required_status_checks ?? [],
    );
    return [...(checks?.contexts ?? []), ...rules.map(({ context }) => context)];
  }

  protect(branch: string, body: Json): Json {
    if (this.branch(branch) === undefined) throw new Refusal(404, "Branch not found");
    for (const key of [
      "required_status_checks",
      "enforce_admins",
      "required_pull_request_reviews",
      "restrictions",
    ]) {
      if (!(key in body)) throw new Refusal(422, `Invalid request. "${key}" wasn't supplied.`);
    }
    const checks = body["required_status_checks"] as {
      strict: boolean;
      checks?: { context: string; app_id?: number }[];
      contexts?: string[];
    } | null;
    const reviews = body["required_pull_request_reviews"] as Json | null;
    const people = (given: unknown) => {
      const { users, teams, apps } = given as Record<"users" | "teams" | "apps", string[]>;
      return {
        url: "https://api.github.com/x",
        users: users.map((login) => ({ login })),
        teams: teams.map((slug) => ({ slug })),
        apps: apps.map((slug) => ({ slug })),
      };
    };
    const told: Json = {
      url: "https://api.github.com/x",
      ...(checks && {
        required_status_checks: {
          url: "https://api.github.com/x",
          strict: checks.strict,
          contexts: checks.contexts ?? checks.checks?.map(({ context }) => context) ?? [],
          checks:
            checks.checks?.map(({ context, app_id }) => ({
              context,
              app_id: app_id === -1 ? null : app_id,
            })) ?? [],
        },
      }),
      ...(reviews && {
        required_pull_request_reviews: {
          ...reviews,
          url: "https://api.github.com/x",
          ...(["dismissal_restrictions", "bypass_pull_request_allowances"] as const).reduce<Json>(
            (all, key) => (reviews[key] ? { ...all, [key]: people(reviews[key]) } : all),
            {},
          ),
        },
      }),
      ...(body["restrictions"] ? { restrictions: people(body["restrictions"]) } : {}),
      required_signatures: { url: "https://api.github.com/x", enabled: false },
    };
    for (const key of [
      "enforce_admins",
      "required_linear_history",
      "allow_force_pushes",
      "allow_deletions",
      "block_creations",
      "required_conversation_resolution",
      "lock_branch",
      "allow_fork_syncing",
    ]) {
      told[key] = { enabled: body[key] === true };
    }
    this.protections.set(branch, told);
    return told;
  }

  addContexts(branch: string, names: readonly string[]): string[] {
    const checks = this.protections.get(branch)?.["required_status_checks"] as
      | { contexts: string[]; checks: Json[] }
      | undefined;
    if (!checks) throw new Refusal(404, "Required status checks not enabled");
    for (const name of names) {
      if (checks.contexts.includes(name)) continue;
      checks.contexts.push(name);
      checks.checks.push({ context: name, app_id: null });
    }
    return checks.contexts;
  }

  // ---- What the API says

  describe(): Json {
    return {
      full_name: this.fullName,
      default_branch: this.defaultBranch,
      allow_merge_commit: this.allowMergeCommit,
      allow_squash_merge: this.allowSquashMerge,
      allow_rebase_merge: true,
      archived: this.archived,
      private: false,
    };
  }

  describePull(pull: StandInPull): Json {
    const repo = { full_name: this.fullName, name: this.name };
    return {
      number: pull.number,
      node_id: pull.nodeId,
      html_url: `https://github.com/${this.fullName}/pull/${pull.number}`,
      state: pull.state,
      draft: pull.draft,
      title: pull.title,
      body: pull.body,
      merged: pull.mergedAt !== null,
      merged_at: pull.mergedAt,
      // For an open one GitHub names a trial merge here.
      merge_commit_sha: pull.mergeCommit ?? "e".repeat(40),
      head: {
        ref: pull.head,
        sha: this.headOf(pull),
        repo:
          pull.fork === null
            ? repo
            : { full_name: `${pull.fork}/fork-of-${this.name}`, name: `fork-of-${this.name}` },
      },
      base: { ref: pull.base, sha: this.branch(pull.base) ?? "0".repeat(40), repo },
    };
  }
}

function identity(whose: "AUTHOR" | "COMMITTER"): Record<string, string> {
  return {
    [`GIT_${whose}_NAME`]: "GitHub",
    [`GIT_${whose}_EMAIL`]: "noreply@github.invalid",
    [`GIT_${whose}_DATE`]: "2026-01-01T00:00:00Z",
  };
}

/** The server, with a home for `git` and `gh` that lead to it. */
export class GitHubStandIn implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), "omk-gh-"));
  readonly home = join(this.folder, "home");
  readonly calls: StandInCall[] = [];
  readonly token = "fake-token-of-a-test";
  readonly #repositories = new Map<string, StandInRepository>();
  readonly #faults: { matches: (call: StandInCall) => boolean; fault: StandInFault; times: number }[] = [];
  readonly #server: Server;

  private constructor() {
    mkdirSync(join(this.home, "gh"), { recursive: true });
    writeFileSync(join(this.home, "gh", "config.yml"), `http_unix_socket: ${this.socket}\n`);
    this.#server = createServer((request, response) => void this.#serve(request, response));
  }

  static async start(): Promise<GitHubStandIn> {
    const standIn = new GitHubStandIn();
    standIn.#server.listen(standIn.socket);
    await once(standIn.#server, "listening");
    return standIn;
  }

  get socket(): string {
    return join(this.folder, "s");
  }

  /** The variables by which `gh` and `git` find their way here. */
  get environment(): Record<string, string> {
    return {
      PATH: process.env["PATH"] ?? "",
      HOME: this.home,
      GH_CONFIG_DIR: join(this.home, "gh"),
      GH_TOKEN: this.token,
    };
  }

  addRepository(owner = "acme", name = "widget"): StandInRepository {
    const bare = join(this.folder, `${owner}-${name}.git`);
    const repository = new StandInRepository(owner, name, bare);
    this.#repositories.set(repository.fullName.toLowerCase(), repository);
    const lines = [...this.#repositories.values()].map(
      (one) =>
        `[url "file://${one.bare}"]\n\tinsteadOf = ${one.url}\n\tinsteadOf = git@github.com:${one.fullName}.git\n`,
    );
    writeFileSync(join(this.home, ".gitconfig"), lines.join(""));
    return repository;
  }

  /** Lets the next matching calls go wrong. */
  fail(matches: string | ((call: StandInCall) => boolean), fault: StandInFault, times = 1): void {
    const match =
      typeof matches === "string"
        ? ({ method, path }: StandInCall) => `${method} ${path}`.startsWith(matches)
        : matches;
    this.#faults.push({ matches: match, fault, times });
  }

  /** The calls that change something. */
  get mutations(): StandInCall[] {
    return this.calls.filter(({ method }) => method !== "GET");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => {
      this.#server.close(resolve);
    });
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const text = Buffer.concat(parts).toString("utf8");
    const path = (request.url ?? "").replace(/^\/api\/(?:v3\/|(?=graphql))/, "/");
    const call: StandInCall = {
      method: request.method ?? "",
      path,
      body: text === "" ? {} : (JSON.parse(text) as Json),
    };
    this.calls.push(call);
    const found = this.#faults.find(({ matches, times }) => times > 0 && matches(call));
    if (found) found.times--;
    const fault = found?.fault;
    if (fault?.kind === "dropped") return void request.socket.destroy();
    const send = (status: number, body: unknown, headers: Record<string, string> = {}): void => {
      if (fault?.kind === "lost") {
        request.socket.destroy();
        return;
      }
      response.writeHead(status, { "content-type": "application/json; charset=utf-8", ...headers });
      response.end(JSON.stringify(body));
    };
    if (fault?.kind === "answer") return send(fault.status, { message: fault.message }, fault.headers);
    const login = request.headers.authorization ?? "";
    if (!login.endsWith(this.token)) return send(401, { message: "Bad credentials" });
    try {
      const { status, body } = this.#answer(call);
      send(status, body);
    } catch (error) {
      if (!(error instanceof Refusal)) return send(500, { message: String(error) });
      send(error.status, {
        message: error.message,
        ...(error.errors.length > 0 && { errors: error.errors }),
      });
    }
  }

  #answer(call: StandInCall): { status: number; body: unknown } {
    const url = new URL(call.path, "https://api.github.com");
    if (url.pathname === "/graphql") return { status: 200, body: this.#graph(call.body) };
    const [, repos, owner = "", name = "", ...rest] = url.pathname.split("/").map(decodeURIComponent);
    const repository = this.#repositories.get(`${owner}/${name}`.toLowerCase());
    if (repos !== "repos" || !repository) throw new Refusal(404, "Not Found");
    const ok = (body: unknown) => ({ status: 200, body });
    const page = <T>(items: readonly T[]): T[] => {
      const per = Number(url.searchParams.get("per_page") ?? 30);
      const from = (Number(url.searchParams.get("page") ?? 1) - 1) * per;
      return items.slice(from, from + per);
    };
    const question = `${call.method} ${rest[0] ?? ""}`;
    switch (question) {
      case "GET ":
        return ok(repository.describe());
      case "POST pulls":
        return { status: 201, body: repository.describePull(repository.create(call.body)) };
      case "GET pulls": {
        if (rest[1] !== undefined) return ok(repository.describePull(pullOf(repository, rest[1])));
        const [state, head, base] = ["state", "head", "base"].map((key) => url.searchParams.get(key));
        const found = repository.pulls.filter(
          (pull) =>
            (state === "all" || pull.state === (state ?? "open")) &&
            // As GitHub, a filter without an owner filters nothing.
            (!head?.includes(":") || `${pull.fork ?? repository.owner}:${pull.head}` === head) &&
            (!base || pull.base === base),
        );
        return ok(page(found.toReversed()).map((pull) => repository.describePull(pull)));
      }
      case "PATCH pulls": {
        const pull = pullOf(repository, rest[1]);
        repository.update(pull, call.body);
        return ok(repository.describePull(pull));
      }
      case "PUT pulls": {
        const sha = repository.merge(pullOf(repository, rest[1]), call.body);
        return ok({ sha, merged: true, message: "Pull Request successfully merged" });
      }
      case "GET commits":
        return ok(commitAnswer(repository, rest, page));
      case "GET git":
        return ok(gitAnswer(repository, rest));
      case "GET rules":
        return ok(page(repository.rules.get(rest.slice(2).join("/")) ?? []));
      default:
        if (rest[0] === "branches") return ok(branchAnswer(repository, call, rest.slice(1)));
        throw new Refusal(404, "Not Found");
    }
  }

  #graph(body: Json): Json {
    const { query, variables } = body as { query: string; variables: { id: string } };
    const pull = [...this.#repositories.values()]
      .flatMap(({ pulls }) => pulls)
      .find(({ nodeId }) => nodeId === variables.id);
    if (!pull) {
      const message = `Could not resolve to a node with the global id of '${variables.id}'`;
      return { data: { change: null }, errors: [{ type: "NOT_FOUND", message }] };
    }
    pull.draft = query.includes("convertPullRequestToDraft");
    return { data: { change: { pullRequest: { number: pull.number } } } };
  }
}

function pullOf(repository: StandInRepository, number: string | undefined): StandInPull {
  const pull = repository.pulls.find((one) => String(one.number) === number);
  if (pull) return pull;
  throw new Refusal(404, "Not Found");
}

function commitAnswer(
  repository: StandInRepository,
  [, commit = "", what]: string[],
  page: <T>(items: readonly T[]) => T[],
): Json {
  const checks = repository.checksOf(commit);
  if (what === "check-runs") {
    const runs = checks.filter(({ kind }) => kind === "run");
    return {
      total_count: runs.length,
      check_runs: page(runs).map(({ name, status, conclusion }, at) => ({
        id: at + 1,
        name,
        head_sha: commit,
        status: status ?? (conclusion === null ? "in_progress" : "completed"),
        conclusion,
        html_url: null,
      })),
    };
  }
  if (what !== "status") throw new Refusal(404, "Not Found");
  const statuses = checks.filter(({ kind }) => kind === "status");
  return {
    state: "pending",
    sha: commit,
    total_count: statuses.length,
    statuses: page(statuses).map(({ name, conclusion }) => ({
      context: name,
      state: conclusion ?? "pending",
      target_url: null,
    })),
  };
}

function gitAnswer(repository: StandInRepository, [, kind, ...rest]: string[]): Json {
  if (kind === "ref") {
    const branch = rest.slice(1).join("/");
    const sha = rest[0] === "heads" ? repository.branch(branch) : undefined;
    if (sha === undefined) throw new Refusal(404, "Not Found");
    return { ref: `refs/heads/${branch}`, object: { type: "commit", sha } };
  }
  try {
    const [sha = "", tree = "", parents = ""] = repository
      .git("show", "--no-patch", "--format=%H%n%T%n%P", `${rest[0]}^{commit}`)
      .split("\n");
    return {
      sha,
      tree: { sha: tree },
      parents: parents.split(" ").flatMap((parent) => (parent === "" ? [] : [{ sha: parent }])),
    };
  } catch {
    throw new Refusal(404, "Not Found"); // no such commit
  }
}

function branchAnswer(repository: StandInRepository, call: StandInCall, rest: string[]): unknown {
  const [branch = "", part, ...more] = rest;
  const protection = repository.protections.get(branch);
  if (part === undefined) {
    const sha = repository.branch(branch);
    if (sha === undefined) throw new Refusal(404, "Branch not found");
    const checks = protection?.["required_status_checks"] as { contexts: string[] } | undefined;
    return {
      name: branch,
      commit: { sha },
      protected: protection !== undefined,
      protection: {
        enabled: protection !== undefined,
        required_status_checks: {
          enforcement_level: checks ? "non_admins" : "off",
          contexts: checks?.contexts ?? [],
        },
      },
    };
  }
  if (call.method === "PUT") return repository.protect(branch, call.body);
  if (protection === undefined) throw new Refusal(404, "Branch not protected");
  if (call.method === "POST" && more.join("/") === "required_status_checks/contexts") {
    return repository.addContexts(branch, call.body["contexts"] as string[]);
  }
  return protection;
}

// ---- A gh with faults

/** What the wrapper does instead of, or after, the call. */
export type GhFault =
  /** Makes the call, then is killed before it says anything. */
  | "dies_after"
  /** Is killed before the call. */
  | "dies_before"
  /** Never ends, and neither does what it started. */
  | "hangs"
  /** Shows a page of a proxy with status 502, after the call was made. */
  | "bad_gateway"
  /** Answers about another pull request. */
  | "other_pull"
  /** 10 MB of output. */
  | "flood"
  /** Status 200 and something that is no JSON. */
  | "garbage"
  /** Ends well without a word. */
  | "silent";

/** A `gh` in a folder of its own that does what `omk` uses of the real one, and goes wrong when told to. */
export class FakeGh {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
    mkdirSync(folder, { recursive: true });
    const script = fileURLToPath(new URL("./fake-gh.mjs", import.meta.url));
    const path = join(folder, "gh");
    writeFileSync(path, `#!/bin/sh\nexec '${process.execPath}' '${script}' '${folder}' "$@"\n`);
    chmodSync(path, 0o755);
  }

  /** Lets the next call with this method go wrong. */
  fail(method: string, fault: GhFault): void {
    writeFileSync(join(this.folder, "fault"), `${method} ${fault}`);
  }

  /** The given environment with this `gh` before any other. */
  before(environment: Readonly<Record<string, string>>): Record<string, string> {
    return { ...environment, PATH: `${this.folder}:${environment["PATH"] ?? ""}` };
  }
}

/** Whether the real `gh` is there; says so once when it is not. */
export function hasRealGh(): boolean {
  try {
    execFileSync("gh", ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    process.stderr.write(
      "gh is not installed: the tests of GitHub calls run with their own stand-in for it only\n",
    );
    return false;
  }
}
