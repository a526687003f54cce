/** The flags that say who decides what agents ask, checked. */
import { parsePolicy } from "../approval/policy.ts";
import type { ApprovalFlags } from "../approval/settings.ts";
import { parseDuration } from "../budget/duration.ts";
import { OmkError } from "../errors.ts";

/** As commander gives them. */
export interface GivenApprovalFlags {
  approvalPolicy?: string;
  approvalTimeout?: string;
  approvalOnTimeout?: "reject" | "block";
}

const TIMEOUT_SECS_MAX = 7 * 24 * 3_600;

/** Checks the flags; throws `usage.invalid`. */
export function parseApprovalFlags(given: GivenApprovalFlags): ApprovalFlags {
  const { approvalPolicy, approvalTimeout, approvalOnTimeout } = given;
  return {
    ...(approvalPolicy !== undefined && { policy: parsePolicy(approvalPolicy, "--approval-policy") }),
    ...(approvalTimeout !== undefined && { timeoutSecs: parseTimeout(approvalTimeout) }),
    ...(approvalOnTimeout !== undefined && { onTimeout: approvalOnTimeout }),
  };
}

function parseTimeout(text: string): number {
  const seconds = parseDuration(text, "--approval-timeout");
  if (seconds > 0 && seconds <= TIMEOUT_SECS_MAX) return seconds;
  throw new OmkError("usage.invalid", "--approval-timeout must be longer than nothing and at most 7d.", {
    hint: "For example 30s or 5m.",
  });
}
