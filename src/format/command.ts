/** `commands/<id>.json`: what another process asks of a goal's controller. */
import { z } from "zod";

import { Instant } from "./instant.ts";

/** A request; it is applied once, in the order of the log. */
export const CommandRequest = z.looseObject({
  version: z.int().min(1),
  id: z.string().min(1),
  kind: z.enum([
    "pause",
    "resume",
    "cancel",
    "shutdown",
    "budget_add",
    "answer",
    "approval_answer",
    "accept",
    "reject",
  ]),
  payload: z.record(z.string(), z.unknown()).default({}),
  ts: Instant,
  from: z.looseObject({ pid: z.int().min(1), host: z.string() }),
});
export type CommandRequest = z.infer<typeof CommandRequest>;
