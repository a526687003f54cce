/** What a plan's slices may write: the tests of what they change, too, and never the same as another one at the same time. Pure. */
import type { Plan, PlannedTask } from "../format/plan.ts";
import { normalizedPath } from "../scheduler/ownership.ts";
import { TEST_FOLDERS, testFoldersOf } from "./repo-context.ts";
import { ANYWHERE } from "./write-sets.ts";

/** A plan that can be worked off, and what was decided about it on the way. */
export interface PreparedPlan {
  plan: Plan;
  notes: string[];
}

/** A write set is no longer than this, however many tests there might be. */
const WRITE_SET_MAX = 400;
/** Folders whose name says that the sources are in them: tests mirror what is below. */
const SOURCE_FOLDERS: ReadonlySet<string> = new Set(["src", "lib", "app", "source", "sources"]);

/** Widens the write sets of a plan, and orders slices that would write the same. */
export function preparePlan(plan: Plan, files: readonly string[]): PreparedPlan {
  const folders = testFoldersOf(files);
  const known = new Set(files);
  const widened = plan.slices.map((slice) => ({
    ...slice,
    dependencies: [...slice.dependencies],
    write_set: slice.write_set.length === 0 ? [ANYWHERE] : widenedWriteSet(slice.write_set, folders, known),
  }));
  const notes = orderOverlaps(widened);
  return { plan: { ...plan, slices: widened }, notes };
}

/** A write set with the tests of what it names or, where there are none, with the places where they would lie. */
export function widenedWriteSet(
  writeSet: readonly string[],
  testFolders: readonly string[],
  files: ReadonlySet<string> = new Set(),
): string[] {
  if (writeSet.some((one) => normalizedPath(one) === ".")) return [ANYWHERE];
  const widened = new Set(writeSet);
  for (const path of writeSet) {
    const tests = testsOf(normalizedPath(path) ?? path, testFolders);
    const present = tests.filter((test) => files.has(test));
    for (const test of present.length > 0 ? present : tests) {
      if (widened.size >= WRITE_SET_MAX) break;
      widened.add(test);
    }
  }
  return [...widened];
}

/** Where the tests of a source file or of a folder of sources would lie. */
function testsOf(path: string, testFolders: readonly string[]): string[] {
  const parts = path.split("/");
  if (parts.some((part) => TEST_FOLDERS.has(part))) return [];
  const name = parts.at(-1) ?? "";
  const file = fileNameOf(name);
  const mirrors = mirroredFolders(file ? parts.slice(0, -1) : parts, testFolders);
  if (!file) return mirrors;
  if (isTestName(name)) return [];
  const names = testNames(file.stem, file.extension);
  const beside = parts.slice(0, -1).join("/");
  return [beside, ...["__tests__", "tests", "test"].map((folder) => joined(beside, folder)), ...mirrors]
    .filter((folder, at, all) => all.indexOf(folder) === at)
    .flatMap((folder) => names.map((one) => joined(folder, one)));
}

/** The folders that mirror a folder of sources, in the test folders of the project or, where it has none, the usual ones. */
function mirroredFolders(parts: readonly string[], testFolders: readonly string[]): string[] {
  const source = parts.findIndex((part) => SOURCE_FOLDERS.has(part));
  const prefix = source === -1 ? [] : parts.slice(0, source);
  const rest = source === -1 ? parts : parts.slice(source + 1);
  const usual = ["test", "tests"].map((folder) => [...prefix, folder].join("/"));
  const near = testFolders.filter((folder) => {
    const above = folder.split("/").slice(0, -1);
    // Tests of a package lie in it, those of the whole project at the top.
    return above.length === 0 || above.join("/") === prefix.join("/");
  });
  const roots = near.length > 0 ? near : usual;
  return roots.map((root) => joined(root, rest.join("/")));
}

function fileNameOf(name: string): { stem: string; extension: string } | undefined {
  const found = /^(.+)\.([A-Za-z][A-Za-z0-9]{0,7})$/.exec(name);
  return found ? { stem: found[1] ?? "", extension: found[2] ?? "" } : undefined;
}

function isTestName(name: string): boolean {
  return /(?:^test_|[._-](?:test|tests|spec)\.[^.]+$)/.test(name);
}

const SCRIPTS = /^(?:[cm]?[jt]s|[jt]sx)$/;

function testNames(stem: string, extension: string): string[] {
  if (SCRIPTS.test(extension)) return [`${stem}.test.${extension}`, `${stem}.spec.${extension}`];
  if (extension === "py") return [`test_${stem}.py`, `${stem}_test.py`];
  if (extension === "rb") return [`${stem}_test.rb`, `${stem}_spec.rb`];
  if (extension === "java" || extension === "kt" || extension === "cs")
    return [`${stem}Test.${extension}`, `${stem}Tests.${extension}`];
  return ["go", "rs", "c", "cc", "cpp", "php", "swift", "ex"].includes(extension)
    ? [`${stem}_test.${extension}`]
    : [];
}

function joined(folder: string, name: string): string {
  return [folder, name].filter((part) => part !== "").join("/");
}

/** Slices that write the same are done one after the other, in the order of the plan. */
function orderOverlaps(slices: PlannedTask[]): string[] {
  const notes: string[] = [];
  const before = ancestorsOf(slices);
  for (const [at, later] of slices.entries()) {
    for (const earlier of slices.slice(0, at)) {
      const shared = sharedPath(earlier.write_set, later.write_set);
      if (shared === undefined) continue;
      if (before.get(later.id)?.has(earlier.id) || before.get(earlier.id)?.has(later.id)) continue;
      later.dependencies.push(earlier.id);
      addAncestor(before, earlier.id, later.id);
      notes.push(`${later.id} waits for ${earlier.id}: both write ${shared}`);
    }
  }
  return notes;
}

/** What each slice waits for, directly or not. */
function ancestorsOf(slices: readonly PlannedTask[]): Map<string, Set<string>> {
  const ancestors = new Map(slices.map(({ id, dependencies }) => [id, new Set(dependencies)]));
  // A chain is no longer than there are slices, and each round follows it one step further at least.
  for (let round = 0; round < slices.length; round++) {
    let grew = false;
    for (const known of ancestors.values()) {
      const { size } = known;
      for (const one of known) for (const further of ancestors.get(one) ?? []) known.add(further);
      grew ||= known.size > size;
    }
    if (!grew) break;
  }
  return ancestors;
}

function addAncestor(ancestors: Map<string, Set<string>>, earlier: string, later: string): void {
  const gained = [earlier, ...(ancestors.get(earlier) ?? [])];
  for (const [id, known] of ancestors) {
    if (id === later || known.has(later)) for (const one of gained) known.add(one);
  }
}

/** A path that both write: one is the other, or lies below it. */
function sharedPath(one: readonly string[], other: readonly string[]): string | undefined {
  if (one.includes(ANYWHERE) || other.includes(ANYWHERE)) return ANYWHERE;
  return belowOf(one, new Set(other)) ?? belowOf(other, new Set(one));
}

/** A path that is one of the others, or lies below one. */
function belowOf(paths: readonly string[], others: ReadonlySet<string>): string | undefined {
  return paths.find((path) => {
    for (let end = path.length; end > 0; end = path.lastIndexOf("/", end - 1))
      if (others.has(path.slice(0, end))) return true;
    return false;
  });
}
