/** The files that a patch is about: of the form that models write, and of unified diffs. */

/** Paths that a patch names; not clear where a line looks like naming one in a way that is not known. */
export function patchPaths(patch: string): { paths: string[]; isClear: boolean } {
  const paths: string[] = [];
  let isClear = true;
  for (const line of patch.split(/\r\n|\n|\r/)) {
    const both = /^diff --git (.+)$/.exec(line)?.[1];
    if (both !== undefined) {
      const named = /^a\/(\S+) b\/(\S+)$/.exec(both);
      if (named) paths.push(named[1] ?? "", named[2] ?? "");
      else isClear = false;
      continue;
    }
    const named =
      /^\s*\*\*\* (?:(?:Add|Update|Delete) File|Move to): (.+)$/.exec(line) ??
      /^(?:---|\+\+\+) (?:[ab]\/)?([^\t]+)/.exec(line) ??
      /^(?:rename|copy) (?:from|to) (.+)$/.exec(line);
    const path = named?.[1]?.trim();
    if (path !== undefined && path !== "/dev/null") paths.push(path);
    else if (path === undefined && /^\*\*\* (?!(?:Begin Patch|End Patch|End of File)\s*$)/.test(line))
      isClear = false;
  }
  return { paths, isClear };
}
