import { getEventListeners } from "node:events";
import { expect, test } from "vitest";

import { createWorld } from "../../src/world.ts";

const { clock, random } = createWorld();

test("a sleep ends by itself and leaves no listener behind", async () => {
  const { signal } = new AbortController();
  const before = clock.monotonicMs();
  await clock.sleep(5, signal);
  expect(clock.monotonicMs() - before).toBeGreaterThan(3);
  expect(getEventListeners(signal, "abort")).toHaveLength(0);
});

test("an aborted sleep rejects with the reason, before or while it lasts", async () => {
  const stop = new AbortController();
  const reason = new Error("enough");
  const sleeping = clock.sleep(60_000, stop.signal);
  stop.abort(reason);
  await expect(sleeping).rejects.toBe(reason);
  await expect(clock.sleep(60_000, stop.signal)).rejects.toBe(reason);
  expect(getEventListeners(stop.signal, "abort")).toHaveLength(0);
});

test("names are of the length asked for, of lower-case letters and digits, and do not repeat", () => {
  const names = Array.from({ length: 1_000 }, () => random.name(12));
  for (const name of names) expect(name).toMatch(/^[a-z0-9]{12}$/);
  expect(new Set(names).size).toBe(1_000);
  expect(random.uuid()).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});
