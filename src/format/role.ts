/** `.omk/roles/<id>.md`: what stands between its `---` lines; the rest of the file is the role's instructions. */
import { z } from "zod";

/** What a role may use. `ask` is leave to ask a person and reaches nothing by itself. */
export const ROLE_TOOLS = ["read", "write", "shell", "test", "ask"] as const;
export type RoleTool = (typeof ROLE_TOOLS)[number];

const Words = z.array(z.string().trim().min(1).max(100)).max(50);
/** A list, or the same with commas on one line. */
const listed = <T extends z.ZodType>(list: T) =>
  z.preprocess(
    (value) => (typeof value === "string" ? value.split(",").map((one) => one.trim()) : value),
    list,
  );

/** The front matter of a role. */
export const RoleFrontMatter = z.looseObject({
  /** Has to be the file's own name, where it is given at all. */
  id: z.string().optional(),
  name: z.string().trim().min(1).max(200).optional(),
  description: z.string().trim().max(1_000).optional(),
  tools: listed(z.array(z.enum(ROLE_TOOLS)).max(20)).optional(),
  default_skills: listed(Words).optional(),
  suggested_worker_count: z.int().min(1).max(16).optional(),
});
export type RoleFrontMatter = z.infer<typeof RoleFrontMatter>;
