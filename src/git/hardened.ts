/** How git is run where nothing that a repository or a machine says may change what it does. */

/**
 * Outranks every `.gitattributes`: bytes stay as they are, files merge line by line as git itself does it, and whether one
 * is shown in a patch is found by looking at it, since an agent could call its sources binary to hide them.
 */
export const PLAIN_ATTRIBUTES = "* merge -text -filter -ident -working-tree-encoding !diff\n";

/** Settings that no repository may change: they outrank its own. */
export const HARDENED_SETTINGS: readonly string[] = [
  "core.hooksPath=/dev/null",
  "core.fsmonitor=false",
  "core.untrackedCache=false",
  "core.splitIndex=false",
  "core.attributesFile=/dev/null",
  "core.autocrlf=false",
  "core.safecrlf=false",
  "core.protectHFS=true",
  "core.protectNTFS=true",
  "core.quotePath=false",
  "core.alternateRefsCommand=true",
  "core.logAllRefUpdates=false",
  // What an event names must survive with it, kept refs included; one sync for all objects of a snapshot.
  "core.fsync=added,reference",
  "core.fsyncMethod=batch",
  "gc.auto=0",
  "maintenance.auto=false",
  "submodule.recurse=false",
  // Two results meet as they are: no guess that a file belongs into a folder that the other one renamed.
  "merge.directoryRenames=false",
].flatMap((setting) => ["-c", setting]);

/** Where programs are looked for. */
export function searchPathOf(environment: Readonly<Record<string, string>>): string {
  return environment["PATH"] ?? "/usr/bin:/bin";
}

/** The variables of every git that omk runs; `HOME` and the user's own configuration are the caller's affair. */
export function hardenedEnvironment(searchPath: string): Record<string, string> {
  return {
    PATH: searchPath,
    LC_ALL: "C",
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_ATTR_NOSYSTEM: "1",
    GIT_TERMINAL_PROMPT: "0",
    GIT_OPTIONAL_LOCKS: "0",
    GIT_NO_LAZY_FETCH: "1",
    // An object is what its name says, whatever a ref below refs/replace wants to show in its place.
    GIT_NO_REPLACE_OBJECTS: "1",
    GIT_ALLOW_PROTOCOL: "none",
    GIT_LITERAL_PATHSPECS: "1",
  };
}
