// Makes the emitted types stand alone: keeps those that the entry leads to, and brings the declarations of zod along, whose
// code is inside the bundle. So whoever uses the library needs no other package to have its types.
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const types = path.resolve(import.meta.dirname, "..", process.argv[2] ?? "dist/types");
const zod = path.dirname(createRequire(import.meta.url).resolve("zod/package.json"));
const SPECIFIER = /(\bfrom "|\bimport\("|\bimport ")([^"]+)(")/g;

/** Every declaration file that is reached from one, by its relative imports. */
function reached(entry) {
  const found = new Set([entry]);
  // A set is walked in the order in which it grows.
  for (const file of found) {
    for (const [, , request] of fs.readFileSync(file, "utf8").matchAll(SPECIFIER)) {
      if (!request.startsWith(".")) continue;
      const plain = path.resolve(path.dirname(file), request).replace(/\.[jt]s$/, "");
      const target = `${plain}.d.ts`;
      if (!fs.existsSync(target)) throw new Error(`${file} imports ${request}, which has no declarations`);
      found.add(target);
    }
  }
  return found;
}

const kept = reached(path.join(types, "index.d.ts"));
for (const name of fs.readdirSync(types, { recursive: true })) {
  const file = path.join(types, name);
  if (file.endsWith(".d.ts") && !kept.has(file)) fs.rmSync(file);
}
for (const file of reached(path.join(zod, "index.d.ts"))) {
  const copy = path.join(types, "zod", path.relative(zod, file));
  fs.mkdirSync(path.dirname(copy), { recursive: true });
  fs.copyFileSync(file, copy);
}
const entry = path.join(types, "zod", "index.js");
for (const file of kept) {
  const text = fs.readFileSync(file, "utf8");
  const own = text.replaceAll(SPECIFIER, (whole, before, request, after) => {
    if (request.startsWith(".") || request.startsWith("node:")) return whole;
    if (request !== "zod") throw new Error(`${file} needs the types of ${request}`);
    const to = path.relative(path.dirname(file), entry).split(path.sep).join("/");
    return `${before}${to.startsWith(".") ? to : `./${to}`}${after}`;
  });
  if (own !== text) fs.writeFileSync(file, own);
}
