/**
 * The guardian: one process beside every controller that has started agents or gates. It reads from a pipe what the
 * controller has started, and when the pipe closes, because the controller has ended in whatever way, it ends what is left.
 * It holds no file, says nothing, and loads as little as possible: it has to be there before the controller can die.
 */
import type { Clock, Ender, HeldProcess } from "../ports.ts";

/** A line that is longer is none of ours. */
const NOTE_CHARACTERS_MAX = 64 * 1024;
/** Nobody is left when so many looks in a row find nobody: one could just miss a process that is being forked. */
const QUIET_LOOKS = 2;
const LOOK_PAUSE_MS = 20;
/** How long a short command may clean up behind itself: git removes its lock files. */
const BRIEF_GRACE_MS = 1_000;
/** What cannot be killed for so long is held by a broken device. */
const GUARD_MS_MAX = 30_000;

/** Follows the controller's notes until the pipe closes, then ends what is left. */
export async function guard(
  notes: AsyncIterable<Uint8Array>,
  ports: { clock: Clock; ender: Ender },
): Promise<void> {
  const held = new Map<string, HeldProcess>();
  try {
    for await (const line of linesOf(notes)) keepNote(line, held);
  } catch {
    // A pipe that breaks has closed, which is all there is to know.
  }
  if (held.size > 0) await endAll([...held.values()], ports);
}

async function endAll(
  held: readonly HeldProcess[],
  { clock, ender }: { clock: Clock; ender: Ender },
): Promise<void> {
  // The controller collects no more children: from now on a number may come to belong to somebody else.
  const tick = ender.tick();
  const left = held.map((one) =>
    one.group?.ended_tick === null && tick !== null
      ? { ...one, group: { ...one.group, ended_tick: tick } }
      : one,
  );
  const brief = left.filter(({ is_brief }) => is_brief);
  const spawned = left.filter(({ is_brief }) => !is_brief);
  const since = clock.monotonicMs();
  for (let quiet = 0, looks = 0; quiet < QUIET_LOOKS; looks++) {
    const ageMs = clock.monotonicMs() - since;
    if (ageMs > GUARD_MS_MAX) return;
    const graceIsOver = ageMs >= BRIEF_GRACE_MS;
    const found =
      ender.end(spawned, "SIGKILL") + ender.end(brief, graceIsOver ? "SIGKILL" : looks === 0 ? "SIGTERM" : 0);
    quiet = found === 0 ? quiet + 1 : 0;
    await clock.sleep(LOOK_PAUSE_MS);
  }
}

async function* linesOf(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const part of bytes) {
    const lines = (rest + decoder.decode(part, { stream: true })).split("\n");
    rest = (lines.pop() ?? "").slice(0, NOTE_CHARACTERS_MAX);
    yield* lines;
  }
}

/** Folds one note in. Only our own controller writes here; a line it did not finish is left out. */
function keepNote(line: string, held: Map<string, HeldProcess>): void {
  let note: unknown;
  try {
    note = JSON.parse(line);
  } catch {
    return; // cut off by the controller's death, and nothing was started after it
  }
  if (typeof note !== "object" || note === null) return;
  if ("drop" in note && typeof note.drop === "string") held.delete(note.drop);
  if ("hold" in note && isHeld(note.hold)) held.set(note.hold.spawn_id, note.hold);
}

/** Checked by hand: the schema library takes longer to load than everything else here. */
function isHeld(value: unknown): value is HeldProcess {
  if (typeof value !== "object" || value === null) return false;
  if (!("spawn_id" in value && "is_brief" in value && "group" in value)) return false;
  const { spawn_id, is_brief, group } = value;
  if (typeof spawn_id !== "string" || spawn_id === "" || typeof is_brief !== "boolean") return false;
  if (group === null) return true;
  if (typeof group !== "object" || !("pid" in group && "start_time" in group && "ended_tick" in group))
    return false;
  const { pid, start_time, ended_tick } = group;
  return (
    // 0 and 1 would mean our own group and everybody.
    Number.isSafeInteger(pid) &&
    Number(pid) > 1 &&
    (start_time === null || typeof start_time === "string") &&
    (ended_tick === null || typeof ended_tick === "number")
  );
}
