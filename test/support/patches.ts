/** A unified diff of one file, as git prints it; lines begin with `+`, `-` or a space. */
export function patchOf(path: string, lines: readonly string[]): string {
  const added = lines.filter((line) => /^[+ ]/.test(line)).length;
  const removed = lines.filter((line) => /^[- ]/.test(line)).length;
  const head = [`diff --git a/${path} b/${path}`, "index 1..2 100644", `--- a/${path}`, `+++ b/${path}`];
  return [...head, `@@ -1,${removed} +1,${added} @@`, ...lines, ""].join("\n");
}
