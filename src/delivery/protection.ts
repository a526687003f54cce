/**
 * Protection of a branch that is only ever added to. GitHub replaces all of it at once and describes it differently than
 * it wants it set, so every part is carried over, and one that this program does not know stops it.
 */
import { z } from "zod";

/** Who is named in a rule, as GitHub tells it. */
const Named = z.looseObject({
  users: z.array(z.looseObject({ login: z.string() })).default([]),
  teams: z.array(z.looseObject({ slug: z.string() })).default([]),
  apps: z.array(z.looseObject({ slug: z.string() })).default([]),
});
const Switch = z.looseObject({ enabled: z.boolean() });
const Reviews = z.looseObject({
  dismissal_restrictions: Named.optional(),
  bypass_pull_request_allowances: Named.optional(),
  dismiss_stale_reviews: z.boolean().default(false),
  require_code_owner_reviews: z.boolean().default(false),
  require_last_push_approval: z.boolean().default(false),
  required_approving_review_count: z.int().min(0).default(0),
});
const StatusChecks = z.looseObject({
  strict: z.boolean().default(false),
  contexts: z.array(z.string()).default([]),
  checks: z
    .array(z.looseObject({ context: z.string(), app_id: z.int().nullable().default(null) }))
    .optional(),
});
/** A branch's protection as GitHub tells it. */
const Present = z.looseObject({
  required_status_checks: StatusChecks.nullable().optional(),
  required_pull_request_reviews: Reviews.nullable().optional(),
  restrictions: Named.nullable().optional(),
  enforce_admins: Switch.optional(),
  required_linear_history: Switch.optional(),
  allow_force_pushes: Switch.optional(),
  allow_deletions: Switch.optional(),
  block_creations: Switch.optional(),
  required_conversation_resolution: Switch.optional(),
  lock_branch: Switch.optional(),
  allow_fork_syncing: Switch.optional(),
});
type Present = z.infer<typeof Present>;

/** Parts that say where something lies, or that have a place of their own which setting the rest does not touch. */
const NOT_SET = new Set(["url", "protection_url", "name", "enabled", "required_signatures"]);
const REVIEW_KEYS = new Set([...Object.keys(Reviews.shape), "url"]);
const CHECK_KEYS = new Set([...Object.keys(StatusChecks.shape), "url", "contexts_url", "enforcement_level"]);

interface People {
  users: string[];
  teams: string[];
  apps: string[];
}

/** A branch's protection as GitHub wants it set. */
export interface Protection {
  required_status_checks: {
    strict: boolean;
    checks: { context: string; app_id: number }[];
  } | null;
  enforce_admins: boolean;
  required_pull_request_reviews: {
    dismissal_restrictions?: People;
    bypass_pull_request_allowances?: People;
    dismiss_stale_reviews: boolean;
    require_code_owner_reviews: boolean;
    require_last_push_approval: boolean;
    required_approving_review_count: number;
  } | null;
  restrictions: People | null;
  required_linear_history: boolean;
  allow_force_pushes: boolean;
  allow_deletions: boolean;
  block_creations: boolean;
  required_conversation_resolution: boolean;
  lock_branch: boolean;
  allow_fork_syncing: boolean;
}

/** What a branch is to have at least. Force pushes and deletions are not allowed then. */
export interface WantedProtection {
  /** Names of checks as GitHub shows them, never names of gates. */
  checks: readonly string[];
  approvals: number;
}

/** What has to be done so that a branch has what is wanted. */
export type Strengthening =
  | { step: "nothing" }
  /** Only checks are missing: they are added without touching anything else. */
  | { step: "add_checks"; checks: string[] }
  | { step: "replace"; protection: Protection }
  /** Its present protection has parts that would be lost. */
  | { step: "refused"; unknown: string[] };

