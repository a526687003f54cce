/** Names of branches, as texts from plans and users. */
import { OmkError } from "../errors.ts";

const REF_BYTES_MAX = 240;

/** The name of a branch that git and every file system take, or `usage.invalid`. */
export function checkedBranch(name: string): string {
  const because = whyNoBranch(name);
  if (because === undefined) return name;
  throw new OmkError(
    "usage.invalid",
    `${JSON.stringify(name.slice(0, 300))} is no branch name: ${because}.`,
    {
      hint: "Take letters, digits, dots, dashes and slashes, for example rescued/sum-fix.",
    },
  );
}

/** Why a branch of this name cannot be, or undefined when it can. */
export function whyNoBranch(name: string): string | undefined {
  if (name === "" || name === "@" || name === "HEAD") return "it stands for something else";
  if (Buffer.byteLength(name) > REF_BYTES_MAX) return "it is too long";
  if (/[\p{Cc}\p{Cs} ~^:?*[\\]/u.test(name)) return "it holds a character that git gives another meaning";
  if (name.startsWith("-")) return "it starts like a flag";
  if (name.includes("..") || name.includes("@{")) return "it reads like an expression";
  if (name.endsWith(".")) return "it ends with a dot";
  for (const part of name.split("/")) {
    if (part === "") return "it has an empty part";
    if (part.startsWith(".") || part.toLowerCase().endsWith(".lock"))
      return "a part of it starts with a dot or ends with .lock";
  }
  return undefined;
}
