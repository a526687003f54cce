import fc from "fast-check";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { OmkError } from "../../src/errors.ts";
import { Script, loadScript, stepsFor } from "../../src/engine/scripted/script.ts";
import { createWorld } from "../../src/world.ts";

const world = createWorld();

function scriptFile(content: unknown): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "omk-script-"));
  onTestFinished(() => fs.rmSync(folder, { recursive: true, force: true }));
  const file = path.join(folder, "fix.json");
  fs.writeFileSync(file, typeof content === "string" ? content : JSON.stringify(content));
  return file;
}

function problemOf(work: () => unknown): OmkError {
  try {
    work();
  } catch (error) {
    if (error instanceof OmkError) return error;
    throw error;
  }
  throw new Error("it was accepted");
}

describe("a script", () => {
  test("with every kind of step is read back as it is", () => {
    const script = {
      version: 1,
      turns: [
        {
          match: { role: "work", task: "t*", attempt: 2, prompt: "FAILED" },
          steps: [
            { say: "a" },
            { think: "b" },
            { write: "a/b.txt", text: "x", ask_first: true, on_reject: [{ say: "pity" }] },
            { edit: "a/b.txt", replace: "x", with: "y" },
            { delete: "a" },
            { run: ["node", "--version"], timeout_ms: 5 },
            { run: "true" },
            {
              ask: "May I?",
              kind: "execute",
              path: "a",
              input: { command: "ls" },
              on_allow: [{ ask: "And now?" }],
              on_reject: [],
            },
            { usage: { input_tokens: 1, output_tokens: 2, cost_usd: 0.1 } },
            { propose: { title: "More" } },
            { update: { sessionUpdate: "hologram" } },
            { stderr: "warn\n" },
            { wait_ms: 1 },
            { wait_for: "go", timeout_ms: 10 },
            { hang: true },
            { hang: "deaf" },
            { crash: 3 },
            { crash: "SIGKILL" },
            { raw: "x\n", times: 3 },
            { raw: { base64: "/w==" } },
            { stop: "refusal" },
            { error: { code: -32000, message: "no", data: 1 } },
          ],
        },
      ],
      default: [],
    };
    expect(loadScript(scriptFile(script), world.disk)).toEqual(script);
  });

  test.each([
    ["{", /fix\.json cannot be used: it is not JSON/],
    [{ version: 2, turns: [] }, /: version: /],
    [{ version: 1 }, /: turns: /],
    [{ version: 1, turns: [], defaults: [] }, /defaults/],
    [
      { version: 1, turns: [{ steps: [{ shout: "a" }] }] },
      /turns\[0\]\.steps\[0\]: no known step; steps are: say, /,
    ],
    [{ version: 1, turns: [{ steps: ["say"] }] }, /turns\[0\]\.steps\[0\]: no known step/],
    [
      { version: 1, turns: [{ steps: [{ say: "a", think: "b" }] }] },
      /steps\[0\]: say and think cannot be one step/,
    ],
    [{ version: 1, turns: [{ steps: [{ say: "a" }, { write: "a" }] }] }, /steps\[1\]\.text: /],
    [
      { version: 1, turns: [{ steps: [{ ask: "a", on_reject: [{ wait_ms: -1 }] }] }] },
      /steps\[0\]\.on_reject\[0\]\.wait_ms: /,
    ],
    [{ version: 1, turns: [{ steps: [{ crash: "KILL" }] }] }, /steps\[0\]\.crash: /],
    [{ version: 1, turns: [{ match: { role: "boss" }, steps: [] }] }, /turns\[0\]\.match\.role: /],
  ])("that is wrong is refused with its place: %j", (content, message) => {
    const problem = problemOf(() => loadScript(scriptFile(content), world.disk));
    expect(problem).toMatchObject({ code: "engine.script", exitStatus: 78 });
    expect(problem.message).toMatch(message);
  });

  test("that is missing, a folder or no text is refused by name", () => {
    const file = scriptFile("");
    expect(problemOf(() => loadScript(`${file}.no`, world.disk)).message).toContain(
      "fix.json.no cannot be used: there is no such file",
    );
    expect(problemOf(() => loadScript(path.dirname(file), world.disk)).code).toBe("engine.script");
    fs.writeFileSync(file, new Uint8Array([0xff]));
    expect(problemOf(() => loadScript(file, world.disk)).message).toContain("UTF-8");
  });

  test("answers by match first, then by the attempt's number, then by default", () => {
    const script = Script.parse({
      version: 1,
      turns: [
        { steps: [{ say: "first" }] },
        { match: { task: "docs-*", prompt: "README" }, steps: [{ say: "docs" }] },
        { match: { role: "plan" }, steps: [{ say: "plan" }] },
        { steps: [{ say: "second" }] },
      ],
      default: [{ say: "default" }],
    });
    const answer = (question: Partial<Parameters<typeof stepsFor>[1]>) =>
      stepsFor(script, { role: "work", task: "t", attempt: 1, prompt: "", ...question })?.[0];
    expect(answer({})).toEqual({ say: "first" });
    expect(answer({ attempt: 2 })).toEqual({ say: "second" });
    expect(answer({ attempt: 7 })).toEqual({ say: "second" });
    expect(answer({ attempt: 2, task: "docs-1", prompt: "Mend README.md" })).toEqual({ say: "docs" });
    expect(answer({ task: "docs-1" })).toEqual({ say: "first" });
    expect(answer({ role: "plan" })).toEqual({ say: "plan" });
    expect(answer({ role: "review" })).toEqual({ say: "default" });
  });

  test("matches tasks with stars as a regular expression would", () => {
    const letters = fc.string({ unit: fc.constantFrom("a", "b", "*"), maxLength: 8, minLength: 1 });
    const words = fc.string({ unit: fc.constantFrom("a", "b"), maxLength: 10 });
    fc.assert(
      fc.property(letters, words, (pattern, task) => {
        const script: Script = { version: 1, turns: [{ match: { task: pattern }, steps: [] }] };
        const expected = new RegExp(`^${pattern.replaceAll("*", ".*")}$`).test(task);
        expect(stepsFor(script, { role: "plan", task, attempt: 1, prompt: "" }) !== undefined).toBe(expected);
      }),
      { numRuns: 5000 },
    );
  });
});
