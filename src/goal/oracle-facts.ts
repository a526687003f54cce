/** What the oracle judges beside the documents: only the trees, and running the old program's commands again, can say it. */
import type { TreeChange } from "../git/work-tree.ts";
import { brokenLinks, isDocumentation, isReport, saysMore } from "./docs-links.ts";
import { compareGolden } from "./golden.ts";
import type { GoalPorts, OpenGoal } from "./open.ts";
import type { OracleFacts } from "./oracle.ts";
import { checksSomething } from "./test-checks.ts";
import type { Workspace } from "./workspace.ts";

/** A larger report is none that anybody reads. */
const REPORT_BYTES_MAX = 4 * 1024 * 1024;
/** Less says nothing of what was looked at. */
const REPORT_WORDS_MIN = 5;
const TEXT_BYTES_MAX = 1024 * 1024;
/** Added tests that are read; one that checks is enough. */
const TESTS_MAX = 200;

/**
 * Gathers what `judgeOracle` needs of the present result. Recorded observations of the old program are compared at most
 * once per tree; that comparison is an event of its own.
 */
export async function oracleFacts(
  open: OpenGoal,
  space: Workspace,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<OracleFacts> {
  const { goal, work } = open;
  const base = work.base?.tree ?? "";
  const tree = work.result?.tree ?? base;
  const changes = base === "" ? [] : await space.tree.changes(base, tree, signal);
  const docs = changes.filter(({ path, kind }) => kind !== "deleted" && isDocumentation(path));
  const texts = { space, base, tree, signal };
  const paths = await whatSays(docs, texts);
  const links = async () => ({ broken: await brokenLinks(space.tree, tree, paths, signal) });
  const golden = base === "" ? undefined : await compareGolden(open, space, ports, signal);
  return {
    goal,
    gates: open.work.gates,
    addedTests: await addedTests(open.work.gates?.added_tests?.files ?? [], changes, texts),
    docsLinks: paths.length === 0 ? undefined : await links(),
    reportAdded: await hasCleanReport(space, tree, docs, ports, signal),
    golden,
  };
}

interface Texts {
  space: Workspace;
  base: string;
  tree: string;
  signal: AbortSignal;
}

/** The texts of files, one after another; undefined for one that is none or too large. */
async function* textsOf(
  { space, signal }: Texts,
  tree: string,
  paths: readonly string[],
): AsyncGenerator<{ path: string; text: string | undefined }, undefined> {
  for await (const { path, bytes } of space.tree.readAll(tree, paths, TEXT_BYTES_MAX, signal))
    yield { path, text: bytes && Buffer.from(bytes).toString("utf8") };
  return;
}

/** The documentation that says anything that it did not say before. */
async function whatSays(docs: readonly TreeChange[], texts: Texts): Promise<string[]> {
  const paths = docs.map(({ path }) => path);
  const known = docs.filter(({ kind }) => kind !== "added").map(({ path }) => path);
  const isKnown = new Set(known);
  const befores = textsOf(texts, texts.base, known);
  const found: string[] = [];
  for await (const { path, text: after } of textsOf(texts, texts.tree, paths)) {
    const before = isKnown.has(path) ? (await befores.next()).value?.text : undefined;
    // What cannot be read whole may say anything.
    if (after === undefined || saysMore(before ?? "", after)) found.push(path);
  }
  return found;
}

/** What the tests that the change adds are worth: whether any checks something, and whether there is more than they. */
async function addedTests(
  files: readonly string[],
  changes: readonly TreeChange[],
  texts: Texts,
): Promise<OracleFacts["addedTests"]> {
  if (files.length === 0) return undefined;
  const names = new Set(files);
  const alone = changes.every(({ path }) => names.has(path));
  for await (const { path, text } of textsOf(texts, texts.tree, files.slice(0, TESTS_MAX))) {
    if (text !== undefined && checksSomething(path, text)) return { check: true, alone };
  }
  return { check: false, alone };
}

/** A report counts when it is new, says something and holds no secret. */
async function hasCleanReport(
  space: Workspace,
  tree: string,
  docs: readonly TreeChange[],
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<boolean> {
  const added = docs.filter(({ path, kind }) => kind === "added" && isReport(path)).map(({ path }) => path);
  for await (const { bytes } of space.tree.readAll(tree, added, REPORT_BYTES_MAX, signal)) {
    const text = Buffer.from(bytes ?? "").toString("utf8");
    if (bytes === undefined || ports.redactor.text(text) !== text) return false;
    if (text.split(/\s+/).filter((word) => /\p{L}/u.test(word)).length < REPORT_WORDS_MIN) return false;
  }
  return added.length > 0;
}
