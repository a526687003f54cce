/** What agents may do without being asked about, and the requests that wait for a person. */
import { z } from "zod";

/**
 * Who decides what an agent asks: `never` a person, always; `safe` grants what only reads; `workspace` (ours, and what holds
 * when nothing else was said) also grants changes and commands in the project; `yolo` grants everything; `pattern` holds
 * regular expressions for a linear-time engine.
 */
export const ApprovalPolicy = z.union([
  z.enum(["never", "safe", "workspace", "yolo"]),
  z.looseObject({ pattern: z.looseObject({ patterns: z.array(z.string()) }) }),
]);
export type ApprovalPolicy = z.infer<typeof ApprovalPolicy>;
