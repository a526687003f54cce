import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FRAME_LIMITS, FrameError, FrameReader, encodeFrame } from "../../src/engine/frames.ts";
import type { Frame, FrameLimits } from "../../src/engine/frames.ts";

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

/** All frames of the bytes cut at these places, and the reason if they end badly. */
function readCut(
  bytes: Uint8Array,
  cuts: readonly number[],
  limits: FrameLimits = FRAME_LIMITS,
): { frames: Frame[]; refused?: string } {
  const reader = new FrameReader(limits);
  const frames: Frame[] = [];
  const places = [0, ...[...cuts].sort((a, b) => a - b), bytes.length];
  try {
    for (const [index, start] of places.entries()) {
      for (const frame of reader.read(bytes.slice(start, places[index + 1]))) frames.push(frame);
    }
  } catch (error) {
    if (!(error instanceof FrameError)) throw error;
    return { frames, refused: error.reason };
  }
  return { frames };
}

function refusal(text: string | Uint8Array, limits: Partial<FrameLimits> = {}): FrameError {
  const reader = new FrameReader({ ...FRAME_LIMITS, ...limits });
  try {
    for (const frame of reader.read(typeof text === "string" ? bytesOf(text) : text)) void frame;
  } catch (error) {
    if (error instanceof FrameError) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}

describe("the frame reader", () => {
  test("gives the same messages back, whatever the chunks are", () => {
    const message = fc.dictionary(
      fc.string({ maxLength: 8 }).filter((key) => !/^(__proto__|constructor|prototype)$/.test(key)),
      fc.jsonValue({ maxDepth: 4 }),
    );
    fc.assert(
      fc.property(
        fc.array(message, { maxLength: 6 }),
        fc.array(fc.nat(2000), { maxLength: 20 }),
        (messages, cuts) => {
          const bytes = Buffer.concat(messages.map((each) => encodeFrame(each)));
          const inside = cuts.map((cut) => cut % (bytes.length + 1));
          const values = readCut(bytes, inside).frames.map((frame) =>
            frame.kind === "message" ? JSON.stringify(frame.value) : frame,
          );
          // Compared as text: `-0` and absent prototypes are JSON's business, not ours.
          const wanted = messages.map((each) => stripForbidden(JSON.stringify(each)));
          expect(values).toEqual(wanted);
        },
      ),
      { numRuns: 2000 },
    );
  });

  test(
    "treats hostile bytes the same in any chunks, and fails only by refusing them",
    { timeout: 120_000 },
    () => {
      const piece = fc.oneof(
        fc.constantFrom(
          "{",
          "}",
          "[",
          "]",
          '"',
          "\\",
          ":",
          ",",
          "\n",
          "\r",
          " ",
          '{"a":1}\n',
          "{}",
          "\n\n",
          "é",
          "💥",
          '"\\u0000"',
          "{".repeat(70),
        ),
        fc.string(),
      );
      const bytes = fc
        .tuple(fc.array(piece, { maxLength: 30 }), fc.uint8Array({ maxLength: 8 }), fc.nat(100))
        .map(([pieces, noise, at]) => {
          const text = bytesOf(pieces.join(""));
          const place = at % (text.length + 1);
          return new Uint8Array([...text.slice(0, place), ...noise, ...text.slice(place), 0x0a]);
        });
      const limits = { lineBytesMax: 60, depthMax: 5, keysMax: 3, itemsMax: 5 };
      fc.assert(
        fc.property(bytes, fc.array(fc.nat(500), { maxLength: 10 }), (input, cuts) => {
          const inside = cuts.map((cut) => cut % (input.length + 1));
          expect(readCut(input, inside, limits)).toEqual(readCut(input, [], limits));
        }),
        { numRuns: 100_000 },
      );
    },
  );

  test("hands out what came before a bad line in the same chunk", () => {
    expect(readCut(bytesOf('{"a":1}\n{bad}\n'), [])).toMatchObject({
      frames: [{ value: { a: 1 } }],
      refused: "not_json",
    });
  });

  test("accepts a line at the limit and refuses the next byte, before its end has come", () => {
    const line = `{"a":"${"x".repeat(92)}"}`;
    expect(line).toHaveLength(100);
    expect(readCut(bytesOf(`${line}\n`), [50], { ...FRAME_LIMITS, lineBytesMax: 100 }).frames).toHaveLength(
      1,
    );
    expect(refusal(`${line} `, { lineBytesMax: 100 }).reason).toBe("too_long");
  });

  test("refuses what is not UTF-8, also inside a text", () => {
    expect(refusal(new Uint8Array([0x7b, 0x22, 0xc3, 0x28, 0x22, 0x3a, 0x31, 0x7d, 0x0a])).reason).toBe(
      "not_utf8",
    );
  });

  test("counts depth, keys and items itself and ignores those inside texts", () => {
    const deep = (depth: number): string => `{"a":${"[".repeat(depth - 1)}${"]".repeat(depth - 1)}}\n`;
    expect(readCut(bytesOf(deep(64)), []).frames).toHaveLength(1);
    expect(refusal(deep(65)).reason).toBe("too_deep");
    expect(refusal(`{"a":${"[".repeat(4_000_000)}\n`).reason).toBe("too_deep");
    expect(refusal(`{${Array.from({ length: 10_001 }, (_, index) => `"${index}":1`).join()}}\n`).reason).toBe(
      "too_many_keys",
    );
    expect(refusal(`{"a":[${"1,".repeat(100_000)}1]}\n`).reason).toBe("too_many_items");
    expect(readCut(bytesOf(`{"a":"${'[{\\":,'.repeat(50_000)}"}\n`), []).frames).toHaveLength(1);
  });

  test("drops keys that reach a prototype, also when they are spelt with escapes", () => {
    const line = '{"a":{"__proto__":{"x":1},"constr\\u0075ctor":1,"b":[{"prototype":2,"c":3}]}}\n';
    expect(readCut(bytesOf(line), []).frames).toMatchObject([{ value: { a: { b: [{ c: 3 }] } } }]);
    const [frame] = readCut(bytesOf(line), []).frames;
    expect(JSON.stringify(frame?.kind === "message" && frame.value)).toBe('{"a":{"b":[{"c":3}]}}');
  });

  test("passes over empty lines and hands out lines that are no objects as noise", () => {
    expect(readCut(bytesOf("\n \r\nnpm warn\n[INFO] up\n"), []).frames).toEqual([
      { kind: "noise", text: "npm warn", bytes: 8 },
      { kind: "noise", text: "[INFO] up", bytes: 9 },
    ]);
  });

  test("keeps the first 4 KiB of a refused line, escaped", () => {
    const { evidence } = refusal(`{\u001b[31m\\${"x".repeat(5000)}\n`);
    expect(evidence.startsWith("{\\x1b[31m\\x5cxxx")).toBe(true);
    expect(evidence.endsWith("x…")).toBe(true);
    expect(evidence).toMatch(/^[\x20-\x7e]+…$/);
  });
});

/** What the reader makes of a document, by a second way: through JSON's own reviver. */
function stripForbidden(text: string): string {
  return JSON.stringify(
    JSON.parse(text, (key, value: unknown) =>
      /^(__proto__|constructor|prototype)$/.test(key) ? undefined : value,
    ),
  );
}
