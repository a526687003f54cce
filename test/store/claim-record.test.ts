/** The light check of a claim's record says what its schema says. */
import fc from "fast-check";
import { expect, test } from "vitest";

import { ClaimRecord } from "../../src/format/claim.ts";
import { isClaimRecord } from "../../src/store/claim-chain.ts";

const HOLDER = {
  pid: 7,
  start_time: "1",
  boot_id: null,
  pid_namespace: "pid:[4]",
  host: "here",
  nonce: "abc",
};
const RECORD = {
  version: 1,
  n: 3,
  kind: "takeover",
  holder: HOLDER,
  ts: "2026-11-21T10:41:29.150Z",
  command: "goal run",
};

/** A value in the place of another, or nothing (undefined removes the key). */
const strange = fc.oneof(
  fc.constantFrom(
    undefined,
    null,
    0,
    1,
    -1,
    1.5,
    2 ** 53,
    Number.NaN,
    "",
    "claim",
    "release",
    "2026-11-21",
    [],
    {},
    true,
  ),
  fc.anything(),
);

test("the light check and the schema agree on every record, whole or damaged", () => {
  const keys = fc.constantFrom(...Object.keys(RECORD), "further");
  const holderKeys = fc.constantFrom(...Object.keys(HOLDER), "further");
  const damaged = fc
    .tuple(
      fc.array(fc.tuple(keys, strange), { maxLength: 2 }),
      fc.array(fc.tuple(holderKeys, strange), { maxLength: 2 }),
    )
    .map(([outer, inner]) =>
      without({ ...RECORD, holder: without({ ...HOLDER, ...entries(inner) }), ...entries(outer) }),
    );
  fc.assert(
    fc.property(fc.oneof(damaged, fc.anything()), (value) => {
      expect(isClaimRecord(value)).toBe(ClaimRecord.safeParse(value).success);
    }),
    { numRuns: 2_000 },
  );
});

function entries(pairs: readonly (readonly [string, unknown])[]): Record<string, unknown> {
  return Object.fromEntries(pairs);
}

/** JSON has no undefined: such a key is not there. */
function without(record: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined));
}
