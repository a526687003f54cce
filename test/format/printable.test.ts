import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { printable } from "../../src/format/printable.ts";

describe("printable", () => {
  test("shows controls, marks of direction, private characters and halves of characters", () => {
    expect(printable("a\u001b[31mred\u0007\r")).toBe("a\\u{1b}[31mred\\u{7}\\u{d}");
    expect(printable("\u202eexe.txt\u200b\u{e000}\u{10fffd}\ud800")).toBe(
      "\\u{202e}exe.txt\\u{200b}\\u{e000}\\u{10fffd}\\u{d800}",
    );
    expect(printable("\u009b31m\u007f")).toBe("\\u{9b}31m\\u{7f}");
  });

  test("keeps text, tabs and newlines, and on one line shows newlines, too", () => {
    const text = "Größe\t日本語 👍\nnext";
    expect(printable(text)).toBe(text);
    expect(printable(text, { oneLine: true })).toBe("Größe\t日本語 👍\\u{a}next");
    expect(printable("a\u2028b", { oneLine: true })).toBe("a\\u{2028}b");
  });

  test("leaves nothing behind that could reach the terminal", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.boolean(), (text, oneLine) => {
        const shown = printable(text, { oneLine });
        expect(shown.replaceAll(oneLine ? "\t" : /[\t\n]/g, "")).not.toMatch(/[\p{Cc}\p{Cf}\p{Co}\p{Cs}]/u);
        expect(printable(shown, { oneLine })).toBe(shown);
      }),
      { numRuns: 5_000 },
    );
  });
});
