/**
 * Names that become paths. Text from users, agents and files reaches the disk only as one of these: what may be made is
 * narrow (`parseTaskId`, `parseRelPath`), what exists already is only kept from being a path itself
 * (`existingGoalId`). No schema library here: commands that must answer at once use it.
 */
import { OmkError } from "../errors.ts";

declare const brand: unique symbol;
/** A goal's id, fit to name its folder. */
export type GoalId = string & { readonly [brand]: "GoalId" };
/** A task's id, fit to name a folder, a branch and a worktree. */
export type TaskId = string & { readonly [brand]: "TaskId" };
/** A path below a folder: relative, normal, `/` between its parts, and no way into a repository's or omk's own files. */
export type RelPath = string & { readonly [brand]: "RelPath" };

/** A name as read, or the reason why it is none, fit to follow "because". */
export type Named<T> = { ok: true; name: T } | { ok: false; because: string };

/** The longest `RelPath`, in bytes of UTF-8. */
const PATH_BYTES_MAX = 1024;

/** The longest name of one file that ordinary file systems take, in bytes. */
const NAME_BYTES_MAX = 255;

/** An id omk makes: `[a-z0-9][a-z0-9._-]{0,63}` without `..`. */
export function parseGoalId(text: string): Named<GoalId> {
  return parseId<GoalId>(text);
}

/** An id omk makes: `[a-z0-9][a-z0-9._-]{0,63}` without `..`. */
export function parseTaskId(text: string): Named<TaskId> {
  return parseId<TaskId>(text);
}

function parseId<T>(text: string): Named<T> {
  if (!/^[a-z0-9][a-z0-9._-]{0,63}$/.test(text)) {
    return {
      ok: false,
      because:
        "an id has 1 to 64 lower-case letters, digits, dots, underscores and dashes, and starts with a letter or digit",
    };
  }
  if (text.includes("..")) return { ok: false, because: "an id has no two dots in a row" };
  return { ok: true, name: text as T };
}

/** The id of a goal that may exist, white space around it removed. Throws `usage.invalid` for blank and path-like ids. */
export function existingGoalId(text: string): GoalId {
  return existingName(text, "goal id", "Use `latest`, or an id that `omk goal list` shows.") as GoalId;
}

/** A path inside a work tree that omk may write or accept a change of. */
export function parseRelPath(text: string): Named<RelPath> {
  const because = whyNoPath(text);
  return because === undefined ? { ok: true, name: text as RelPath } : { ok: false, because };
}

function existingName(text: string, what: string, hint: string): string {
  const name = text.trim();
  const because = whyNoName(name);
  if (because === undefined) return name;
  throw new OmkError(
    "usage.invalid",
    `${JSON.stringify(name.slice(0, NAME_BYTES_MAX))} is no ${what}: ${because}.`,
    { hint },
  );
}

/** What 0.5.0 refuses in a name, and what no file system takes. */
function whyNoName(name: string): string | undefined {
  if (name === "") return "it is empty";
  if (NO_TEXT.test(name)) return "it holds characters that are no text";
  if (/[/\\:]/.test(name)) return "it holds a character that is part of paths";
  if (name.startsWith(".") || name.includes("..")) return "it starts with a dot or has two in a row";
  if (Buffer.byteLength(name) > NAME_BYTES_MAX) return `it is longer than ${NAME_BYTES_MAX} bytes`;
  return undefined;
}

function whyNoPath(path: string): string | undefined {
  if (path === "") return "it is empty";
  if (path.length > PATH_BYTES_MAX || Buffer.byteLength(path) > PATH_BYTES_MAX) {
    return `it is longer than ${PATH_BYTES_MAX} bytes`;
  }
  if (NO_TEXT.test(path)) return "it holds a control character or half of one";
  if (path.includes("\\")) return "it holds a backslash";
  if (path.includes(":")) return "it holds a colon";
  if (path.startsWith("/")) return "it is absolute";
  for (const part of path.split("/")) {
    const because = whyNoPart(part);
    if (because !== undefined) return because;
  }
  return undefined;
}

function whyNoPart(part: string): string | undefined {
  if (part === "") return "it has an empty part";
  if (part === "." || part === "..") return "it is not normal: it has a part that is . or ..";
  const folded = foldPart(part);
  const bare = withoutEnd(folded);
  if (bare === "") return "it has a part that some systems take for . or ..";
  if (isProtectedPart(bare)) return LEADS_INSIDE;
  if (DEVICE.test(folded)) return "it has a part that is a device name on Windows";
  return undefined;
}

/** Why a path that may have any other name in it is not for agents: it steers git or omk, on some file system at least. */
export function whyProtected(path: string): string | undefined {
  const isProtected = path.split(/[/\\]/).some((part) => isProtectedPart(withoutEnd(foldPart(part))));
  return isProtected ? LEADS_INSIDE : undefined;
}

function isProtectedPart(bare: string): boolean {
  return PROTECTED.has(bare) || SHORT_FORM.test(bare);
}

const LEADS_INSIDE = "it leads into .git, .gitmodules or .omk";

/** A part as the most lenient file system sees it: HFS+ ignores format characters, others case or compatibility forms. */
function foldPart(part: string): string {
  if (/^[\x20-\x7e]*$/.test(part)) return part.toLowerCase();
  return part
    .replace(/[\p{Default_Ignorable_Code_Point}\p{Cf}]/gu, "")
    .normalize("NFKC")
    .toLowerCase()
    .normalize("NFKC");
}

/** NTFS drops dots and spaces at the end. By hand: a pattern would take quadratic time on many of them. */
function withoutEnd(part: string): string {
  let end = part.length;
  while (end > 0 && (part[end - 1] === "." || part[end - 1] === " ")) end--;
  return part.slice(0, end);
}

/** Control characters, and surrogates that stand alone. */
const NO_TEXT = /[\p{Cc}\p{Cs}]/u;
const PROTECTED: ReadonlySet<string> = new Set([".git", ".gitmodules", ".omk"]);
/** The 8.3 names NTFS gives those three, also those it makes from a hash when the plain ones are taken. */
const SHORT_FORM = /^(?:git|gitmod|omk|gi[0-9a-f]{4}|om[0-9a-f]{4})~\d+$/;
/** Windows takes these for devices whatever follows the first dot. */
const DEVICE = /^(?:con|prn|aux|nul|com\d|lpt\d|conin\$|conout\$) *(?:\.|$)/;

/** A copy in the order of the ids' bytes: `<` on texts orders some characters beyond the first 65,536 differently. */
export function byIdBytes<T>(list: readonly T[], idOf: (one: T) => string): T[] {
  return list
    .map((one) => ({ one, bytes: Buffer.from(idOf(one)) }))
    .sort((a, b) => Buffer.compare(a.bytes, b.bytes))
    .map(({ one }) => one);
}
