/**
 * Golden observations: what commands of the old program did, recorded on the base before any work, and compared with what
 * they do on the result. Both run in a checkout of the tree in question, so nothing that one leaves behind is seen by the
 * other, and the project itself stays as it is. What git ignores there is no part of what is compared: it comes along, as a
 * copy, only where the command does something else without it.
 */
import { join, posix } from "node:path";

import { OmkError } from "../errors.ts";
import type { SetupCommand } from "../format/gate.ts";
import { instantOf } from "../format/stamp.ts";
import type { GoldenComparison, GoldenMismatch, GoldenObservation } from "../format/work.ts";
import { OBSERVED_BYTES_MAX, type Observed } from "../gate/observe.ts";
import { setupCommands } from "../gate/setup.ts";
import type { LinkedIgnored } from "../git/ignored-files.ts";
import type { WorkTree } from "../git/work-tree.ts";
import type { NewEvent } from "../store/event-log.ts";
import { evidenceOf, type EvidenceFile } from "../store/evidence.ts";
import { ensureFolder, writeOnce } from "../store/files.ts";
import { gateSet } from "./candidates.ts";
import { compareBehaviour, compileIgnored, observationsDigest, type Behaviour } from "./golden-compare.ts";
import { change, type GoalPorts, type OpenGoal } from "./open.ts";
import type { Workspace } from "./workspace.ts";

/** What is to be recorded. */
export interface GoldenRequest {
  name: string;
  /** A line for `sh`. */
  command: string;
  /** Paths that the command writes, relative to the project directory. */
  files?: readonly string[];
  /** What it reads on its stdin. */
  stdin?: Uint8Array;
  timeoutSecs?: number;
  /** Names of variables that it gets besides those that every child gets. */
  env?: readonly string[];
  /** Regular expressions; what they match is taken for equal. */
  ignore?: readonly string[];
}

const TIMEOUT_SECS_DEFAULT = 60;
const OBSERVATIONS_MAX = 200;
const FILES_MAX = 200;
/** Stands in an observation for the folder in which the command ran. */
const FOLDER_MARK = "<project>";

/** Refuses what can never be recorded, before anything is made. */
export function checkGoldenRequest(request: GoldenRequest, ports: Pick<GoalPorts, "redactor">): void {
  const { name, command, files = [], env = [], ignore = [], timeoutSecs = TIMEOUT_SECS_DEFAULT } = request;
  const invalid = (message: string, hint: string) => new OmkError("usage.invalid", message, { hint });
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name))
    throw invalid(
      `--name ${JSON.stringify(name)} cannot name an observation.`,
      "Letters, digits, dots, dashes and underlines, at most 64, for example: --name help-text",
    );
  if (command.trim() === "" || command.includes("\0"))
    throw invalid("--cmd is no command.", "For example: --cmd 'node cli.js --help'");
  if (files.length > FILES_MAX)
    throw invalid(`At most ${FILES_MAX} files can be observed at once.`, "Record a second observation.");
  for (const path of files) {
    if (posix.isAbsolute(path) || path.split("/").includes("..") || path.includes("\0") || path === "")
      throw invalid(
        `--file ${JSON.stringify(path)} does not name a file of the project.`,
        "Give the path relative to the project directory, for example: --file out/report.txt",
      );
  }
  const badName = env.find((one) => !/^[A-Za-z_][A-Za-z0-9_]*$/.test(one));
  if (badName !== undefined)
    throw invalid(`--env ${JSON.stringify(badName)} is no name of a variable.`, "Only the name: --env LANG");
  if (!Number.isSafeInteger(timeoutSecs) || timeoutSecs < 1)
    throw invalid("--timeout must be a whole number of seconds above zero.", "For example: --timeout 120");
  compileIgnored(ignore);
  for (const text of [command, ...files, ...ignore]) {
    if (ports.redactor.text(text) !== text)
      throw invalid(
        "The observation would hold what looks like a secret.",
        "Let the command read it from a variable, named with --env.",
      );
  }
}

