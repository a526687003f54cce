import { expect, test, vi } from "vitest";

import type { Event } from "../../src/format/event.ts";
import { LogHistory } from "../../src/store/verify.ts";

const event = (over: Partial<Event> = {}): Event => ({
  id: "1",
  run_id: "run",
  ts: "2026-05-25T10:00:00Z",
  schema_version: 1,
  kind: "worker_heartbeat",
  actor: null,
  ...over,
});

test("forty thousand lines of 0.5.0 behind one event share one list, and each of them is a place", () => {
  const history = new LogHistory();
  const ends = Array.from({ length: 40_000 }, (_, at) => 1_000 + 100 * at);
  const set = vi.spyOn(Map.prototype, "set");
  let stored: number;
  try {
    history.note(event({ seq: 1, prev: "0".repeat(64) }), 900);
    set.mockClear();
    // One list for each line would hold 800 million ends in all.
    for (const end of ends) history.note(event(), end);
    stored = set.mock.calls.length;
  } finally {
    set.mockRestore();
  }
  expect(stored).toBe(0);
  for (const end of [900, ends[0], ends[20_000], ends[39_999]])
    expect(history.isPlace(1, end ?? 0)).toBe(true);
  expect(history.isPlace(1, 1_050)).toBe(false);
  expect(history.isPlace(2, 1_000)).toBe(false);
});
