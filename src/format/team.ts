/** `team-state.json`: a team as `omk team` lists it. Its enums are capitalised, unlike all others. */
import { z } from "zod";

import { Instant } from "./instant.ts";

/** Which part of its run a team is in. */
const TeamPhase = z.enum(["Planning", "Executing", "Verifying", "Fixing", "Complete", "Failed", "Shutdown"]);

/** A task as the team record shows it. */
const TeamTask = z.looseObject({
  id: z.string(),
  description: z.string(),
  assigned_to: z.string().nullable().default(null),
  status: z.enum(["Pending", "InProgress", "Done", "Failed"]),
  created_at: Instant,
  completed_at: Instant.nullable().default(null),
});

/** `team-state.json`. */
export const TeamState = z.looseObject({
  version: z.int().min(0).default(1),
  name: z.string(),
  task: z.string(),
  created_at: Instant,
  worker_count: z.int().min(0),
  worker_role: z.string(),
  phase: TeamPhase,
  tasks: z.array(TeamTask),
  state_dir: z.string(),
  /** Ours: the newest event this snapshot includes. */
  seq: z.int().min(0).optional(),
});
export type TeamState = z.infer<typeof TeamState>;