/** Runs a command of the old program on the base and keeps what it did. Throws when that cannot be compared later. */
export async function recordGolden(
  open: OpenGoal,
  space: Workspace,
  request: GoldenRequest,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<GoldenObservation> {
  const golden = open.work.golden ?? [];
  const tree = open.work.base?.tree ?? "";
  if (golden.some(({ name }) => name === request.name))
    throw new OmkError("goal.refused", `An observation called ${request.name} is there already.`, {
      hint: "Observations are kept as they were recorded; give this one another name.",
    });
  if (golden.length >= OBSERVATIONS_MAX)
    throw new OmkError(
      "goal.refused",
      `The goal has ${golden.length} observations, which is the most it can have.`,
    );
  // Every try has a folder of its own: a crash before the event leaves one behind.
  const folder = `artifacts/golden/${open.journal.nextSeq}-${ports.random.name(6)}-${request.name}`;
  const stdin = request.stdin;
  if (stdin !== undefined) {
    if (stdin.length > OBSERVED_BYTES_MAX)
      throw new OmkError("usage.invalid", `The input has more than ${OBSERVED_BYTES_MAX} bytes.`);
    refuseSecret("stdin", Buffer.from(stdin), ports);
    await writeOnce(join(open.folder, folder, "stdin.txt"), stdin, ports);
  }
  const observation: GoldenObservation = {
    name: request.name,
    command: request.command,
    env: [...(request.env ?? [])],
    timeout_secs: request.timeoutSecs ?? TIMEOUT_SECS_DEFAULT,
    files: [...(request.files ?? [])],
    ignore: [...(request.ignore ?? [])],
    folder,
    has_stdin: stdin !== undefined,
    tree,
    at: instantOf(ports.clock.now()),
    evidence: [],
    intentional: [],
  };
  const { seen, ran_in } = await observeTwice(placeOf(open, space), observation, ports, signal);
  const evidence = await keepObservation(open, observation, seen, ports);
  const kept = { ...observation, ran_in, evidence };
  await open.record({
    kind: "golden_recorded",
    actor: "omk-cli",
    payload: { name: request.name, tree, exit_code: seen.exitCode, folder, ran_in },
    // What was judged without it is to be judged again.
    changes: [
      change("work.json", {
        golden: [...golden, kept],
        evidence: [...open.work.evidence, ...evidence],
        review: null,
      }),
    ],
  });
  return kept;
}

function placeOf(open: OpenGoal, { tree }: Workspace): GoldenPlace {
  const { setup } = gateSet(open.goal, open.work);
  return { folder: open.folder, tree, setup, record: (...events) => open.record(...events) };
}

/**
 * What a command does, seen twice: on the files alone and, where the project has ignored ones, with those. Where both say
 * the same, ignored files have no part in it, and none will have in any comparison.
 */
async function observeTwice(
  place: GoldenPlace,
  observation: GoldenObservation,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<{ seen: Observed; ran_in: RanIn }> {
  const { tree, command } = observation;
  const hasIgnored = (await place.tree.ignored(signal)).length > 0;
  const clean = await prepareClean(place, tree, ports, signal);
  try {
    if (clean.unusable !== undefined) {
      if (!hasIgnored) throw unobservable(command, clean.unusable);
      ports.tell(`golden ${observation.name}: with what git ignores, since ${clean.unusable}`);
    }
    const alone = () => observeClean(place, clean, observation, ports, signal);
    const together = () => observeWithIgnored(place, tree, observation, ports, signal);
    const first = clean.unusable === undefined ? await alone() : await together();
    const second = hasIgnored ? await together() : await alone();
    const isSame = differing(first, second, observation).length === 0;
    if (!hasIgnored || clean.unusable !== undefined || isSame) {
      for (const seen of [first, second]) assureUsable(observation, seen, ports);
      if (!isSame) throw volatile(command, differing(first, second, observation));
      return { seen: first, ran_in: clean.unusable === undefined ? "clean" : "with_ignored" };
    }
    const third = await together();
    for (const seen of [second, third]) assureUsable(observation, seen, ports);
    const changing = differing(second, third, observation);
    if (changing.length > 0) throw volatile(command, changing);
    ports.tell(
      `golden ${observation.name}: it does something else without what git ignores, so a copy of that is there whenever it runs`,
    );
    return { seen: second, ran_in: "with_ignored" };
  } finally {
    removePrepared(clean, ports);
  }
}

function differing(one: Observed, other: Observed, observation: GoldenObservation): string[] {
  if (one.unusable !== undefined || other.unusable !== undefined)
    return one.unusable === other.unusable ? [] : ["whether it can be observed"];
  return compareBehaviour(behaviourOf(one), behaviourOf(other), observation).map(({ field }) => field);
}

function volatile(command: string, fields: readonly string[]): OmkError {
  return new OmkError(
    "goal.refused",
    `${command}: ${fields.join(", ")} differed between two runs on the same files.`,
    { hint: "Say with --ignore <regex> what changes from run to run, for example: --ignore '[0-9]+ms'" },
  );
}

function unobservable(command: string, because: string): OmkError {
  return new OmkError("goal.refused", `${command} cannot be observed: ${because}.`, {
    hint: "Choose a command that ends by itself and says little, or give it more time with --timeout.",
  });
}

/** Marks a difference as wanted; its reason is shown wherever the comparison is. */
export async function acceptDifference(
  open: OpenGoal,
  given: { name: string; field: string; reason: string },
): Promise<void> {
  const golden = open.work.golden ?? [];
  const { name, field, reason } = given;
  const known = golden.find((one) => one.name === name);
  const fields = ["stdout", "stderr", "exit_code", ...(known?.files ?? []).map((path) => `files/${path}`)];
  if (!known)
    throw new OmkError("usage.invalid", `There is no observation called ${name}.`, {
      hint:
        golden.length === 0
          ? "Nothing was recorded."
          : `There are: ${golden.map((one) => one.name).join(", ")}.`,
    });
  if (!fields.includes(field))
    throw new OmkError("usage.invalid", `Observation ${name} has no field ${field}.`, {
      hint: `Its fields are: ${fields.join(", ")}.`,
    });
  const intentional = [...known.intentional.filter((one) => one.field !== field), { field, reason }];
  await open.record({
    kind: "golden_difference_accepted",
    actor: "omk-cli",
    payload: { name, field, reason },
    changes: [
      change("work.json", {
        golden: golden.map((one) => (one === known ? { ...one, intentional } : one)),
        review: null,
      }),
    ],
  });
}

/**
 * The observations against the present result; undefined where there are none. The same comparison of the same tree is not
 * made twice.
 */
export async function compareGolden(
  open: OpenGoal,
  space: Workspace,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<GoldenComparison | undefined> {
  const { golden = [], golden_comparison: known } = open.work;
  const tree = open.work.result?.tree ?? open.work.base?.tree;
  if (golden.length === 0 || tree === undefined) return undefined;
  const observations = observationsDigest(golden);
  if (known?.tree === tree && known.observations === observations) return known;
  const started = ports.clock.monotonicMs();
  const results = await compareAll(placeOf(open, space), golden, tree, ports, signal);
  const comparison = { tree, observations, results };
  const unlike = results.filter(({ mismatches }) => mismatches.some((one) => one.intentional === undefined));
  await open.record({
    kind: "golden_compared",
    actor: "goal-controller",
    payload: { tree, observations: results.length, differing: unlike.map(({ name }) => name) },
    changes: [
      change("work.json", {
        golden_comparison: comparison,
        active_ms: open.work.active_ms + ports.clock.monotonicMs() - started,
      }),
    ],
  });
  ports.tell(
    unlike.length === 0
      ? `golden: ${results.length} of ${results.length} observations match`
      : `golden: differing from the old program: ${unlike.map(({ name }) => name).join(", ")}`,
  );
  return comparison;
}

/** Where commands are run, and who is told of their processes. */
interface GoldenPlace {
  /** The folder of the goal. */
  folder: string;
  tree: WorkTree;
  /** What `[setup]` says; undefined where the lock file decides. */
  setup: readonly SetupCommand[] | undefined;
  record(...events: NewEvent[]): Promise<unknown>;
}

/** `with_ignored`: beside a copy of what git ignores in the project. */
type RanIn = NonNullable<GoldenObservation["ran_in"]>;

/** Runs every observation's command on a tree and says what differs. Writes nothing but what `place` records. */
export async function compareAll(
  place: GoldenPlace,
  golden: readonly GoldenObservation[],
  tree: string,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<GoldenComparison["results"]> {
  const results: GoldenComparison["results"] = [];
  let clean: Prepared | undefined;
  try {
    for (const observation of golden) {
      const expected = readObservation(place.folder, observation, ports);
      let seen: Observed;
      if (observation.ran_in === "clean") {
        clean ??= await prepareClean(place, tree, ports, signal);
        seen = await observeClean(place, clean, observation, ports, signal);
      } else seen = await observeWithIgnored(place, tree, observation, ports, signal);
      const mismatches =
        seen.unusable === undefined
          ? compareBehaviour(expected, behaviourOf(seen), observation)
          : [{ field: "exit_code", expected: String(expected.exitCode), actual: `none: ${seen.unusable}` }];
      results.push({ name: observation.name, mismatches: mismatches.map((one) => redacted(one, ports)) });
    }
  } finally {
    if (clean) removePrepared(clean, ports);
  }
  return results;
}

/** The result may say what the old program did not, a secret for example. */
function redacted(mismatch: GoldenMismatch, { redactor }: Pick<GoalPorts, "redactor">): GoldenMismatch {
  return {
    ...mismatch,
    expected: redactor.text(mismatch.expected),
    actual: redactor.text(mismatch.actual),
  };
}

/** A checkout that is set up, of which every run gets a copy, or why there is none. */
interface Prepared {
  tree: string;
  /** Undefined where nothing is to be set up: then each run gets a checkout. */
  folder?: string;
  unusable?: string;
}

/** Sets a fresh checkout up as the gates' one is: an observation of installed programs needs them. */
async function prepareClean(
  place: GoldenPlace,
  tree: string,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Prepared> {
  const commands = setupCommands(place.setup, await place.tree.files(tree, signal));
  if (commands.length === 0) return { tree };
  const name = `golden-setup-${ports.random.name(12)}`;
  const folder = await newCheckout(place, name, ports);
  const prepared = { tree, folder };
  try {
    await place.tree.checkout(tree, folder, {}, signal);
    const rawFolder = join(place.folder, "raw");
    const ran = await ports.runGates(
      {
        definitions: commands,
        cwd: folder,
        // What it says is of no interest later; `raw` goes with the controller.
        logFolder: join(rawFolder, name),
        rawFolder,
        environment: ports.environment,
        tree,
        where: "clean_checkout",
        onStart: async (gate, spawnId) => {
          ports.tell(`golden: ${[gate.command, ...gate.args].join(" ")}`);
          const payload = { name: gate.name, command_line: gate.command, tree, spawn_id: spawnId };
          await place.record({ kind: "command_started", actor: null, payload });
        },
        onEnd: async ({ name: gate, command_line, exit_code }, spawnId) => {
          const payload = { name: gate, command_line, tree, exit_code, spawn_id: spawnId };
          await place.record({ kind: "command_finished", actor: null, payload });
        },
      },
      signal,
    );
    ports.disk.removeTree(join(rawFolder, name));
    const failed = ran.find(({ passed }) => !passed);
    if (failed) return { ...prepared, unusable: `the set-up of a checkout fails: ${failed.command_line}` };
    return prepared;
  } catch (error) {
    removePrepared(prepared, ports);
    throw error;
  }
}

function removePrepared({ folder }: Prepared, { disk }: Pick<GoalPorts, "disk">): void {
  if (folder !== undefined) disk.removeTree(folder);
}

async function newCheckout(place: GoldenPlace, name: string, ports: GoalPorts): Promise<string> {
  const folder = join(place.folder, "checkout", name);
  await ensureFolder(folder, ports);
  return folder;
}

/** One run on the files of a tree alone. */
async function observeClean(
  place: GoldenPlace,
  { tree, folder, unusable }: Prepared,
  observation: GoldenObservation,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Observed> {
  if (unusable !== undefined)
    return { stdout: Buffer.alloc(0), stderr: Buffer.alloc(0), exitCode: -1, files: new Map(), unusable };
  return observe(place, { tree, observation }, ports, signal, async (cwd) => {
    if (folder === undefined) await place.tree.checkout(tree, cwd, {}, signal);
    else await place.tree.copyFolder(folder, cwd, signal);
  });
}

/** One run beside a copy of what git ignores; what was too large to copy must be as it was. */
async function observeWithIgnored(
  place: GoldenPlace,
  tree: string,
  observation: GoldenObservation,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Observed> {
  let linked: LinkedIgnored | undefined;
  const seen = await observe(place, { tree, observation }, ports, signal, async (cwd) => {
    linked = await place.tree.checkout(tree, cwd, { withIgnored: true }, signal);
  });
  const changed = linked?.changed() ?? [];
  if (changed.length === 0) return seen;
  return { ...seen, unusable: `it changed files that git ignores in the project: ${changed.join(", ")}` };
}

/** One run of an observation's command in a folder of its own, which `lay` fills. */
async function observe(
  place: GoldenPlace,
  { tree, observation }: { tree: string; observation: GoldenObservation },
  ports: GoalPorts,
  signal: AbortSignal,
  lay: (cwd: string) => Promise<void>,
): Promise<Observed> {
  const spawnId = `omk-${ports.random.name(20)}`;
  const cwd = await newCheckout(place, spawnId, ports);
  try {
    await lay(cwd);
    const { name, command } = observation;
    const payload = { name, command_line: command, tree, spawn_id: spawnId };
    await place.record({ kind: "command_started", actor: null, payload });
    ports.tell(`golden ${name}: ${command}`);
    const seen = await ports.observe(
      {
        command,
        cwd,
        timeoutSecs: observation.timeout_secs,
        files: observation.files,
        rawFolder: join(place.folder, "raw"),
        spawnId,
        environment: ports.environment,
        env: observation.env,
        ...(observation.has_stdin && { stdin: join(place.folder, observation.folder, "stdin.txt") }),
      },
      signal,
    );
    await place.record({
      kind: "command_finished",
      actor: null,
      payload: { ...payload, exit_code: seen.exitCode },
    });
    return atHome(seen, cwd, ports);
  } finally {
    ports.disk.removeTree(cwd);
  }
}

/** The folder's name differs from run to run, and is nothing that the program says of itself. */
function atHome(seen: Observed, cwd: string, { disk }: Pick<GoalPorts, "disk">): Observed {
  const names = [...new Set([disk.realPath(cwd) ?? cwd, cwd])];
  const clean = (bytes: Buffer): Buffer => {
    if (!names.some((name) => bytes.includes(name))) return bytes;
    // Byte by byte, so that what is no text stays as it is.
    const text = names.reduce(
      (left, name) => left.replaceAll(Buffer.from(name).toString("latin1"), FOLDER_MARK),
      bytes.toString("latin1"),
    );
    return Buffer.from(text, "latin1");
  };
  const files = new Map([...seen.files].map(([path, bytes]) => [path, clean(bytes)]));
  return { ...seen, stdout: clean(seen.stdout), stderr: clean(seen.stderr), files };
}

function behaviourOf({ stdout, stderr, exitCode, files }: Observed): Behaviour {
  return { stdout, stderr, exitCode, files };
}

/** An observation that holds a secret, or is not whole, could never be compared. */
function assureUsable(observation: GoldenObservation, seen: Observed, ports: GoalPorts): void {
  const { command } = observation;
  if (seen.unusable !== undefined) throw unobservable(command, seen.unusable);
  const absent = observation.files.find((path) => !seen.files.has(path));
  if (absent !== undefined)
    throw new OmkError("goal.refused", `${command} did not write ${absent}.`, {
      hint: "Name only files that the command writes inside the project, and that git does not ignore.",
    });
  refuseSecret("stdout", seen.stdout, ports);
  refuseSecret("stderr", seen.stderr, ports);
  for (const [path, bytes] of seen.files) refuseSecret(`the file ${path}`, bytes, ports);
}

function refuseSecret(what: string, bytes: Buffer, { redactor }: Pick<GoalPorts, "redactor">): void {
  const text = bytes.toString("utf8");
  if (redactor.text(text) === text) return;
  throw new OmkError("goal.refused", `The observation's ${what} holds what looks like a secret.`, {
    hint: "Secrets are kept nowhere, so it could not be compared. Choose a command that does not print it.",
  });
}

async function keepObservation(
  open: OpenGoal,
  { folder, has_stdin }: GoldenObservation,
  seen: Observed,
  ports: GoalPorts,
): Promise<EvidenceFile[]> {
  const contents: [string, Uint8Array][] = [
    ["stdout.txt", seen.stdout],
    ["stderr.txt", seen.stderr],
    ["exit_code.txt", Buffer.from(`${seen.exitCode}\n`)],
    ...[...seen.files].map(([path, bytes]): [string, Uint8Array] => [join("files", path), bytes]),
  ];
  for (const [name, bytes] of contents) await writeOnce(join(open.folder, folder, name), bytes, ports);
  const names = [...(has_stdin ? ["stdin.txt"] : []), ...contents.map(([name]) => name)];
  return names.map((name) => evidenceOf(open, join(open.folder, folder, name), ports));
}

/** What was recorded; throws `state.damaged` when a file is not as it was kept. */
function readObservation(
  goalFolder: string,
  { folder, files, evidence, name }: GoldenObservation,
  ports: Pick<GoalPorts, "disk">,
): Behaviour {
  for (const one of evidence) {
    const path = join(goalFolder, one.path);
    const isThere = ports.disk.stat(path)?.kind === "file";
    if (isThere && evidenceOf({ folder: goalFolder }, path, ports).sha256 === one.sha256) continue;
    throw new OmkError("state.damaged", `Observation ${name} is not as it was recorded: ${one.path}.`, {
      hint: "Nothing can be compared with it. Start the goal anew.",
    });
  }
  const read = (file: string) =>
    Buffer.from(ports.disk.readFile(join(goalFolder, folder, file), OBSERVED_BYTES_MAX));
  return {
    stdout: read("stdout.txt"),
    stderr: read("stderr.txt"),
    exitCode: Number.parseInt(read("exit_code.txt").toString("utf8"), 10),
    files: new Map(files.map((path) => [path, read(join("files", path))])),
  };
}
