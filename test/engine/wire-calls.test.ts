/** What comes in pieces over Wire: however it is cut and mixed, the same comes out. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { StepUsage, StreamedCalls, type JoinedCall } from "../../src/engine/wire-calls.ts";
import { parseArguments, readApproval, StatusUpdate, wireName } from "../../src/engine/wire-messages.ts";

const Input = fc.dictionary(fc.stringMatching(/^[a-z]{1,8}$/), fc.oneof(fc.string(), fc.integer()), {
  maxKeys: 5,
});

/** A text cut at these places. */
function pieces(text: string, cuts: readonly number[]): string[] {
  const places = [...new Set(cuts.map((cut) => cut % (text.length + 1)))].toSorted((a, b) => a - b);
  return [0, ...places].map((start, index) => text.slice(start, places[index]));
}

describe("streamed tool calls", () => {
  test("are the same however they are cut, with several agents speaking at once", () => {
    const Agents = fc.array(fc.tuple(Input, fc.array(fc.nat(200), { maxLength: 6 })), {
      minLength: 1,
      maxLength: 4,
    });
    fc.assert(
      fc.property(Agents, fc.infiniteStream(fc.nat(3)), (agents, order) => {
        const calls = new StreamedCalls();
        const queues = agents.map(([input, cuts]) => pieces(JSON.stringify(input), cuts));
        for (const index of queues.keys())
          expect(calls.begin(`agent ${index}`, { id: `c${index}`, text: "" })).toBe(true);
        while (queues.some((queue) => queue.length > 0)) {
          const index = order.next().value % queues.length;
          const part = queues[index]?.shift();
          if (part !== undefined) expect(calls.add(`agent ${index}`, part)).toBe(true);
        }
        for (const index of queues.keys()) expect(calls.isWhole(`c${index}`)).toBe(true);
        const joined = new Map(calls.finishAll().map((call) => [call.id, call.input]));
        expect([...joined]).toEqual(agents.map(([input], index) => [`c${index}`, input]));
        expect(calls.finishAll()).toEqual([]);
      }),
    );
  });

  test("whose arguments are longer than all that is kept have none, and leave room for the next", () => {
    const calls = new StreamedCalls();
    calls.begin("", { id: "long", text: '{"a":"' });
    for (let part = 0; part < 9; part++) calls.add("", "x".repeat(1024 * 1024));
    calls.add("", '"}');
    expect(calls.finish("")).toEqual<JoinedCall>({ id: "long", input: undefined, characters: 0 });
    calls.begin("", { id: "next", text: '{"a":1}' });
    expect(calls.finish("")?.input).toEqual({ a: 1 });
  });

  test("of a thousand agents at once are more than is believed", () => {
    const calls = new StreamedCalls();
    const begun = Array.from({ length: 1001 }, (_, index) =>
      calls.begin(String(index), { id: "c", text: "" }),
    );
    expect(begun.indexOf(false)).toBe(1000);
  });

  test("of a step that is thrown away are named, and begin anew", () => {
    const calls = new StreamedCalls();
    calls.begin("", { id: "c1", text: "{}" });
    calls.finish("");
    calls.step("");
    calls.begin("", { id: "c2", text: "{" });
    expect(calls.discard("")).toEqual(["c2"]);
    expect(calls.add("", "}")).toBe(false);
    expect(calls.discard("")).toEqual([]);
  });
});

describe("arguments", () => {
  test.each([
    ['{"a":\n 1}', { a: 1 }],
    ["", {}],
    [" ", {}],
    ['{"a":', undefined],
    ["[1]", undefined],
    ["true", undefined],
    [`{"a":${"[".repeat(65)}${"]".repeat(65)}}`, undefined],
    ['{"__proto__":{"kind":"read"},"b":1}', { b: 1 }],
  ])("%j are read as %j", (text, expected) => {
    expect(parseArguments(text)).toEqual(expected);
  });
});

describe("names", () => {
  test.each([
    ["TurnBegin", "turn_begin"],
    ["turn-begin", "turn_begin"],
    ["Turn Begin", "turn_begin"],
    ["turn_begin", "turn_begin"],
    ["MCPLoadingBegin", "mcp_loading_begin"],
    ["BtwEnd", "btw_end"],
  ])("%s is %s", (type, name) => {
    expect(wireName(type)).toBe(name);
  });
});

describe("a request for an approval", () => {
  test("is told by paths that mean the same in every work tree", () => {
    const shown = (path: string): unknown =>
      readApproval(
        { id: "r", tool_call_id: "c", display: [{ type: "diff", path, old_text: "", new_text: "x" }] },
        { name: "WriteFile", input: {} },
        "/trees/one",
      ).content;
    expect(shown("/trees/one/a/b.txt")).toMatchObject([{ path: "a/b.txt" }]);
    expect(shown("/trees/other/b.txt")).toMatchObject([{ path: "/trees/other/b.txt" }]);
    expect(shown("/trees/one")).toMatchObject([{ path: "/trees/one" }]);
    expect(shown("b.txt")).toMatchObject([{ path: "b.txt" }]);
  });
});

describe("the tokens of a turn", () => {
  const Tokens = fc.record({ input_other: fc.nat(1e6), output: fc.nat(1e6), input_cache_read: fc.nat(1e6) });
  const Report = fc.record({
    token_usage: fc.oneof(Tokens, fc.nat(1e6)),
    message_id: fc.constantFrom(null, "m1", "m2", "m3"),
  });

  test("are the sum of the largest report of each message and of all that name none", () => {
    fc.assert(
      fc.property(fc.array(Report, { minLength: 1, maxLength: 20 }), (reports) => {
        const size = ({ token_usage: usage }: (typeof reports)[number]): number =>
          typeof usage === "number" ? usage : usage.input_other + usage.output + usage.input_cache_read;
        const usage = new StepUsage();
        for (const report of reports) usage.add(StatusUpdate.parse(report));
        const named = new Map<string, number>();
        let expected = 0;
        for (const report of reports) {
          if (report.message_id === null) expected += size(report);
          else named.set(report.message_id, Math.max(size(report), named.get(report.message_id) ?? 0));
        }
        for (const tokens of named.values()) expected += tokens;
        const { input_tokens = 0, output_tokens = 0, cache_read_tokens = 0 } = usage.spent ?? {};
        expect(input_tokens + output_tokens + cache_read_tokens).toBe(expected);
        expect(usage.spent?.quality).toBe("exact");
      }),
    );
  });
});
