/** The question at a terminal: one at a time, on stderr, answered by a line that was typed after it was shown. */
import { EventEmitter } from "node:events";

import { expect, test } from "vitest";

import type { Question } from "../../src/approval/approvals.ts";
import type { App } from "../../src/cli/app.ts";
import { askerOf } from "../../src/cli/ask-person.ts";
import { ManualClock } from "../support/fakes.ts";

const QUESTION: Question = {
  id: "ap-1",
  worker: "worker-0",
  task: "work",
  shown: [{ label: "command", text: "npm test\nrm x" }],
  because: "policy never leaves every request to a person",
  timeoutMs: 60_000,
};
const never = new AbortController().signal;

class Keyboard extends EventEmitter {
  readonly isTTY: boolean;
  isRead = false;
  constructor(isTTY: boolean) {
    super();
    this.isTTY = isTTY;
  }
  resume() {
    this.isRead = true;
  }
  pause() {
    this.isRead = false;
  }
  type(text: string) {
    this.emit("data", Buffer.from(text));
  }
}

function terminal({ isTTY = true } = {}) {
  const stdin = new Keyboard(isTTY);
  const clock = new ManualClock();
  let printed = "";
  const app = {
    io: { stdin, stderr: { isTTY, write: (text: string) => void (printed += text) } },
    output: { story: (line: string) => void (printed += `${line}\n`) },
    world: { clock },
  } as unknown as App;
  return { ask: askerOf(app), stdin, clock, printed: () => printed };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test("nobody is asked where stdin or stderr is no terminal", () => {
  expect(terminal({ isTTY: false }).ask).toBeUndefined();
});

test("a line that says yes or no is the answer, anything else is asked again, and then stdin is left alone", async () => {
  const { ask, stdin, clock, printed } = terminal();
  const answer = ask?.(QUESTION, never);
  await turn();
  await clock.advance(1_000);
  stdin.type("what?\n");
  stdin.type("ye");
  stdin.type("s\n");
  expect(await answer).toBe("approve");
  expect(printed().match(/Allow it/g)).toHaveLength(2);
  expect(printed()).toContain("  command: npm test\n  command: rm x\n");
  expect(stdin.isRead).toBe(false);
  expect(stdin.listenerCount("data")).toBe(0);
});

test("what was typed before the question could be read is no answer", async () => {
  const { ask, stdin, clock } = terminal();
  const answer = ask?.(QUESTION, never);
  await turn();
  stdin.type("y\n");
  await clock.advance(1_000);
  stdin.type("n\n");
  expect(await answer).toBe("reject");
});

test("questions come one at a time, and one that was answered elsewhere goes", async () => {
  const { ask, stdin, clock, printed } = terminal();
  const elsewhere = new AbortController();
  const first = ask?.(QUESTION, elsewhere.signal);
  const second = ask?.({ ...QUESTION, id: "ap-2" }, never);
  await turn();
  expect(printed()).not.toContain("ap-2");
  elsewhere.abort();
  expect(await first).toBeUndefined();
  await turn();
  expect(printed()).toContain("ap-1 needs no answer any more");
  await clock.advance(1_000);
  stdin.type("n\n");
  expect(await second).toBe("reject");
});
