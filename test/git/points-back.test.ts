/** What leads from copies of ignored files back to the project they were copied from, and what only seems to. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

import { findPointsBack, type SearchLimits } from "../../src/git/points-back.ts";
import { createWorld } from "../../src/world.ts";

const world = createWorld();
const PLENTY: SearchLimits = { files: 100, bytes: 1_000_000, fileBytes: 10_000, ms: 60_000, found: 20 };
let base: string;
let root: string;
let folder: string;

beforeEach(() => {
  base = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "points-back-")));
  root = path.join(base, "my project");
  folder = path.join(base, "stage");
  for (const one of [root, folder]) fs.mkdirSync(one);
  write("my project/src/it.py");
});

afterEach(() => fs.rmSync(base, { recursive: true, force: true }));

function write(name: string, text = ""): void {
  const file = path.join(base, name);
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, text);
}

/** What is found where the project has these ignored files, of which all are copied. */
function found(files: Readonly<Record<string, string>>, limits = PLENTY, alsoNamed: string[] = []) {
  for (const [name, text] of Object.entries(files))
    for (const where of ["my project", "stage"]) write(`${where}/${name}`, text);
  const brought = [...new Set(Object.keys(files).map((name) => name.split("/")[0] ?? ""))];
  return findPointsBack({ root, alsoNamed, brought, folder, linked: [] }, world, limits);
}

test("an installed project, a file that imports by path, an address and a database of the project are found", () => {
  const other = path.join(base, "by another name");
  const files = {
    "venv/lib/it.pth": `${root}/src\n`,
    "venv/lib/it.egg-link": `${root}\n.`,
    "venv/lib/direct_url.json": `{"url":"file://${encodeURI(root)}"}`,
    "vendor/dep/index.js": `module.exports = require("${root}/src/it.py");\n`,
    "vendor/dep/flags.txt": `-I${root}/src`,
    "vendor/dep/other.js": `require("${other}/src/it.py")`,
    ".env": `URL=sqlite:///${root}/src/it.py\n`,
  };
  expect(found(files, PLENTY, [other])).toEqual({ files: Object.keys(files).toSorted() });
});

test("ways to what was brought along, to nothing, to other folders, traces and caches are none", () => {
  const files = {
    "venv/bin/pytest": `#!${root}/venv/bin/python\n`,
    "venv/bin/gone": `${root}/no/such/file`,
    "venv/bin/neighbour": `${root}-other/src and ${root}.old`,
    "venv/lib/it.pyc": `${root}/src/it.py`,
    "venv/lib/__pycache__/it.txt": `${root}/src/it.py`,
    "venv/.cache/it.txt": `${root}/src/it.py`,
    "venv/lib/it.so": `\u007fELF ${root}/src/it.py`,
    "target/debug/it.d": `${root}/src/it.py`,
    "venv/debug.log": `${root}/src/it.py`,
  };
  expect(found(files)).toEqual({ files: [] });
});

test("links back into the project are found, copied or in what is only linked", () => {
  write("my project/node_modules/a/index.js");
  fs.symlinkSync("../src", path.join(root, "node_modules/linked"));
  fs.symlinkSync("a/index.js", path.join(root, "node_modules/own"));
  fs.mkdirSync(path.join(folder, "dist"));
  fs.symlinkSync(path.join(root, "src"), path.join(folder, "dist/copied"));
  const brought = ["node_modules", "dist"];
  const request = { root, alsoNamed: [], brought, folder, linked: ["node_modules"] };
  expect(findPointsBack(request, world, PLENTY)).toEqual({ files: ["dist/copied", "node_modules/linked"] });
});

test("the search has bounds, and says what it has left out", () => {
  const files = { "a/1": "x".repeat(50), "a/2": "y".repeat(50), "a/3": "z".repeat(200) };
  expect(found(files, { ...PLENTY, fileBytes: 100 }).incomplete).toBe("too large to be searched: a/3");
  expect(found(files, { ...PLENTY, files: 1 }).incomplete).toBe("only 1 files were searched");
  expect(found(files, { ...PLENTY, ms: -1 }).incomplete).toBe("only 0 files were searched");
  const ways = { "a/1": `${root}/src`, "a/2": `${root}/src` };
  expect(found(ways, { ...PLENTY, found: 1 })).toEqual({ files: [expect.stringMatching(/^a\/[12]$/)] });
});
