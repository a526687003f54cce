/** `.omk/allowed-secrets.toml`: what looks like a secret and is none, such as the keys of a test. */
import { z } from "zod";

/** An entry: the path, the digest, or both must fit. */
export const AllowedSecret = z
  .strictObject({
    /** A glob for paths, as `test/fixtures/**`; a folder means what is in it. */
    path: z
      .string()
      .max(1_024)
      .regex(/^(?![/~]|.*(?:^|\/)\.\.(?:\/|$))[^\s]/, "Expected a path or glob inside the project")
      .optional(),
    /** SHA-256 of the value, or of the whole line without the white space around it. */
    sha256: z
      .string()
      .regex(/^[0-9a-fA-F]{64}$/, "Expected a SHA-256 in hexadecimal")
      .optional(),
    reason: z.string().min(1, "Expected the reason why it is no secret"),
  })
  .refine(({ path, sha256 }) => path !== undefined || sha256 !== undefined, "Expected a path or a sha256");
export type AllowedSecret = z.infer<typeof AllowedSecret>;

/** The file. A key that means nothing is a mistake here: it would allow less, or more, than was meant. */
export const AllowList = z.strictObject({ allow: z.array(AllowedSecret).max(1_000).default([]) });
