/**
 * What agents ask before they use a tool, and who answers: the role, the hooks, the policy, a person. One of these serves a
 * goal or a team run for as long as this process controls it.
 */
import type { HookPort, PermissionAnswer, PermissionRequest } from "../engine/engine.ts";
import type { TurnStop } from "../engine/turn.ts";

/** Whose requests these are. */
export interface AttemptScope {
  task: string;
  fence: number;
  worker: string;
  /** Where the agent works. */
  cwd: string;
  /** Why the worker's role does not allow a kind of tool; undefined when it does. */
  roleRefuses?(kind: string): string | undefined;
}

/** What one attempt needs to have its requests answered. */
export interface AttemptPermissions {
  decide(request: PermissionRequest, signal: AbortSignal): Promise<PermissionAnswer>;
  /** Fires when a request waits for a person and nobody answered in time. */
  blocked: TurnStop;
  hooks?: HookPort;
  /** What was refused last, for an attempt that ended over it. */
  readonly refused: string | undefined;
}

/** Decides the requests of all attempts of one goal or run. */
export class Approvals {
  /** The permissions of one attempt. */
  attempt(scope: AttemptScope): AttemptPermissions {
    let refused: string | undefined;
    return {
      decide: (request) => {
        const because = scope.roleRefuses?.(request.kind);
        if (because === undefined)
          return Promise.resolve({ decision: "allow", rule: "work in the project directory" });
        refused = `${because}: ${request.title}`;
        return Promise.resolve({ decision: "reject", rule: because });
      },
      blocked: { signal: new AbortController().signal, status: "blocked" },
      get refused() {
        return refused;
      },
    };
  }
}
