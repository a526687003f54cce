import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";

import { afterEach, beforeEach, expect, test } from "vitest";

import { GitHubError } from "../../src/delivery/github.ts";
import { findRemote, pushBranch, remoteHead, type PushRequest } from "../../src/delivery/push.ts";
import { openPrivateGit } from "../../src/git/private-git.ts";
import { createWorld } from "../../src/world.ts";
import { GitHubStandIn, type StandInRepository } from "./github-stand-in.ts";

const world = createWorld();
const { signal } = new AbortController();

let standIn: GitHubStandIn;
let repository: StandInRepository;
let project: string;
let goalDir: string;

beforeEach(async () => {
  standIn = await GitHubStandIn.start();
  repository = standIn.addRepository();
  project = path.join(standIn.folder, "project");
  goalDir = path.join(standIn.folder, "goal");
  fs.mkdirSync(project);
  fs.mkdirSync(goalDir);
  git("init", "--quiet", "--initial-branch=main");
  git("remote", "add", "origin", repository.url);
  fs.writeFileSync(path.join(project, "a.txt"), "a\n");
  git("add", "--all");
  git("commit", "--quiet", "-m", "one");
});
afterEach(() => standIn[Symbol.asyncDispose]());

function git(...args: string[]): string {
  const env = {
    PATH: process.env["PATH"] ?? "",
    HOME: standIn.home,
    GIT_AUTHOR_NAME: "t",
    GIT_AUTHOR_EMAIL: "t@omk.invalid",
    GIT_COMMITTER_NAME: "t",
    GIT_COMMITTER_EMAIL: "t@omk.invalid",
  };
  return execFileSync("git", args, {
    cwd: project,
    env,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  }).trim();
}

function commit(message: string): string {
  git("commit", "--quiet", "--allow-empty", "-m", message);
  return git("rev-parse", "HEAD");
}

async function request(more: Partial<PushRequest> = {}): Promise<PushRequest> {
  const { environment } = standIn;
  const private_ = await openPrivateGit(
    { projectDir: project, goalDir, goalId: "goal-1", environment },
    world,
  );
  const remote = await findRemote({ projectDir: project, environment }, world, signal);
  const head = git("rev-parse", "HEAD");
  return {
    gitDir: private_.gitDir,
    remote,
    branch: "omk/goal/x/y-1",
    commit: head,
    expected: null,
    environment,
    ...more,
  };
}

test("a commit is pushed once, goes on from where it was, and another's work stays", async () => {
  const first = await request();
  expect(await pushBranch(first, world, signal)).toEqual({ outcome: "pushed" });
  expect(await pushBranch(first, world, signal)).toEqual({ outcome: "already_there" });
  expect(repository.branch("omk/goal/x/y-1")).toBe(first.commit);

  // Another history, as after a rebase: from the expected commit it is replaced.
  git("commit", "--quiet", "--amend", "-m", "another one");
  const second = { ...first, commit: git("rev-parse", "HEAD"), expected: first.commit };
  expect(await pushBranch(second, world, signal)).toEqual({ outcome: "pushed" });

  const third = { ...first, commit: commit("three"), expected: first.commit };
  expect(await pushBranch(third, world, signal)).toEqual({ outcome: "moved", found: second.commit });
  const absent = { ...third, expected: null };
  expect(await pushBranch(absent, world, signal)).toEqual({ outcome: "moved", found: second.commit });
  repository.git("update-ref", "-d", "refs/heads/omk/goal/x/y-1");
  expect(await pushBranch(third, world, signal)).toEqual({ outcome: "moved", found: null });
  expect(repository.git("for-each-ref")).toBe("");
});

test("somebody who pushes between our look and our push is not overwritten", async () => {
  const ours = await request();
  const theirs = commit("theirs");
  git("push", "--quiet", "origin", `${theirs}:refs/heads/theirs`);
  let isFirst = true;
  const processes = {
    run: (asked: Parameters<typeof world.processes.run>[0], stop?: AbortSignal) => {
      if (asked.argv.includes("push") && isFirst) {
        isFirst = false;
        repository.git("update-ref", `refs/heads/${ours.branch}`, theirs);
      }
      return world.processes.run(asked, stop);
    },
  };
  expect(await pushBranch(ours, { processes }, signal)).toEqual({ outcome: "moved", found: theirs });
  expect(repository.branch(ours.branch)).toBe(theirs);
});

test("a push whose end was never seen is found to have happened", async () => {
  const ours = await request();
  const processes = {
    run: async (asked: Parameters<typeof world.processes.run>[0], stop?: AbortSignal) => {
      const run = await world.processes.run(asked, stop);
      if (!asked.argv.includes("push")) return run;
      return { ...run, exit: { kind: "signalled", signal: "SIGKILL" } as const, stdout: new Uint8Array() };
    },
  };
  expect(await pushBranch(ours, { processes }, signal)).toEqual({ outcome: "pushed" });
});

test("what the remote refuses is told in its words", async () => {
  const hook = path.join(repository.bare, "hooks", "pre-receive");
  fs.writeFileSync(hook, "#!/bin/sh\necho 'GH013: rule violations' >&2\nexit 1\n", { mode: 0o755 });
  const refused = await pushBranch(await request(), world, signal);
  expect(refused).toEqual({
    outcome: "rejected",
    because: expect.stringContaining("GH013: rule violations"),
  });
});

test("a remote that is not there is told as such", async () => {
  const ours = await request();
  fs.renameSync(repository.bare, `${repository.bare}-gone`);
  const error: unknown = await pushBranch(ours, world, signal).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(GitHubError);
  expect((error as GitHubError).failure).toBe("not_found");
});

