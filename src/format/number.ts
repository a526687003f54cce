/** Numbers whose text may matter: 0.5.0 writes whole floats as `5.0` and counts up to 2^64. Read them by `Number(it)`. */
import { z } from "zod";

import { NumberText } from "./json.ts";

/** A number that 0.5.0 keeps as a float: money, factors. */
export const Decimal = z
  .custom<number | NumberText>((value) => isNumber(value), "Expected a number")
  .meta({ type: "number" });

/** A count that may be larger than JavaScript's whole numbers: tokens, seconds. */
export const Count = z
  .custom<number | NumberText>(
    (value) => isNumber(value) && Number(value) >= 0 && Number.isInteger(Number(value)),
    "Expected a whole number that is not negative",
  )
  .meta({ type: "integer", minimum: 0 });

function isNumber(value: unknown): boolean {
  return value instanceof NumberText || (typeof value === "number" && Number.isFinite(value));
}
