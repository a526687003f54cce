/** A sliced goal with an accepted result in a clone of the stand-in's repository, and ways to cut its delivery off. */
import { request as sendRequest, type IncomingMessage } from "node:http";

import type { Goal } from "../../src/format/goal.ts";
import type { DeliveryWork } from "../../src/format/delivery.ts";
import { deliverToGitHub } from "../../src/goal/github-delivery.ts";
import { change, type GoalPorts } from "../../src/goal/open.ts";
import type { Ending } from "../../src/goal/proof.ts";
import type { Processes, RunRequest, RunResult } from "../../src/ports.ts";
import { portsOf } from "../../src/team/host.ts";
import { createWorld } from "../../src/world.ts";
import type { GitHubStandIn, StandInRepository } from "../delivery/github-stand-in.ts";
import { AutoClock } from "./fakes.ts";
import { MadeSlices, type WantedSlice } from "./made-slices.ts";

type Run = Processes["run"];

/** Stands between omk and every program that reaches the network. */
export type Outside = (request: RunRequest, act: () => Promise<RunResult>) => Promise<RunResult>;

/** What a test wants of the goal. */
export interface WantedDelivery {
  policy?: Goal["delivery_policy"];
  mergePolicy?: Goal["merge_policy"];
  enforceProtection?: boolean;
  gate?: string;
  slices?: readonly WantedSlice[];
}

/** Three slices, of which the second is begun on the first, and the third beside them. */
export const THREE: readonly WantedSlice[] = [
  { id: "one", files: { "one.txt": "1\n" }, landed: true },
  { id: "two", files: { "two.txt": "2\n" }, on: ["one"], landed: true },
  { id: "three", files: { "three.txt": "3\n" }, landed: true },
];

/** Gone when the test ends; the stand-in is the caller's. */
export class DeliveredGoal extends MadeSlices {
  readonly standIn: GitHubStandIn;
  readonly repository: StandInRepository;
  /** Changed by a test that wants programs to fail. */
  outside: Outside = (_, act) => act();
  override readonly ports: GoalPorts;

  constructor(standIn: GitHubStandIn, environment?: Readonly<Record<string, string>>) {
    super({ "base.txt": "base\n" });
    this.standIn = standIn;
    this.repository = standIn.addRepository();
    this.git("remote", "add", "origin", this.repository.url);
    this.git("push", "--quiet", this.repository.bare, "HEAD:refs/heads/main");
    const ports = portsOf({
      world: createWorld(),
      root: `${this.folder}/state`,
      uid: process.getuid?.(),
      environment: environment ?? standIn.environment,
      launcher: [process.execPath, "none"],
      tell: (line) => void this.told.push(line),
    });
    const { processes } = ports;
    const gh = environment === undefined ? ghWithin(standIn) : undefined;
    const run: Run = (request, signal) => {
      const isGh = request.argv[0] === "gh";
      const act = () =>
        gh && isGh && request.argv[1] === "api" ? gh(request) : processes.run(request, signal);
      return isGh || isOnNetwork(request) ? this.outside(request, act) : act();
    };
    this.ports = {
      ...ports,
      // Waits for checks take no time.
      clock: new AutoClock(),
      processes: {
        self: processes.self,
        liveness: (identity) => processes.liveness(identity),
        sweep: (spawnIds) => processes.sweep(spawnIds),
        killAll: () => processes.killAll(),
        run,
      },
    };
  }

  /** The goal with its slices, accepted: what is left is its delivery. */
  async accepted(wanted: WantedDelivery = {}): Promise<void> {
    const { policy = "auto-pr", mergePolicy = "disabled", enforceProtection, gate = "true" } = wanted;
    await this.begin({ gate });
    await this.has(wanted.slices ?? THREE);
    await this.opened(async (open) => {
      const { tree } = open.work.result ?? { tree: "" };
      const acceptance = {
        decision: "accepted" as const,
        summary: "fine",
        decided_at: "2026-01-03T00:00:00Z",
        tree,
        attested: {},
        artifact_path: "",
        missing_evidence: [],
      };
      await open.record({
        kind: "made_up",
        actor: "test",
        changes: [
          change("goal.json", {
            delivery_policy: policy,
            merge_policy: mergePolicy,
            ...(enforceProtection === true && { enforce_protection: true }),
          }),
          change("work.json", { acceptance }),
        ],
      });
    });
  }

