/** Finding the files that a goal is likely about: those that define functions whose names hold its words. */

/** Words that say nothing about what a goal is about. */
const STOP_WORDS: ReadonlySet<string> = new Set(
  (
    "the and for are but not you all can had her was one our out day get has him his how man new now old see two way who " +
    "boy did its let put say she too use with have this will your from they know want been good much some time very when " +
    "come here just like long make many over such take than them well were into only also each does done down first after " +
    "back other then these think where being every great might shall still those would should could about before right " +
    "through while place made live found work call give most must need same seem turn hand high sure upon head help home " +
    "side move both five once part keep last find more next open play read show stop tell what"
  ).split(" "),
);

/** Words of one goal that are looked for. */
const KEYWORDS_MAX = 100;
/** Longer lines are no source that a person wrote. */
const LINE_CHARACTERS_MAX = 2_000;
/** Deeper folders are not looked into. */
const DEPTH_MAX = 20;

const LEFT_OUT: ReadonlySet<string> = new Set(["target", "node_modules", "vendor", "dist", "build"]);

type Family = "rust" | "script" | "python" | "go";
const FAMILIES: Readonly<Record<string, Family>> = {
  rs: "rust",
  js: "script",
  jsx: "script",
  mjs: "script",
  cjs: "script",
  ts: "script",
  tsx: "script",
  mts: "script",
  cts: "script",
  py: "python",
  pyi: "python",
  go: "go",
};

/** The words of a goal that names in its code may hold. */
export function keywordsOf(goal: string): string[] {
  const words = goal
    .toLowerCase()
    .split(/[^\p{L}\p{N}]+/u)
    .filter((word) => Buffer.byteLength(word) > 2 && !STOP_WORDS.has(word));
  return [...new Set(words)].slice(0, KEYWORDS_MAX);
}

/** Whether a file, by its path, is source whose definitions are looked at. */
export function isLookedAt(path: string): boolean {
  const parts = path.split("/");
  if (parts.length > DEPTH_MAX || familyOf(path) === undefined) return false;
  return parts.every((part) => !part.startsWith(".") && !LEFT_OUT.has(part));
}

/** How many functions of a file have a name that holds a keyword. */
export function scoreOf(path: string, text: string, keywords: readonly string[]): number {
  return definedNames(path, text).filter((name) => {
    const lower = name.toLowerCase();
    return keywords.some((word) => lower.includes(word));
  }).length;
}

/** The best files first; of equal ones the one whose path comes first. */
export function ranked(scores: ReadonlyMap<string, number>, filesMax: number): string[] {
  return [...scores]
    .filter(([, score]) => score > 0)
    .sort(([path, score], [otherPath, other]) => other - score || (path < otherPath ? -1 : 1))
    .slice(0, filesMax)
    .map(([path]) => path);
}

/** Names of the functions and methods that a source defines, in the order of its lines. Line by line, so never slow. */
export function definedNames(path: string, text: string): string[] {
  const family = familyOf(path);
  if (family === undefined) return [];
  const namesIn = FINDERS[family];
  const names: string[] = [];
  for (const line of text.split("\n")) {
    if (line.length > LINE_CHARACTERS_MAX || /^\s*(?:\/[/*]|\*\s)/.test(line)) continue;
    names.push(...namesIn(line));
  }
  return names;
}

function familyOf(path: string): Family | undefined {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const dot = name.lastIndexOf(".");
  const extension = name.slice(dot + 1);
  return dot > 0 && Object.hasOwn(FAMILIES, extension) ? FAMILIES[extension] : undefined;
}

const FINDERS: Readonly<Record<Family, (line: string) => string[]>> = {
  rust: (line) => matches(line, /\bfn\s+([A-Za-z_]\w*)/g),
  python: (line) => matches(line, /^\s*(?:async\s+)?def\s+([\p{L}_][\p{L}\p{N}_]*)/gu),
  // A method's receiver stands before its name.
  go: (line) => matches(line, /^func\s*(?:\([^()]*\)\s*)?([A-Za-z_]\w*)/g),
  script: (line) => [
    ...matches(line, /\bfunction\b\s*\*?\s*([A-Za-z_$][\w$]*)/g),
    ...variableFunction(line),
    ...methodIn(line),
  ],
};

function matches(line: string, pattern: RegExp): string[] {
  return [...line.matchAll(pattern)].map(([, name]) => name ?? "").filter((name) => name !== "");
}

/** `const name = (…) =>`, `const name = function`, and fields of classes that hold such. */
function variableFunction(line: string): string[] {
  const begin =
    /^\s*(?:export\s+)?(?:(?:const|let|var)\s+|(?:(?:public|private|protected|static|readonly|override)\s+)+)?#?([A-Za-z_$][\w$]*)/.exec(
      line,
    );
  const name = begin?.[1];
  if (begin === null || name === undefined) return [];
  const rest = line.slice(begin[0].length);
  // The first sign of assignment: not that of an arrow or a comparison in a type.
  const assigned = /(?<![=<>!])=(?![=>])/.exec(rest);
  const head = assigned ? rest.slice(0, assigned.index).trim() : undefined;
  if (!assigned || head === undefined || (head !== "" && !/^[?!]?\s*:/.test(head))) return [];
  const value = rest.slice(assigned.index + 1).trimStart();
  const body = value.replace(/^async\b\s*/, "");
  if (/^function\b(?!\s*\*?\s*[\w$])/.test(body)) return [name];
  const isArrow = /^[A-Za-z_$][\w$]*\s*=>/.test(body) || (/^[(<]/.test(body) && mayBeArrow(body));
  return isArrow ? [name] : [];
}

/** What begins with a bracket is a function's parameters when an arrow follows, or when they go on in the next line. */
function mayBeArrow(text: string): boolean {
  return text.includes("=>") || !text.includes(")");
}

const NO_METHODS: ReadonlySet<string> = new Set(
  "if for while switch catch function return with else do try new await yield typeof super".split(" "),
);

/** `name(…) {` inside a class or an object. */
function methodIn(line: string): string[] {
  if (!line.trimEnd().endsWith("{")) return [];
  const found =
    /^\s+(?:(?:public|private|protected|static|async|get|set|override|readonly)\s+)*\*?\s*#?([A-Za-z_$][\w$]*)\s*(?:<[^<>]*>)?\s*\(/.exec(
      line,
    );
  const name = found?.[1];
  return name === undefined || NO_METHODS.has(name) ? [] : [name];
}
