import { expect, test } from "vitest";

import { isStandIn, isUncheckedBytecode } from "../../src/gate/stand-ins.ts";

test.each([
  "pytest.py",
  "packages/a/pytest.py",
  "pytest/__init__.py",
  "pytest/__main__.py",
  "unittest.py",
  "signal.py",
  "src/json.py",
  "random.cpython-311-x86_64-linux-gnu.so",
  "re.pyc",
  "sitecustomize.py",
  "tools/signal.py",
  "node_modules/.bin/node",
  "packages/a/node_modules/vitest/index.js",
  ".pnp.cjs",
  ".yarn/releases/yarn-4.cjs",
  ".venv/bin/python",
  "vendor/bin/phpunit",
  "lib/minitest/autorun.rb",
  "evil.pth",
])("%s stands in for what a gate means to start", (path) => {
  expect(isStandIn(path, new Set(["tools"]))).toBe(true);
});

test.each([
  "app/types.py",
  "src/app/logging.py",
  "test/__init__.py.md",
  "json/readme.md",
  "sum.py",
  "src/app/__init__.py",
  "models/coverage.py",
  "modules/node.js",
  "vendor/javascript/app.js",
  "lib/sum.rb",
])("%s stands in for nothing", (path) => {
  expect(isStandIn(path, new Set(["tools"]))).toBe(false);
});

test("bytecode that is run without a look at its source is told by its flags", () => {
  expect(isUncheckedBytecode(Uint8Array.of(167, 13, 13, 10, 1, 0, 0, 0))).toBe(true);
  expect(isUncheckedBytecode(Uint8Array.of(167, 13, 13, 10, 0, 0, 0, 0))).toBe(false);
  expect(isUncheckedBytecode(Uint8Array.of(167, 13, 13, 10, 3, 0, 0, 0))).toBe(false);
  expect(isUncheckedBytecode(Uint8Array.of())).toBe(false);
});
