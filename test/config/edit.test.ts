import fc from "fast-check";
import { parse, stringify } from "smol-toml";
import { describe, expect, test } from "vitest";

import { setKey } from "../../src/config/edit.ts";

describe("setting a key", () => {
  test.each([
    ["in an empty file", "", 'engine = "b"\n'],
    [
      "that is there, with its comment",
      'x = 1\nengine = "a" # mine\ny = 2\n',
      'x = 1\nengine = "b" # mine\ny = 2\n',
    ],
    ["whose old value holds a comment sign", 'engine = "a # b" # c\n', 'engine = "b" # c\n'],
    [
      "above the first table",
      "# top\nx = 1\n\n# servers\n[t]\ny = 1\n",
      '# top\nx = 1\nengine = "b"\n\n# servers\n[t]\ny = 1\n',
    ],
    ["above a file of tables alone", "[t]\ny = 1\n", 'engine = "b"\n\n[t]\ny = 1\n'],
    ["below a file of comments alone", "# top\n", '# top\nengine = "b"\n'],
    ["not that of a table", "[t]\nengine = 1\n", 'engine = "b"\n\n[t]\nengine = 1\n'],
    ["with the line ends of the file", "x = 1\r\nengine = 'a'\r\n", 'x = 1\r\nengine = "b"\r\n'],
    ["without a newline at the end", "x = 1", 'x = 1\nengine = "b"\n'],
  ])("%s", (_where, text, edited) => {
    expect(setKey(text, "engine", "b")).toBe(edited);
  });

  test("writes a table in one line", () => {
    const policy = { pattern: { patterns: ["^git "] } };
    const edited = setKey("", "approval_policy", policy);
    expect(edited).toBe('approval_policy = { pattern = { patterns = ["^git "] } }\n');
  });

  test.each([
    ["has a table of its own", "[approval_policy.pattern]\npatterns = []\n"],
    ["has a value of several lines", 'approval_policy = """\na\n"""\n'],
  ])("gives up where the key %s", (_what, text) => {
    expect(setKey(text, "approval_policy", "safe")).toBeUndefined();
  });

  test("changes that key and nothing else, whatever the file says", () => {
    const value = fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.array(fc.string()));
    const table = fc.dictionary(fc.stringMatching(/^[a-z]{1,6}$/), value);
    const file = fc.record({ top: table, tables: fc.dictionary(fc.stringMatching(/^[A-Z]{1,4}$/), table) });
    fc.assert(
      fc.property(file, fc.oneof(fc.string(), fc.integer()), ({ top, tables }, wanted) => {
        const before = { ...top, ...tables };
        const edited = setKey(stringify(before), "engine", wanted);
        expect(edited).toBeDefined();
        expect({ ...parse(edited ?? "") }).toEqual({ ...parse(stringify(before)), engine: wanted });
      }),
    );
  });
});
