/** How requests are decided for one goal or run: what was said at the command line, then what is recorded, then configured. */
import type { Settings } from "../config/settings.ts";
import type { Engine } from "../engine/engine.ts";
import { OmkError } from "../errors.ts";
import type { ApprovalPolicy, OnTimeout } from "../format/approval.ts";
import { compilePolicy, type CompiledPolicy } from "./policy.ts";

/** What the flags say. */
export interface ApprovalFlags {
  policy?: ApprovalPolicy;
  timeoutSecs?: number;
  onTimeout?: OnTimeout;
}

/** As a goal or run records it. */
export interface RecordedApprovals {
  approval_policy?: ApprovalPolicy | undefined;
  approval_timeout_secs?: number | undefined;
  approval_on_timeout?: OnTimeout | undefined;
}

/** What holds, with nothing left open. */
export interface ApprovalSettings {
  policy: CompiledPolicy;
  timeoutMs: number;
  onTimeout: OnTimeout;
}

const TIMEOUT_SECS_DEFAULT = 300;

/**
 * What a goal or run records at its making, so that it goes on as it began: only what was said somewhere. Throws
 * `usage.invalid` for patterns that are none.
 */
export function approvalKeys(
  flags: ApprovalFlags,
  configured: Omit<RecordedApprovals, "approval_timeout_secs"> & Pick<Settings, "approval_timeout_secs">,
): RecordedApprovals {
  const policy = flags.policy ?? configured.approval_policy;
  // Before anything is made: a pattern that is none is refused where it was written.
  if (policy !== undefined)
    compilePolicy(policy, flags.policy ? "--approval-policy" : "approval_policy of the configuration");
  const timeoutSecs = flags.timeoutSecs ?? configured.approval_timeout_secs;
  const onTimeout = flags.onTimeout ?? configured.approval_on_timeout;
  return {
    ...(policy !== undefined && { approval_policy: policy }),
    ...(timeoutSecs !== undefined && { approval_timeout_secs: Number(timeoutSecs) }),
    ...(onTimeout !== undefined && { approval_on_timeout: onTimeout }),
  };
}

/** The settings that hold. Where a person sits at a terminal silence is a no; where nobody does, the work waits. */
export function approvalSettings(recorded: RecordedApprovals, hasTerminal: boolean): ApprovalSettings {
  const { approval_policy: policy = "workspace", approval_timeout_secs: seconds = TIMEOUT_SECS_DEFAULT } =
    recorded;
  return {
    policy: compilePolicy(policy, "The approval policy"),
    timeoutMs: seconds * 1_000,
    onTimeout: recorded.approval_on_timeout ?? (hasTerminal ? "reject" : "block"),
  };
}

/** A policy that asks about something is worth nothing with an agent that never asks. Throws `usage.invalid`. */
export function refuseUnasking(engine: Engine, recorded: RecordedApprovals): void {
  const { approval_policy: policy = "workspace" } = recorded;
  if (policy === "workspace" || policy === "yolo" || engine.capabilities.approvals !== "none") return;
  const name = typeof policy === "string" ? policy : "pattern";
  throw new OmkError(
    "usage.invalid",
    `The approval policy ${name} cannot hold with ${engine.name}: this agent never asks before it uses a tool.`,
    {
      hint: "Use an engine that asks (over ACP or Wire). With --approval-policy workspace or yolo this one does what it likes.",
    },
  );
}

/** Says that no policy holds for an agent that never asks. */
export function tellUnasking(
  { name, capabilities }: Pick<Engine, "name" | "capabilities">,
  { tell }: { tell: (line: string) => void },
): void {
  if (capabilities.approvals === "none")
    tell(`${name} never asks before it acts: no policy, hook or person decides what it does`);
}
