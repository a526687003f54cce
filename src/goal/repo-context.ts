/** What a planner is told about a project: its languages and layout, its tests, gates and papers, and what the goal is about. */
import { join } from "node:path";

import { systemCode } from "../errors.ts";
import type { GateDefinition } from "../format/gate.ts";
import type { WorkTree } from "../git/work-tree.ts";
import type { Clock, Disk } from "../ports.ts";
import { isLookedAt, keywordsOf, ranked, scoreOf } from "./discover.ts";

/** A project in a few lines; the same files always give the same. */
export interface RepoContext {
  fileCount: number;
  /** Names of file extensions with how many files have them, the most frequent first. */
  languages: [string, number][];
  /** Folders and files at the top, folders with a slash at their end. */
  topLevel: string[];
  testFolders: string[];
  ciFiles: string[];
  gates: string[];
  /** The beginning of the README. */
  readme: string | undefined;
  /** Files that define functions named like words of the goal, best first. */
  relevantFiles: string[];
  /** Every path, for rules that need them all. */
  files: readonly string[];
  /** A bound was reached, so a file may be missing among the relevant ones. */
  isCut: boolean;
}

/** Bounds of looking at a project. */
const BOUNDS = {
  files: 5_000,
  fileBytes: 256 * 1024,
  allBytes: 32 * 1024 * 1024,
  ms: 5_000,
};
const RELEVANT_MAX = 20;
const LANGUAGES_MAX = 8;
const TOP_LEVEL_MAX = 60;
const FOLDERS_MAX = 20;
const README_BYTES_MAX = 64 * 1024;
const README_CHARACTERS_MAX = 4_000;

/** Names of folders that hold tests. */
export const TEST_FOLDERS: ReadonlySet<string> = new Set(["test", "tests", "__tests__", "spec", "specs"]);

/** Looks at a project as it is in one tree, which is what git sees: ignored files are not there. */
export async function repoContext(
  given: { tree: WorkTree; snapshot: string; goal: string; gates: readonly GateDefinition[] },
  ports: { disk: Disk; clock: Pick<Clock, "monotonicMs"> },
  signal: AbortSignal,
): Promise<RepoContext> {
  const { tree, snapshot, goal, gates } = given;
  const files = await tree.files(snapshot, signal);
  const found = relevantFiles(tree.root, files, keywordsOf(goal), ports);
  const readme = files.find((path) => /^readme(?:\.(?:md|markdown|rst|txt))?$/i.test(path));
  return {
    fileCount: files.length,
    languages: countedLanguages(files),
    topLevel: topLevelOf(files),
    testFolders: testFoldersOf(files).slice(0, FOLDERS_MAX),
    ciFiles: files.filter(isCiFile).slice(0, FOLDERS_MAX),
    gates: gates.filter(({ skip }) => !skip).map(gateLine),
    readme: readme === undefined ? undefined : textAt(join(tree.root, readme), README_BYTES_MAX, ports),
    files,
    ...found,
  };
}

/** The context as the planner is shown it: data, none of it an instruction. */
export function contextLines(context: RepoContext): string {
  const {
    fileCount,
    languages,
    topLevel,
    testFolders,
    ciFiles,
    gates,
    readme,
    relevantFiles: about,
  } = context;
  const shown = {
    file_count: fileCount,
    languages: Object.fromEntries(languages),
    top_level: topLevel,
    test_folders: testFolders,
    ci_files: ciFiles,
    gates,
    relevant_files: about,
    readme: readme?.slice(0, README_CHARACTERS_MAX) ?? null,
  };
  return JSON.stringify(shown, undefined, 2);
}

/** Folders that hold tests, in the order of their paths. */
export function testFoldersOf(files: readonly string[]): string[] {
  const folders = new Set<string>();
  for (const path of files) {
    const parts = path.split("/").slice(0, -1);
    const at = parts.findIndex((part) => TEST_FOLDERS.has(part));
    if (at !== -1) folders.add(parts.slice(0, at + 1).join("/"));
  }
  return [...folders].sort();
}

function gateLine({ name, command, args, required }: GateDefinition): string {
  return `${name}${required ? "" : " (optional)"}: ${[command, ...args].join(" ")}`;
}

function relevantFiles(
  root: string,
  files: readonly string[],
  keywords: readonly string[],
  ports: { disk: Disk; clock: Pick<Clock, "monotonicMs"> },
): Pick<RepoContext, "relevantFiles" | "isCut"> {
  const scores = new Map<string, number>();
  const endMs = ports.clock.monotonicMs() + BOUNDS.ms;
  const candidates = keywords.length === 0 ? [] : files.filter(isLookedAt);
  let bytes = 0;
  for (const path of candidates.slice(0, BOUNDS.files)) {
    if (bytes >= BOUNDS.allBytes || ports.clock.monotonicMs() > endMs)
      return { relevantFiles: ranked(scores, RELEVANT_MAX), isCut: true };
    const text = textAt(join(root, path), BOUNDS.fileBytes, ports);
    if (text === undefined) continue;
    bytes += text.length;
    scores.set(path, scoreOf(path, text, keywords));
  }
  return { relevantFiles: ranked(scores, RELEVANT_MAX), isCut: candidates.length > BOUNDS.files };
}

/** A file's text; undefined for a link, for one that is too large, and for one that went away or cannot be read. */
function textAt(path: string, bytesMax: number, { disk }: { disk: Disk }): string | undefined {
  const info = disk.stat(path);
  if (info?.kind !== "file" || info.size > bytesMax) return undefined;
  try {
    return new TextDecoder().decode(disk.readFile(path, bytesMax));
  } catch (error) {
    // Nothing depends on one file of many; a defect of ours is none of the disk's.
    if (systemCode(error) === undefined) throw error;
    return undefined;
  }
}

function countedLanguages(files: readonly string[]): [string, number][] {
  const counts = new Map<string, number>();
  for (const path of files) {
    const name = path.slice(path.lastIndexOf("/") + 1);
    const dot = name.lastIndexOf(".");
    if (dot > 0) counts.set(name.slice(dot + 1), (counts.get(name.slice(dot + 1)) ?? 0) + 1);
  }
  return [...counts]
    .sort(([one, count], [other, more]) => more - count || (one < other ? -1 : 1))
    .slice(0, LANGUAGES_MAX);
}

function topLevelOf(files: readonly string[]): string[] {
  const names = files.map((path) => {
    const slash = path.indexOf("/");
    return slash === -1 ? path : path.slice(0, slash + 1);
  });
  return [...new Set(names)].slice(0, TOP_LEVEL_MAX);
}

function isCiFile(path: string): boolean {
  return (
    /^\.github\/workflows\/[^/]+\.ya?ml$/.test(path) ||
    /^(?:\.gitlab-ci\.yml|azure-pipelines\.yml|Jenkinsfile|\.circleci\/config\.yml|\.travis\.yml)$/.test(path)
  );
}
