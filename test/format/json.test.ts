import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { NumberText, parseJson, renderDocument, renderLine } from "../../src/format/json.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

/** A JSON value as text with every way of writing a number. */
const jsonText: fc.Arbitrary<string> = fc.letrec<{ value: string }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.constantFrom(
      "null",
      "true",
      "false",
      "0",
      "-0",
      "5.0",
      "1e400",
      "-1.50",
      "2e-6",
      "1E5",
      "18446744073709551615",
      "0.25",
    ),
    fc.integer().map(String),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => JSON.stringify(number)),
    fc.string({ unit: "binary" }).map((text) => JSON.stringify(text)),
    fc.array(tie("value"), { maxLength: 4 }).map((items) => `[${items.join(",")}]`),
    fc
      .uniqueArray(
        fc.tuple(
          fc.string({ unit: "binary" }).filter((key) => !/^\d+$/.test(key)),
          tie("value"),
        ),
        {
          maxLength: 4,
          selector: ([key]) => key,
        },
      )
      .map((fields) => `{${fields.map(([key, value]) => `${JSON.stringify(key)}:${value}`).join(",")}}`),
  ),
})).value;

describe("parseJson", () => {
  test("and renderLine give back every compact text byte for byte", () => {
    fc.assert(
      fc.property(jsonText, (text) => {
        expect(renderLine(parseJson(bytes(text)))).toBe(text);
      }),
      { numRuns: 2_000 },
    );
  });

  test("and renderDocument give back what renderDocument wrote", () => {
    fc.assert(
      fc.property(jsonText, (text) => {
        const document = renderDocument(parseJson(text));
        expect(renderDocument(parseJson(document))).toBe(document);
        expect(renderLine(parseJson(document))).toBe(text);
      }),
      { numRuns: 500 },
    );
  });

  test("agrees with JSON.parse on everything but the numbers it keeps as text", () => {
    const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));
    fc.assert(
      fc.property(jsonText, (text) => {
        expect(plain(parseJson(text))).toEqual(plain(JSON.parse(text)));
      }),
      { numRuns: 500 },
    );
  });

  test("accepts and refuses exactly what JSON.parse does", () => {
    const fragments = fc.constantFrom(
      "{",
      "}",
      "[",
      "]",
      ",",
      ":",
      '"a"',
      '"',
      "\\",
      "1",
      "5.0",
      "-",
      "e",
      "null",
      " ",
      "\n",
      "\u{feff}",
    );
    fc.assert(
      fc.property(fc.array(fragments, { maxLength: 12 }), (parts) => {
        const text = parts.join("");
        const accepts = (parse: (source: string) => unknown) => {
          try {
            parse(text);
            return true;
          } catch {
            return false; // refusing is what is compared
          }
        };
        expect(accepts(parseJson)).toBe(accepts(JSON.parse));
      }),
      { numRuns: 3_000 },
    );
  });

  test("keeps a key called __proto__ as an ordinary key", () => {
    for (const text of ['{"__proto__":{"a":1}}', '{"__proto__":{"a":1.0}}']) {
      const value = parseJson(text) as object;
      expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
      expect(renderLine(value)).toBe(text);
    }
  });

  test("refuses invalid UTF-8, a byte order mark and deep nesting, and quotes nothing of the text", () => {
    expect(() => parseJson(new Uint8Array([0x22, 0xff, 0x22]))).toThrow("not valid UTF-8");
    expect(() => parseJson(bytes("\u{feff}{}"))).toThrow("not valid JSON");
    expect(() => parseJson(`${"[".repeat(129)}${"]".repeat(129)}`)).toThrow("nests deeper than 128 levels");
    expect(parseJson(`${"[".repeat(128)}${"]".repeat(128)}`)).toBeInstanceOf(Array);
    expect(() => parseJson("[[1]]", { depthMax: 1 })).toThrow("deeper than 1 ");
    expect(parseJson(JSON.stringify("[".repeat(5_000) + '\\"{'))).toHaveLength(5_003);
    expect(() => parseJson('{"token": hunter2hunter2}')).toThrow(/^(?!.*hunter2).*not valid JSON/);
  });

  test("keeps strings that look like numbers as strings", () => {
    const text = '{"a":", 5.0","b":"[1e3","c":"\\"x\\": 5.0"}';
    expect(parseJson(text)).toEqual(JSON.parse(text));
    expect(renderLine(parseJson(text))).toBe(text);
  });

  test("takes time in proportion to the text, also for endless backslashes and quotes", () => {
    const text = JSON.stringify({ a: "\\".repeat(200_000) + '"'.repeat(200_000), b: 1 }).replace(
      "1}",
      "5.0}",
    );
    expect(renderLine(parseJson(text))).toBe(text);
  });
});

describe("a NumberText", () => {
  test("is its number in calculations and in plain JSON.stringify", () => {
    const five = new NumberText("5.0");
    expect(Number(five) + 1).toBe(6);
    expect(String(five)).toBe("5.0");
    expect(JSON.stringify({ five })).toBe('{"five":5}');
  });

  test("is written as it is beside keys without a value, dates and empty containers", () => {
    const record = {
      none: undefined,
      at: new Date(0),
      list: [undefined, new NumberText("-0")],
      empty: {},
      no: [],
    };
    expect(renderLine(record)).toBe('{"at":"1970-01-01T00:00:00.000Z","list":[null,-0],"empty":{},"no":[]}');
    expect(renderDocument({ a: [new NumberText("1e5"), {}], b: {} })).toBe(
      '{\n  "a": [\n    1e5,\n    {}\n  ],\n  "b": {}\n}',
    );
  });
});
