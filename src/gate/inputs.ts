/** What a change touches of that which decides how its gates judge, and how to put that back in a copy. */
import { join, posix, relative, sep } from "node:path";

import { systemCode } from "../errors.ts";
import type { GateDefinition, SetupCommand } from "../format/gate.ts";
import type { ProtectedInput } from "../format/proof.ts";
import type { CheckoutOptions, TreeChange, WorkTree } from "../git/work-tree.ts";
import type { Disk } from "../ports.ts";
import { sha256 } from "../store/event-line.ts";
import { gatePrograms } from "./gate-programs.ts";
import { isManifest, restoredManifest } from "./manifests.ts";
import { isTestFile, protectedClass } from "./protected.ts";
import { isInstalled, isStandIn, isUncheckedBytecode } from "./stand-ins.ts";

/** Larger ones are taken whole, or not looked into. */
const TEXT_BYTES_MAX = 256 * 1024;
/** A program that is a gate by itself may be a bundle of its own. */
const PROGRAM_BYTES_MAX = 64 * 1024 * 1024;

/** The list of gates is the goal's from its beginning: one that comes later decides nothing. */
const OWN_FILE = /^\.omk\/gates\.toml$/;

/** A command as far as its files are sought. */
type Program = Pick<GateDefinition, "command" | "args" | "skip">;

/** The protected files that a change touches, and the texts that stand for those of which only parts are protected. */
export interface TouchedInputs {
  inputs: ProtectedInput[];
  texts: Map<string, string>;
}

/**
 * Finds them. `counted`: tests of the base could be counted, so they must also pass without the company of tests that the
 * change adds. `ran`: gates ran on the base at all, so they must also pass without configuration and programs that it adds.
 * What stands in for a program is left out in any case.
 */
export async function findTouchedInputs(
  given: {
    workTree: WorkTree;
    base: string;
    tree: string;
    changes: readonly TreeChange[];
    definitions: readonly Program[];
    counted: boolean;
    ran: boolean;
  },
  signal: AbortSignal,
): Promise<TouchedInputs> {
  const { base, tree, changes, counted, ran } = given;
  const inputs: ProtectedInput[] = [];
  const texts = new Map<string, string>();
  const programs = changes.length > 0 ? await programsIn(given, signal) : new Set<string>();
  const folders = new Set([...programs].map((path) => posix.dirname(path)));
  const forged = await forgedCaches(given, signal);
  for (const { path, kind } of changes) {
    const add = (of: ProtectedInput["class"]) => void inputs.push({ path, class: of, change: kind });
    const named = protectedClass(path);
    if (kind === "added") {
      const isConfiguration = named === "runner_configuration" || named === "gate_configuration";
      if (named === "test" && counted) add(named);
      else if (isConfiguration && ran && !OWN_FILE.test(path)) add(named);
      else if (isStandIn(path, folders) || (ran && programs.has(path))) add("gate_program");
      else if (forged.has(path)) add("gate_program");
    } else if (named !== undefined) add(named);
    else if (isManifest(path)) {
      const text = await changedManifest(given, path, signal);
      if (text !== undefined) {
        if (text !== null) texts.set(path, text);
        add("manifest");
      }
    } else if (programs.has(path) || isInstalled(path) || forged.has(path)) add("gate_program");
  }
  return { inputs, texts };

  async function changedManifest(
    { workTree: trees }: { workTree: WorkTree },
    path: string,
    stop: AbortSignal,
  ): Promise<string | null | undefined> {
    const before = await textAt(trees, base, path, stop);
    // Not to be looked into: then the base's is taken as it is.
    if (before === undefined) return null;
    return restoredManifest(path, before, await textAt(trees, tree, path, stop));
  }
}

/** Bytecode is made by every run, but not the kind that hides what its source says. */
async function forgedCaches(
  { workTree, tree, changes }: { workTree: WorkTree; tree: string; changes: readonly TreeChange[] },
  signal: AbortSignal,
): Promise<Set<string>> {
  const caches = changes.map(({ path }) => path).filter((path) => path.endsWith(".pyc"));
  const forged = new Set<string>();
  for await (const { path, bytes } of workTree.readAll(tree, caches, TEXT_BYTES_MAX, signal))
    if (bytes && isUncheckedBytecode(bytes)) forged.add(path);
  return forged;
}

/**
 * What a set-up is made of and the change touches, to be laid over a fresh checkout of the result: a set-up that an agent
 * wrote could make any gate green. Lock files and dependencies are the result's own.
 */
