/** Documentation: which files are, and whether what their relative links name is there. */
import { posix } from "node:path";

import type { WorkTree } from "../git/work-tree.ts";
import { languageOf } from "./source-text.ts";

const DOC_BYTES_MAX = 1024 * 1024;
const BROKEN_MAX = 100;

/** Documentation by its name. */
export function isDocumentation(path: string): boolean {
  // Lists that tools read, whatever their ending.
  if (/(^|\/)(requirements[^/]*|constraints[^/]*|CMakeLists|robots)\.txt$/i.test(path)) return false;
  return (
    /\.(md|markdown|mdx|rst|adoc|txt)$/i.test(path) ||
    /(^|\/)(readme|changelog|contributing)$/i.test(path) ||
    (/(^|\/)docs?\//.test(path) && languageOf(path) === undefined)
  );
}

/** What a person can be given to read, and not only by the folder it lies in. */
export function isReport(path: string): boolean {
  return isDocumentation(path) && /\.(?:md|markdown|mdx|rst|adoc|txt|html?)$/i.test(path);
}

/** Whether one text of documentation says something that the other does not: blanks and empty lines say nothing. */
export function saysMore(before: string, after: string): boolean {
  const said = (text: string): string => text.replace(/\s+/g, " ").trim();
  return said(before) !== said(after);
}

/** Relative links in the Markdown files among `paths` that lead to nothing in the tree. */
export async function brokenLinks(
  tree: WorkTree,
  treeId: string,
  paths: readonly string[],
  signal: AbortSignal,
): Promise<string[]> {
  const markdown = paths.filter((path) => /\.(md|markdown|mdx)$/i.test(path));
  if (markdown.length === 0) return [];
  const there = withFolders(await tree.files(treeId, signal));
  const broken: string[] = [];
  for await (const { path, bytes } of tree.readAll(treeId, markdown, DOC_BYTES_MAX, signal)) {
    for (const target of linksIn(Buffer.from(bytes ?? "").toString("utf8"))) {
      const file = posix.normalize(posix.join(posix.dirname(path), target.replace(/[#?].*$/, "")));
      // A link out of the project cannot be judged by its files.
      if (file === "." || file === "./" || file.startsWith("..")) continue;
      const name = file.replace(/\/$/, "");
      if (!there.has(name) && !there.has(decoded(name))) broken.push(`${path}: ${target}`);
      if (broken.length >= BROKEN_MAX) return broken;
    }
  }
  return broken;
}

function withFolders(files: readonly string[]): ReadonlySet<string> {
  const there = new Set(files);
  for (const file of files) {
    for (let at = file.lastIndexOf("/"); at > 0; at = file.lastIndexOf("/", at - 1)) {
      if (there.has(file.slice(0, at))) break;
      there.add(file.slice(0, at));
    }
  }
  return there;
}

/** Targets of inline links and of link definitions that name a place in the project; what stands in code is no link. */
function linksIn(markdown: string): string[] {
  const targets: string[] = [];
  for (const line of proseOf(markdown)) {
    const inline = line.matchAll(/\]\((?:<([^<>]+)>|([^()\s]+(?:\([^()\s]*\))?))/g);
    for (const [, quoted, plain] of inline) targets.push(quoted ?? plain ?? "");
    const [, definition] = /^ {0,3}\[[^\]^][^\]]*\]:\s+<?([^\s<>]+)/.exec(line) ?? [];
    if (definition !== undefined) targets.push(definition);
  }
  return targets.filter((target) => target !== "" && !/^[a-z][a-z0-9+.-]*:|^#|^\/|[{}]/i.test(target));
}

function proseOf(markdown: string): string[] {
  const prose: string[] = [];
  let fence: string | undefined;
  for (const line of markdown.split("\n")) {
    const [, mark] = /^ {0,3}(`{3,}|~{3,})/.exec(line) ?? [];
    if (fence === undefined && mark !== undefined) fence = mark;
    else if (fence !== undefined && mark !== undefined && mark.startsWith(fence)) fence = undefined;
    else if (fence === undefined) prose.push(line.replaceAll(/(`+)[^`]+\1/g, ""));
  }
  return prose;
}

/** As the file is called; a percent sign that encodes nothing stands for itself. */
function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    // No encoding: the name is taken as it is.
    return path;
  }
}
