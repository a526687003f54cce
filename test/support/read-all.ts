/** `WorkTree.readAll` of a stand-in that can read one file. */
import type { ReadFile } from "../../src/git/many-files.ts";
import type { WorkTree } from "../../src/git/work-tree.ts";

export function readAllBy(
  read: (tree: string, path: string, bytesMax: number) => Uint8Array | undefined,
): WorkTree["readAll"] {
  return async function* (tree, paths, bytesMax): AsyncGenerator<ReadFile, undefined> {
    for (const path of paths) yield { path, bytes: await Promise.resolve(read(tree, path, bytesMax)) };
    return;
  };
}
