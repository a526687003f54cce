/** What kind of text a file is, and which part of a line is code and which a comment. Pure, line by line. */
import { extname } from "node:path";

/** Languages that the rules of the anti-slop section know. */
export type Language = "js" | "ts" | "py" | "rs" | "go" | "jvm" | "c" | "cs" | "rb" | "php" | "sh" | "swift";

const LANGUAGES: Readonly<Record<string, Language>> = Object.fromEntries(
  (
    [
      ["js", ".js .mjs .cjs .jsx .vue .svelte"],
      ["ts", ".ts .mts .cts .tsx"],
      ["py", ".py .pyi"],
      ["rs", ".rs"],
      ["go", ".go"],
      ["jvm", ".java .kt .kts .scala .groovy"],
      ["c", ".c .cc .cpp .cxx .h .hh .hpp"],
      ["cs", ".cs"],
      ["rb", ".rb .rake"],
      ["php", ".php"],
      ["sh", ".sh .bash .zsh"],
      ["swift", ".swift .dart"],
    ] as const
  ).flatMap(([language, extensions]) => extensions.split(" ").map((extension) => [extension, language])),
);

const HASHED: ReadonlySet<Language> = new Set(["py", "rb", "sh"]);

/** The language of a file by its name; undefined for everything that is no program. */
export function languageOf(path: string): Language | undefined {
  return LANGUAGES[extname(path).toLowerCase()];
}

/** Files that no hand writes: lock files, bundles, what a generator or somebody else made. */
export function isGeneratedPath(path: string): boolean {
  return LOCK_FILE.test(path) || GENERATED_PATH.test(path);
}

/** A line by which a generator says that it wrote the file. */
export function saysGenerated(text: string): boolean {
  return /@generated\b|\bDO NOT EDIT\b/.test(text);
}

const LOCK_FILE =
  /(?:^|\/)(?:package-lock\.json|npm-shrinkwrap\.json|yarn\.lock|pnpm-lock\.yaml|bun\.lockb?|deno\.lock|Cargo\.lock|poetry\.lock|uv\.lock|Pipfile\.lock|Gemfile\.lock|composer\.lock|go\.sum|gradle\.lockfile|flake\.lock)$/;
const GENERATED_PATH =
  /(?:^|\/)(?:node_modules|vendor|third_party|__generated__|generated|dist|\.yarn)\/|[.-](?:min|bundle)\.[cm]?js$|\.generated\.[a-z]+$|\.pb\.go$|_pb2(?:_grpc)?\.pyi?$|\.g\.dart$|\.d\.ts$|\.snap$|\.map$/;

/** A line in two: code with the contents of its strings taken out, and the comment behind it. */
interface SplitLine {
  code: string;
  comment: string;
}

/**
 * Splits a line. It sees no other line: the inside of a string or comment over several lines counts as what it looks like,
 * except for the usual star at the beginning.
 */
export function splitLine(text: string, language: Language): SplitLine {
  const hashed = HASHED.has(language) || language === "php";
  const slashed = !HASHED.has(language);
  if (slashed && /^\s*(?:\/\*|\*(?:[\s/]|$))/.test(text)) return { code: "", comment: text };
  let code = "";
  for (let at = 0; at < text.length; at++) {
    const character = text[at] ?? "";
    if (hashed && character === "#" && (at === 0 || /\s/.test(text[at - 1] ?? "")))
      return { code, comment: text.slice(at) };
    if (slashed && character === "/" && (text[at + 1] === "/" || text[at + 1] === "*"))
      return { code, comment: text.slice(at) };
    code += character;
    if (!isQuote(character, language, text, at)) continue;
    const end = closing(text, at);
    if (end === -1) return { code, comment: "" };
    code += character;
    at = end;
  }
  return { code, comment: "" };
}

/** In Rust a single quote also names a lifetime, and in a word it is an apostrophe. */
function isQuote(character: string, language: Language, text: string, at: number): boolean {
  if (character === "`") return language === "js" || language === "ts" || language === "go";
  if (character === "'") return language !== "rs" || text[at + 2] === "'" || text[at + 1] === "\\";
  return character === '"';
}

function closing(text: string, open: number): number {
  const quote = text[open];
  for (let at = open + 1; at < text.length; at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === quote) return at;
  }
  return -1;
}
