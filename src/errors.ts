/**
 * Every failure a user can meet, and the status the process ends with (the table of exit statuses is in
 * `docs/exit-status.md`).
 */
const EXIT_STATUS = {
  "usage.invalid": 2,
  "goal.not_found": 1,
  "goal.refused": 1,
  "goal.too_large": 2,
  "goal.needs_budget": 5,
  "team.not_found": 1,
  "team.exists": 1,
  "team.refused": 1,
  "proof.invalid": 1,
  "proof.missing": 1,
  "proof.unsigned": 1,
  "schema.unknown": 1,
  "engine.missing": 4,
  "engine.script": 78,
  "gates.invalid": 78,
  "setup.failed": 74,
  "tasks.invalid": 78,
  "role.invalid": 78,
  "config.invalid": 78,
  "approval.not_found": 1,
  "approval.refused": 1,
  "approval.needed": 3,
  "rescue.not_found": 1,
  "trust.refused": 1,
  "state.version": 78,
  "state.damaged": 74,
  "state.io": 74,
  "state.permissions": 77,
  "state.busy": 75,
  "git.failed": 74,
  "git.unsupported": 78,
  "delivery.failed": 4,
  "delivery.refused": 1,
  "controller.overtaken": 75,
  interrupted: 130,
  terminated: 143,
} as const;

export type ErrorCode = keyof typeof EXIT_STATUS;

/** A failure the user must hear about: what happened, and in `hint` what to do next. */
export class OmkError extends Error {
  override readonly name = "OmkError";
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  constructor(code: ErrorCode, message: string, options: ErrorOptions & { hint?: string } = {}) {
    super(message, options);
    this.code = code;
    this.hint = options.hint;
  }
  get exitStatus(): number {
    return EXIT_STATUS[this.code];
  }
}

/** The system's error code (`ENOENT`, `ENOSPC`, …) of a failed call, or undefined for any other error. */
export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" && /^E[A-Z0-9]+$/.test(error.code) ? error.code : undefined;
}
