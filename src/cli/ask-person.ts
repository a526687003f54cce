/** Asking whoever sits at the terminal: one question at a time, on stderr, answered by a line on stdin. */
import type { AskPerson, Question } from "../approval/approvals.ts";
import { oneLine } from "./text.ts";
import type { App } from "./app.ts";

/** Lines that are neither yes nor no, before the terminal is taken for one that nobody reads. */
const TRIES_MAX = 20;
const LINE_CHARACTERS_MAX = 1_000;
/** What was typed before the question could be read is no answer to it. */
const TOO_EARLY_MS = 300;

/** Asks at the terminal; undefined where stdin or stderr is none. */
export function askerOf(app: App): AskPerson | undefined {
  const { io } = app;
  // In this order: looking at stdin opens it.
  if (io.stderr.isTTY !== true || io.stdin.isTTY !== true) return undefined;
  let last: Promise<unknown> = Promise.resolve();
  return (question, signal) => {
    const asked = last.then(() => askOne(app, question, signal));
    // The next one is asked whatever became of this one.
    last = asked.catch(() => undefined);
    return asked;
  };
}

async function askOne(
  { io, output, world }: App,
  question: Question,
  signal: AbortSignal,
): Promise<"approve" | "reject" | undefined> {
  if (signal.aborted) return undefined;
  const { id, worker, task, shown, because, timeoutMs } = question;
  output.story(`${id}: ${worker} asks for leave (${task}): ${because}`);
  for (const { label, text } of shown)
    for (const line of text.split("\n")) output.story(`  ${label}: ${oneLine(line)}`);
  output.story(`  answer within ${Math.round(timeoutMs / 1_000)} s; silence allows nothing`);
  const shownMs = world.clock.monotonicMs();
  const prompt = () => void io.stderr.write("Allow it? (y/n) ");
  prompt();
  return new Promise((resolve) => {
    let line = "";
    let tries = 0;
    const end = (decision: "approve" | "reject" | undefined) => {
      io.stdin.off?.("data", take);
      // Otherwise the process waits for input that nobody needs.
      io.stdin.pause?.();
      signal.removeEventListener("abort", gone);
      resolve(decision);
    };
    const gone = () => {
      output.story("");
      output.story(`${id} needs no answer any more`);
      end(undefined);
    };
    const take = (bytes: Uint8Array) => {
      if (world.clock.monotonicMs() - shownMs < TOO_EARLY_MS) return;
      line = (line + Buffer.from(bytes).toString("utf8")).slice(-LINE_CHARACTERS_MAX);
      if (!line.includes("\n")) return;
      const said = line.trim().toLowerCase();
      line = "";
      if (said === "y" || said === "yes") end("approve");
      else if (said === "n" || said === "no") end("reject");
      else if (++tries >= TRIES_MAX) end(undefined);
      else prompt();
    };
    signal.addEventListener("abort", gone, { once: true });
    io.stdin.on?.("data", take);
    io.stdin.resume?.();
  });
}