test("a branch is asked for by its whole name", async () => {
  const ours = await request();
  git("push", "--quiet", "origin", "HEAD:refs/heads/x/refs/heads/main");
  expect(await remoteHead({ ...ours, branch: "main" }, world, signal)).toBeNull();
  await expect(pushBranch({ ...ours, branch: "-x" }, world, signal)).rejects.toThrow("cannot be the name");
});

test("nothing that the repository sets runs or leads elsewhere", async () => {
  const mark = path.join(standIn.folder, "ran");
  const script = path.join(standIn.folder, "evil.sh");
  fs.writeFileSync(script, `#!/bin/sh\necho "$0" >>'${mark}'\n`, { mode: 0o755 });
  for (const hook of ["pre-push", "reference-transaction"])
    fs.copyFileSync(script, path.join(project, ".git", "hooks", hook));
  const elsewhere = standIn.addRepository("evil", "twin");
  for (const [key, value] of [
    ["credential.helper", `!${script}`],
    ["core.sshCommand", script],
    ["core.askPass", script],
    ["core.gitProxy", script],
    ["core.hooksPath", path.join(project, ".git", "hooks")],
    ["remote.origin.receivepack", script],
    ["remote.origin.uploadpack", script],
    ["remote.origin.vcs", "evil"],
    ["remote.origin.push", "+refs/heads/*:refs/heads/*"],
    [`url.file://${elsewhere.bare}.insteadOf`, repository.url],
    [`url.file://${elsewhere.bare}.pushInsteadOf`, repository.url],
    ["push.gpgSign", "true"],
    ["gpg.program", script],
    ["push.followTags", "true"],
    ["push.recurseSubmodules", "on-demand"],
    ["protocol.ext.allow", "always"],
    ["alias.push", `!${script}`],
    ["include.path", path.join(project, "more")],
  ] as const) {
    git("config", key, value);
  }
  expect(await pushBranch(await request(), world, signal)).toEqual({ outcome: "pushed" });
  expect(fs.existsSync(mark)).toBe(false);
  expect([repository.git("for-each-ref").split("\n").length, elsewhere.git("for-each-ref")]).toEqual([1, ""]);
});

test("logins come from the user's own configuration, by ways that nobody else can read", async () => {
  const asked = path.join(standIn.folder, "asked");
  const ssh = path.join(standIn.folder, "ssh.sh");
  // What ssh would do on the other side; the last argument is the command.
  fs.writeFileSync(
    ssh,
    `#!/bin/sh\necho "$@" >>'${asked}'\nfor last; do :; done\ncd '${standIn.folder}' && eval "$last"\n`,
    { mode: 0o755 },
  );
  fs.symlinkSync(repository.bare, path.join(standIn.folder, "other.git"));
  fs.appendFileSync(
    path.join(standIn.home, ".gitconfig"),
    `[core]\n\tsshCommand = ${ssh}\n\tpager = evil\n[alias]\n\tpush = !evil\n[credential]\n\thelper = mine\n[http]\n\textraHeader = secret\n`,
  );
  git("config", "core.sshCommand", "false");
  const seen: Parameters<typeof world.processes.run>[0][] = [];
  const processes = {
    run: (one: Parameters<typeof world.processes.run>[0], stop?: AbortSignal) => {
      seen.push(one);
      return world.processes.run(one, stop);
    },
  };
  const ours = await request({ remote: { url: "git@github.com:other.git" } });
  expect(await pushBranch(ours, { processes }, signal)).toEqual({ outcome: "pushed" });
  expect(repository.branch(ours.branch)).toBe(ours.commit);
  expect(fs.readFileSync(asked, "utf8")).toContain("git-receive-pack 'other.git'");

  const push = seen.find(({ argv }) => argv.includes("push"));
  const keys = Object.entries(push?.env ?? {}).filter(([name]) => name.startsWith("GIT_CONFIG_KEY_"));
  expect(new Set(keys.map(([, key]) => key.replace(/^url\..*\./, "url.")))).toEqual(
    new Set(["url.insteadof", "core.sshcommand", "credential.helper", "http.extraheader"]),
  );
  expect(push?.argv.join(" ")).not.toMatch(/secret|mine/);
  expect(push?.env).toMatchObject({
    GIT_TERMINAL_PROMPT: "0",
    GIT_ASKPASS: "",
    GIT_CONFIG_GLOBAL: "/dev/null",
  });
});

test("a remote may be abbreviated by the user's own settings, and nothing but GitHub is taken", async () => {
  const find = (remote?: string) =>
    findRemote(
      { projectDir: project, environment: standIn.environment, ...(remote && { remote }) },
      world,
      signal,
    );
  fs.appendFileSync(path.join(standIn.home, ".gitconfig"), '[url "git@github.com:"]\n\tinsteadOf = gh:\n');
  git("remote", "add", "short", "gh:acme/widget");
  git("remote", "add", "other", "https://gitlab.com/a/b.git");
  git("config", "url.https://github.com/.insteadOf", "https://gitlab.com/");
  expect(await find()).toEqual({ host: "github.com", owner: "acme", name: "widget", url: repository.url });
  expect(await find("short")).toMatchObject({ owner: "acme", url: "git@github.com:acme/widget" });
  await expect(find("other")).rejects.toThrow("no repository on GitHub");
  await expect(find("none")).rejects.toThrow("no remote called none");
  git("config", "--add", "remote.origin.pushurl", "git@github.com:acme/pushed.git");
  expect(await find()).toMatchObject({ name: "pushed" });
  const nowhere = { projectDir: standIn.home, environment: standIn.environment };
  await expect(findRemote(nowhere, world, signal)).rejects.toThrow("no git repository");
});
