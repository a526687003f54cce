import { parse } from "smol-toml";
import { describe, expect, test } from "vitest";

import { isManifest, restoredManifest } from "../../src/gate/manifests.ts";

const packageJson = (value: object): string => JSON.stringify(value);

describe("a package.json", () => {
  const base = packageJson({ scripts: { test: "node --test" }, dependencies: { left: "1" } });

  test("may get other dependencies", () => {
    const result = packageJson({ scripts: { test: "node --test" }, dependencies: { left: "2", right: "1" } });
    expect(restoredManifest("package.json", base, result)).toBeUndefined();
  });

  test("gets the base's scripts back beside the result's dependencies", () => {
    const result = packageJson({ scripts: { test: "true" }, dependencies: { left: "2" }, jest: { bail: 1 } });
    const restored = restoredManifest("packages/a/package.json", base, result) ?? "";
    expect(JSON.parse(restored)).toEqual({ scripts: { test: "node --test" }, dependencies: { left: "2" } });
  });

  test.each([undefined, "", "{", "[]", "7", '{"scripts":{"test":"true"},}'])(
    "that is now %j is put back whole",
    (result) => {
      expect(restoredManifest("package.json", base, result)).toBe(base);
    },
  );

  test("cannot smuggle a key in by way of the prototype", () => {
    const result = '{"__proto__":{"scripts":{"test":"node --test"}},"dependencies":{}}';
    const restored = restoredManifest("package.json", base, result) ?? "";
    expect(JSON.parse(restored)).toMatchObject({ scripts: { test: "node --test" } });
  });
});

describe("a pyproject.toml", () => {
  const base = '[project]\ndependencies = ["a"]\n[tool.pytest.ini_options]\naddopts = "-q"\n';

  test("may get other dependencies", () => {
    expect(restoredManifest("pyproject.toml", base, base.replace('"a"', '"a", "b"'))).toBeUndefined();
  });

  test("gets the base's settings of pytest back", () => {
    const result = '[project]\ndependencies = ["b"]\n[tool.pytest.ini_options]\naddopts = "--collect-only"\n';
    expect(parse(restoredManifest("pyproject.toml", base, result) ?? "")).toEqual({
      project: { dependencies: ["b"] },
      tool: { pytest: { ini_options: { addopts: "-q" } } },
    });
  });
});

test("a Cargo.toml cannot take its tests out", () => {
  const base = '[package]\nname = "a"\n[dependencies]\nx = "1"\n';
  const result = '[package]\nname = "a"\nautotests = false\n[lib]\ntest = false\n[dependencies]\nx = "2"\n';
  expect(parse(restoredManifest("Cargo.toml", base, result) ?? "")).toEqual({
    package: { name: "a" },
    lib: {},
    dependencies: { x: "2" },
  });
});

test("a setup.cfg keeps its dependencies and gets the base's sections of the runner back", () => {
  const base = "[options]\ninstall_requires = a\n[tool:pytest]\naddopts = -q\n";
  const result = "[options]\ninstall_requires = b\n[tool:pytest]\naddopts = --co\n";
  expect(restoredManifest("setup.cfg", base, base.replace("= a", "= b"))).toBeUndefined();
  expect(restoredManifest("setup.cfg", base, result)).toBe(
    "[options]\ninstall_requires = b\n[tool:pytest]\naddopts = -q\n",
  );
});

describe.each([
  [
    "build.gradle",
    "plugins { id 'java' }\ndependencies {\n  api('a') { transitive = false }\n}\ntest { }\n",
    "api('a')",
    "test { }",
  ],
  ["pom.xml", "<project><dependencies><a/></dependencies><skipTests>no</skipTests></project>", "<a/>", "no<"],
])("%s", (path, base, dependency, setting) => {
  test("may get other dependencies", () => {
    expect(restoredManifest(path, base, base.replace(dependency, "api('b')"))).toBeUndefined();
  });

  test("is put back whole when anything else of it changes", () => {
    expect(restoredManifest(path, base, base.replace(setting, "other<"))).toBe(base);
  });

  test("is read in one pass, whatever an agent makes of it", () => {
    const hostile = "dependencies{<dependencies>".repeat(10_000);
    expect(restoredManifest(path, base, hostile)).toBe(base);
  });
});

test("other files are no manifests", () => {
  expect(isManifest("src/package.json.js")).toBe(false);
  expect(restoredManifest("sum.js", "a", "b")).toBeUndefined();
});
