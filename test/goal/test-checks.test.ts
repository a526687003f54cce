import { expect, test } from "vitest";

import { checksSomething } from "../../src/goal/test-checks.ts";

test.each([
  ["mul.test.js", 'test("mul", () => assert.equal(mul(2, 3), 6));'],
  ["mul.test.ts", 'test("mul", () => {\n  expect(\n    mul(2, 3),\n  ).toBe(6);\n});'],
  ["mul.test.js", 'if (mul(2, 3) !== 6) throw new Error("does not multiply");'],
  ["mul.test.js", 'test("mul", (t) => {\n  t.is(mul(2, 3), 6);\n});'],
  ["test_mul.py", "def test_mul():\n    assert mul(2, 3) == 6\n"],
  ["test_mul.py", "def test_mul():\n    with pytest.raises(ValueError):\n        mul()\n"],
  ["mul_test.go", 'if got := mul(2, 3); got != 6 {\n\tt.Errorf("got %d", got)\n}'],
  ["mul_test.go", "require.Equal(t, 6, mul(2, 3))"],
  ["tests/mul.rs", "assert_eq!(mul(2, 3), 6);"],
  ["MulTest.java", "assertEquals(6, Mul.mul(2, 3));"],
  ["mul.test.sh", 'expect_six "$(mul 2 3)"'],
  ["mul.bats", "[ $(mul 2 3) = 6 ]"],
])("%s checks something with %j", (path, text) => {
  expect(checksSomething(path, text)).toBe(true);
});

test.each([
  ["mul.test.js", 'import assert from "node:assert";\ntest("mul", () => { mul(2, 3); });'],
  ["mul.test.js", 'const assert = require("node:assert");\ntest("mul", () => mul(2, 3));'],
  ["mul.test.js", 'test("mul is checked: expect(6)", () => { mul(2, 3) }); // expect(mul(2, 3)).toBe(6)'],
  ["mul.test.js", "mul(2, 3);\nexpect(true).toBe(true);"],
  ["mul.test.js", "mul(2, 3);\nassert.equal(1, 1);\nassert.ok(true)"],
  ["mul.test.ts", 'expect("a").toEqual("a"); mul(2, 3);'],
  ["test_mul.py", "from mul import mul\n\ndef test_mul():\n    mul(2, 3)\n    assert True\n"],
  ["test_mul.py", "def test_mul(self):\n    mul(2, 3)\n    self.assertTrue(True)\n"],
  ["tests/mul.rs", "mul(2, 3);\nassert!(true);"],
  ["tests/data.json", '{"expect": "mul"}'],
])("%s checks nothing with %j", (path, text) => {
  expect(checksSomething(path, text)).toBe(false);
});
