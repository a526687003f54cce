// The program and the library as they are shipped, every dependency inside. CommonJS for the command line, because it
// loads faster than ES modules, and one chunk per lazy import, because a light command must not pay for a heavy one.
import fs from "node:fs";
import path from "node:path";
import { defineConfig } from "rolldown";

const root = path.resolve(import.meta.dirname, "..");
const dist = path.join(root, "dist");

/** Removes chunks of earlier builds: their names carry a digest, so they would only pile up. */
function dropOldChunks(extension) {
  return {
    name: "drop-old-chunks",
    writeBundle(_options, bundle) {
      const folder = path.join(dist, "chunks");
      if (!fs.existsSync(folder)) return;
      for (const name of fs.readdirSync(folder)) {
        if (name.endsWith(extension) && !(`chunks/${name}` in bundle)) fs.rmSync(path.join(folder, name));
      }
    },
  };
}

/** Types are emitted by tsc after a release build; those of an earlier one must not outlive it. */
const dropOldTypes = {
  name: "drop-old-types",
  buildStart() {
    fs.rmSync(path.join(dist, "types"), { recursive: true, force: true });
  },
};

/** Modules of Node's own that take milliseconds to load, and that light commands load without using them. */
const HEAVY = ["node:child_process", "node:crypto"];

/** Loads the heavy modules when they are first used and not at the start. */
const loadHeavyLate = {
  name: "load-heavy-late",
  transform(code, id) {
    if (!/[\\/]commander[\\/]lib[\\/]command\.js$/.test(id)) return null;
    // commander needs it only for subcommands that are programs of their own, and omk has none.
    const late = code.replace("const childProcess = require('node:child_process');\n", "");
    if (late === code)
      throw new Error("commander loads child processes in another way than it did: look again.");
    return late.replaceAll("childProcess.", "require('node:child_process').");
  },
  renderChunk(code) {
    let late = code;
    for (const module of HEAVY) {
      const name = module.replace(":", "_");
      const line = `let ${name} = require("${module}");\n`;
      // Only where it is looked into and nothing else: not passed on, not behind `new`.
      const others = new RegExp(`\\b${name}\\b(?!\\.)|\\bnew ${name}\\b`);
      if (!late.includes(line) || others.test(late.replace(line, ""))) continue;
      const getter = `let ${name}; function late_${name}() { return ${name} ??= require("${module}"); }\n`;
      late = late.replaceAll(new RegExp(`\\b${name}\\.`, "g"), `late_${name}().`).replace(line, getter);
    }
    return late === code ? null : late;
  },
};

/** Writes down whose code is inside: the licences ask for it. */
function noteLicences(file) {
  return {
    name: "note-licences",
    writeBundle(_options, bundle) {
      const packages = new Map();
      for (const chunk of Object.values(bundle)) {
        for (const id of Object.keys(chunk.modules ?? {})) {
          const inside = /^(.*[\\/]node_modules[\\/](?:@[^\\/]+[\\/])?[^\\/]+)[\\/]/.exec(
            id.replace(/^\0+/, ""),
          );
          if (inside)
            packages.set(
              inside[1],
              JSON.parse(fs.readFileSync(path.join(inside[1], "package.json"), "utf8")),
            );
        }
      }
      const parts = [...packages].map(([folder, { name, version, license }]) => {
        const licence = fs.readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
        const text = licence ? fs.readFileSync(path.join(folder, licence), "utf8").trim() : "";
        return `${name} ${version} (${license})\n\n${text}\n`;
      });
      fs.writeFileSync(path.join(dist, file), parts.sort().join(`\n${"-".repeat(80)}\n\n`));
    },
  };
}

/** The guardian's entry: what `bin/omk.cjs` is to `main`. */
const guardianEntry = {
  name: "guardian-entry",
  resolveId: (id) => (id === "guardian-entry" ? id : null),
  load: (id) =>
    id === "guardian-entry"
      ? `import { guardianMain } from ${JSON.stringify(path.join(root, "src/main.ts"))};\nvoid guardianMain(process);\n`
      : null,
};

/**
 * The modules that light commands load, in two files and not in eighteen: each costs a third of a millisecond before its
 * first line runs. Nothing that loads a schema belongs here.
 */
const LIGHT = [
  {
    name: "base",
    test: /[\\/]src[\\/](?:errors|format[\\/](?:json|named|printable|stamp)|store[\\/](?:files|state-root))\.ts$/,
  },
  {
    name: "reading",
    test: /[\\/]src[\\/](?:budget[\\/](?:duration|limits|prices|usage)|format[\\/](?:names|shell)|store[\\/](?:catch-up|claim-chain|event-line|event-log|journal|log-reader|log-tail|redact)|goal[\\/](?:budget|checkpoints|find|more-budget|progress|replay|slice-view)|cli[\\/](?:text|goal[\\/]next))\.ts$/,
  },
];

const { version } = JSON.parse(fs.readFileSync(path.join(root, "package.json"), "utf8"));

const shared = {
  cwd: root,
  platform: "node",
  tsconfig: path.join(root, "tsconfig.json"),
  transform: { target: "node20.19", define: { OMK_VERSION: JSON.stringify(version) } },
};

export default defineConfig([
  {
    ...shared,
    input: { main: "src/main.ts" },
    // What the groups below need. Only `bin/omk.cjs` loads the entry, and takes what it knows.
    preserveEntrySignatures: "allow-extension",
    output: {
      dir: dist,
      format: "cjs",
      exports: "named",
      // Without this an `import()` stays one, and Node starts its whole ES module loader for it.
      dynamicImportInCjs: false,
      entryFileNames: "[name].cjs",
      chunkFileNames: "chunks/[name]-[hash].cjs",
      comments: false,
      codeSplitting: { includeDependenciesRecursively: false, groups: LIGHT },
    },
    plugins: [loadHeavyLate, dropOldChunks(".cjs"), noteLicences("licences.txt")],
  },
  {
    ...shared,
    input: { guardian: "guardian-entry" },
    // Of main.ts it takes one function: nothing that is merely imported beside it comes along.
    treeshake: { moduleSideEffects: (id) => id === "guardian-entry" },
    output: { dir: dist, format: "cjs", entryFileNames: "[name].cjs", comments: false },
    plugins: [guardianEntry],
  },
  {
    ...shared,
    input: { index: "src/index.ts" },
    transform: {
      ...shared.transform,
      // What packages written as CommonJS take for granted.
      define: {
        ...shared.transform.define,
        __filename: "import.meta.filename",
        __dirname: "import.meta.dirname",
      },
    },
    output: {
      dir: dist,
      format: "esm",
      entryFileNames: "[name].mjs",
      chunkFileNames: "chunks/[name]-[hash].mjs",
      comments: false,
    },
    plugins: [dropOldChunks(".mjs"), dropOldTypes],
  },
]);