/** Decides how a branch gets what is wanted, keeping everything it has. `present` is undefined for a bare branch. */
export function strengthen(
  present: Record<string, unknown> | undefined,
  wanted: WantedProtection,
): Strengthening {
  const read = Present.safeParse(present ?? {});
  if (!read.success) {
    return { step: "refused", unknown: read.error.issues.map(({ path }) => path.join(".")) };
  }
  const now = read.data;
  const missing = missingChecks(now, wanted.checks);
  const reviews = now.required_pull_request_reviews;
  const isStrict = now.required_status_checks?.strict === true || wanted.checks.length === 0;
  const restIsEnough =
    present !== undefined &&
    isStrict &&
    (reviews?.required_approving_review_count ?? 0) >= wanted.approvals &&
    now.allow_force_pushes?.enabled !== true &&
    now.allow_deletions?.enabled !== true;
  if (restIsEnough) {
    return missing.length === 0 ? { step: "nothing" } : { step: "add_checks", checks: missing };
  }
  const unknown = unknownParts(now);
  if (unknown.length > 0) return { step: "refused", unknown };
  return { step: "replace", protection: combined(now, missing, wanted) };
}

function missingChecks(now: Present, names: readonly string[]): string[] {
  const { contexts = [], checks = [] } = now.required_status_checks ?? {};
  const there = new Set([...contexts, ...checks.map(({ context }) => context)]);
  return [...new Set(names)].filter((name) => !there.has(name));
}

function unknownParts(now: Present): string[] {
  const over = (prefix: string, record: object | null | undefined, known: ReadonlySet<string>) =>
    Object.keys(record ?? {})
      .filter((key) => !known.has(key))
      .map((key) => `${prefix}${key}`);
  return [
    ...over("", now, new Set([...Object.keys(Present.shape), ...NOT_SET])),
    ...over("required_pull_request_reviews.", now.required_pull_request_reviews, REVIEW_KEYS),
    ...over("required_status_checks.", now.required_status_checks, CHECK_KEYS),
  ];
}

function combined(now: Present, missing: readonly string[], wanted: WantedProtection): Protection {
  const { required_status_checks: checks, required_pull_request_reviews: reviews } = now;
  const isOn = (part: { enabled: boolean } | undefined) => part?.enabled === true;
  // A check that one app must report stays bound to it; -1 is GitHub's word for any app.
  const present =
    checks?.checks?.map(({ context, app_id }) => ({ context, app_id: app_id ?? -1 })) ??
    checks?.contexts.map((context) => ({ context, app_id: -1 })) ??
    [];
  const all = [...present, ...missing.map((context) => ({ context, app_id: -1 }))];
  const approvals = Math.max(reviews?.required_approving_review_count ?? 0, wanted.approvals);
  return {
    required_status_checks:
      checks || all.length > 0
        ? { strict: checks?.strict === true || wanted.checks.length > 0, checks: all }
        : null,
    enforce_admins: isOn(now.enforce_admins),
    required_pull_request_reviews:
      reviews || wanted.approvals > 0
        ? {
            ...(reviews?.dismissal_restrictions && {
              dismissal_restrictions: people(reviews.dismissal_restrictions),
            }),
            ...(reviews?.bypass_pull_request_allowances && {
              bypass_pull_request_allowances: people(reviews.bypass_pull_request_allowances),
            }),
            dismiss_stale_reviews: reviews?.dismiss_stale_reviews ?? false,
            require_code_owner_reviews: reviews?.require_code_owner_reviews ?? false,
            require_last_push_approval: reviews?.require_last_push_approval ?? false,
            required_approving_review_count: approvals,
          }
        : null,
    restrictions: now.restrictions ? people(now.restrictions) : null,
    required_linear_history: isOn(now.required_linear_history),
    allow_force_pushes: false,
    allow_deletions: false,
    block_creations: isOn(now.block_creations),
    required_conversation_resolution: isOn(now.required_conversation_resolution),
    lock_branch: isOn(now.lock_branch),
    allow_fork_syncing: isOn(now.allow_fork_syncing),
  };
}

function people(named: z.infer<typeof Named>): People {
  return {
    users: named.users.map(({ login }) => login),
    teams: named.teams.map(({ slug }) => slug),
    apps: named.apps.map(({ slug }) => slug),
  };
}