  /** Delivers, or goes on with it. */
  deliver(): Promise<Ending | undefined> {
    return this.opened((open, space) => deliverToGitHub(open, space, this.ports, this.signal));
  }

  /** What is recorded of delivery. */
  delivery(): Promise<DeliveryWork> {
    return this.opened((open) => Promise.resolve(open.work.delivery ?? { tree: "", pushed: [], pulls: [] }));
  }

  /** Another hand commits to the remote's base branch. */
  moveBase(files: Readonly<Record<string, string>>): string {
    const { repository } = this;
    const base = repository.branch("main") ?? "";
    const clone = `${this.folder}/other-${base.slice(0, 8)}`;
    this.gitIn(this.folder, "clone", "--quiet", repository.bare, clone);
    this.write(clone, files);
    this.gitIn(clone, "add", "--all");
    this.gitIn(clone, "commit", "--quiet", "--message", "meanwhile");
    this.gitIn(clone, "push", "--quiet", "origin", "HEAD:refs/heads/main");
    return repository.branch("main") ?? "";
  }
}

/** Whether it is a git that asks or changes a remote. */
function isOnNetwork({ argv }: RunRequest): boolean {
  return argv.some((one) => one === "push" || one === "ls-remote" || one === "fetch");
}

/** Whether it may change something outside. */
export function isMutation({ argv }: RunRequest): boolean {
  return argv.includes("push") || (argv[0] === "gh" && !argv.includes("GET"));
}

/** What `gh api` does, without a process for each call. */
function ghWithin(standIn: GitHubStandIn): (request: RunRequest) => Promise<RunResult> {
  return async ({ argv, stdin }) => {
    const method = argv[argv.indexOf("--method") + 1] ?? "GET";
    const path = `/${argv.at(-1) ?? ""}`;
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const headers = { authorization: `token ${standIn.token}` };
      const sent = sendRequest({ socketPath: standIn.socket, method, path, headers }, resolve);
      sent.on("error", reject);
      sent.end(stdin);
    });
    const parts: Buffer[] = [];
    for await (const part of answer) parts.push(part as Buffer);
    const status = answer.statusCode ?? 0;
    const headers = Object.entries(answer.headers).map(([name, value]) => `${name}: ${String(value)}\r\n`);
    const stdout = Buffer.from(
      `HTTP/2.0 ${status} x\n${headers.join("")}\r\n${Buffer.concat(parts).toString("utf8")}`,
    );
    return {
      exit: { kind: "exited", code: status >= 400 ? 1 : 0 },
      stdout,
      stderr: "",
      timedOut: false,
      truncated: false,
    };
  };
}

/** Is killed once before and once after every call outside that it has not been killed at yet, as long as `counts` says so. */
export function killedEverywhere(counts: (request: RunRequest) => boolean): {
  outside: Outside;
  kills: () => number;
} {
  const seen = new Set<string>();
  const dies = (when: string, { argv, stdin = Buffer.alloc(0) }: RunRequest): void => {
    // Each omk has a git directory of its own name.
    const said = argv.join("\0").replace(/\/own-[a-z0-9]+/, "");
    const key = `${when} ${said} ${Buffer.from(stdin).toString("utf8")}`;
    if (seen.has(key)) return;
    seen.add(key);
    throw new Killed();
  };
  const outside: Outside = async (request, act) => {
    if (!counts(request)) return act();
    dies("before", request);
    const done = await act();
    dies("after", request);
    return done;
  };
  return { outside, kills: () => seen.size };
}

/** omk died here. */
export class Killed extends Error {
  override readonly name = "Killed";
}