export async function setupOverlay(
  given: {
    workTree: WorkTree;
    base: string;
    tree: string;
    /** The commands of `[setup]`; undefined where a lock file decides, whose set-up runs no script of the project. */
    setup: readonly SetupCommand[] | undefined;
    isAllowed(path: string): boolean;
  },
  signal: AbortSignal,
): Promise<NonNullable<CheckoutOptions["overlay"]>> {
  const { workTree, base, tree, setup } = given;
  const changes = await workTree.changes(base, tree, signal);
  const definitions = (setup ?? []).map((command) => ({ ...command, skip: false }));
  const { inputs, texts } = await findTouchedInputs(
    { workTree, base, tree, changes, definitions, counted: true, ran: true },
    signal,
  );
  const classes: ReadonlySet<ProtectedInput["class"]> = new Set(
    setup ? ["gate_program", "manifest", "runner_configuration"] : ["runner_configuration"],
  );
  const paths = inputs
    .filter((input) => classes.has(input.class) && !given.isAllowed(input.path))
    .map(({ path }) => path);
  return {
    tree: base,
    paths: paths.filter((path) => !texts.has(path)),
    texts: new Map([...texts].filter(([path]) => paths.includes(path))),
  };
}

/** Files that the base's gates are made of, with those that a change adds where they look for more. */
async function programsIn(
  {
    workTree,
    base,
    tree,
    changes,
    definitions,
  }: Pick<Parameters<typeof findTouchedInputs>[0], "workTree" | "base" | "tree" | "changes" | "definitions">,
  signal: AbortSignal,
): Promise<Set<string>> {
  const files = new Set(await workTree.files(base, signal));
  const added = new Set(changes.filter(({ kind }) => kind === "added").map(({ path }) => path));
  const found = await gatePrograms(definitions, {
    has: (path) => files.has(path) || added.has(path),
    read: (path) => textAt(workTree, files.has(path) ? base : tree, path, signal),
    paths: [...files, ...added],
    isNew: (path) => added.has(path),
  });
  return new Set(found);
}

async function textAt(
  workTree: WorkTree,
  tree: string,
  path: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  const bytes = await workTree.read(tree, path, TEXT_BYTES_MAX, signal);
  return bytes && Buffer.from(bytes).toString("utf8");
}

/**
 * Digests of programs that the gates start and that no tree holds, since they are ignored (an installed runner, a built
 * checker): nobody can put those back, but whether they are the same can be seen.
 */
export async function ignoredPrograms(
  workTree: WorkTree,
  tree: string,
  definitions: readonly GateDefinition[],
  disk: Disk,
  signal: AbortSignal,
): Promise<Record<string, string>> {
  const held = new Set(await workTree.files(tree, signal));
  const { root } = workTree;
  const fileAt = (path: string): string | undefined => {
    const real = disk.realPath(join(root, path));
    const isInside = real !== undefined && !relative(root, real).startsWith(`..${sep}`);
    return isInside && disk.stat(real)?.kind === "file" ? real : undefined;
  };
  const found = await gatePrograms(
    definitions,
    {
      has: (path) => fileAt(path) !== undefined,
      read: (path) => Promise.resolve(readText(fileAt(path), disk)),
    },
    { installed: ["node_modules/.bin", ".venv/bin", "venv/bin", "vendor/bin"] },
  );
  return Object.fromEntries(
    found.flatMap((path) => {
      const digest = held.has(path) ? undefined : digestOf(fileAt(path), disk);
      return digest === undefined ? [] : [[path, digest]];
    }),
  );
}

function readText(path: string | undefined, disk: Disk): string | undefined {
  const bytes = path === undefined ? undefined : readBytes(path, TEXT_BYTES_MAX, disk);
  return bytes && Buffer.from(bytes).toString("utf8");
}

function digestOf(path: string | undefined, disk: Disk): string | undefined {
  const bytes = path === undefined ? undefined : readBytes(path, PROGRAM_BYTES_MAX, disk);
  return bytes && sha256(bytes);
}

function readBytes(path: string, bytesMax: number, disk: Disk): Uint8Array | undefined {
  try {
    return disk.readFile(path, bytesMax);
  } catch (error) {
    // Too large, not ours to read, or gone again: then nothing is known of it.
    if (systemCode(error) === undefined) throw error;
    return undefined;
  }
}

/** How programs that no tree holds differ from what they were, by their digests then. */
export function changedPrograms(
  root: string,
  before: Readonly<Record<string, string>>,
  disk: Disk,
): ProtectedInput[] {
  return Object.entries(before).flatMap(([path, digest]) => {
    const real = disk.realPath(join(root, path));
    const now = digestOf(real, disk);
    if (now === digest) return [];
    return [{ path, class: "gate_program" as const, change: real === undefined ? "deleted" : "modified" }];
  });
}

/** What a run with the base's copies was, in words: of files that the change adds the base has none. */
export function inBaseCopies(files: readonly string[], inputs: readonly ProtectedInput[] = []): string {
  const added = new Set(inputs.filter(({ change }) => change === "added").map(({ path }) => path));
  const kept = files.filter((path) => !added.has(path));
  const left = files.filter((path) => added.has(path));
  const words = [
    ...(kept.length > 0 ? [`with the base's copies of ${kept.join(", ")}`] : []),
    ...(left.length > 0 ? [`without ${left.join(", ")}`] : []),
  ];
  return words.join(", ");
}

/** Whether a change of it concerns only gates that run tests. */
export function concernsTestsOnly({ path, class: of }: ProtectedInput): boolean {
  return (
    of === "test" ||
    of === "runner_configuration" ||
    of === "ci" ||
    of === "agent_configuration" ||
    isTestFile(path)
  );
}
