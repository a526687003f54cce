/** A turn whose requests and hooks are answered: what goals and team workers take. */
import type { Turn } from "../engine/engine.ts";
import { takeTurn, type TurnRequest } from "../engine/turn.ts";
import type { AttemptPermissions } from "./approvals.ts";

/**
 * Takes one turn with the permissions of its attempt. When this resolves or rejects, every request of it is written down and
 * none of its hooks runs. A prompt that a hook forbids is not sent: the turn is `denied`.
 */
export async function takeGuardedTurn(
  request: Omit<TurnRequest, "decidePermission" | "hooks">,
  permissions: AttemptPermissions,
  signal: AbortSignal,
): Promise<Turn> {
  const { hooks } = permissions;
  try {
    if (hooks && !request.engine.capabilities.hooks) {
      const said = await hooks.beforePrompt(request.prompt.text, signal);
      if (said.action === "block" && !signal.aborted) return deniedTurn(said.reason);
    }
    const turn = await takeTurn(
      {
        ...request,
        decidePermission: (asked, gone) => permissions.decide(asked, gone),
        ...(hooks && { hooks }),
        stops: [permissions.blocked, ...(request.stops ?? [])],
        onEvent: (event) => {
          if (hooks && !request.engine.capabilities.hooks) hooks.inform(event);
          request.onEvent?.(event);
        },
      },
      signal,
    );
    // What it waits for says more than what the agent had said so far.
    if (turn.status === "blocked" && permissions.unanswered !== undefined)
      return { ...turn, text: permissions.unanswered };
    return turn;
  } finally {
    try {
      await permissions.settled();
    } finally {
      await hooks?.settled(signal);
    }
  }
}

function deniedTurn(reason: string): Turn {
  const usage = { input_tokens: 0, output_tokens: 0, quality: "missing" as const };
  return {
    status: "denied",
    text: `A hook forbids the prompt: ${reason}`,
    toolCalls: 0,
    usage,
    proposals: [],
  };
}
