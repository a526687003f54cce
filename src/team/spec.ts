/** What a team is made of (`<count>:<role>`), and what it may be called. */
import { OmkError } from "../errors.ts";
import { parseGoalId } from "../format/names.ts";
import { whyNoBranch } from "../git/ref-name.ts";
import type { Random } from "../ports.ts";
import { BUILT_IN_ROLES, type RolePack } from "./roles.ts";

/** A team as asked for. */
export interface TeamSpec {
  count: number;
  role: string;
}

const WORKERS_MAX = 16;
/** What follows the role in the name of a team that was given none. */
const SUFFIX_CHARACTERS = 8;
/** Names that stand for something else. */
const RESERVED: ReadonlySet<string> = new Set(["latest"]);

/**
 * `team`, the id of a role (`known` adds the project's own ones), or `<count>:<role>`. Throws `usage.invalid`, saying what
 * is wrong with it.
 */
export function parseTeamSpec(text: string, known: readonly RolePack[] = BUILT_IN_ROLES): TeamSpec {
  const spec = text.trim();
  if (spec === "team") return { count: 3, role: "executor" };
  const pack = known.find(({ id }) => id === spec);
  if (pack) return { count: pack.suggestedWorkerCount, role: pack.id };
  const colon = spec.indexOf(":");
  if (colon === -1) {
    throw wrongSpec(spec, "it is neither <count>:<role> nor the name of a role", known);
  }
  const count = spec.slice(0, colon).trim();
  const role = spec.slice(colon + 1).trim();
  if (!/^\d{1,9}$/.test(count))
    throw wrongSpec(spec, "what stands before the colon is no whole number", known);
  if (Number(count) < 1 || Number(count) > WORKERS_MAX) {
    throw wrongSpec(spec, `a team has 1 to ${WORKERS_MAX} workers`, known);
  }
  if (role === "") throw wrongSpec(spec, "there is no role behind the colon", known);
  const named = parseGoalId(`${role}-${"0".repeat(SUFFIX_CHARACTERS)}`);
  if (!named.ok) {
    throw wrongSpec(
      spec,
      "a role has 1 to 55 lower-case letters, digits, dots, underscores and dashes, starts with a letter or digit and " +
        "has no two dots in a row",
      known,
    );
  }
  return { count: Number(count), role };
}

/** The name of a team that was given none. */
export function defaultTeamName(role: string, random: Random): string {
  return `${role}-${random.uuid().slice(0, SUFFIX_CHARACTERS)}`;
}

/** A name for a team that is to be made. Throws `usage.invalid`. */
export function newTeamName(text: string): string {
  const named = parseGoalId(text);
  // What a run leaves is kept in git under its name.
  const noRef = whyNoBranch(text);
  if (named.ok && !RESERVED.has(text) && noRef === undefined) return named.name;
  const because = !named.ok ? named.because : (noRef ?? "it stands for the newest run");
  throw new OmkError(
    "usage.invalid",
    `${JSON.stringify(text.slice(0, 100))} cannot be a team's name: ${because}.`,
    {
      hint: "For example: fix-login-2",
    },
  );
}

function wrongSpec(spec: string, because: string, known: readonly RolePack[]): OmkError {
  return new OmkError("usage.invalid", `${JSON.stringify(spec.slice(0, 100))} is no team: ${because}.`, {
    hint: `Write for example 3:executor. Roles: ${known.map(({ id }) => id).join(", ")}.`,
  });
}
