/** What a project shows to whoever uses it, by its files: commands to build and test it, and where its interface begins. */
import { join } from "node:path";

import type { Goal, GoalKind } from "../format/goal.ts";
import type { Disk } from "../ports.ts";

/** Both lists are sorted and hold nothing twice. */
export type Surface = Pick<NonNullable<Goal["surface"]>, "commands" | "api_files">;

const API_FILES_MAX = 50;
const FOLDERS_MAX = 1_000;

/** Names that are looked for. */
const MANIFESTS = ["Cargo.toml", "package.json", "pyproject.toml", "setup.py"] as const;
const CARGO_ENTRIES = ["src/lib.rs", "src/main.rs"] as const;
const PACKAGE_ENTRIES = ["index", "main"].flatMap((name) =>
  ["ts", "tsx", "js"].map((end) => `src/${name}.${end}`),
);

/** Detects it from the paths of a tree; a project may be of several kinds at once. Pure. */
export function detectSurface(paths: readonly string[]): Surface {
  const files = new Set(paths);
  const commands = new Set<string>();
  const apiFiles = new Set<string>();
  const present = (names: readonly string[]) => names.filter((name) => files.has(name));
  if (files.has("Cargo.toml")) {
    for (const command of ["cargo check --all-targets", "cargo test"]) commands.add(command);
    for (const path of present(CARGO_ENTRIES)) apiFiles.add(path);
  }
  if (files.has("package.json")) {
    for (const command of ["npm test", "npm run build"]) commands.add(command);
    for (const path of present(PACKAGE_ENTRIES)) apiFiles.add(path);
  }
  if (files.has("pyproject.toml") || files.has("setup.py")) {
    if (paths.some((path) => path.startsWith("tests/"))) commands.add("python -m pytest");
    const packages = paths.filter((path) => /^[^/]+\/__init__\.py$/.test(path));
    for (const path of packages.slice(0, API_FILES_MAX)) apiFiles.add(path);
  }
  const sorted = (set: ReadonlySet<string>) => [...set].sort((a, b) => (a < b ? -1 : 1));
  return { commands: sorted(commands), api_files: sorted(apiFiles) };
}

/** What of a project's folder the detection looks at, without reading all of it. */
export function surfacePaths(projectDir: string, { disk }: { disk: Pick<Disk, "stat" | "list"> }): string[] {
  const isThere = (path: string) => disk.stat(join(projectDir, path)) !== undefined;
  const known = [...MANIFESTS, ...CARGO_ENTRIES, ...PACKAGE_ENTRIES].filter(isThere);
  const folders = disk
    .list(projectDir)
    .filter((name) => disk.stat(join(projectDir, name))?.kind === "folder")
    .slice(0, FOLDERS_MAX);
  const packages = folders.map((name) => `${name}/__init__.py`).filter(isThere);
  return [...known, ...packages, ...(folders.includes("tests") ? ["tests/"] : [])];
}

/** Kinds of goals after which the project must do what it did before. */
export function keepsBehaviour(kind: GoalKind): boolean {
  return kind === "rewrite" || kind === "migration" || kind === "refactor";
}

/** The lines of `test-spec.md` about that, with a heading; none for goals that promise nothing of the kind. */
export function compatibilityPlan(
  kind: GoalKind,
  goalId: string,
  { commands, api_files }: Surface = { commands: [], api_files: [] },
): string[] {
  if (!keepsBehaviour(kind)) return [];
  const list = (of: readonly string[]) =>
    of.length > 0 ? of.map((one) => `- \`${one}\``) : ["- none found"];
  const record = `omk goal golden record ${goalId} --name <name> --cmd '<command>'`;
  return [
    "## Compatibility Test Plan",
    "",
    "What worked before works afterwards: every test gate that was green on the base is green on the result, with the",
    "base's own test files.",
    "",
    "Commands to observe:",
    "",
    ...list(commands),
    "",
    "Files where the interface begins:",
    "",
    ...list(api_files),
    "",
    kind === "rewrite"
      ? "A rewrite needs observations of the old program, recorded before the work begins:"
      : "Observations of the program, recorded before the work begins, make it surer:",
    "",
    `    ${record}`,
    "",
  ];
}
