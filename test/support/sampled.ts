/** Many alike cases, each of which starts programs: all of them in CI, a part of them in `npm test`, another one with each seed. */

/** Every second of the cases; all where the variable `CI` is set. */
export function sampled<T>(cases: readonly T[]): T[] {
  const isAll = (process.env["CI"] ?? "") !== "";
  const odd = Number(process.env["OMK_TEST_SEED"] ?? 0) % 2;
  return cases.filter((_, at) => isAll || at % 2 === odd);
}
