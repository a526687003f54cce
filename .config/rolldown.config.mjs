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
    output: {
      dir: dist,
      format: "cjs",
      exports: "named",
      // Without this an `import()` stays one, and Node starts its whole ES module loader for it.
      dynamicImportInCjs: false,
      entryFileNames: "[name].cjs",
      chunkFileNames: "chunks/[name]-[hash].cjs",
      comments: false,
    },
    plugins: [dropOldChunks(".cjs"), noteLicences("licences.txt")],
  },
  {
    ...shared,
    input: { index: "src/index.ts" },
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
