/** Names that tasks of every goal have. On their own, since commands that load no schema want them, too. */

/** Well-known task ids. */
export const TASK = {
  intake: "goal-intake",
  plan: "goal-plan",
  execute: "goal-agent-execute",
  verify: "goal-local-verify",
  review: "goal-review",
  securityReview: "goal-security-review",
} as const;
