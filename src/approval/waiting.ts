/** What keeps a goal or a run from going on: requests that a person has not answered. */
import { OmkError } from "../errors.ts";
import { summaryOf } from "./approvals.ts";
import type { ApprovalBook } from "./book.ts";

/** Before everything that was asked is answered a new turn would only ask it again. Throws `approval.needed`. */
export function refuseWaiting(book: Pick<ApprovalBook, "open">, what: string): void {
  const [first, ...others] = book.open;
  if (!first) return;
  const count = others.length === 0 ? "a request waits" : `${others.length + 1} requests wait`;
  throw new OmkError(
    "approval.needed",
    `${what} is refused: ${count} for a person: ${first.id} (${summaryOf(first)}).`,
    {
      hint:
        `See it with \`omk approvals show ${first.id}\` and answer: omk approvals answer ${first.id} approve. ` +
        "Or let another policy decide anew: --approval-policy.",
    },
  );
}
